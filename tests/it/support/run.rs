//! Runs of the `plg` command.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::{plg, workspace};

/// What a run of `plg` left.
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Runs it in the workspace, without what the machine or its user would add.
    pub(crate) fn of(arguments: &[&str]) -> Self {
        Self::within(&workspace(), arguments)
    }

    /// Runs it in another directory.
    pub(crate) fn within(directory: &Path, arguments: &[&str]) -> Self {
        Self::from(command(directory, arguments).output().unwrap())
    }

    /// The standard output, if all went well.
    #[track_caller]
    pub(crate) fn ok(&self) -> &str {
        assert_eq!(self.status, 0, "{}{}", self.stdout, self.stderr);
        &self.stdout
    }

    /// The one document on the standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let document = serde_json::from_str(&self.stdout);
        document.unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }

    /// Fails unless it ended with this status and said this code.
    #[track_caller]
    pub(crate) fn failed(&self, status: i32, code: &str) -> &str {
        assert_eq!(self.status, status, "{}{}", self.stdout, self.stderr);
        let first = self.stderr.lines().find(|line| line.starts_with("error["));
        let expected = format!("error[{code}]");
        assert!(
            first.unwrap_or_default().starts_with(&expected),
            "{}",
            self.stderr
        );
        &self.stderr
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().expect("no signal ended it"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The command, in a directory.
pub(crate) fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(plg());
    command
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        // The usual directories are those of whoever runs the tests.
        .env("PLG_HOME", "/nonexistent")
        .env("XDG_STATE_HOME", "/dev/null")
        .env_remove("PLG_STATE")
        .env_remove("PLG_PLUGIN_DIR")
        .env_remove("PLG_LOG");
    command
}
