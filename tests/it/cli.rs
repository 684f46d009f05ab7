//! The `plg` command, run as its users run it.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use plg_host::codes;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::plugins::{copy, loaded, named};
use crate::support::{Variant, library, plg, workspace};

/// What a run of `plg` left.
struct Run {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    fn of(output: Output) -> Self {
        Self {
            status: output.status.code().expect("no signal ended it"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The standard output, if all went well.
    #[track_caller]
    fn ok(&self) -> &str {
        assert_eq!(self.status, 0, "{}{}", self.stdout, self.stderr);
        &self.stdout
    }

    /// The one document on the standard output.
    #[track_caller]
    fn json(&self) -> Value {
        let document = serde_json::from_str(&self.stdout);
        document.unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(plg());
    command
        .args(arguments)
        .current_dir(workspace())
        .stdin(Stdio::null())
        // The usual directories are those of whoever runs the tests.
        .env("XDG_STATE_HOME", "/dev/null")
        .env("XDG_DATA_HOME", "/dev/null")
        .env("PLG_HOME", "/nonexistent")
        .env_remove("PLG_STATE")
        .env_remove("PLG_PLUGIN_DIR")
        .env_remove("PLG_LOG");
    command
}

fn run(arguments: &[&str]) -> Run {
    Run::of(command(arguments).output().unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn hello() -> String {
    text(&library("hello", Variant::Debug)).to_owned()
}

fn fixture(name: &str) -> String {
    text(&library(name, Variant::Debug)).to_owned()
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn hello_greets_from_its_sources() {
    let greeting = run(&["call", "plugins/hello", "greet", "name=Ada"]);
    assert_eq!(greeting.ok(), "reply: Hello, Ada!\n");
    let by_name = run(&["call", "hello", "greet", "name=Ada"]);
    assert_eq!(by_name.ok(), "reply: Hello, Ada!\n");
    assert_eq!(
        by_name.stderr, "",
        "it is built, so there is nothing to say"
    );
}

#[test]
fn a_call_prints_one_json_object() {
    let run = run(&["call", &hello(), "greet", "name=Ada", "--json"]);
    let object = run.json();
    assert_eq!(run.status, 0);
    assert_eq!(object["plugin"], "hello");
    assert_eq!(object["version"], "0.1.0");
    assert_eq!(object["label"], "greet");
    assert_eq!(object["generation"], 1);
    assert_eq!(object["transport"], "in-process");
    assert_eq!(object["values"]["reply"], "Hello, Ada!");
    assert_eq!(object["values"]["name"], "Ada");
    assert!(object["elapsed_us"].as_f64().unwrap() > 0.0);
}

/// Each class of outcomes, as text and as JSON.
#[test]
fn the_exit_status_tells_the_class() {
    let scratch = directory();
    let at = |name: &str| text(&scratch.path().join(name)).to_owned();
    fs::create_dir(at("failing")).unwrap();
    fs::write(at("failing/Makefile"), "all:\n\tfalse\n").unwrap();
    fs::create_dir(at("empty")).unwrap();
    fs::create_dir(at("mistaken")).unwrap();
    fs::write(at("mistaken/plugin.json"), r#"{ "name": 7 }"#).unwrap();
    fs::write(at("mistaken/a.so"), "").unwrap();
    fs::write(at("text.so"), "no library").unwrap();
    let whole = fs::read(library("hello", Variant::Debug)).unwrap();
    fs::write(at("cut.so"), &whole[..whole.len() / 2]).unwrap();
    let abort = text(&library("fixture-bad", Variant::Abort)).to_owned();
    let refuses = text(&loaded(&["INIT_REFUSE=1"])).to_owned();
    let (hello, good, bad) = (hello(), fixture("fixture-good"), fixture("fixture-bad"));

    let failing: [(&[&str], i32, &str); 23] = [
        (&["build", &at("failing")], 1, "build.failed"),
        (&["call", &at("failing"), "greet"], 1, "build.failed"),
        (&["build", "."], 1, "build.no_artifact"),
        (&["build", &at("empty")], 1, "build.no_sources"),
        (&["call", &hello, "greet", "name"], 2, "usage.values"),
        (&["call", &hello, "greet", "name:=Ada"], 2, "usage.values"),
        (
            &["call", &hello, "greet", "--values", "[]"],
            2,
            "usage.values",
        ),
        (&["new", "Nope"], 2, "usage.name"),
        (&["new", "plugins"], 2, "usage.not_empty"),
        (&["call", &hello, "gret"], 3, "call.no_route"),
        (&["call", "nope", "greet"], 3, "plugin.not_found"),
        (&["call", "./nope.so", "greet"], 3, "io.not_found"),
        (&["list", "/nope"], 3, "io.not_found"),
        (&["explain", "native.corupt"], 3, "code.unknown"),
        (&["call", &at("text.so"), "greet"], 4, "native.format"),
        (&["call", &at("cut.so"), "greet"], 4, "native.corrupt"),
        (&["call", &at("mistaken"), "greet"], 4, "manifest.field"),
        (&["call", &abort, "fine"], 4, "native.panic_abort"),
        (&["call", &refuses, "build"], 5, "native.init"),
        (&["call", &bad, "fail"], 5, "call.failed"),
        (&["call", &bad, "panic"], 5, "call.panicked"),
        (&["call", &hello, "greet"], 5, "ctx.missing"),
        (
            &["call", &good, "nap", "ms:=60000", "--timeout", "200ms"],
            6,
            "call.timeout",
        ),
    ];
    for (arguments, status, code) in failing {
        let told = run(arguments);
        assert_eq!(told.status, status, "{arguments:?}: {}", told.stderr);
        assert_eq!(told.stdout, "", "{arguments:?}");
        let row = codes::find(code).unwrap();
        let first = format!("error[{code}]: ");
        let last = format!("for more: plg explain {code}\n");
        assert!(
            told.stderr.contains(&first),
            "{arguments:?}: {}",
            told.stderr
        );
        assert!(
            told.stderr.contains("\nhelp: "),
            "{arguments:?}: {}",
            told.stderr
        );
        assert!(
            told.stderr.ends_with(&last),
            "{arguments:?}: {}",
            told.stderr
        );

        let json = run(&[arguments, &["--json"]].concat());
        assert_eq!(json.status, status, "{arguments:?}");
        let problem = json.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["title"], row.summary);
        assert_eq!(problem["severity"], row.severity.as_str());
        assert_eq!(problem["exit_status"], status);
        assert_eq!(problem["type"], format!("urn:plg:{code}"));
        for member in ["detail", "help", "actor"] {
            assert!(problem[member].is_string(), "{member}: {problem}");
        }
        assert!(problem["causes"].is_array(), "{problem}");
    }
}

#[test]
fn an_error_shows_its_causes_and_the_mistakes_of_a_manifest() {
    let scratch = directory();
    let mistaken = scratch.path().join("mistaken");
    fs::create_dir(&mistaken).unwrap();
    fs::write(
        mistaken.join("plugin.json"),
        r#"{ "name": 7, "version": "new" }"#,
    )
    .unwrap();
    let told = run(&["call", text(&mistaken), "greet"]);
    assert!(
        told.stderr
            .contains("\n  caused by: [manifest.field] $.name: "),
        "{}",
        told.stderr
    );
    assert!(
        told.stderr.contains("[manifest.version] $.version: "),
        "{}",
        told.stderr
    );
    let problem = run(&["call", text(&mistaken), "greet", "--json"]).json();
    assert_eq!(problem["problems"][1]["path"], "$.version");

    let told = run(&["call", &fixture("fixture-bad"), "fail", "--json"]);
    assert_eq!(told.json()["plugin_code"], "fixture.failed");
}

#[test]
fn the_deadline_holds_even_if_the_plugin_does_not() {
    let limit = Duration::from_secs(2);
    let good = fixture("fixture-good");
    let arguments = [
        "call",
        &good,
        "nap",
        "ms:=60000",
        "stubborn:=true",
        "--timeout",
        "2s",
    ];
    let cut_off = || {
        let started = Instant::now();
        let told = run(&arguments);
        let elapsed = started.elapsed();
        assert_eq!(told.status, 6, "{}", told.stderr);
        let first = "error[call.timeout]: `nap` of ";
        assert!(told.stderr.contains(first), "{}", told.stderr);
        assert!(elapsed >= limit, "{elapsed:?}");
        elapsed
    };
    // A machine that is busy starts a process late; that is not the command's doing.
    let in_time = (0..3).any(|_| cut_off() < limit.mul_f64(1.1));
    assert!(in_time, "it ends within a tenth of its deadline");

    // A plugin whose `init` or constructor never ends is no different.
    let never = loaded(&["CONSTRUCTOR=for(;;)pause()"]);
    let told = run(&[
        "call",
        text(&never),
        "build",
        "--timeout",
        "300ms",
        "--json",
    ]);
    assert_eq!(told.json()["code"], "call.timeout");
    assert_eq!(told.status, 6);

    let in_time = run(&["call", &good, "nap", "ms:=1", "--timeout", "60s"]);
    assert_eq!(in_time.ok(), "build: 1\n");
}

#[test]
fn values_are_given_in_many_forms() {
    let good = fixture("fixture-good");
    let scratch = directory();
    let file = scratch.path().join("values.json");
    fs::write(&file, r#"{ "a": 1, "b": [true, null] }"#).unwrap();
    let at_file = format!("@{}", text(&file));
    let object = |arguments: &[&str]| {
        let run = run(&[&["call", &good, "echo", "--json"], arguments].concat());
        run.ok();
        run.json()["values"].clone()
    };
    let values = object(&[
        "text=3",
        "number:=3",
        "map:={\"x\": 1.5}",
        "sum=1=1",
        "none:=null",
    ]);
    assert_eq!(values["text"], "3");
    assert_eq!(values["number"], 3);
    assert_eq!(values["map"]["x"], 1.5);
    assert_eq!(values["sum"], "1=1");
    assert_eq!(values["none"], Value::Null);
    assert_eq!(object(&["--values", r#"{"a": 1}"#])["a"], 1);
    assert_eq!(object(&["--values", &at_file])["b"][0], true);
    assert_eq!(object(&["--values", &at_file, "a=2", "a=3"])["a"], "3");

    let mut child = command(&["call", &good, "echo", "--json", "--values", "@-"]);
    child.stdin(fs::File::open(&file).unwrap());
    let piped = Run::of(child.output().unwrap());
    assert_eq!(piped.json()["values"]["a"], 1);
}

#[test]
fn only_what_the_plugin_changed_is_printed() {
    let changed = run(&["call", "plugins/text", "text.upper", "text=ada", "other=1"]);
    assert_eq!(changed.ok(), "text: ADA\n");
    let same = run(&["call", "plugins/text", "text.upper", "text=ADA"]);
    assert_eq!(same.ok(), "");
    let nested = run(&[
        "call",
        "plugins/text",
        "text.split",
        "text=a,b",
        "separator=,",
    ]);
    assert_eq!(nested.ok(), "parts: [\"a\",\"b\"]\n");
    let lines = run(&["call", &hello(), "greet", "name=A\nB"]);
    assert_eq!(lines.ok(), "reply:\n  Hello, A\n  B!\n");
    let steering = run(&["call", &hello(), "greet", "name=\u{1b}[2J"]);
    assert_eq!(steering.ok(), "reply: Hello, \\u{1b}[2J!\n");
}

#[test]
fn log_lines_of_plugins_go_to_the_standard_error() {
    let good = fixture("fixture-good");
    let arguments = ["call", &good, "log", "line=watch out"];
    let told = run(&arguments);
    assert_eq!(told.ok(), "");
    assert!(
        told.stderr.contains("WARN plg::plugin: watch out"),
        "{}",
        told.stderr
    );
    assert!(told.stderr.contains("build 1 is ready"), "{}", told.stderr);
    let quiet = Run::of(command(&arguments).env("PLG_LOG", "off").output().unwrap());
    assert_eq!(quiet.stderr, "");
}

#[test]
fn a_probe_takes_the_crash_of_a_constructor() {
    assert_eq!(
        run(&["call", &hello(), "greet", "name=Ada", "--probe"]).ok(),
        "reply: Hello, Ada!\n"
    );
    let crashing = loaded(&["CONSTRUCTOR=abort()"]);
    let told = run(&["call", text(&crashing), "build", "--probe", "--json"]);
    assert_eq!(told.json()["code"], "native.probe_crashed");
    assert_eq!(told.status, 4);
}

#[test]
fn a_new_plugin_builds_passes_its_test_and_answers() {
    let scratch = directory();
    let api = workspace().join("plugin-api");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-plugin");
    let command = |arguments: &[&str]| {
        let mut command = command(arguments);
        command
            .current_dir(scratch.path())
            .env("CARGO_TARGET_DIR", &target);
        command
    };
    let run = |arguments: &[&str]| Run::of(command(arguments).output().unwrap());
    let made = run(&["new", "word-count", "--api-path", text(&api)]);
    assert!(
        made.ok().starts_with("made the plugin `word-count`"),
        "{}",
        made.stdout
    );
    let crate_dir = scratch.path().join("word-count");
    for file in [
        "Cargo.toml",
        "src/lib.rs",
        "plugin.json",
        "README.md",
        ".gitignore",
    ] {
        assert!(crate_dir.join(file).is_file(), "{file}");
    }
    for arguments in [["build", "--lib"], ["test", "--quiet"]] {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let output = Command::new(cargo)
            .args(arguments)
            .args(["--offline"])
            .current_dir(&crate_dir)
            .env("CARGO_TARGET_DIR", &target)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cargo {arguments:?}: {said}");
    }
    let call = ["call", "./word-count", "greet", "name=Ada"];
    let greeting = run(&call);
    assert_eq!(greeting.ok(), "reply: Hello, Ada!\n");
    assert_eq!(
        greeting.stderr, "",
        "cargo has built it, so nothing is built"
    );

    // Changed sources are built before the call.
    let source = crate_dir.join("src/lib.rs");
    let changed = fs::read_to_string(&source)
        .unwrap()
        .replace("Hello, {", "Howdy, {");
    fs::write(&source, changed).unwrap();
    let stale = run(&["inspect", "./word-count", "--json"]);
    assert_eq!(stale.json()["stale"], true);
    let explained = run(&["explain", "build.stale"]);
    let warned = run(&["inspect", "./word-count"]);
    assert!(warned.stderr.contains("[build.stale]"), "{}", warned.stderr);
    assert!(explained.ok().contains("build.stale"));
    let greeting = run(&call);
    assert_eq!(greeting.ok(), "reply: Howdy, Ada!\n");
    assert!(
        greeting.stderr.contains("Compiling word-count"),
        "{}",
        greeting.stderr
    );
    assert_eq!(run(&["new", "word-count"]).status, 2);

    let built = run(&["build", "word-count", "--json"]).json();
    assert!(
        built["artifact"]
            .as_str()
            .unwrap()
            .ends_with("debug/libword_count.so")
    );
    assert!(built["digest"].as_str().unwrap().starts_with("sha256:"));

    // What does not compile is said by the compiler, and nothing is called.
    fs::write(&source, "no rust").unwrap();
    let broken = run(&call);
    assert_eq!(broken.status, 1);
    assert!(
        broken.stderr.contains("error[build.failed]"),
        "{}",
        broken.stderr
    );
}

#[test]
fn a_missing_tool_is_named() {
    let mut build = command(&["build", "plugins/c-hello", "--json"]);
    let output = build.env("PATH", "/nowhere").output().unwrap();
    let problem = Run::of(output);
    assert_eq!(problem.json()["code"], "build.no_tool");
    assert_eq!(problem.status, 1);
}

#[test]
fn a_new_plugin_below_a_workspace_stands_alone() {
    let scratch = directory();
    fs::write(
        scratch.path().join("Cargo.toml"),
        "[workspace]\nmembers = []\n",
    )
    .unwrap();
    let inner = scratch.path().join("inner");
    let made = run(&["new", text(&inner), "--json"]);
    assert_eq!(made.json()["plugin"], "inner");
    let manifest = fs::read_to_string(inner.join("Cargo.toml")).unwrap();
    assert!(manifest.ends_with("[workspace]\n"), "{manifest}");
    assert!(manifest.contains("plg-plugin-api = \"0.1\""), "{manifest}");
    let outer = directory();
    let alone = outer.path().join("alone");
    run(&["new", text(&alone)]).ok();
    let manifest = fs::read_to_string(alone.join("Cargo.toml")).unwrap();
    assert!(!manifest.contains("[workspace]"), "{manifest}");
}

#[test]
fn a_plugin_in_c_is_made_and_called() {
    let scratch = directory();
    let plugin = scratch.path().join("c-hello");
    fs::create_dir(&plugin).unwrap();
    for file in ["Makefile", "hello.c", "plugin.json"] {
        fs::copy(
            workspace().join("plugins/c-hello").join(file),
            plugin.join(file),
        )
        .unwrap();
    }
    let run = |arguments: &[&str]| {
        let include = workspace().join("plugin-api/include");
        Run::of(command(arguments).env("INCLUDE", include).output().unwrap())
    };
    let unbuilt = run(&["check", text(&plugin)]);
    assert_eq!(unbuilt.status, 3, "{}", unbuilt.stderr);
    let call = ["call", text(&plugin), "greet", "name=Ada"];
    assert_eq!(run(&call).ok(), "reply: Hello, Ada!\n");
    let again = run(&call);
    assert_eq!(again.ok(), "reply: Hello, Ada!\n");
    assert_eq!(again.stderr, "", "make has nothing to do");
    let built = run(&["build", text(&plugin)]);
    assert_eq!(built.ok().trim(), text(&plugin.join("c-hello.so")));
}

#[test]
fn list_shows_plugins_and_what_is_none() {
    let scratch = directory();
    copy(&named("first", 1), scratch.path(), "libfirst.so");
    fs::write(scratch.path().join("broken.so"), "no library").unwrap();
    let listed = run(&["list", text(scratch.path())]);
    assert!(
        listed.ok().contains("first  1.0.0    built"),
        "{}",
        listed.stdout
    );
    assert!(
        listed.stderr.contains("warning[native.format]: "),
        "{}",
        listed.stderr
    );
    let document = run(&["list", text(scratch.path()), "--json"]).json();
    assert_eq!(document["plugins"][0]["name"], "first");
    assert_eq!(document["problems"][0]["code"], "native.format");

    let samples = run(&["list", "--json"]).json();
    let names: Vec<_> = samples["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["name"])
        .collect();
    for name in ["c-hello", "counter", "hello", "text"] {
        assert!(
            names.iter().any(|found| *found == name),
            "{name}: {names:?}"
        );
    }

    // A name is looked up in the directory that the environment names, by any file name.
    let mut call = command(&["call", "first", "build"]);
    let called = Run::of(call.env("PLG_PLUGIN_DIR", scratch.path()).output().unwrap());
    assert_eq!(called.ok(), "build: 1\n");
    copy(&named("second", 2), scratch.path(), "other.so");
    let called = run(&[
        "call",
        "second",
        "build",
        "--plugin-dir",
        text(scratch.path()),
    ]);
    assert_eq!(called.ok(), "build: 2\n");
}

#[test]
fn inspect_shows_what_a_library_says() {
    let hello = hello();
    let shown = run(&["inspect", &hello]);
    for line in [
        "plugin    hello 0.1.0",
        "labels    greet",
        "hooks     bound",
        "digest    sha256:",
    ] {
        assert!(shown.ok().contains(line), "{line}: {}", shown.stdout);
    }
    let document = run(&["inspect", &hello, "--json"]).json();
    assert_eq!(document["manifest"]["name"], "hello");
    assert_eq!(document["labels"][0], "greet");
    assert_eq!(document["note"]["name"], "hello");
    assert_eq!(document["hooks"], "bound");
    assert!(
        document["needed"]
            .as_array()
            .unwrap()
            .iter()
            .any(|name| name == "libc.so.6")
    );
    // Nothing is mapped: the constructor would end the process.
    let crashing = loaded(&["CONSTRUCTOR=abort()"]);
    run(&["inspect", text(&crashing)]).ok();
    run(&["check", text(&crashing)]).ok();
}

#[test]
fn check_says_every_finding() {
    let hello = hello();
    let fine = run(&["check", &hello]);
    assert!(
        fine.ok().starts_with("hello 0.1.0 would load: "),
        "{}",
        fine.stdout
    );
    assert_eq!(run(&["check", &hello, "--json"]).json()["loads"], true);

    let abort = text(&library("fixture-bad", Variant::Abort)).to_owned();
    let refused = run(&["check", &abort]);
    assert_eq!(refused.status, 4);
    assert!(
        refused.stdout.contains("refuse[native.panic_abort]: "),
        "{}",
        refused.stdout
    );
    assert!(
        refused.stdout.contains("would be refused"),
        "{}",
        refused.stdout
    );
    let document = run(&["check", &abort, "--json"]).json();
    assert_eq!(document["loads"], false);
    assert_eq!(document["code"], "native.panic_abort");
    assert_eq!(document["findings"][0]["severity"], "refuse");
    let isolated = run(&["check", &abort, "--isolated"]);
    assert!(
        isolated.stdout.contains("warn[native.panic_abort]: "),
        "{}",
        isolated.stdout
    );

    // The manifest beside the library counts as well.
    let scratch = directory();
    let plugin = scratch.path().join("other");
    fs::create_dir(&plugin).unwrap();
    copy(&named("first", 1), &plugin, "libother.so");
    fs::write(
        plugin.join("plugin.json"),
        r#"{ "name": "other", "version": "1.0.0" }"#,
    )
    .unwrap();
    let document = run(&["check", text(&plugin), "--json"]).json();
    assert_eq!(document["code"], "manifest.identity", "{document}");
    assert_eq!(run(&["call", text(&plugin), "build"]).status, 4);
    assert_eq!(run(&["check", "./nope.so"]).status, 3);
}

#[test]
fn explain_has_a_text_for_every_code() {
    let list = run(&["explain"]);
    for row in codes::all() {
        let line = list
            .ok()
            .lines()
            .find(|line| line.split(' ').next() == Some(row.code));
        assert!(
            line.is_some_and(|line| line.ends_with(row.summary)),
            "{}",
            row.code
        );
    }
    let one = run(&["explain", "native.corrupt"]);
    let row = codes::find("native.corrupt").unwrap();
    assert!(
        one.ok()
            .starts_with(&format!("native.corrupt: {}", row.summary))
    );
    assert!(one.ok().replace('\n', " ").contains(row.text));
    assert!(one.ok().lines().all(|line| line.chars().count() <= 80));
    assert_eq!(
        run(&["explain", "call.timeout", "--json"]).json()["exit_status"],
        6
    );
    assert_eq!(
        run(&["explain", "--json"]).json().as_array().unwrap().len(),
        codes::all().len()
    );
    let misspelt = run(&["explain", "native.corupt"]);
    assert!(
        misspelt.stderr.contains("did you mean `native.corrupt`?"),
        "{}",
        misspelt.stderr
    );
}

#[test]
fn the_command_line_explains_itself() {
    let verbs = [
        "new",
        "build",
        "call",
        "dev",
        "list",
        "inspect",
        "check",
        "watch",
        "install",
        "upgrade",
        "remove",
        "undo",
        "gc",
        "lock",
        "history",
        "quarantine",
        "explain",
        "version",
        "completions",
    ];
    let help = run(&["--help"]);
    assert!(
        help.ok()
            .contains("4  refused before any of the plugin ran")
    );
    for verb in verbs {
        assert!(help.stdout.contains(&format!("\n  {verb} ")), "{verb}");
        let of_verb = run(&[verb, "--help"]);
        assert!(
            of_verb.ok().contains("Example"),
            "{verb}: {}",
            of_verb.stdout
        );
        assert!(
            of_verb.ok().contains(&format!("  plg {verb}")),
            "{verb}: {}",
            of_verb.stdout
        );
    }
    let misspelt = run(&["cal"]);
    assert_eq!(misspelt.status, 2);
    assert!(misspelt.stderr.contains("'call'"), "{}", misspelt.stderr);
    let misspelt = run(&["cal", "--json"]);
    assert_eq!(misspelt.status, 2);
    assert_eq!(misspelt.json()["code"], "usage.arguments");
    assert!(run(&["version"]).ok().starts_with("plg 0.1.0\ncontract 1."));
    assert_eq!(run(&["version", "--json"]).json()["version"], "0.1.0");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            run(&["completions", shell]).ok().contains("explain"),
            "{shell}"
        );
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let arguments: [&[&str]; 5] = [
        &["explain"],
        &["explain", "--json"],
        &["completions", "bash"],
        &["inspect", "plugins/hello"],
        &["call", "plugins/hello", "greet", "name=Ada"],
    ];
    // So that `inspect` has something to look at.
    run(&["call", "plugins/hello", "greet", "name=Ada"]).ok();
    for arguments in arguments {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let run = Run::of(command(arguments).stdout(writer).output().unwrap());
        assert_eq!(run.status, 0, "{arguments:?}: {}", run.stderr);
        assert_eq!(run.stderr, "", "{arguments:?}");
    }
    // A full disk is one.
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let run = Run::of(command(&["explain"]).stdout(full).output().unwrap());
    assert_eq!(run.status, 1);
    assert!(run.stderr.contains("error[io.failed]"), "{}", run.stderr);
}
