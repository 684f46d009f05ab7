//! How a host died, as far as it could say.

use std::fmt;
use std::time::SystemTime;

use plg_packaging::{Digest, PluginName};
use semver::Version;

use crate::quarantine::{self, Cause, Quarantine};

/// How an earlier host of the same app died.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Death {
    /// The id of its process.
    pub pid: u32,
    /// When it died; with an unknown ending, a moment at which it still lived.
    pub at: SystemTime,
    /// What ended it.
    pub ending: Ending,
    /// The build that ended it. `None` when no plugin did, or when nobody can say which.
    pub culprit: Option<Culprit>,
    /// What other threads were inside at that moment, each build, label and doing once. Being here is
    /// no guilt.
    pub suspects: Vec<Culprit>,
}

/// What ended a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Ending {
    /// A signal of this number, the first when one led to another: a stack overflow is a `SIGSEGV`
    /// although Rust then aborts.
    Signal(i32),
    /// A plugin called `exit`. The process ended with status 70, whatever the plugin wanted.
    Exit,
    /// It could not say. It was killed from outside, ended without `exit` handlers, or lost its power.
    Unknown,
}

/// A build of a plugin, and what it was doing.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Culprit {
    /// The plugin.
    pub plugin: PluginName,
    /// Its version; without pre-release and build metadata where they are longer than 64 bytes.
    pub version: Version,
    /// The SHA-256 of the image.
    pub digest: Digest,
    /// Which generation of the plugin it was.
    pub generation: u64,
    /// The label that was called, cut to 64 bytes. `None` outside of a call, and for labels beyond the
    /// 64 that are recorded.
    pub label: Option<String>,
    /// What the host had asked of it.
    pub doing: Doing,
}

/// What a plugin was doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Doing {
    /// It was being mapped: its constructors ran.
    Load = 1,
    /// Its `init` ran.
    Init = 2,
    /// It answered a call.
    Call = 3,
    /// Its `stop` ran.
    Stop = 4,
    /// It gave its state to the next generation.
    Save = 5,
    /// It took over the state of the generation before.
    Restore = 6,
    /// Its `fini` ran, or it was being unmapped.
    Fini = 7,
    /// Code of it ran on a thread that the host had not sent there: one that the plugin started, or one
    /// that ran the plugin's destructors on its way out.
    Thread = 8,
}

impl Death {
    /// Puts the build that is to blame, if there is one, where nobody loads it.
    pub(crate) fn blame(&self, quarantine: &Quarantine) {
        if let Some(culprit) = &self.culprit {
            let entry = quarantine::Entry {
                plugin: culprit.plugin.clone(),
                version: culprit.version.clone(),
                reason: self.to_string(),
                cause: Cause::Crashed,
                since: self.at,
            };
            tracing::warn!("{}: {}", culprit.plugin, entry.reason);
            quarantine.add(culprit.digest, entry);
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ended: {}", self.pid, self.ending)?;
        match &self.culprit {
            Some(culprit) => write!(f, ", in {culprit}"),
            None => Ok(()),
        }
    }
}

impl Doing {
    pub(super) fn from_number(number: u8) -> Option<Self> {
        [
            Self::Load,
            Self::Init,
            Self::Call,
            Self::Stop,
            Self::Save,
            Self::Restore,
            Self::Fini,
            Self::Thread,
        ]
        .into_iter()
        .find(|doing| *doing as u8 == number)
    }

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Init => "init",
            Self::Call => "call",
            Self::Stop => "stop",
            Self::Save => "save",
            Self::Restore => "restore",
            Self::Fini => "fini",
            Self::Thread => "thread",
        }
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signal = match self {
            Self::Signal(signal) => *signal,
            Self::Exit => return f.write_str("a plugin called `exit`"),
            Self::Unknown => return f.write_str("unknown"),
        };
        match signal {
            libc::SIGSEGV => f.write_str("SIGSEGV"),
            libc::SIGBUS => f.write_str("SIGBUS"),
            libc::SIGILL => f.write_str("SIGILL"),
            libc::SIGFPE => f.write_str("SIGFPE"),
            libc::SIGTRAP => f.write_str("SIGTRAP"),
            libc::SIGABRT => f.write_str("SIGABRT"),
            other => write!(f, "signal {other}"),
        }
    }
}

impl fmt::Display for Culprit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            plugin,
            version,
            digest,
            generation,
            label,
            doing,
        } = self;
        write!(
            f,
            "`{plugin}` {version}, generation {generation}, {digest}, in `{doing}`"
        )?;
        match label {
            Some(label) => write!(f, " of `{label}`"),
            None => Ok(()),
        }
    }
}
