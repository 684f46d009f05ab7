//! `plg.h` states the contract of `abi.rs` for C: the same declarations, the same bytes, and a
//! plugin that compiles without a warning.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use plg_plugin_api::abi;

use crate::support::cc::build;
use crate::support::plugins::loaded;
use crate::support::{Variant, stamped};

/// What a record looks like from here: its C name, its size and alignment, and offset and size of
/// each field.
struct Record {
    name: &'static str,
    c_name: &'static str,
    size: usize,
    align: usize,
    fields: Vec<(&'static str, usize, usize)>,
}

/// Lists records with their fields. What is forgotten here is noticed by
/// [`the_table_is_complete`].
macro_rules! records {
    ($($name:ident as $c_name:literal { $($field:ident)* })*) => {
        vec![$(Record {
            name: stringify!($name),
            c_name: $c_name,
            size: size_of::<abi::$name>(),
            align: align_of::<abi::$name>(),
            fields: vec![$((
                stringify!($field),
                offset_of!(abi::$name, $field),
                size_of_field(|record: &abi::$name| &record.$field),
            )),*],
        }),*]
    };
}

fn size_of_field<R, F>(_: fn(&R) -> &F) -> usize {
    size_of::<F>()
}

fn records() -> Vec<Record> {
    records! {
        Str as "PlgStr" { ptr len }
        ValueRef as "PlgValueRef" { tag len bits }
        EntryRef as "PlgEntryRef" { key value }
        Ctx as "PlgCtx" { token host }
        HostTable as "PlgHostTable" {
            size minor get set get_interned set_interned intern remove key_at remaining cancelled
            fail log progress call
        }
        Descriptor as "PlgDescriptor" {
            size minor execute init stop live fini labels label_count state_version reserved save restore
        }
        NoteHead as "PlgNoteHead" {
            magic size flags fingerprint major minor pointer_bits endian name version manifest_len
            reserved
        }
    }
}

/// Lists constants by their path in `abi`, each with its name in C.
macro_rules! constants {
    ($($($path:ident)::+ as $c_name:literal)*) => {
        vec![$((stringify!($($path)::+), $c_name, u64::try_from(abi::$($path)::+).expect("no constant is negative"))),*]
    };
}

fn numbers() -> Vec<(&'static str, &'static str, u64)> {
    constants! {
        MAJOR as "PLG_MAJOR"
        MINOR as "PLG_MINOR"
        FINGERPRINT as "PLG_FINGERPRINT"
        NOTE_ENDIAN as "PLG_NOTE_ENDIAN"
        flag::UNWIND as "PLG_FLAG_UNWIND"
        flag::DEBUG as "PLG_FLAG_DEBUG"
        flag::UNLOAD_HOOKS as "PLG_FLAG_UNLOAD_HOOKS"
        tag::NULL as "PLG_TAG_NULL"
        tag::BOOL as "PLG_TAG_BOOL"
        tag::I64 as "PLG_TAG_I64"
        tag::F64 as "PLG_TAG_F64"
        tag::STR as "PLG_TAG_STR"
        tag::BYTES as "PLG_TAG_BYTES"
        tag::LIST as "PLG_TAG_LIST"
        tag::MAP as "PLG_TAG_MAP"
        status::OK as "PLG_OK"
        status::FAILED as "PLG_FAILED"
        status::PANICKED as "PLG_PANICKED"
        status::MISSING as "PLG_MISSING"
        status::EXPIRED as "PLG_EXPIRED"
        status::BAD_KEY as "PLG_BAD_KEY"
        status::BAD_VALUE as "PLG_BAD_VALUE"
        status::TOO_LARGE as "PLG_TOO_LARGE"
        level::ERROR as "PLG_LEVEL_ERROR"
        level::WARN as "PLG_LEVEL_WARN"
        level::INFO as "PLG_LEVEL_INFO"
        level::DEBUG as "PLG_LEVEL_DEBUG"
        level::TRACE as "PLG_LEVEL_TRACE"
    }
}

fn texts() -> Vec<(&'static str, &'static str, &'static str)> {
    let magic = std::str::from_utf8(&abi::NOTE_MAGIC).expect("the magic is ASCII");
    vec![
        ("NOTE_MAGIC", "PLG_NOTE_MAGIC", magic),
        ("NOTE_SECTION", "PLG_NOTE_SECTION", abi::NOTE_SECTION),
        (
            "DESCRIPTOR_SYMBOL",
            "PLG_DESCRIPTOR_SYMBOL",
            abi::DESCRIPTOR_SYMBOL,
        ),
        ("EXECUTE_SYMBOL", "PLG_EXECUTE_SYMBOL", abi::EXECUTE_SYMBOL),
    ]
}

/// Constants of `abi.rs` that mean nothing to a plugin in C.
const NOT_IN_C: [&str; 1] = ["LAYOUT_SYMBOL"];

#[test]
fn the_bytes_are_the_same() {
    let mut c = String::from("#include <plg.h>\n#include <stdio.h>\n\nint main(void)\n{\n");
    let mut expected = Vec::new();
    for record in records() {
        let c_name = record.c_name;
        writeln!(
            c,
            "    printf(\"{c_name} %zu %zu\\n\", sizeof({c_name}), _Alignof({c_name}));"
        )
        .unwrap();
        expected.push(format!("{c_name} {} {}", record.size, record.align));
        for (field, offset, size) in record.fields {
            writeln!(
                c,
                "    printf(\"{c_name}.{field} %zu %zu\\n\", offsetof({c_name}, {field}), \
                 sizeof((({c_name} *)0)->{field}));"
            )
            .unwrap();
            expected.push(format!("{c_name}.{field} {offset} {size}"));
        }
    }
    for (_, c_name, number) in numbers() {
        writeln!(
            c,
            "    printf(\"{c_name} %llu\\n\", (unsigned long long)({c_name}));"
        )
        .unwrap();
        expected.push(format!("{c_name} {number}"));
    }
    for (_, c_name, text) in texts() {
        writeln!(c, "    printf(\"{c_name} %s\\n\", {c_name});").unwrap();
        expected.push(format!("{c_name} {text}"));
    }
    c.push_str("    return 0;\n}\n");

    let source = scratch("layout.c");
    fs::write(&source, c).unwrap();
    let program = scratch("layout");
    compile("cc", C11, &[], &source, &program);
    let printed = run(&mut Command::new(&program));
    let printed: Vec<&str> = printed.lines().collect();
    assert_eq!(printed, expected);
}

#[test]
fn the_declarations_are_the_same() {
    let header = header_records();
    let mut rust = Vec::new();
    for (name, fields) in rust_records() {
        let fields: Vec<String> = fields
            .iter()
            .map(|(field, type_)| in_c(field, type_))
            .collect();
        rust.push((format!("Plg{name}"), fields));
    }
    for (record, fields) in &rust {
        let Some(of_header) = header.get(record) else {
            panic!("plg.h has no `struct {record}`");
        };
        assert_eq!(of_header, fields, "the declarations of {record}");
    }
    assert_eq!(
        header.len(),
        rust.len(),
        "plg.h has records of its own: {:?}",
        header.keys()
    );
}

/// Without this a field or constant that is added on both sides would go unmeasured.
#[test]
fn the_table_is_complete() {
    let listed: Vec<(String, Vec<String>)> = records()
        .iter()
        .map(|record| {
            let fields = record.fields.iter().map(|(field, ..)| (*field).to_owned());
            (record.name.to_owned(), fields.collect())
        })
        .collect();
    let declared: Vec<(String, Vec<String>)> = rust_records()
        .into_iter()
        .map(|(name, fields)| (name, fields.into_iter().map(|(field, _)| field).collect()))
        .collect();
    assert_eq!(listed, declared);

    let mut listed: Vec<String> = numbers()
        .iter()
        .map(|(path, ..)| path.replace(' ', ""))
        .chain(texts().iter().map(|(path, ..)| (*path).to_owned()))
        .chain(NOT_IN_C.iter().map(|path| (*path).to_owned()))
        .collect();
    let mut declared = rust_constants();
    listed.sort();
    declared.sort();
    assert_eq!(listed, declared);
}

#[test]
fn the_header_is_clean_in_c_and_in_cpp() {
    let program = format!(
        "#include <plg.h>\n{}",
        r#"
static int32_t answer(PlgCtx ctx, PlgStr label)
{
    return plg_label_is(label, "one") ? plg_set_null(ctx, "nothing") : PLG_FAILED;
}
static int32_t prepare(PlgCtx ctx, PlgStr label)
{
    (void)label;
    plg_log(ctx, PLG_LEVEL_INFO, "ready");
    return PLG_OK;
}
static int32_t finish(PlgCtx ctx, PlgStr label)
{
    (void)label;
    return plg_cancelled(ctx) ? PLG_FAILED : PLG_OK;
}
static int32_t keep(PlgCtx ctx, PlgStr label)
{
    (void)label;
    return plg_set_i64(ctx, "count", 1);
}
static int32_t take_over(PlgCtx ctx, PlgStr label)
{
    uint32_t version;
    int32_t status = plg_state_version(label, &version);
    return status == PLG_OK ? PLG_OK : plg_refuse(ctx, status, "version");
}
static const PlgStr labels[] = {PLG_STR("one"), PLG_STR("two")};
"#
    );
    let c = scratch("clean.c");
    let options = ".init = prepare, .stop = finish, PLG_LABELS(labels), \
                   .state_version = 1, .save = keep, .restore = take_over";
    fs::write(
        &c,
        format!("{program}PLG_PLUGIN(\"clean\", \"1.0.0\", 0, \"\", answer, {options});\n"),
    )
    .unwrap();
    compile("cc", C11, SHARED, &c, &scratch("clean-c.so"));
    compile_if_present("clang", C11, SHARED, &c, &scratch("clean-clang.so"));

    let cpp = scratch("clean.cpp");
    let options = "prepare, finish, nullptr, nullptr, PLG_LABELS(labels), 1, keep, take_over";
    fs::write(
        &cpp,
        format!("{program}PLG_PLUGIN(\"clean\", \"1.0.0\", 0, \"{{}}\", answer, {options});\n"),
    )
    .unwrap();
    for compiler in ["g++", "clang++"] {
        let library = scratch(&format!("clean-{compiler}.so"));
        compile_if_present(compiler, CPP17, SHARED, &cpp, &library);
    }
}

#[test]
fn the_sample_in_c_compiles_and_carries_its_note() {
    let sample = repository().join("plugins/c-hello");
    let library = scratch("c-hello.so");
    compile("cc", C11, SHARED, &sample.join("hello.c"), &library);
    compile_if_present(
        "clang",
        C11,
        SHARED,
        &sample.join("hello.c"),
        &scratch("c-hello-clang.so"),
    );

    let image = fs::read(&library).unwrap();
    let note = image
        .windows(abi::NOTE_MAGIC.len())
        .position(|bytes| bytes == abi::NOTE_MAGIC)
        .map(|start| &image[start..])
        .expect("the library holds a note");
    let field = |offset: usize, size: usize| &note[offset..offset + size];
    let number = |offset: usize| u32::from_ne_bytes(field(offset, 4).try_into().unwrap());
    let text = |offset: usize, size: usize| {
        let text = String::from_utf8(field(offset, size).to_vec()).unwrap();
        text.trim_end_matches('\0').to_owned()
    };
    let fingerprint = field(offset_of!(abi::NoteHead, fingerprint), 8);
    assert_eq!(fingerprint, abi::FINGERPRINT.to_ne_bytes());
    assert_eq!(
        number(offset_of!(abi::NoteHead, size)) as usize,
        size_of::<abi::NoteHead>()
    );
    assert_eq!(
        number(offset_of!(abi::NoteHead, flags)),
        abi::flag::UNWIND | abi::flag::UNLOAD_HOOKS
    );
    assert_eq!(text(offset_of!(abi::NoteHead, name), 64), "c-hello");
    assert_eq!(text(offset_of!(abi::NoteHead, version), 32), "0.1.0");
    let manifest = field(
        size_of::<abi::NoteHead>(),
        number(offset_of!(abi::NoteHead, manifest_len)) as usize,
    );
    assert_eq!(
        String::from_utf8_lossy(manifest),
        fs::read_to_string(sample.join("plugin.json")).unwrap(),
        "hello.c embeds plugin.json"
    );
}

/// Calls the sample from a small host in C, which is also the other side's use of the header.
#[test]
fn the_sample_in_c_answers() {
    let library = scratch("c-hello-called.so");
    let sample = repository().join("plugins/c-hello/hello.c");
    compile("cc", C11, SHARED, &sample, &library);
    let source = scratch("host.c");
    fs::write(&source, HOST).unwrap();
    let program = scratch("host");
    compile("cc", C11, &["-ldl"], &source, &program);

    let call = |label: &str, name: Option<&str>| {
        let mut command = Command::new(&program);
        run(command.arg(&library).arg(label).args(name))
    };
    assert_eq!(call("greet", Some("Ada")), "0 reply Hello, Ada!\n");
    assert_eq!(call("greet", Some("")), "0 reply Hello, !\n");
    assert_eq!(call("greet", None), "1 ctx.missing no value under `name`\n");
    assert_eq!(
        call("gret", Some("Ada")),
        "1 call.no_route no label `gret`; the plugin has `greet`\n"
    );
    let long = "é".repeat(300);
    let answer = call(&long, None);
    assert!(
        answer.starts_with("1 call.no_route no label `éé"),
        "{answer}"
    );
    assert!(
        answer.ends_with("é\n"),
        "cut between two characters: {answer}"
    );
}

/// Both sides in both languages: what `save` leaves, a host in C carries over to `restore`.
#[test]
fn state_goes_from_one_build_to_the_next() {
    let include = format!("-I{}", repository().join("plugin-api/include").display());
    let host = build("state_host.c", &[&include, "-ldl"], &[]);
    let directory = tempfile::tempdir().unwrap();
    let rust = [1, 2].map(|build| stamped(directory.path(), Variant::State, build));
    let c =
        |build: u32, state: u32| loaded(&[&format!("BUILD={build}"), &format!("STATE={state}")]);
    let hand_over = |(old, before): (&Path, &str), (new, after): (&Path, &str)| {
        let mut command = Command::new(&host);
        run(command.arg(old).arg(before).arg(new).arg(after))
    };
    assert_eq!(
        hand_over((&rust[0], "remember"), (&rust[1], "recall")),
        "version 1, restore answered 0\nrecall 41\n"
    );
    assert_eq!(
        hand_over((&c(1, 7), "count"), (&c(2, 4_294_967_295), "count")),
        "version 7, restore answered 0\ncount 2\n"
    );
    assert_eq!(
        hand_over((&c(2, 4_294_967_295), "count"), (&c(1, 7), "count")),
        "fixture.state: the state is of a version that it does not know\n\
         version 4294967295, restore answered 1\ncount 1\n"
    );
    assert_eq!(
        hand_over((&c(1, 7), "count"), (&rust[0], "recall")),
        "fixture.state: the state is of version 7, expected 1\n\
         version 7, restore answered 1\nrecall 0\n"
    );
}

const HOST: &str = r#"
#include <dlfcn.h>
#include <plg.h>
#include <stdio.h>

static const char *name;
/* What the plugin set, or why it failed. */
static char said[4096];

static int32_t get(uint64_t token, PlgStr key, PlgValueRef *out)
{
    (void)token;
    if (name == NULL || !plg_str_eq(key, plg_str("name")))
        return PLG_MISSING;
    *out = plg_value_str(plg_str(name));
    return PLG_OK;
}

static int32_t set(uint64_t token, PlgStr key, PlgValueRef value)
{
    PlgStr text;
    (void)token;
    if (plg_as_str(value, &text) != PLG_OK)
        return PLG_BAD_VALUE;
    snprintf(said, sizeof said, " %.*s %.*s", (int)key.len, (const char *)key.ptr, (int)text.len,
             (const char *)text.ptr);
    return PLG_OK;
}

static int32_t fail(uint64_t token, PlgStr code, PlgStr message)
{
    return set(token, code, plg_value_str(message));
}

int main(int count, char **arguments)
{
    static const PlgHostTable table = {.size = sizeof table, .get = get, .set = set, .fail = fail};
    if (count < 3)
        return 2;
    name = count > 3 ? arguments[3] : NULL;
    void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return 3;
    const PlgDescriptor *(*getter)(void);
    int32_t (*alias)(PlgCtx, PlgStr);
    *(void **)&getter = dlsym(library, PLG_DESCRIPTOR_SYMBOL);
    *(void **)&alias = dlsym(library, PLG_EXECUTE_SYMBOL);
    if (getter == NULL || alias == NULL || dlsym(library, "plg_note_v1") == NULL)
        return 4;
    const PlgDescriptor *plugin = getter();
    if (plugin->size != sizeof *plugin || plugin->init != NULL || plugin->label_count != 1)
        return 5;
    PlgCtx ctx = {1, &table};
    PlgStr label = plg_str(arguments[2]);
    int32_t status = plugin->execute(ctx, label);
    printf("%d%s\n", (int)status, said);
    return alias(ctx, label) == status ? 0 : 6;
}
"#;

const C11: &[&str] = &["-std=c11"];
const CPP17: &[&str] = &["-std=c++17"];
const SHARED: &[&str] = &["-fPIC", "-shared"];

/// Compiles with every warning an error.
fn compile(compiler: &str, language: &[&str], options: &[&str], source: &Path, out: &Path) {
    let mut command = Command::new(compiler);
    command
        .args(language)
        .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2", "-I"])
        .arg(repository().join("plugin-api/include"))
        .args([OsStr::new("-o"), out.as_os_str(), source.as_os_str()])
        .args(options);
    run(&mut command);
}

#[expect(
    clippy::print_stdout,
    reason = "a test that skips a part of itself says so"
)]
fn compile_if_present(
    compiler: &str,
    language: &[&str],
    options: &[&str],
    source: &Path,
    out: &Path,
) {
    let found = Command::new(compiler)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if found {
        compile(compiler, language, options, source, out);
    } else {
        println!("skipped: there is no `{compiler}` here");
    }
}

/// Runs a program that is expected to succeed and returns what it printed.
fn run(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .unwrap_or_else(|error| panic!("failed to run {command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(
        status.success(),
        "{command:?} ended with {status}\n{stderr}"
    );
    String::from_utf8(stdout).expect("it prints UTF-8")
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn scratch(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c_header");
    fs::create_dir_all(&directory).expect("the scratch directory can be made");
    directory.join(name)
}

/// The records of `abi.rs` in order, each with its frozen fields and their types.
fn rust_records() -> Vec<(String, Vec<(String, String)>)> {
    let source = read("plugin-api/src/abi.rs");
    let source = without_line_comments(&source);
    let (_, invocation) = source
        .split_once("\nboundary! {")
        .expect("abi.rs invokes `boundary!`");
    let (records, _) = invocation
        .split_once("\n}")
        .expect("the invocation of `boundary!` ends");
    records
        .split("pub struct ")
        .skip(1)
        .map(|record| {
            let (name, rest) = record.split_once('{').expect("a record has a body");
            let (body, appended) = rest.split_once("\n    }").expect("a record ends");
            // A late field that every build has belongs in the header; one behind a feature does not.
            for late in split_fields(appended) {
                assert!(
                    late.contains("#[cfg(feature"),
                    "teach this test about appended fields: {late}"
                );
            }
            let fields = split_fields(body).into_iter().map(|field| {
                let (name, type_) = field.split_once(':').expect("a field has a type");
                (name.trim().to_owned(), squeeze(type_))
            });
            (name.trim().to_owned(), fields.collect())
        })
        .collect()
}

/// Cuts at the commas that stand in no bracket.
fn split_fields(body: &str) -> Vec<&str> {
    let body = body
        .trim()
        .trim_start_matches("appended")
        .trim()
        .trim_start_matches('{')
        .trim_end_matches('}');
    let mut fields = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (index, character) in body.char_indices() {
        match character {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                fields.push(&body[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    fields.push(&body[start..]);
    fields.retain(|field| !field.trim().is_empty());
    fields
}

/// The constants of `abi.rs`, those of a module with its name before them.
fn rust_constants() -> Vec<String> {
    let source = read("plugin-api/src/abi.rs");
    let (contract, rest) = source
        .split_once("\nmacro_rules!")
        .expect("the constants stand above the macro");
    let mut constants = Vec::new();
    let mut module = String::new();
    for line in contract.lines() {
        if let Some(name) = line.strip_prefix("pub mod ") {
            module = format!("{}::", name.trim_end_matches(" {"));
        } else if line == "}" {
            module.clear();
        } else if let Some(constant) = line.trim_start().strip_prefix("pub const ") {
            let (name, _) = constant.split_once(':').expect("a constant has a type");
            constants.push(format!("{module}{name}"));
        }
    }
    assert!(
        !rest.contains("\npub const ") && !rest.contains("\npub mod "),
        "a constant of abi.rs stands below the macro, where this test does not look"
    );
    // The macro makes this one.
    constants.push("FINGERPRINT".to_owned());
    constants
}

/// The records of the header, each with the declarations of its fields, without white space.
fn header_records() -> BTreeMap<String, Vec<String>> {
    let header = without_block_comments(&read("plugin-api/include/plg.h"));
    let mut records = BTreeMap::new();
    for part in header.split("\nstruct ").skip(1) {
        let (name, rest) = part.split_once('{').expect("a record has a body");
        // What ends in `_` is the header's own business.
        if name.trim().ends_with('_') {
            continue;
        }
        let (body, _) = rest.split_once("\n};").expect("a record ends");
        let fields = body
            .split(';')
            .map(|field| squeeze(&field.replace("PLG_NONSTRING", "")))
            .filter(|field| !field.is_empty());
        records.insert(name.trim().to_owned(), fields.collect());
    }
    records
}

/// The C declaration, without white space, of a field that `abi.rs` declares.
fn in_c(field: &str, type_: &str) -> String {
    if let Some(inner) = type_.strip_prefix("Option<") {
        let inner = inner.strip_suffix('>').expect("the option ends");
        return in_c(field, inner);
    }
    if let Some(signature) = type_.strip_prefix("unsafeextern\"C\"fn(") {
        let (arguments, answer) = signature.split_once(")->").expect("it answers something");
        let arguments: Vec<String> = arguments
            .split(',')
            .filter(|argument| !argument.is_empty())
            .map(|argument| {
                let (name, type_) = argument.split_once(':').expect("arguments have names");
                in_c(name, type_)
            })
            .collect();
        let arguments = match arguments.as_slice() {
            [] => "void".to_owned(),
            some => some.join(","),
        };
        return format!("{}(*{field})({arguments})", scalar(answer));
    }
    if let Some(array) = type_.strip_prefix('[') {
        let (element, len) = array
            .strip_suffix(']')
            .and_then(|array| array.split_once(';'))
            .expect("an array has a length");
        return format!("{}{field}[{len}]", scalar(element));
    }
    format!("{}{field}", scalar(type_))
}

fn scalar(type_: &str) -> String {
    if let Some(target) = type_.strip_prefix("*const") {
        return format!("const{}*", scalar(target));
    }
    if let Some(target) = type_.strip_prefix("*mut") {
        return format!("{}*", scalar(target));
    }
    match type_ {
        "u8" => "uint8_t".to_owned(),
        "u16" => "uint16_t".to_owned(),
        "u32" => "uint32_t".to_owned(),
        "u64" => "uint64_t".to_owned(),
        "i32" => "int32_t".to_owned(),
        "usize" => "size_t".to_owned(),
        record => format!("Plg{record}"),
    }
}

fn read(path: &str) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect()
}

fn without_line_comments(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .fold(String::new(), |text, line| text + line + "\n")
}

fn without_block_comments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, comment)) = rest.split_once("/*") {
        out.push_str(before);
        let (_, after) = comment.split_once("*/").expect("a comment ends");
        rest = after;
    }
    out + rest
}
