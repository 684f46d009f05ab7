//! How far a plugin is trusted.

use std::fmt;
use std::str::FromStr;

use plg_packaging::manifest::Isolation;

/// How far a plugin is trusted, highest risk first. The operator says so, never the plugin.
///
/// ```
/// use plg_host::policy::Level;
///
/// assert_eq!("sandboxed".parse(), Ok(Level::Sandboxed));
/// assert!(Level::Trusted < Level::Isolated);
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// It runs in the host's process and can do there what the host can do.
    #[default]
    Trusted,
    /// It runs in the host's process if it was installed with the signature of a key that is trusted for that, and
    /// in a process of its own otherwise.
    Signed,
    /// It runs in a process of its own, with nothing of the host's but what it is given.
    Isolated,
    /// It runs in a process of its own that reaches next to nothing: its own directory, no network, bounded memory.
    Sandboxed,
    /// It does not run.
    Denied,
}

impl Level {
    /// All of them, highest risk first.
    pub const ALL: [Self; 5] = [
        Self::Trusted,
        Self::Signed,
        Self::Isolated,
        Self::Sandboxed,
        Self::Denied,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Signed => "signed",
            Self::Isolated => "isolated",
            Self::Sandboxed => "sandboxed",
            Self::Denied => "denied",
        }
    }

    /// The level of a plugin that may run there and nowhere closer.
    pub(super) const fn of(isolation: Isolation) -> Self {
        match isolation {
            Isolation::InProcess => Self::Trusted,
            Isolation::Isolated => Self::Isolated,
            // One that is not known yet is no reason to come closer.
            _ => Self::Sandboxed,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no level.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "there is no level `{0}`, expected one of `trusted`, `signed`, `isolated`, `sandboxed` and `denied`"
)]
pub struct LevelError(String);

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        let found = Self::ALL.into_iter().find(|level| level.as_str() == text);
        found.ok_or_else(|| LevelError(text.escape_debug().to_string()))
    }
}
