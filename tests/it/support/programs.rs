//! Plugins that are programs of their own: the fixture that misbehaves as its arguments say.

use std::fs;
use std::path::{Path, PathBuf};

use plg_host::{Context, Error, Handle, Host, Limits, Value};
use rustix::process::{Pid, test_kill_process};
use serde_json::json;
use tempfile::TempDir;

use super::{Variant, program};

/// Directories of such plugins.
pub(crate) struct Programs(TempDir);

impl Programs {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// A plugin that starts the fixture with `args`.
    pub(crate) fn plugin(&self, name: &str, args: &[&str]) -> PathBuf {
        let directory = self.manifest(name, json!({ "exec": "bin/helper", "args": args }));
        let place = directory.join("bin/helper");
        fs::create_dir(directory.join("bin")).unwrap();
        // A copy could still be open for writing in the child of another test's thread.
        let fixture = program("fixture-helper", Variant::Debug);
        if fs::hard_link(&fixture, &place).is_err() {
            fs::copy(&fixture, &place).unwrap();
        }
        directory
    }

    /// A directory with a manifest and nothing else.
    pub(crate) fn manifest(&self, name: &str, process: serde_json::Value) -> PathBuf {
        let directory = self.path().join(name);
        fs::create_dir_all(&directory).unwrap();
        let manifest = json!({ "name": name, "version": "1.0.0", "process": process });
        fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
        directory
    }
}

pub(crate) fn host() -> Host {
    host_with(Limits::default())
}

pub(crate) fn host_with(limits: Limits) -> Host {
    Host::builder()
        .limits(limits)
        .allow_unsafe_directories(true)
        .build()
        .unwrap()
}

/// What a call without values sets under `key`.
pub(crate) fn value(plugin: &Handle, label: &str, key: &str) -> Result<Value, Error> {
    let mut context = Context::new();
    plugin.call(label, &mut context)?;
    Ok(context.remove(key).unwrap())
}

pub(crate) fn pid(plugin: &Handle) -> Pid {
    let Value::I64(pid) = value(plugin, "pid", "pid").unwrap() else {
        panic!("no number");
    };
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

/// Whether a process is there at all, waited for or not.
pub(crate) fn exists(process: Pid) -> bool {
    test_kill_process(process).is_ok()
}

/// The code of a failure, with all that it says.
pub(crate) fn failure<T: std::fmt::Debug>(outcome: Result<T, Error>) -> (&'static str, String) {
    let error = outcome.unwrap_err();
    (error.code(), error.to_string())
}
