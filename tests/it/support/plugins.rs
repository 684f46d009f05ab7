//! Small plugins in C, and what most tests of loading say about them.

use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use plg_host::{Census, Context, Digest, Error, Handle, Host};

use super::cc::compile;
use super::{Variant, library, workspace};

/// `fixtures/c/loaded.c` with these macros. It answers `build`, `count` and `helper`.
pub(crate) fn loaded(defines: &[&str]) -> PathBuf {
    with_header("loaded.c", &[], defines)
}

/// `fixture-good`, loaded.
pub(crate) fn good(host: &Host) -> Handle {
    let library = library("fixture-good", Variant::Debug);
    host.load(library).expect("the fixture loads")
}

/// `fixture-bad`, loaded.
pub(crate) fn bad(host: &Host) -> Handle {
    let library = library("fixture-bad", Variant::Debug);
    host.load(library).expect("the fixture loads")
}

/// The plugin named `name` that answers `build` with this number.
pub(crate) fn named(name: &str, build: u32) -> PathBuf {
    loaded(&[&format!("NAME=\"{name}\""), &format!("BUILD={build}")])
}

/// A file of `fixtures/c` that includes `plg.h`.
pub(crate) fn with_header(file: &str, flags: &[&str], defines: &[&str]) -> PathBuf {
    static INCLUDE: OnceLock<String> = OnceLock::new();
    let include =
        INCLUDE.get_or_init(|| format!("-I{}", workspace().join("plugin-api/include").display()));
    compile(file, &[&[include.as_str()], flags].concat(), defines)
}

/// A copy of `library` called `name` in `directory`; unlike the original, a test may spoil it.
pub(crate) fn copy(library: &Path, directory: &Path, name: &str) -> PathBuf {
    let copy = directory.join(name);
    fs::copy(library, &copy).expect("a fixture can be copied");
    copy
}

/// A plugin directory called after the plugin in `library`, which must be `loaded`, and the copy in it.
pub(crate) fn plugin_directory(parent: &Path, library: &Path) -> (PathBuf, PathBuf) {
    let plugin = parent.join("loaded");
    fs::create_dir(&plugin).expect("a directory can be made");
    let manifest = r#"{"name":"loaded","version":"1.0.0"}"#;
    fs::write(plugin.join("plugin.json"), manifest).expect("a manifest can be written");
    let library = copy(library, &plugin, "libloaded.so");
    (plugin, library)
}

/// A copy with four bits of the first `within` bytes changed, always the same ones for a seed.
pub(crate) fn with_flips(bytes: &[u8], seed: u64, within: usize) -> Vec<u8> {
    let mut spoilt = bytes.to_vec();
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for _ in 0..4 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let bit = (state % (within as u64 * 8)) as usize;
        spoilt[bit / 8] ^= 1 << (bit % 8);
    }
    spoilt
}

pub(crate) fn digest(library: &Path) -> Digest {
    Digest::of(&fs::read(library).expect("a fixture can be read"))
}

pub(crate) fn host() -> Host {
    Host::builder().build().expect("a host can be set up")
}

/// What the plugin sets under a label's own name.
pub(crate) fn number(plugin: &Handle, label: &str) -> i64 {
    let mut ctx = Context::new();
    plugin.call(label, &mut ctx).expect(label);
    ctx.get(label)
        .and_then(plg_host::Value::as_i64)
        .expect(label)
}

/// The error's message and its causes, if it has this code.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>, code: &str) -> String {
    let error = outcome.expect_err(code);
    let text = text(&error);
    assert_eq!(error.code(), code, "{text}");
    text
}

/// An error with its causes.
pub(crate) fn text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// What a test leaves behind in the process must be nothing. For tests in a process of their own.
pub(crate) struct Baseline(Census);

impl Baseline {
    /// Takes the measure once everything that stays for good, such as a thread's number and the
    /// buffers of the allocator, is there: `warm_up` is run first.
    pub(crate) fn after(host: &Host, warm_up: impl FnOnce()) -> Self {
        warm_up();
        Self(host.census())
    }

    /// Compares descriptors, threads, children, mappings of images and generations.
    #[track_caller]
    pub(crate) fn check(&self, host: &Host) {
        let mut now = host.census();
        // The allocator may take another mapping from the system; tests that can say better do.
        now.mappings = self.0.mappings;
        // Threads of a host that was dropped before may have been on their way out.
        assert!(
            now.threads <= self.0.threads,
            "{now:?}, before {:?}",
            self.0
        );
        assert!(now.calling_threads <= self.0.calling_threads, "{now:?}");
        (now.threads, now.calling_threads) = (self.0.threads, self.0.calling_threads);
        assert_eq!(now, self.0);
    }

    /// Like [`check`](Self::check), with all mappings of the process.
    #[track_caller]
    pub(crate) fn check_mappings(&self, host: &Host) {
        assert_eq!(host.census(), self.0);
    }
}
