//! Bundles from the outside: bytes in, members or one code out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use plg_packaging::bundle::{BundleError, Contents, Directory, Limits, MemberPath, Reader, Target};
use plg_tests::archive::{self, good, gzip, tar};
use plg_tests::hostile;

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

/// Rows 1 to 32 of the catalogue.
#[test]
fn every_hostile_bundle_is_refused_and_leaves_nothing() {
    let cases = hostile::cases();
    let rows: BTreeSet<u32> = cases.iter().map(|case| case.row).collect();
    // Row 15 is about what is accepted.
    assert_eq!(rows, (1..=32).filter(|row| *row != 15).collect());
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
