//! Why something is not trusted.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use jiff::Timestamp;
use plg_packaging::index::IndexError;
use plg_packaging::sign::{KeyId, SignError};
use plg_packaging::{Digest, PluginName};
use semver::Version;
use thiserror::Error;

use super::Level;
use super::key::NamePattern;
use crate::loader::io_code;

/// Why a bundle or an index is not trusted, or the trust store cannot be used. Nothing was changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The store cannot be relied on.
    #[error("the trust store `{}` cannot be relied on: {why}", path.display())]
    Unsafe {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The store cannot be read.
    #[error("failed to read the trust store `{}`", path.display())]
    Read {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store cannot be changed.
    #[error("failed to write the trust store `{}`", path.display())]
    Write {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An unsigned bundle, where a signed one is needed.
    #[error("`{name} {version}` is not signed, {why}")]
    Missing {
        /// The plugin.
        name: PluginName,
        /// Its version.
        version: Version,
        /// Why that is not enough.
        why: Unsigned,
    },
    /// The signature is none, not good, or of something else.
    #[error(transparent)]
    Signature(#[from] SignError),
    /// The signature is good or cannot be checked, and its key is not trusted for this.
    #[error("key {key} is not trusted for `{what}`: {why}")]
    Untrusted {
        /// The key.
        key: KeyId,
        /// What it signed.
        what: String,
        /// Why it is not.
        why: Why,
    },
    /// Older than what was seen before.
    #[error("`{what}` is {found}, and {seen} was seen before")]
    Rollback {
        /// The plugin, or the index.
        what: String,
        /// What is offered.
        found: String,
        /// The highest that was seen.
        seen: String,
    },
    /// The index is over.
    #[error("the index {number} expired at {}", moment(*when))]
    Expired {
        /// The number of the index.
        number: u64,
        /// When it expired.
        when: SystemTime,
    },
    /// Bundle and index, or two indexes, do not belong together.
    #[error("{what} is {found}, and the index {number} says {listed}", listed = release(*listed))]
    Mismatch {
        /// The plugin and version, or the index.
        what: String,
        /// The digest that it has.
        found: Digest,
        /// The digest that it should have; `None` when there is no such release.
        listed: Option<Digest>,
        /// The number of the index.
        number: u64,
    },
    /// Too few keys signed an index.
    #[error(
        "{signed} of the keys that are trusted for indexes signed it, {needed} are needed{}",
        others(ignored)
    )]
    Threshold {
        /// How many different keys did.
        signed: usize,
        /// How many have to.
        needed: usize,
        /// The keys that do not count, each with the reason.
        ignored: Vec<(KeyId, Why)>,
    },
    /// The index is none.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Another key of that id is trusted.
    #[error("another key {id} is in the trust store{}", noted(note))]
    Collision {
        /// The id of both.
        id: KeyId,
        /// What is noted of the one in the store.
        note: String,
    },
    /// There is no such key.
    #[error("there is no key {id} in the trust store")]
    NotFound {
        /// The id.
        id: KeyId,
    },
}

/// Why a key is not trusted for something.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Why {
    /// It is not in the trust store.
    Unknown,
    /// It was revoked.
    Revoked {
        /// When.
        when: SystemTime,
        /// The reason, if one was given.
        why: String,
    },
    /// It was trusted until then.
    Expired {
        /// Until when.
        when: SystemTime,
    },
    /// It is trusted for plugins of other names.
    Name {
        /// The names that it is trusted for.
        trusted: Vec<NamePattern>,
    },
    /// It is not trusted for so much.
    Level {
        /// What was asked for.
        wanted: Level,
        /// What it is trusted for.
        trusted: Vec<Level>,
    },
    /// It is not trusted for indexes.
    NoIndex,
}

/// Why an unsigned bundle is not enough.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Unsigned {
    /// Nobody allowed it.
    NotAllowed,
    /// There is a key for plugins of that name, in force or not.
    Responsible {
        /// The key.
        key: KeyId,
    },
    /// A build of it was signed before.
    WasSigned,
}

impl TrustError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsafe { .. } => "trust.unsafe",
            Self::Read { source, .. } | Self::Write { source, .. } => io_code(source),
            Self::Missing { .. } => "sig.missing",
            Self::Signature(error) => error.code(),
            Self::Untrusted { .. } => "sig.untrusted",
            Self::Rollback { .. } => "trust.rollback",
            Self::Expired { .. } => "trust.expired",
            Self::Mismatch { .. } => "trust.mismatch",
            Self::Threshold { .. } => "trust.threshold",
            Self::Index(error) => error.code(),
            Self::Collision { .. } => "trust.collision",
            Self::NotFound { .. } => "trust.not_found",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("it is not in the trust store"),
            Self::Revoked { when, why } => {
                write!(f, "it was revoked at {}", moment(*when))?;
                match why.as_str() {
                    "" => Ok(()),
                    why => write!(f, ", {why}"),
                }
            }
            Self::Expired { when } => write!(f, "it was trusted until {}", moment(*when)),
            Self::Name { trusted } => write!(f, "it is trusted for {}", list(trusted)),
            Self::Level { wanted, trusted } => {
                write!(f, "it is trusted for {}, not for `{wanted}`", list(trusted))
            }
            Self::NoIndex => f.write_str("it is not trusted for indexes"),
        }
    }
}

impl fmt::Display for Unsigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed => f.write_str("and unsigned bundles are not allowed"),
            Self::Responsible { key } => {
                write!(f, "and key {key} is responsible for plugins of that name")
            }
            Self::WasSigned => f.write_str("and a build of it that was here before is"),
        }
    }
}

fn list(words: &[impl fmt::Display]) -> String {
    if words.is_empty() {
        return "nothing".to_owned();
    }
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

fn release(digest: Option<Digest>) -> String {
    match digest {
        Some(digest) => digest.to_string(),
        None => "there is no such release".to_owned(),
    }
}

fn others(keys: &[(KeyId, Why)]) -> String {
    let words = keys.iter().map(|(key, why)| format!("; key {key}: {why}"));
    words.collect()
}

fn noted(note: &str) -> String {
    match note {
        "" => String::new(),
        note => format!(", noted as `{note}`"),
    }
}

/// A moment for people.
fn moment(at: SystemTime) -> String {
    // A clock that is ten thousand years off says nothing.
    let at = Timestamp::try_from(at).unwrap_or_default();
    format!("{at:.0}")
}
