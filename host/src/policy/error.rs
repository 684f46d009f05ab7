//! Why a plugin does not run, or not where somebody wants it.

use plg_packaging::{Permission, PluginName};
use thiserror::Error;

/// Why the operator's policy stands against something.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The policy forbids it.
    #[error("the policy keeps `{name}` out: {why}")]
    Denied {
        /// The plugin.
        name: PluginName,
        /// Which part of it.
        why: String,
    },
    /// It asks for what it was not granted.
    #[error("`{name}` asks for {}, which it was not granted", list(missing))]
    Permissions {
        /// The plugin.
        name: PluginName,
        /// What it was not granted.
        missing: Vec<Permission>,
    },
    /// It has to run in a process of its own, and there is no program that would do that.
    #[error("`{name}` has to run in a process of its own and the host has no runner: {why}")]
    NoRunner {
        /// The plugin.
        name: PluginName,
        /// Why it has to.
        why: String,
    },
    /// A program cannot run in the host's process.
    #[error("`{name}` is a program and cannot run in the host's process")]
    Program {
        /// The plugin.
        name: PluginName,
    },
    /// What is compiled into the app cannot run elsewhere.
    #[error("`{name}` is compiled into the app and cannot run in a process of its own")]
    Builtin {
        /// The plugin.
        name: PluginName,
    },
}

impl PolicyError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Denied { .. } => "policy.denied",
            Self::Permissions { .. } => "policy.permission",
            Self::NoRunner { .. } => "policy.no_runner",
            Self::Program { .. } => "policy.program",
            Self::Builtin { .. } => "policy.builtin",
        }
    }
}

fn list(missing: &[Permission]) -> String {
    let quoted = missing.iter().map(|permission| format!("`{permission}`"));
    quoted.collect::<Vec<_>>().join(", ")
}
