//! What tests and benches share: fixtures, built once, and tests that need a process of their own.

pub mod archive;
pub mod bench;
pub mod child;
pub mod fixtures;
pub mod hostile;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The root of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// Waits until `done`; a condition and not a length of time is what a test waits for.
///
/// # Panics
///
/// When `done` stays false for 60 seconds.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "waited in vain: {what}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}
