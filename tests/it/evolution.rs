//! Tables grow at their end: a host and a plugin of two minors of one major work together, and each
//! sees of the other what that has.

use std::path::PathBuf;
use std::process::Command;

use crate::support::{Variant, library, program};

#[test]
fn a_host_and_a_plugin_of_the_same_minor() {
    let said = run(Variant::Debug, Variant::Debug);
    assert_eq!(
        said,
        "plugin saw this plugin knows no next minor, host saw None"
    );
    let said = run(Variant::NextMinor, Variant::NextMinor);
    assert_eq!(said, "plugin saw 1, host saw Some(77)");
}

#[test]
fn a_newer_host_and_an_older_plugin() {
    let said = run(Variant::NextMinor, Variant::Debug);
    assert_eq!(
        said,
        "plugin saw this plugin knows no next minor, host saw None"
    );
}

#[test]
fn an_older_host_and_a_newer_plugin() {
    let said = run(Variant::Debug, Variant::NextMinor);
    assert_eq!(said, "plugin saw Some(Null), host saw None");
}

/// The layouts that `abi_stable` sees differ by the appended fields, and that is no reason to refuse.
#[test]
fn a_layout_of_another_minor_is_not_compared() {
    let said = run(Variant::NextMinor, Variant::AbiStable);
    assert_eq!(
        said,
        "plugin saw this plugin knows no next minor, host saw None"
    );
}

/// What the host's program prints of `next`, after one plain call worked and before the plugin was
/// unmapped.
fn run(host: Variant, plugin: Variant) -> String {
    let program: PathBuf = program("fixture-host", host);
    let output = Command::new(program)
        .arg(library("fixture-good", plugin))
        .output()
        .expect("the fixture starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}{error}", output.status);
    let said = said
        .strip_prefix("echo Some(41), ")
        .expect("a call was answered");
    said.strip_suffix("\nUnmapped\n")
        .expect("the plugin went")
        .to_owned()
}
