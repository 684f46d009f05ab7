//! What the host answers to a plugin in C that breaks the rules the Rust API keeps by type.

use std::fs;
use std::path::{Path, PathBuf};

use plg_host::{Context, Host, Limits};

use crate::support::plugins::with_header;

#[test]
fn each_broken_rule_has_its_code_and_changes_nothing() {
    let host = Host::builder().build().unwrap();
    let strict = host.load(with_header("strict.c", &[], &[])).unwrap();
    let mut ctx = Context::new().with("secret", 7);
    strict.call("keep", &mut ctx).unwrap();
    let cases = [
        ("stale", "ctx.expired"),
        ("bad.key", "ctx.key"),
        ("bad.tag", "ctx.type"),
        ("bad.text", "ctx.type"),
        ("bad.address", "ctx.type"),
    ];
    for (label, code) in cases {
        let error = strict.call(label, &mut ctx).unwrap_err();
        assert_eq!(error.code(), code, "{label}: {error}");
        assert_eq!(ctx.len(), 1, "{label}: {ctx:?}");
    }
    strict.call("keep", &mut ctx).unwrap();
}

#[test]
fn a_part_of_a_text_can_replace_it() {
    let host = Host::builder().build().unwrap();
    let strict = host.load(with_header("strict.c", &[], &[])).unwrap();
    let mut ctx = Context::new().with("text", "(a text that is longer than any inline one)");
    strict.call("own.part", &mut ctx).unwrap();
    let inner = "a text that is longer than any inline one";
    assert_eq!(ctx.text("text"), Some(inner));
}

/// A directory for the plugin with these labels in its manifest.
fn with_labels(parent: &Path, version: &str, labels: &str) -> PathBuf {
    let directory = parent.join(version);
    fs::create_dir(&directory).unwrap();
    let manifest = format!(r#"{{"name":"strict","version":"{version}","labels":{labels}}}"#);
    fs::write(directory.join("plugin.json"), manifest).unwrap();
    let library = with_header("strict.c", &[], &[]);
    fs::copy(library, directory.join("strict.so")).unwrap();
    directory
}

/// A lease keeps its generation's labels as well as its code.
#[test]
fn labels_are_those_of_the_generation_that_is_called() {
    let parent = tempfile::tempdir().unwrap();
    let first = with_labels(parent.path(), "1.0.0", r#"["keep", "own.part"]"#);
    let second = with_labels(parent.path(), "2.0.0", r#"["own.part"]"#);
    let host = Host::builder().build().unwrap();
    let strict = host.load(first).unwrap();
    let lease = strict.lease().unwrap();
    let _ = host.upgrade("strict", second).unwrap();
    let mut ctx = Context::new();
    lease.call("keep", &mut ctx).unwrap();
    assert_eq!(strict.label("keep").unwrap_err().code(), "call.no_route");
    assert_eq!(strict.lease().unwrap().generation(), 2);
}

/// Only the counters are shared beyond the limit.
#[test]
fn a_label_beyond_the_limit_is_called_by_its_name() {
    let limits = Limits {
        labels: 1,
        ..Limits::default()
    };
    let host = Host::builder().limits(limits).build().unwrap();
    let strict = host.load(with_header("strict.c", &[], &[])).unwrap();
    let keep = strict.label("keep").unwrap();
    let part = strict.label("own.part").unwrap();
    let mut ctx = Context::new().with("text", "(part)");
    keep.call(&mut ctx).unwrap();
    part.call(&mut ctx).unwrap();
    assert_eq!((part.name(), ctx.text("text")), ("own.part", Some("part")));
    let labels = strict.snapshot().labels;
    let calls = |name: &str| labels.iter().find(|l| l.label == name).map(|l| l.calls);
    assert_eq!(
        (calls("keep"), calls("*"), calls("own.part")),
        (Some(1), Some(1), None)
    );
}

/// A name that only ever failed to load is nobody's.
#[test]
fn a_plugin_that_was_never_loaded_is_not_found() {
    let parent = tempfile::tempdir().unwrap();
    let directory = with_labels(parent.path(), "1.0.0", "[]");
    fs::write(directory.join("strict.so"), "not a library").unwrap();
    let host = Host::builder().build().unwrap();
    host.load(directory).unwrap_err();
    assert_eq!(
        host.plugin("strict").unwrap_err().code(),
        "plugin.not_found"
    );
    let mut ctx = Context::new();
    let error = host.call("strict", "keep", &mut ctx).unwrap_err();
    assert_eq!(error.code(), "plugin.not_found");
    assert_eq!(
        host.unload("strict").unwrap_err().code(),
        "plugin.not_found"
    );
}
