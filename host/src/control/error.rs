//! Why a host was not asked.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a host was not asked, or what it said instead.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// There is no socket for others to ask on.
    #[error("failed to listen on `{}`", path.display())]
    Listen {
        /// Where it was to be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It did not answer.
    #[error("process {pid} did not answer: {why}")]
    Silent {
        /// The host's process.
        pid: u32,
        /// What happened instead.
        why: String,
    },
    /// The plugin runs in the host's process, where lines go to the host's own log.
    #[error("`{plugin}` has no process of its own: what it logs is in the log of its host")]
    NoProcess {
        /// The plugin.
        plugin: String,
    },
    /// The host would not, or could not.
    #[error("process {pid}: {message}")]
    Refused {
        /// The host's process.
        pid: u32,
        /// Its code.
        code: &'static str,
        /// Its words.
        message: String,
    },
}

impl ControlError {
    /// The stable code; what a host refuses has that host's code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "control.listen",
            Self::Silent { .. } => "control.silent",
            Self::NoProcess { .. } => "control.no_process",
            Self::Refused { code, .. } => code,
        }
    }
}
