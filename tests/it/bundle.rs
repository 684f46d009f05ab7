//! Bundles from the outside: bytes in, members or one code out.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use plg_packaging::bundle::{
    BundleError, Contents, Directory, Limits, MemberPath, Memory, Reader, Sink, Target,
};
use plg_tests::archive::{self, Bundle, Entry, field, good, gzip, tar};
use plg_tests::{hostile, isolated, workspace};
use rustix::process::{Resource, Rlimit};

#[test]
fn a_good_bundle_is_read_and_unpacked() {
    let bundle = good();
    let bytes = bundle.bytes();
    let contents = verify(&bytes).unwrap();
    assert_eq!(contents.to_json().as_bytes(), bundle.contents);

    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("out");
    assert_eq!(unpack(&bytes, &root).unwrap(), contents);
    assert_eq!(fs::read(root.join("plugin.json")).unwrap(), bundle.manifest);
    assert_eq!(
        fs::read(root.join("contents.json")).unwrap(),
        bundle.contents
    );
    for (name, bytes) in &bundle.members {
        assert_eq!(&fs::read(root.join(name)).unwrap(), bytes, "{name}");
    }

    let path = MemberPath::new("assets/readme.txt").unwrap();
    let (_, bytes) = open(&bytes).unwrap().extract(&path).unwrap();
    assert_eq!(bytes, b"how to greet\n");
}

#[test]
fn the_plain_form_is_what_tar_makes() {
    if !has("tar") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("plugin.json"), archive::manifest()).unwrap();
    fs::write(scratch.path().join("libhello.so"), [7; 70_000]).unwrap();
    for options in [&[][..], &["--format=ustar"], &["--format=gnu"]] {
        let made = Command::new("tar")
            .args(options)
            .args(["-czf", "hello.plg", "plugin.json", "libhello.so"])
            .current_dir(&scratch)
            .status()
            .unwrap();
        assert!(made.success());
        let bytes = fs::read(scratch.path().join("hello.plg")).unwrap();
        let contents = verify(&bytes).unwrap();
        let library = contents.library(&Target::current()).unwrap();
        assert_eq!(library.path.as_str(), "libhello.so");
        assert_eq!(library.size, 70_000);
        let reader = open(&bytes).unwrap();
        assert_eq!(reader.head().listed, None);
        let path = reader.library(&Target::current()).unwrap();
        assert_eq!(reader.extract(&path).unwrap().1, [7; 70_000]);
    }
    let bytes = gzip(&tar(&archive::plain()));
    assert_eq!(verify(&bytes).unwrap().members.len(), 2);
}

/// The page shows a list that is one, and commands that make a bundle.
#[test]
fn the_page_about_the_format_is_right() {
    let page = fs::read_to_string(workspace().join("packaging/FORMAT.md")).unwrap();
    let (_, list) = page.split_once("```json\n").unwrap();
    let (list, _) = list.split_once("```").unwrap();
    let mut bundle = Bundle::new([
        ("assets/run.sh", b"#!/bin/sh\n".to_vec()),
        ("lib/x86_64-unknown-linux-gnu/libhello.so", vec![8; 1024]),
    ]);
    bundle.contents = list.as_bytes().to_vec();
    verify(&bundle.bytes()).unwrap();

    let (_, commands) = page.rsplit_once("```sh\n").unwrap();
    let (commands, _) = commands.split_once("```").unwrap();
    let (_, checks) = page.split_once("gzip -t").unwrap();
    let (checks, _) = checks.split_once("sha256sum contents.json").unwrap();
    if !["tar", "jq", "gzip", "sha256sum", "sh"]
        .into_iter()
        .all(has)
    {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let members = bundle
        .members
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes));
    let head = [
        ("plugin.json", &bundle.manifest),
        ("contents.json", &bundle.contents),
    ];
    for (name, bytes) in members.chain(head) {
        let path = scratch.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    for script in [commands.to_owned(), format!("gzip -t{checks}")] {
        let output = Command::new("sh")
            .args(["-ec", &script])
            .current_dir(&scratch)
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}\n{output:?}");
    }
    let made = fs::read(scratch.path().join("hello.plg")).unwrap();
    assert_eq!(verify(&made).unwrap().to_json(), list);
}

/// Rows 1 to 32 of the catalogue.
#[test]
fn every_hostile_bundle_is_refused_and_leaves_nothing() {
    let cases = hostile::cases();
    let rows: BTreeSet<u32> = cases.iter().map(|case| case.row).collect();
    // Row 15 is about what is accepted.
    assert_eq!(rows, (1..=32).filter(|row| *row != 15).collect());
    let codes: BTreeSet<_> = cases.iter().map(|case| case.code).collect();
    for code in [
        "bundle.duplicate",
        "bundle.format",
        "bundle.gzip",
        "bundle.header",
        "bundle.kind",
        "bundle.manifest_mismatch",
        "bundle.missing",
        "bundle.path",
        "bundle.too_large",
        "bundle.too_many",
        "bundle.trailing",
        "bundle.truncated",
        "manifest.identity",
    ] {
        assert!(codes.contains(code), "{code}");
    }
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("evil"), "untouched").unwrap();
    let root = scratch.path().join("deep/er/out");
    fs::create_dir_all(root.parent().unwrap()).unwrap();
    let before = tree(scratch.path());
    let mut wrong = Vec::new();
    for case in &cases {
        let shown = format!("row {}, {}", case.row, case.name);
        let start = Instant::now();
        let verified = verify(&case.bytes);
        let unpacked = unpack(&case.bytes, &root);
        let took = start.elapsed();
        if took > Duration::from_secs(4) {
            wrong.push(format!("{shown}: takes {took:?}"));
        }
        for (how, outcome) in [("verify", verified), ("unpack", unpacked)] {
            let code = outcome
                .as_ref()
                .map_or_else(BundleError::code, |_| "nothing");
            if code != case.code {
                let text = outcome.err().map(|error| error.to_string());
                wrong.push(format!(
                    "{shown}: {how} says {code}, not {}: {text:?}",
                    case.code
                ));
            }
        }
        if tree(scratch.path()) != before {
            wrong.push(format!("{shown}: leaves something behind"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

/// Row 15: what an entry says of modes, owners and times changes nothing.
#[test]
fn modes_are_those_of_the_list() {
    let mut bundle = Bundle::new([
        ("assets/run.sh", b"#!/bin/sh\n".to_vec()),
        ("assets/text", vec![]),
    ]);
    let mut contents = Contents::parse(&bundle.contents).unwrap();
    contents.members[0].executable = true;
    bundle.contents = contents.to_json().into_bytes();
    for mode in [
        "0000000\0",
        "0007777\0",
        "0004755\0",
        "0002755\0",
        "0001777\0",
        "0000666\0",
        "0000111\0",
    ] {
        let entries: Vec<_> = bundle
            .entries()
            .into_iter()
            .map(|entry| {
                entry
                    .with(field::MODE, mode)
                    .with(field::OWNER, "0001750\0")
                    .with(field::GROUP, "0001750\0")
                    .with(field::TIME, "14000000000\0")
            })
            .collect();
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("out");
        unpack(&gzip(&tar(&entries)), &root).unwrap();
        // What the mask of this process takes away is taken away.
        let mask = 0o777 & !fs::metadata(&root).unwrap().permissions().mode();
        for (name, wanted) in [
            ("assets", 0o40755),
            ("assets/run.sh", 0o100_755),
            ("assets/text", 0o100_644),
            ("plugin.json", 0o100_644),
            ("contents.json", 0o100_644),
        ] {
            let metadata = fs::metadata(root.join(name)).unwrap();
            let found = metadata.permissions().mode();
            assert_eq!(found, wanted & !mask, "{name} of {mode}: {found:o}");
            assert_eq!(metadata.uid(), rustix::process::getuid().as_raw());
        }
    }
}

/// A list costs what it shows, however large the rest is.
#[test]
fn the_head_is_read_without_the_payload() {
    let noise = noise(4 << 20);
    let mut bundle = Bundle::new([("assets/noise", noise)]);
    bundle.signature = Some(b"untrusted comment: x\n".to_vec());
    let bytes = bundle.bytes();
    let mut source = Counted {
        bytes: &bytes,
        most: usize::MAX,
        count: 0,
    };
    let reader = Reader::open(&mut source, &Limits::default()).unwrap();
    let listed = reader.head().listed.clone().unwrap();
    assert_eq!(listed.bytes, bundle.contents);
    assert_eq!(listed.signature, bundle.signature);
    assert_eq!(reader.head().manifest, bundle.manifest);
    assert_eq!(reader.head().parsed.manifest.name.as_str(), "hello");
    drop(reader);
    assert!(
        source.count < 64 << 10,
        "{} bytes of {}",
        source.count,
        bytes.len()
    );
}

/// Whatever a source gives at a time, and wherever the pieces end.
#[test]
fn pieces_of_any_size_are_read_alike() {
    let sizes = [
        0,
        1,
        511,
        512,
        513,
        16 << 10,
        256 << 10,
        (256 << 10) + 1,
        700_000,
    ];
    let members = sizes.map(|size| (format!("assets/{size}"), noise(size)));
    let bundle = Bundle::new(members);
    let bytes = bundle.bytes();
    for most in [1, 7, 512, 4096, 100_000, usize::MAX] {
        let source = Counted {
            bytes: &bytes,
            most,
            count: 0,
        };
        let mut memory = Memory::default();
        let reader = Reader::open(source, &Limits::default()).unwrap();
        let contents = reader.unpack(|_| true, &mut memory).unwrap();
        assert_eq!(contents.to_json().as_bytes(), bundle.contents);
        for (name, bytes) in &bundle.members {
            let path = MemberPath::new(name).unwrap();
            assert_eq!(
                memory.member(&path),
                Some(&bytes[..]),
                "{name}, {most} at a time"
            );
        }
    }
    for case in hostile::cases()
        .iter()
        .filter(|case| case.bytes.len() < 4096)
    {
        let source = Counted {
            bytes: &case.bytes,
            most: 1,
            count: 0,
        };
        let outcome = Reader::open(source, &Limits::default()).and_then(Reader::verify);
        let code = outcome
            .as_ref()
            .map_or_else(BundleError::code, |_| "nothing");
        assert_eq!(code, case.code, "row {}, {}", case.row, case.name);
    }
}

#[test]
fn only_wanted_members_reach_the_sink() {
    let bytes = good().bytes();
    let mut memory = Memory::default();
    let is_library = |path: &MemberPath| path.target().is_some();
    let contents = open(&bytes)
        .unwrap()
        .unpack(is_library, &mut memory)
        .unwrap();
    for member in &contents.members {
        let kept = memory.take(&member.path);
        assert_eq!(kept.is_some(), is_library(&member.path), "{}", member.path);
    }
    let path = MemberPath::new("assets/nowhere").unwrap();
    let error = open(&bytes).unwrap().extract(&path).unwrap_err();
    assert_eq!(error.code(), "bundle.missing");
}

#[test]
fn a_platform_without_a_library_is_named() {
    let bundle = good();
    let reader = open(&bundle.bytes()).map(|reader| {
        let target = Target::new("riscv64gc-unknown-linux-gnu").unwrap();
        let error = reader.library(&target).unwrap_err();
        assert_eq!(error.code(), "bundle.platform");
        let shown = error.to_string();
        assert!(
            shown.contains("riscv64gc") && shown.contains("aarch64"),
            "{shown}"
        );
        let target = Target::new("aarch64-unknown-linux-gnu").unwrap();
        reader.library(&target).unwrap()
    });
    assert_eq!(
        reader.unwrap().target().unwrap().as_str(),
        "aarch64-unknown-linux-gnu"
    );
    let plain = gzip(&tar(&archive::plain()));
    let other = Target::new("riscv64gc-unknown-linux-gnu").unwrap();
    let error = open(&plain).unwrap().library(&other).unwrap_err();
    assert_eq!(error.code(), "bundle.platform");
}

/// What is just inside of the limits passes, what is just outside does not.
#[test]
fn limits_are_met_to_the_byte() {
    let deep = format!("assets/{}/{}", "d".repeat(130), "f".repeat(98));
    assert_eq!(deep.len(), 236);
    let bundle = Bundle::new([(deep, noise(3000)), ("assets/b".to_owned(), noise(1000))]);
    let unpacked = tar(&bundle.entries()).len() as u64;
    let bytes = bundle.bytes();
    let exact = Limits {
        packed_bytes: bytes.len() as u64,
        unpacked_bytes: unpacked,
        member_bytes: 3000,
        members: 5,
        ratio: 200,
    };
    let within = |limits: &Limits| Reader::open(&bytes[..], limits).and_then(Reader::verify);
    within(&exact).unwrap();
    for (code, limits) in [
        (
            "bundle.too_large",
            Limits {
                packed_bytes: exact.packed_bytes - 1,
                ..exact
            },
        ),
        (
            "bundle.too_large",
            Limits {
                unpacked_bytes: unpacked - 1,
                ..exact
            },
        ),
        (
            "bundle.too_large",
            Limits {
                member_bytes: 2999,
                ..exact
            },
        ),
        (
            "bundle.too_many",
            Limits {
                members: 4,
                ..exact
            },
        ),
    ] {
        assert_eq!(within(&limits).unwrap_err().code(), code, "{limits:?}");
    }
    let full = Bundle::new((0..4094).map(|one| (format!("assets/{one}"), Vec::new())));
    verify(&full.bytes()).unwrap();
    // What compresses well is a bomb only where it is large.
    let zeros = Bundle::new([("assets/zeros", vec![0; 500_000])]);
    verify(&zeros.bytes()).unwrap();
}

isolated! {
    /// Row 28: nothing beyond the limit is written, and memory does not grow with what comes.
    fn bombs_are_met_with_flat_memory() {
        let bombs: Vec<_> = hostile::cases().into_iter().filter(|case| case.row == 28).collect();
        let library = Entry::new("libhello.so", Vec::new()).with(field::SIZE, format!("{:011o}\0", 200 << 20));
        let mut head = archive::entries(&archive::plain()[..1]);
        head.extend_from_slice(&library.bytes());
        let long = hostile::repeat(&head, &vec![0; 1 << 20], 200, &[]);
        let before = peak_memory();
        for case in &bombs {
            let mut sink = Count::default();
            let outcome = open(&case.bytes).and_then(|reader| reader.unpack(|_| true, &mut sink));
            assert_eq!(outcome.unwrap_err().code(), case.code, "{}", case.name);
        }
        for limit in [1 << 20, 5 << 20, 150 << 20] {
            let limits = Limits { unpacked_bytes: limit, ..Limits::default() };
            let mut sink = Count::default();
            let reader = Reader::open(&long[..], &limits).unwrap();
            let error = reader.unpack(|_| true, &mut sink).unwrap_err();
            assert_eq!(error.code(), "bundle.too_large");
            assert!(sink.0.get() <= limit, "{} bytes were written", sink.0.get());
        }
        // A cap on the file is one on what can come out of it.
        let limits = Limits { packed_bytes: long.len() as u64, ratio: 100, ..Limits::default() };
        let mut sink = Count::default();
        let reader = Reader::open(&long[..], &limits).unwrap();
        let error = reader.unpack(|_| true, &mut sink).unwrap_err();
        assert_eq!(error.code(), "bundle.too_large");
        assert!(sink.0.get() <= 100 * long.len() as u64, "{} bytes were written", sink.0.get());
        let grown = peak_memory() - before;
        assert!(grown < 16 << 20, "{grown} bytes more");
    }
}

isolated! {
    fn without_a_thread_it_takes_longer_and_no_more() {
        let bytes = Bundle::new([("assets/noise", noise(3 << 20))]).bytes();
        let threads = |bytes: &[u8]| {
            let mut most = 0;
            let count = |_: &MemberPath| {
                most = most.max(fs::read_dir("/proc/self/task").unwrap().count());
                false
            };
            open(bytes).unwrap().unpack(count, &mut Memory::default()).unwrap();
            most
        };
        let before = fs::read_dir("/proc/self/task").unwrap().count();
        // No room for the stack of another thread, and enough for all that a reader takes.
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let room = memory_of(&status, "VmSize:") + (3 << 19);
        let limit = |current| {
            let maximum = rustix::process::getrlimit(Resource::As).maximum;
            rustix::process::setrlimit(Resource::As, Rlimit { current, maximum }).unwrap();
        };
        limit(Some(room));
        assert_eq!(threads(&bytes), before, "none can be had");
        limit(None);
        assert_eq!(threads(&bytes), before + 1, "a thread unpacks ahead");
    }
}

/// Row 33: every step of unpacking fails once.
#[test]
fn a_disk_that_is_full_leaves_nothing() {
    let bundle =
        Bundle::new((0..20).map(|one| (format!("assets/{}/{one}", one % 3), noise(600 * one))));
    let bytes = bundle.bytes();
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("out");
    let mut steps = 0;
    for failing in 0.. {
        let directory = Directory::create(&root).unwrap();
        let left = Rc::new(Cell::new(failing));
        let mut sink = Faulty {
            directory,
            left: left.clone(),
        };
        let outcome = open(&bytes).unwrap().unpack(|_| true, &mut sink);
        let Err(error) = outcome else {
            steps = failing;
            break;
        };
        assert_eq!(error.code(), "io.failed");
        assert!(matches!(error, BundleError::Write { .. }), "{error}");
        drop(sink);
        assert!(!root.exists(), "step {failing}");
    }
    assert!(steps > 60, "{steps}");
    // Room again: the same bundle is unpacked.
    unpack(&bytes, &root).unwrap();
    for allowed in (0..bytes.len()).step_by(997) {
        let source = bytes[..allowed].chain(Broken);
        let error = Reader::open(source, &Limits::default())
            .and_then(Reader::verify)
            .unwrap_err();
        assert_eq!(error.code(), "io.failed");
        assert!(matches!(error, BundleError::Read { .. }), "{error}");
    }
}

/// An attacker who can write below the directory gets nowhere with links.
#[test]
fn what_stands_there_already_is_never_written_through() {
    let bytes = good().bytes();
    let scratch = tempfile::tempdir().unwrap();
    let outside = scratch.path().join("outside");
    fs::write(&outside, "untouched").unwrap();
    let root = scratch.path().join("out");
    fs::create_dir(&root).unwrap();
    let refused = Directory::create(&root).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    assert!(root.exists(), "what it did not make it does not remove");
    fs::remove_dir(&root).unwrap();
    for (name, target) in [
        ("plugin.json", &outside),
        ("assets", &scratch.path().to_owned()),
    ] {
        let mut directory = Directory::create(&root).unwrap();
        std::os::unix::fs::symlink(target, root.join(name)).unwrap();
        let error = open(&bytes)
            .unwrap()
            .unpack(|_| true, &mut directory)
            .unwrap_err();
        assert_eq!(error.code(), "io.failed");
        drop(directory);
        assert!(!root.exists());
        assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    }
}

/// The twin that must fail: what the ordinary way to unpack does with the same bundles.
#[test]
fn the_ordinary_way_lets_many_of_them_pass() {
    let mut passed = BTreeSet::new();
    let scratch = tempfile::tempdir().unwrap();
    let mut tried: BTreeMap<u32, u32> = BTreeMap::new();
    for case in hostile::cases() {
        // The deepest paths take it most of a minute, and bombs as long as they are.
        let tried = tried.entry(case.row).or_default();
        *tried += 1;
        if [9, 28, 29, 30].contains(&case.row) || *tried > 40 {
            continue;
        }
        let root = scratch.path().join("out");
        fs::create_dir(&root).unwrap();
        let unpacked = tar::Archive::new(GzDecoder::new(&case.bytes[..])).unpack(&root);
        if unpacked.is_ok() {
            passed.insert(case.row);
        }
        let _ = fs::remove_dir_all(&root);
    }
    let must_pass = [1, 2, 3, 4, 7, 11, 12, 14, 18, 22, 23, 24, 25, 26, 32];
    let missing: Vec<_> = must_pass
        .iter()
        .filter(|row| !passed.contains(row))
        .collect();
    assert!(
        passed.len() >= 10 && missing.is_empty(),
        "{passed:?} without {missing:?}"
    );
}

/// Everything below a directory, with its bytes and mode.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let entries = walkdir::WalkDir::new(root).into_iter();
    let entry = |entry: walkdir::DirEntry| {
        let metadata = entry.metadata().unwrap();
        let bytes = match metadata.is_file() {
            true => fs::read(entry.path()).unwrap(),
            false => Vec::new(),
        };
        let path = entry.path().strip_prefix(root).unwrap().to_owned();
        (path, (metadata.permissions().mode(), bytes))
    };
    entries.map(|found| entry(found.unwrap())).collect()
}

/// Whether a program is there; says that a test is passed over if not.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("passed over: there is no `{program}`");
    }
    found
}

fn open(bytes: &[u8]) -> Result<Reader<&[u8]>, BundleError> {
    Reader::open(bytes, &Limits::default())
}

fn verify(bytes: &[u8]) -> Result<Contents, BundleError> {
    open(bytes)?.verify()
}

fn unpack(bytes: &[u8], root: &Path) -> Result<Contents, BundleError> {
    let mut directory = Directory::create(root).unwrap();
    let contents = open(bytes)?.unpack(|_| true, &mut directory)?;
    directory.finish();
    Ok(contents)
}

/// Bytes that do not compress, the same ones each time.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ size as u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(size).collect()
}

/// A source that gives at most so many bytes at a time, and counts them.
struct Counted<'a> {
    bytes: &'a [u8],
    most: usize,
    count: usize,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.most);
        let count = self.bytes.read(&mut buffer[..most])?;
        self.count += count;
        Ok(count)
    }
}

/// A source that fails.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(libc::EIO))
    }
}

/// A sink that only counts.
#[derive(Default)]
struct Count(Rc<Cell<u64>>);

impl Sink for Count {
    type File = Counting;

    fn create(&mut self, _: &MemberPath, _: bool) -> io::Result<Counting> {
        Ok(Counting(self.0.clone()))
    }

    fn close(&mut self, _: &MemberPath, _: Counting) -> io::Result<()> {
        Ok(())
    }
}

struct Counting(Rc<Cell<u64>>);

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.set(self.0.get() + bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A directory on a disk that is full after so many steps.
struct Faulty {
    directory: Directory,
    left: Rc<Cell<u32>>,
}

struct FaultyFile {
    file: fs::File,
    left: Rc<Cell<u32>>,
}

fn step(left: &Cell<u32>) -> io::Result<()> {
    let steps = left.get().checked_sub(1);
    left.set(steps.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOSPC))?);
    Ok(())
}

impl Sink for Faulty {
    type File = FaultyFile;

    fn create(&mut self, path: &MemberPath, executable: bool) -> io::Result<FaultyFile> {
        step(&self.left)?;
        let file = self.directory.create(path, executable)?;
        Ok(FaultyFile {
            file,
            left: self.left.clone(),
        })
    }

    fn close(&mut self, path: &MemberPath, file: FaultyFile) -> io::Result<()> {
        step(&self.left)?;
        self.directory.close(path, file.file)
    }
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        step(&self.left)?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn peak_memory() -> u64 {
    memory_of(&fs::read_to_string("/proc/self/status").unwrap(), "VmHWM:")
}

/// A line of `/proc/self/status`, in bytes.
fn memory_of(status: &str, key: &str) -> u64 {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .unwrap();
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes << 10
}
