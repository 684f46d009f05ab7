//! The corpus of the fuzzer, replayed. `PLG_BLESS=1` writes its seeds anew; what else is there was found.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic;
use std::path::PathBuf;

use plg_tests::archive::{self, Entry, good, tar};
use plg_tests::{hostile, workspace};

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is a crate of its own elsewhere")]
mod checks;

type Seeds = BTreeMap<String, Vec<u8>>;

#[test]
fn the_corpus_is_replayed() {
    let targets: [(&str, fn(&[u8])); 2] =
        [("bundle", checks::bundle), ("manifest", checks::manifest)];
    for (target, check) in targets {
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(corpus(target)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let outcome = panic::catch_unwind(|| check(&bytes));
            assert!(outcome.is_ok(), "{} says no", path.display());
            names.insert(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
        assert!(names.len() > 4, "{target} has only {names:?}");
    }
}

#[test]
fn the_committed_seeds_are_current() {
    let bless = std::env::var_os("PLG_BLESS").is_some_and(|value| value == "1");
    let mut total = 0;
    for (target, seeds) in [("bundle", bundles()), ("manifest", manifests())] {
        for (name, bytes) in seeds {
            total += bytes.len();
            let path = corpus(target).join(&name);
            if bless {
                fs::create_dir_all(corpus(target)).unwrap();
                fs::write(&path, &bytes).unwrap();
            }
            let committed = fs::read(&path).unwrap_or_default();
            assert!(
                committed == bytes,
                "{target}/{name} is stale: run the test again with PLG_BLESS=1"
            );
        }
    }
    assert!(total < 100 << 10, "{total} bytes");
}

fn corpus(target: &str) -> PathBuf {
    workspace().join("tests/fuzz/corpus").join(target)
}

/// Good bundles as archives and as files, and one that is refused for each code.
fn bundles() -> Seeds {
    let mut signed = good();
    signed.signature = Some(b"untrusted comment: none\n".to_vec());
    let gnu: Vec<_> = archive::plain().into_iter().map(Entry::gnu).collect();
    let mut seeds = Seeds::new();
    for (name, archive) in [
        ("archive-listed", tar(&good().entries())),
        ("archive-signed", tar(&signed.entries())),
        ("archive-plain", tar(&archive::plain())),
        ("archive-plain-gnu", tar(&gnu)),
    ] {
        seeds.insert(name.to_owned(), [&[checks::ARCHIVE], &archive[..]].concat());
    }
    for (name, archive) in [
        ("file-listed", tar(&good().entries())),
        ("file-plain", tar(&archive::plain())),
    ] {
        let file = checks::stored(&archive);
        seeds.insert(name.to_owned(), [&[checks::FILE], &file[..]].concat());
    }
    let mut smallest: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for case in hostile::cases() {
        // Compressed bytes may change with the library that made them; archives do not.
        let Some(archive) = case.archive() else {
            continue;
        };
        let known = smallest.get(case.code).map_or(usize::MAX, Vec::len);
        let is_ours = case.code.starts_with("bundle.");
        if is_ours && !archive.is_empty() && archive.len() < known {
            smallest.insert(case.code, archive);
        }
    }
    for (code, archive) in smallest {
        let name = format!("refused-{}", code.replace(['.', '_'], "-"));
        seeds.insert(name, [&[checks::ARCHIVE], &archive[..]].concat());
    }
    seeds
}

fn manifests() -> Seeds {
    let samples = workspace().join("packaging/tests/samples");
    let mut seeds = Seeds::new();
    for entry in fs::read_dir(samples).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        seeds.insert(name, fs::read(path).unwrap());
    }
    seeds.insert("contents.json".to_owned(), good().contents);
    seeds.insert("minimal.json".to_owned(), archive::manifest());
    seeds.insert("deep.json".to_owned(), vec![b'['; 200]);
    seeds
}
