use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::{all, find, similar};

#[test]
fn rows_are_sorted_distinct_and_whole() {
    for pair in all().windows(2) {
        assert!(pair[0].code < pair[1].code, "{} twice", pair[1].code);
    }
    for row in all() {
        assert_eq!(find(row.code), Some(row));
        assert!(!row.summary.ends_with('.'), "{}", row.code);
        assert!(row.summary.len() <= 80, "{}", row.code);
        assert!(!row.help.is_empty(), "{}", row.code);
        let sentences = row.text.matches(". ").count() + 1;
        assert!((2..=6).contains(&sentences), "{} has {sentences}", row.code);
        assert!(row.text.ends_with('.'), "{}", row.code);
        assert!(!row.text.contains("  "), "{}", row.code);
    }
}

#[test]
fn every_preflight_code_has_a_row() {
    for code in crate::preflight::code::ALL {
        assert!(find(code).is_some(), "{code} has no row in host/src/codes");
    }
}

/// Reads the sources, so that a new code cannot be forgotten.
#[test]
fn every_code_in_the_sources_has_a_row() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    for directory in ["src", "../packaging/src", "../plugin-api/src", "../cli/src"] {
        for file in rust_files(&here.join(directory)) {
            // The table itself, and tests with codes of their own, prove nothing; the names of the store's steps and
            // the labels and cases of the conformance suite look like codes and are none.
            let is_other = |part: Component<'_>| {
                ["codes", "step.rs", "conformance"]
                    .map(OsStr::new)
                    .contains(&part.as_os_str())
            };
            if file.components().any(is_other) {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let lines = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            found.extend(lines.flat_map(codes_in).map(str::to_owned));
        }
    }
    assert!(found.len() > 50, "the search finds only {found:?}");
    let missing: Vec<_> = found.iter().filter(|code| find(code).is_none()).collect();
    assert!(
        missing.is_empty(),
        "no row in host/src/codes for {missing:?}"
    );
}

#[test]
fn what_is_misspelt_is_found() {
    assert_eq!(similar("native.corupt")[0].code, "native.corrupt");
    assert_eq!(similar("corrupt")[0].code, "abi.corrupt");
    assert_eq!(similar("call.tiemout")[0].code, "call.timeout");
    assert_eq!(similar("Call.Timeout")[0].code, "call.timeout");
    assert!(
        similar("upgrade.nonsense")
            .iter()
            .all(|row| row.code.starts_with("upgrade."))
    );
    assert!(similar("nothing like that").is_empty());
}

/// The quoted words of a line that have the form of a code of a family that is in the table.
fn codes_in(line: &str) -> impl Iterator<Item = &str> {
    let families: BTreeSet<&str> = all()
        .iter()
        .filter_map(|row| Some(row.code.split_once('.')?.0))
        .collect();
    // Every second piece between quotation marks stands inside a pair of them.
    line.split('"').skip(1).step_by(2).filter(move |word| {
        let Some((family, name)) = word.split_once('.') else {
            return false;
        };
        let is_name = |character: char| character.is_ascii_lowercase() || character == '_';
        families.contains(family)
            // Names of files look alike.
            && !["json", "jsonl", "lock", "rs", "so"].contains(&name)
            && !name.is_empty()
            && name.chars().all(is_name)
    })
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
