//! Every code has a test that provokes it.

use std::fs;

use plg_host::codes;

use crate::support::workspace;

/// Codes that nothing outside can provoke, each with the reason.
const OUT_OF_REACH: [(&str, &str); 1] = [(
    "host.panicked",
    "says that the command met a bug of the host",
)];

/// A code that no test names, in quotes or by its constant, is one that nobody has seen.
#[test]
fn every_code_is_provoked_by_a_test() {
    let root = workspace();
    let mut tests = String::new();
    for directory in ["tests/it", "packaging/tests"] {
        for entry in fs::read_dir(root.join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                tests += &fs::read_to_string(path).unwrap();
            }
        }
    }
    let unseen: Vec<_> = codes::all()
        .iter()
        .map(|code| code.code)
        .filter(|code| !OUT_OF_REACH.iter().any(|(known, _)| known == code))
        .filter(|code| !is_named(code, &tests))
        .collect();
    assert_eq!(unseen, [""; 0]);
}

fn is_named(code: &str, tests: &str) -> bool {
    let constant = code.to_uppercase().replace('.', "_");
    let (_, short) = constant.split_once('_').unwrap_or(("", &constant));
    [
        format!("\"{code}\""),
        format!("code::{constant}"),
        format!("code::{short}"),
    ]
    .iter()
    .any(|name| tests.contains(name))
}
