//! One thing that is about to happen, happened or failed.

use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use plg_packaging::{Digest, PluginName};
use semver::Version;

use crate::discovery::Candidate;

/// What a host is about to do, did, or failed to do.
///
/// ```
/// use plg_host::{Event, Phase, Step};
///
/// fn show(event: &Event) {
///     if event.step == Step::Upgrade && event.phase == Phase::Failed {
///         eprintln!("{event}");
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// Counts the events of one host from 1.
    pub number: u64,
    /// When it was made.
    pub at: SystemTime,
    /// What is done.
    pub step: Step,
    /// How far it is.
    pub phase: Phase,
    /// The plugin, if it is about one.
    pub plugin: Option<PluginName>,
    /// The plugin's version.
    pub version: Option<Version>,
    /// The SHA-256 of the build.
    pub digest: Option<Digest>,
    /// The generation of the plugin, once it has one.
    pub generation: Option<u64>,
    /// The label, if it is about a call.
    pub label: Option<String>,
    /// The file or directory, if it is about one.
    pub path: Option<PathBuf>,
    /// The stable code, if something failed or is to be known; see [`codes`](crate::codes).
    pub code: Option<&'static str>,
    /// In words.
    pub message: String,
}

/// What is done.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Step {
    /// Looking through the plugin directories.
    Discover,
    /// Putting a bundle into the store.
    Install,
    /// Loading a plugin that is not loaded.
    Load,
    /// A call.
    Call,
    /// Replacing a build, by a newer one or by the one before.
    Upgrade,
    /// Taking a plugin out.
    Unload,
    /// A plugin, or a plugin of an earlier process, crashed.
    Crash,
    /// A plugin is given up in process and should be isolated.
    Demotion,
    /// Something changed that nobody asked for: state of the process, a watched directory.
    Notice,
}

/// How far a step is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Phase {
    /// It is about to happen, and a hook may still veto it.
    Before,
    /// It happened.
    Done,
    /// It did not happen.
    Failed,
}

/// What an event is about, as far as it is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject {
    pub(crate) plugin: Option<PluginName>,
    pub(crate) version: Option<Version>,
    pub(crate) digest: Option<Digest>,
    pub(crate) generation: Option<u64>,
    pub(crate) label: Option<String>,
    pub(crate) path: Option<PathBuf>,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Discover,
        Self::Install,
        Self::Load,
        Self::Call,
        Self::Upgrade,
        Self::Unload,
        Self::Crash,
        Self::Demotion,
        Self::Notice,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Discover => "discover",
            Self::Install => "install",
            Self::Load => "load",
            Self::Call => "call",
            Self::Upgrade => "upgrade",
            Self::Unload => "unload",
            Self::Crash => "crash",
            Self::Demotion => "demotion",
            Self::Notice => "notice",
        }
    }
}

impl Phase {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl Subject {
    pub(crate) fn plugin(name: &PluginName) -> Self {
        Self {
            plugin: Some(name.clone()),
            ..Self::default()
        }
    }

    pub(crate) fn of(candidate: &Candidate) -> Self {
        Self {
            version: Some(candidate.manifest.version.clone()),
            path: Some(candidate.library.clone()),
            ..Self::plugin(&candidate.manifest.name)
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.step, self.phase)?;
        if let Some(plugin) = &self.plugin {
            write!(f, ": {plugin}")?;
        }
        if let Some(version) = &self.version {
            write!(f, " {version}")?;
        }
        if let Some(generation) = self.generation {
            write!(f, " (generation {generation})")?;
        }
        if let Some(label) = &self.label {
            write!(f, " `{label}`")?;
        }
        if let Some(code) = self.code {
            write!(f, " [{code}]")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}
