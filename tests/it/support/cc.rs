//! Compiles the C fixtures, each combination once per process.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::{Mutex, OnceLock, PoisonError};

use plg_plugin_api::abi;

/// Compiles `fixtures/c/<name>` to a shared library. `defines` are given without the `-D`; the
/// contract's `FINGERPRINT` always is.
pub(crate) fn compile(name: &str, flags: &[&str], defines: &[&str]) -> PathBuf {
    let shared = ["-shared", "-fPIC"];
    build(name, &[&shared, flags].concat(), defines)
}

/// Like [`compile`], to whatever the flags ask for.
pub(crate) fn build(name: &str, flags: &[&str], defines: &[&str]) -> PathBuf {
    static BUILT: OnceLock<Mutex<HashMap<String, PathBuf>>> = OnceLock::new();
    let key = format!("{name} {flags:?} {defines:?}");
    let mut built = BUILT
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    built
        .entry(key)
        .or_insert_with_key(|key| run_compiler(name, flags, defines, key))
        .clone()
}

/// The name depends on what is built alone, so that the next run replaces the file; it appears
/// complete, so that another run at the same time never reads half of it.
fn run_compiler(name: &str, flags: &[&str], defines: &[&str], key: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/c")
        .join(name);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-fixtures");
    fs::create_dir_all(&dir).expect("the target directory is writable");
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let path = dir.join(format!("{name}-{:016x}.so", hasher.finish()));
    let partial = path.with_extension(process::id().to_string());
    let output = Command::new("cc")
        .args(["-std=gnu11", "-O1", "-Wall", "-Werror"])
        .arg(format!("-DFINGERPRINT={:#x}ULL", abi::FINGERPRINT))
        .args(defines.iter().map(|define| format!("-D{define}")))
        .arg("-o")
        .arg(&partial)
        .arg(&source)
        .args(flags)
        .output()
        .expect("a C compiler named `cc` is installed");
    assert!(
        output.status.success(),
        "failed to compile {} with {flags:?} {defines:?}:\n{}",
        source.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    fs::rename(&partial, &path).expect("the compiler wrote its output");
    path
}
