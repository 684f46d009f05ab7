//! Why a plugin in a process of its own cannot be started or called.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;
use thiserror::Error;

/// Why a process cannot be started or called.
#[derive(Debug, Error)]
pub(crate) enum ProcessError {
    #[error("no program `{exec}` in `{}` or on PATH", directory.display())]
    NoProgram { exec: String, directory: PathBuf },
    #[error("`{}` cannot be run: {source}", program.display())]
    Spawn { program: PathBuf, source: io::Error },
    #[error("no descriptor is left for a connection to its process: {0}; the call was not made")]
    Descriptors(io::Error),
    #[error("it cannot be sandboxed: {0}")]
    Sandbox(String),
    #[error("{found} is not supported, expected `native` or `contracts`")]
    Dialect { found: String },
    #[error("`{}` is not the file that was loaded", path.display())]
    Changed { path: PathBuf },
    #[error("its configuration has {bytes} bytes, the limit is {limit}")]
    ConfigTooLarge { bytes: usize, limit: usize },
    #[error("its process does not take the token that it was given, and answers 401")]
    Auth,
    #[error("the directory for its socket cannot be made in `{}`: {source}", path.display())]
    RunDirectory { path: PathBuf, source: io::Error },
    #[error("the path of its socket would have {bytes} bytes, the limit is {limit}: `{}`", path.display())]
    SocketPath {
        path: PathBuf,
        bytes: usize,
        limit: usize,
    },
    #[error("its process {ending} before it listened{}", Said(stderr))]
    Exited { ending: String, stderr: String },
    #[error(
        "its process did not write its start line within {limit:?}{}",
        Said(stderr)
    )]
    HandshakeTimeout { limit: Duration, stderr: String },
    #[error(
        "its process wrote something else than a start line: {problem}{}",
        Said(stderr)
    )]
    Handshake { problem: String, stderr: String },
    #[error("its start line does not fit: `{what}` is `{found}`, expected `{expected}`")]
    Mismatch {
        what: &'static str,
        found: String,
        expected: String,
    },
    #[error("its process listens and does not get ready: {why}")]
    Unhealthy { why: String },
    #[error("its process was started {starts} times within {within:?} and is given up: {last}")]
    Failed {
        starts: usize,
        within: Duration,
        last: String,
    },
    #[error("{why}; {executed}")]
    Unavailable { why: String, executed: Executed },
    #[error("its process is about to exit; the call was not made")]
    Refused,
    #[error("its answer is no HTTP/1.1: {0}")]
    Protocol(String),
    #[error("the body of its answer is not one: {0}")]
    Body(String),
    #[error("it answered with a redirect, status {0}, which is not followed")]
    Redirect(u16),
    #[error("it answered with status {0}, expected 200")]
    Status(u16),
    #[error("it answered call {found}, expected {expected}")]
    Mixup { found: u64, expected: u64 },
    #[error("what was to be sent: {0}")]
    TooLarge(String),
    /// Another thread was told why it cannot be started.
    #[error("{message}")]
    Start { code: &'static str, message: String },
    /// The caller gave up.
    #[error("the caller gave up")]
    Over,
}

/// Whether a call that failed was made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Executed {
    No,
    Unknown,
}

/// How a process ended; `None` when somebody else was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending(pub(super) Option<ExitStatus>);

/// The end of what a process wrote to its standard error.
pub(super) struct Said<'a>(pub(super) &'a str);

impl ProcessError {
    /// The stable code.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            _ if self.is_for_want_of_descriptors() => "io.emfile",
            Self::Descriptors(_) => "call.unavailable",
            Self::NoProgram { .. } | Self::Spawn { .. } => "proc.spawn",
            Self::Sandbox(_) => "proc.sandbox",
            Self::Dialect { .. } => "proc.dialect",
            Self::Changed { .. } => "proc.changed",
            Self::ConfigTooLarge { .. } => "proc.config_too_large",
            Self::Auth => "proc.auth",
            Self::RunDirectory { .. } => "proc.run_dir",
            Self::SocketPath { .. } => "proc.socket_path",
            Self::Exited { .. } => "proc.exited",
            Self::HandshakeTimeout { .. } => "proc.handshake_timeout",
            Self::Handshake { .. } => "proc.handshake",
            Self::Mismatch { .. } => "proc.handshake_mismatch",
            Self::Unhealthy { .. } => "proc.unhealthy",
            Self::Failed { .. } => "proc.failed",
            Self::Unavailable { .. } | Self::Refused => "call.unavailable",
            Self::Protocol(_) => "http.protocol",
            Self::Body(_) => "http.body",
            Self::Redirect(_) => "http.redirect",
            Self::Status(_) => "http.status",
            Self::Mixup { .. } => "http.mixup",
            Self::TooLarge(_) => "ctx.too_large",
            Self::Start { code, .. } => code,
            Self::Over => "call.timeout",
        }
    }

    /// Whether the call was not made for sure, so that it may be made again.
    pub(super) fn is_unsent(&self) -> bool {
        match self {
            Self::Unavailable { executed, .. } => *executed == Executed::No,
            Self::Refused => true,
            _ => false,
        }
    }

    /// Whether this host, or the machine, has too many files open. That says nothing about the plugin.
    pub(super) fn is_for_want_of_descriptors(&self) -> bool {
        let source = match self {
            Self::Spawn { source, .. } | Self::RunDirectory { source, .. } => source,
            Self::Descriptors(source) => source,
            _ => return false,
        };
        let number = source.raw_os_error();
        [Errno::MFILE, Errno::NFILE]
            .iter()
            .any(|error| number == Some(error.raw_os_error()))
    }

    pub(super) fn unsent(why: impl fmt::Display) -> Self {
        Self::Unavailable {
            why: why.to_string(),
            executed: Executed::No,
        }
    }

    pub(super) fn cut_off(why: impl fmt::Display) -> Self {
        Self::Unavailable {
            why: why.to_string(),
            executed: Executed::Unknown,
        }
    }
}

impl fmt::Display for Executed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::No => "the call was not made",
            Self::Unknown => "whether the call was made is unknown",
        })
    }
}

impl Ending {
    /// Whether it ended because it wanted to, and nothing was wrong.
    pub(super) fn is_success(self) -> bool {
        self.0.is_some_and(|status| status.success())
    }

    /// Whether a signal ended it.
    pub(super) fn was_killed(self) -> bool {
        use std::os::unix::process::ExitStatusExt;
        self.0.is_some_and(|status| status.signal().is_some())
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use std::os::unix::process::ExitStatusExt;
        match self.0.map(|status| (status.code(), status.signal())) {
            Some((Some(code), _)) => write!(f, "exited with status {code}"),
            Some((_, Some(signal))) => write!(f, "was killed by signal {signal}"),
            _ => f.write_str("ended"),
        }
    }
}

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.trim_end() {
            "" => Ok(()),
            said => write!(f, "; its standard error ends with: {said}"),
        }
    }
}
