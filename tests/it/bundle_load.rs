//! A bundle in the place of a library: loaded, upgraded to, found and followed.

use std::fs;
use std::path::{Path, PathBuf};

use plg_host::{Context, Error, Host, Limits};
use plg_packaging::bundle::pack::Draft;
use plg_packaging::bundle::{self, Target};
use plg_packaging::sign::{SecretKey, sign_bundle};
use tempfile::TempDir;

use crate::support::plugins::{digest, host, named, number};
use crate::watch::Watched;

/// A bundle of the plugin `loaded` that answers `build` with this number.
pub(crate) fn bundle(directory: &Path, build: u32, version: &str) -> PathBuf {
    let target = Target::current();
    let library = (target.as_str(), fs::read(named("loaded", build)).unwrap());
    packed(directory, &[library], version)
}

/// The same, signed.
pub(crate) fn signed(directory: &Path, build: u32, key: &SecretKey) -> PathBuf {
    let target = Target::current();
    let library = (target.as_str(), fs::read(named("loaded", build)).unwrap());
    write(directory, &[library], "1.0.0", Some(key))
}

fn packed(directory: &Path, libraries: &[(&str, Vec<u8>)], version: &str) -> PathBuf {
    write(directory, libraries, version, None)
}

fn write(
    directory: &Path,
    libraries: &[(&str, Vec<u8>)],
    version: &str,
    key: Option<&SecretKey>,
) -> PathBuf {
    let manifest = format!(r#"{{"name":"loaded","version":"{version}"}}"#);
    let mut draft = Draft::new(manifest.into_bytes()).unwrap();
    for (target, bytes) in libraries {
        let target = Target::new(target).unwrap();
        draft
            .library(target, "libloaded.so", bytes.clone())
            .unwrap();
    }
    let plan = draft.plan(&bundle::Limits::default(), &mut |_| {}).unwrap();
    let signature = key.map(|key| sign_bundle(plan.contents(), key).unwrap().to_text());
    let signature = signature.as_ref().map(String::as_bytes);
    let mut bytes = Vec::new();
    plan.write(&mut bytes, signature, &mut |_| {}).unwrap();
    let path = directory.join("loaded.plg");
    let new = directory.join(".new");
    fs::write(&new, bytes).unwrap();
    fs::rename(&new, &path).unwrap();
    path
}

fn refusal(host: &Host, path: &Path) -> &'static str {
    let error = host.load(path).unwrap_err();
    assert!(host.plugin("loaded").is_err());
    error.code()
}

#[test]
fn a_bundle_is_loaded_and_upgraded_like_a_library() {
    let directory = TempDir::new().unwrap();
    let host = host();
    let path = bundle(directory.path(), 1, "1.0.0");
    let loaded = host.load(&path).unwrap();
    assert_eq!(number(&loaded, "build"), 1);
    let current = loaded.snapshot().current.unwrap();
    assert_eq!(current.digest, Some(digest(&named("loaded", 1))));
    // What is loaded does not need the file any more.
    fs::remove_file(&path).unwrap();
    assert_eq!(number(&loaded, "build"), 1);

    let path = bundle(directory.path(), 2, "1.0.0");
    host.upgrade("loaded", &path).unwrap();
    assert_eq!(number(&loaded, "build"), 2);
    host.rollback("loaded").unwrap();
    assert_eq!(number(&loaded, "build"), 1);
}

#[test]
fn the_digest_that_is_pinned_is_that_of_the_library() {
    let directory = TempDir::new().unwrap();
    let path = bundle(directory.path(), 1, "1.0.0");
    let error = host().load_pinned(&path, digest(&path)).unwrap_err();
    assert_eq!(error.code(), "native.hash");
    assert!(
        host()
            .load_pinned(&path, digest(&named("loaded", 1)))
            .is_ok()
    );
}

#[test]
fn what_is_no_bundle_for_here_is_refused() {
    let directory = TempDir::new().unwrap();
    let host = host();
    let other = packed(
        directory.path(),
        &[("riscv64gc-unknown-linux-gnu", b"code".to_vec())],
        "1.0.0",
    );
    assert_eq!(refusal(&host, &other), "bundle.platform");

    let whole = fs::read(bundle(directory.path(), 1, "1.0.0")).unwrap();
    let path = directory.path().join("cut.plg");
    fs::write(&path, &whole[..whole.len() - 100]).unwrap();
    assert_eq!(refusal(&host, &path), "bundle.truncated");
    fs::write(&path, [&whole[..], b"\0"].concat()).unwrap();
    assert_eq!(refusal(&host, &path), "bundle.trailing");
    fs::write(&path, fs::read(named("loaded", 1)).unwrap()).unwrap();
    assert_eq!(refusal(&host, &path), "bundle.gzip");

    let short = packed(
        directory.path(),
        &[(Target::current().as_str(), b"code".to_vec())],
        "1.0.0",
    );
    assert_eq!(refusal(&host, &short), "native.format");
}

#[test]
fn the_library_must_be_of_the_version_that_the_bundle_names() {
    let directory = TempDir::new().unwrap();
    let path = bundle(directory.path(), 1, "1.1.0");
    assert_eq!(refusal(&host(), &path), "manifest.identity");
}

#[test]
fn a_bundle_is_held_to_the_limits_of_the_host() {
    let directory = TempDir::new().unwrap();
    let path = bundle(directory.path(), 1, "1.0.0");
    let of = |limits| Host::builder().limits(limits).build().unwrap();
    let small = bundle::Limits {
        member_bytes: 1024,
        ..bundle::Limits::default()
    };
    let host = of(Limits {
        bundle: small,
        ..Limits::default()
    });
    assert_eq!(refusal(&host, &path), "bundle.too_large");
    let host = of(Limits {
        image_bytes: 1024,
        ..Limits::default()
    });
    assert_eq!(refusal(&host, &path), "native.too_large");
}

#[test]
fn bundles_in_a_plugin_directory_are_found() {
    let directory = TempDir::new().unwrap();
    bundle(directory.path(), 1, "1.0.0");
    fs::write(directory.path().join("damaged.plg"), b"<html>").unwrap();
    let host = Host::builder()
        .plugin_dir(directory.path())
        .build()
        .unwrap();
    let report = host.load_all().unwrap();
    assert_eq!(number(&report.loaded[0], "build"), 1);
    let codes: Vec<_> = report.failed.iter().map(Error::code).collect();
    assert_eq!(codes, ["bundle.gzip"]);
    let mut ctx = Context::new();
    host.call("loaded", "build", &mut ctx).unwrap();
}

#[test]
fn a_bundle_in_a_watched_directory_is_followed() {
    let mut watched = Watched::new();
    let plugins = watched.path("");
    for build in [1, 2] {
        bundle(&plugins, build, "1.0.0");
        watched.wait_for("loaded", &named("loaded", build));
    }
    fs::remove_file(plugins.join("loaded.plg")).unwrap();
    watched.wait_until_gone("loaded");
    assert_eq!(watched.failures(), [""; 0]);
}
