//! Fixture plugins: built once per run, then copied.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// How a fixture is built.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Variant {
    /// As `cargo build --lib` does.
    Debug,
    /// Optimised.
    Release,
    /// With `panic = "abort"`.
    Abort,
    /// With the feature `abi_stable`.
    AbiStable,
    /// Without unload hooks.
    NoHooks,
    /// Of the next minor of the ABI.
    NextMinor,
    /// Handing state over to the next build.
    State,
}

impl Variant {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Debug => &[],
            Self::Release => &["--release"],
            Self::Abort => &["--profile", "abort"],
            Self::AbiStable => &["--features", "abi_stable"],
            Self::NoHooks => &["--features", "no-unload-hooks"],
            Self::NextMinor => &["--features", "next-minor"],
            Self::State => &["--features", "state"],
        }
    }

    fn profile_directory(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Abort => "abort",
            _ => "debug",
        }
    }
}

/// The library of a workspace package, such as `hello` or `fixture-good`.
///
/// # Panics
///
/// When it does not build.
#[must_use]
pub fn library(package: &str, variant: Variant) -> PathBuf {
    let file = format!("lib{}.so", package.replace('-', "_"));
    built(package, "--lib", variant, &file)
}

/// The program of a workspace package that is named after it, such as `fixture-host`.
///
/// # Panics
///
/// When it does not build.
#[must_use]
pub fn program(package: &str, variant: Variant) -> PathBuf {
    built(package, "--bins", variant, package)
}

/// Builds `what` of a package and copies `file`, the outcome.
fn built(package: &str, what: &str, variant: Variant, file: &str) -> PathBuf {
    type Built = Mutex<HashMap<(String, Variant), PathBuf>>;
    static BUILT: OnceLock<Built> = OnceLock::new();
    // One at a time: the variants of a package are built to the same path and copied from there.
    let mut built = BUILT
        .get_or_init(Built::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    // A package may have a library and a program.
    let key = (file.to_owned(), variant);
    if let Some(path) = built.get(&key) {
        return path.clone();
    }
    let directory = target()
        .join("fixtures")
        .join(format!("{variant:?}-{}", crate::child::run_id()));
    if !directory.exists() {
        sweep(&target().join("fixtures"));
    }
    fs::create_dir_all(&directory).expect("the directory for fixtures can be made");
    let copy = directory.join(file);
    // Nor two processes at a time, for the same reason: a test and its child share the copies.
    let lock = File::create(target().join("fixtures/lock")).expect("a lock can be made");
    lock.lock().expect("a lock can be taken");
    if !copy.exists() {
        cargo(package, what, variant);
        let outcome = target().join(variant.profile_directory()).join(file);
        fs::copy(&outcome, &copy).expect("what was built can be copied");
    }
    drop(lock);
    built.insert(key, copy.clone());
    copy
}

/// Removes the copies of runs that ended long ago.
fn sweep(fixtures: &Path) {
    const OLD: Duration = Duration::from_secs(2 * 3600);
    for entry in fs::read_dir(fixtures).into_iter().flatten().flatten() {
        let changed = entry.metadata().and_then(|found| found.modified());
        let age = changed.ok().and_then(|changed| changed.elapsed().ok());
        if age.is_some_and(|age| age > OLD) && entry.path().is_dir() {
            // Another process may be at it as well.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The `plg` command.
///
/// # Panics
///
/// When it does not build.
#[must_use]
pub fn plg() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        cargo("plg", "--bin=plg", Variant::Debug);
        target().join("debug/plg")
    })
}

/// A copy of `fixture-good` that answers `number` to `build`, under a name of its own in `directory`.
///
/// # Panics
///
/// When the copy cannot be written.
#[must_use]
pub fn stamped(directory: &Path, variant: Variant, number: u64) -> PathBuf {
    let path = directory.join(format!("build-{number}.so"));
    fs::write(&path, stamped_bytes(variant, number)).expect("a stamped copy can be written");
    path
}

/// The bytes of a copy of `fixture-good` that answers `number` to `build`.
///
/// # Panics
///
/// When the fixture has no stamp.
#[must_use]
pub fn stamped_bytes(variant: Variant, number: u64) -> Vec<u8> {
    const STAMP: &[u8] = b"plg-fixture-build:";
    let mut bytes = fs::read(library("fixture-good", variant)).expect("a fixture can be read");
    let stamp = bytes
        .windows(STAMP.len() + 16)
        .position(|window| {
            window.starts_with(STAMP) && window[STAMP.len()..].iter().all(u8::is_ascii_digit)
        })
        .expect("the fixture has a stamp");
    let digits = stamp + STAMP.len();
    bytes[digits..digits + 16].copy_from_slice(format!("{number:016}").as_bytes());
    bytes
}

/// The target directory that this test binary was built in.
fn target() -> PathBuf {
    let program = std::env::current_exe().expect("a test binary has a path");
    // <target>/<profile>/deps/<binary>
    program
        .ancestors()
        .nth(3)
        .expect("a test binary stands three levels below the target directory")
        .to_owned()
}

fn cargo(package: &str, what: &str, variant: Variant) {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", package, what])
        .args(variant.flags())
        .arg("--target-dir")
        .arg(target())
        .current_dir(crate::workspace())
        .output()
        .expect("cargo can be run");
    assert!(
        output.status.success(),
        "`{package}` does not build as {variant:?}:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
