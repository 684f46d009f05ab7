//! Plugins of every kind do what `CONFORMANCE.md` requires, and the suite sees it when one does not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use plg_host::conformance::{Part, Report, Suite, Verdict};
use plg_host::{Builder, Host, Limits};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Variant, cc, library, program, workspace};

#[test]
fn a_library_in_rust_conforms() {
    let report = Suite::new(library("fixture-conformance", Variant::Debug)).run();
    assert_conforms(&report, "in-process", LIBRARY, &[]);
}

#[test]
fn a_library_in_c_conforms() {
    let report = Suite::new(in_c(&[])).run();
    assert_conforms(&report, "in-process", LIBRARY, &["errors.panic"]);
}

/// Whatever carries the calls, the plugin and its callers see the same.
#[test]
fn a_library_in_a_process_of_its_own_conforms() {
    for (library, left_out) in [
        (library("fixture-conformance", Variant::Debug), &[][..]),
        (in_c(&[]), &["errors.panic"]),
    ] {
        let runner = program("fixture-host", Variant::Debug);
        let suite = Suite::new(library).host(builder().runner(runner));
        let report = suite.isolated(true).run();
        assert_conforms(&report, "process", LIBRARY, left_out);
    }
}

#[test]
fn a_program_in_rust_conforms() {
    let (_place, directory) = in_rust("fixture-conformance");
    assert_conforms(&judge(&directory), "process", PROGRAM, &[]);
}

#[test]
fn a_program_in_python_conforms() {
    let directory = workspace().join("tests/fixtures/conformance-py");
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3");
        return;
    }
    assert_conforms(&judge(&directory), "process", PROGRAM, &[]);
}

/// What has no labels is judged by what every plugin is.
#[test]
fn a_plugin_without_the_labels_is_judged_by_the_rest() {
    let report = Suite::new(library("hello", Variant::Debug)).run();
    assert!(report.conforms(), "{}", told(&report));
    assert!(!report.has_labels);
    for case in &report.cases {
        let passed = case.verdict == Verdict::Passed;
        assert_eq!(passed, case.part() == Part::Load, "{case:?}");
    }

    let (_place, directory) = in_rust("wordcount-process");
    let report = judge(&directory);
    assert!(report.conforms(), "{}", told(&report));
    let wire = |passed: bool| {
        let cases = report.cases.iter().filter(|case| case.part() == Part::Wire);
        cases
            .filter(|case| (case.verdict == Verdict::Passed) == passed)
            .count()
    };
    assert!(wire(true) > 15 && wire(false) > 5, "{}", told(&report));
}

#[test]
fn the_sample_in_python_speaks_the_protocol() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3");
        return;
    }
    let report = judge(&workspace().join("plugins/py-upper"));
    assert!(report.conforms(), "{}", told(&report));
}

#[test]
fn what_is_broken_is_seen() {
    for (define, cases) in [
        ("BREAK_ECHO", &["values.f64"][..]),
        ("BREAK_FAIL", &["errors.values"]),
        ("BREAK_COUNT", &["parallel.count"]),
    ] {
        let report = Suite::new(in_c(&[define])).run();
        assert!(!report.conforms());
        let failed: Vec<_> = report.failed().map(|case| case.id).collect();
        assert_eq!(failed, cases, "{define}: {}", told(&report));
    }
}

#[test]
fn what_is_not_loaded_is_not_judged() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("broken.so");
    fs::write(&path, "no library").unwrap();
    let report = Suite::new(&path).run();
    assert!(!report.conforms());
    let (passed, failed, skipped) = report.counts();
    assert_eq!((passed, failed), (0, 1));
    assert_eq!(skipped + 1, report.cases.len());
    let reason = report.case("load.load").unwrap().verdict.reason();
    assert!(reason.starts_with("`native."), "{reason}");
}

/// The page and the suite name the same cases, in the same order.
#[test]
fn every_case_is_written_down() {
    let page = fs::read_to_string(workspace().join("host/CONFORMANCE.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut written = Vec::new();
    for row in rows {
        let (names, _) = row.split_once(" |").unwrap();
        let names = names.trim_end_matches(" *").split(", ");
        let names = names.map(|name| name.trim_matches('`').to_owned());
        written.extend(names.filter(|name| !name.starts_with("conformance.")));
    }
    let place = tempfile::tempdir().unwrap();
    let report = Suite::new(place.path().join("nothing")).run();
    let judged: Vec<_> = report.cases.iter().map(|case| case.id).collect();
    written.sort();
    let mut sorted = judged.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, written);
}

fn assert_conforms(report: &Report, transport: &str, parts: &[Part], left_out: &[&str]) {
    assert_eq!(report.transport, Some(transport), "{}", told(report));
    assert!(report.has_labels, "{}", told(report));
    for case in &report.cases {
        let is_asked = parts.contains(&case.part()) && !left_out.contains(&case.id);
        let expected = if is_asked { "passed" } else { "skipped" };
        assert_eq!(case.verdict.as_str(), expected, "{}", told(report));
    }
}

const LIBRARY: &[Part] = &[Part::Load, Part::Calls];
const PROGRAM: &[Part] = &[Part::Load, Part::Calls, Part::Wire];

fn judge(directory: &Path) -> Report {
    let host = builder().allow_unsafe_directories(true);
    Suite::new(directory).host(host).run()
}

fn builder() -> Builder {
    Host::builder().limits(Limits {
        depth: 8,
        ..Limits::default()
    })
}

fn told(report: &Report) -> String {
    let lines = report.cases.iter().map(|case| {
        let (verdict, reason) = (case.verdict.as_str(), case.verdict.reason());
        format!("{verdict} {}: {reason}\n", case.id)
    });
    lines.collect()
}

fn in_c(defines: &[&str]) -> PathBuf {
    let include = format!("-I{}", workspace().join("plugin-api/include").display());
    cc::compile("conformance.c", &[&include], defines)
}

/// A plugin whose program is that of a package.
fn in_rust(package: &str) -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join(package);
    fs::create_dir(&directory).unwrap();
    let version = if package.starts_with("fixture") {
        "1.2.3"
    } else {
        "0.1.0"
    };
    let manifest = json!({ "name": package, "version": version, "process": { "exec": package } });
    fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
    let built = program(package, Variant::Debug);
    fs::copy(&built, directory.join(package)).unwrap();
    (place, directory)
}
