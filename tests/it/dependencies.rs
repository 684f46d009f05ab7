//! Plugins that need each other, in a host.

use std::fs;
use std::path::{Path, PathBuf};

use plg_host::{Context, Host, UpgradeOptions};

use crate::support::plugins::{copy, named, refused};

/// A plugin directory of `name` in this version that depends on others; `build` is what it answers.
fn plugin(parent: &Path, name: &str, version: &str, build: u32, needs: &[(&str, &str)]) -> PathBuf {
    let directory = parent.join(name);
    fs::create_dir_all(&directory).expect("a directory can be made");
    let needs: Vec<String> = needs
        .iter()
        .map(|(name, range)| format!("\"{name}\": \"{range}\""))
        .collect();
    let manifest = format!(
        r#"{{"name": "{name}", "version": "{version}", "dependencies": {{ {} }}}}"#,
        needs.join(", ")
    );
    fs::write(directory.join("plugin.json"), manifest).expect("a manifest can be written");
    copy(&named(name, build), &directory, &format!("lib{name}.so"));
    directory
}

fn names(host: &Host) -> Vec<String> {
    let snapshots = host.snapshots();
    let loaded = snapshots.iter().filter(|plugin| plugin.current.is_some());
    loaded.map(|plugin| plugin.name.to_string()).collect()
}

fn host(directory: &Path) -> Host {
    let host = Host::builder().plugin_dir(directory).build();
    host.expect("a host can be made")
}

#[test]
fn a_directory_is_loaded_in_the_order_that_plugins_need() {
    let directory = tempfile::tempdir().unwrap();
    let parent = directory.path();
    plugin(parent, "a", "1.0.0", 1, &[("b", "^1")]);
    plugin(parent, "b", "1.2.0", 1, &[("c", ">=1")]);
    plugin(parent, "c", "3.0.0", 1, &[]);
    plugin(parent, "d", "1.0.0", 1, &[("nowhere", "1")]);
    plugin(parent, "e", "1.0.0", 1, &[("d", "1")]);
    plugin(parent, "f", "1.0.0", 1, &[("c", "^2")]);
    plugin(parent, "g", "1.0.0", 1, &[("h", "*")]);
    plugin(parent, "h", "1.0.0", 1, &[("g", "*")]);
    plugin(parent, "i", "1.0.0", 1, &[("i", "*")]);
    let host = host(parent);
    let report = host.load_all().unwrap();
    let order: Vec<_> = report.loaded.iter().map(plg_host::Handle::name).collect();
    assert_eq!(order, ["c", "b", "a"]);
    let mut codes: Vec<_> = report.failed.iter().map(plg_host::Error::code).collect();
    codes.sort_unstable();
    let expected = [
        "deps.cycle",
        "deps.cycle",
        "deps.missing",
        "deps.missing",
        "deps.unsatisfied",
        // A manifest alone shows that.
        "manifest.dependency",
    ];
    assert_eq!(codes, expected, "{:#?}", report.failed);
}

#[test]
fn one_plugin_is_loaded_after_what_it_needs() {
    let directory = tempfile::tempdir().unwrap();
    let parent = directory.path();
    let a = plugin(parent, "a", "1.0.0", 1, &[("b", "^1")]);
    let b = plugin(parent, "b", "1.0.0", 1, &[]);
    let host = host(parent);
    let message = refused(host.load(&a), "deps.missing");
    assert!(message.contains("`b`"), "{message}");
    host.load(&b).unwrap();
    host.load(&a).unwrap();
}

#[test]
fn what_is_needed_is_unloaded_with_those_that_need_it_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let parent = directory.path();
    plugin(parent, "a", "1.0.0", 1, &[("b", "^1")]);
    plugin(parent, "b", "1.0.0", 1, &[("c", "^1")]);
    plugin(parent, "c", "1.0.0", 1, &[]);
    plugin(parent, "d", "1.0.0", 1, &[]);
    let host = host(parent);
    host.load_all().unwrap();
    let message = refused(host.unload("b"), "deps.in_use");
    assert!(message.ends_with("by a"), "{message}");
    assert_eq!(names(&host), ["a", "b", "c", "d"]);
    let unloaded = host.unload_cascade("c").unwrap();
    let order: Vec<_> = unloaded.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(order, ["a", "b", "c"]);
    assert_eq!(names(&host), ["d"]);
}

/// Row 108.
#[test]
fn an_upgrade_that_breaks_another_plugin_goes_with_it_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (directory.path().join("old"), directory.path().join("new"));
    plugin(&old, "a", "1.0.0", 1, &[("b", "^1")]);
    plugin(&old, "b", "1.0.0", 1, &[]);
    let a = plugin(&new, "a", "2.0.0", 2, &[("b", "^2")]);
    let b = plugin(&new, "b", "2.0.0", 2, &[]);
    let host = host(&old);
    host.load_all().unwrap();
    let message = refused(host.upgrade("b", &b), "deps.breaks");
    assert!(
        message.contains("`a`") && message.contains("^1"),
        "{message}"
    );
    refused(host.upgrade("a", &a), "deps.unsatisfied");
    let options = UpgradeOptions::default();
    let upgraded = host.upgrade_together(&[("a", &a), ("b", &b)], options);
    let order: Vec<_> = upgraded
        .unwrap()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    // What is needed answers first.
    assert_eq!(
        order.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        ["b", "a"]
    );
    for plugin in ["a", "b"] {
        let mut ctx = Context::new();
        host.call(plugin, "build", &mut ctx).unwrap();
        assert_eq!(ctx.get("build").and_then(plg_host::Value::as_i64), Some(2));
    }
    // The way back would leave the other one without what it needs.
    refused(host.rollback("b"), "deps.breaks");
}

#[test]
fn a_shutdown_goes_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let parent = directory.path();
    plugin(parent, "a", "1.0.0", 1, &[]);
    plugin(parent, "b", "1.0.0", 1, &[("a", "^1")]);
    plugin(parent, "c", "1.0.0", 1, &[("b", "^1")]);
    let host = host(parent);
    host.load_all().unwrap();
    let unloaded = host.shutdown().unwrap();
    let order: Vec<_> = unloaded.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(order, ["c", "b", "a"]);
}
