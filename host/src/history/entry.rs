//! One change of the set of plugins.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use plg_packaging::{Digest, PluginName};
use semver::Version;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::state::time;

/// One change of the set of plugins.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Entry {
    /// Its number. Every entry of a file has a higher one than those before it, whichever host wrote it.
    pub number: u64,
    /// When it happened.
    #[serde(with = "time")]
    pub at: SystemTime,
    /// The process of the host that did it.
    pub host: u32,
    /// Tells the runs of hosts apart, which may have the same process number one after the other, or at
    /// the same time in different containers.
    pub run: u64,
    /// What happened.
    pub change: Change,
    /// Why.
    pub why: Why,
    /// The build that it happened to.
    #[serde(flatten)]
    pub build: Build,
    /// The build that answered before, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Revision>,
    /// How many entries of this host before it are not in the file, because they could not be written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missing: u64,
}

/// One build of a plugin, as one host has it.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Build {
    /// The plugin.
    pub plugin: PluginName,
    /// Its version.
    pub version: Version,
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// The number of the generation, which begins at 1 for each plugin of a host.
    pub generation: u64,
    /// The file that the bytes were read from. In a history's file, what is not UTF-8 in it is replaced.
    #[serde(with = "lossy")]
    pub origin: PathBuf,
}

/// Which build of a plugin.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Revision {
    /// Its version.
    pub version: Version,
    /// The SHA-256 of its bytes.
    pub digest: Digest,
}

/// The plugins that a host had loaded at one moment.
pub type Set = BTreeMap<PluginName, Revision>;

/// What happened to a plugin.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// It was not loaded and is.
    Loaded,
    /// Another build of it answers.
    Upgraded,
    /// It is loaded no more.
    Unloaded,
    /// An earlier build of it answers again.
    RolledBack,
    /// The same build answers from another place: out of the host's process, or in it again.
    Moved,
    /// It answers calls again. It was loaded all along.
    Started,
    /// It answers no calls for the time being. It stays loaded.
    Stopped,
}

/// Why it happened.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Why {
    /// The app or an operator asked for it.
    Asked,
    /// The files of the plugin changed.
    Watched,
    /// The host decided it, for instance to go back from a build that fails.
    Automatic,
    /// It happened to a plugin that this one depends on.
    Cascade,
    /// It was tried on a part of the calls before.
    Canary,
    /// It was one of several changes that happen together or not at all.
    Together,
}

impl Entry {
    /// Does to `set` what happened.
    pub(super) fn apply(&self, set: &mut Set) {
        let Build {
            plugin,
            version,
            digest,
            ..
        } = &self.build;
        match self.change {
            Change::Loaded | Change::Upgraded | Change::RolledBack | Change::Moved => {
                let (version, digest) = (version.clone(), *digest);
                set.insert(plugin.clone(), Revision { version, digest });
            }
            Change::Unloaded => {
                set.remove(plugin);
            }
            Change::Started | Change::Stopped => {}
        }
    }
}

impl Change {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Upgraded => "upgraded",
            Self::Unloaded => "unloaded",
            Self::RolledBack => "rolled_back",
            Self::Moved => "moved",
            Self::Started => "started",
            Self::Stopped => "stopped",
        }
    }
}

impl Why {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Watched => "watched",
            Self::Automatic => "automatic",
            Self::Cascade => "cascade",
            Self::Canary => "canary",
            Self::Together => "together",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Paths as text, since not all of them are.
mod lossy {
    use super::{Cow, Deserialize, Deserializer, Path, PathBuf, Serializer};

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&path.to_string_lossy())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<PathBuf, D::Error> {
        let path = <Cow<'de, str>>::deserialize(deserializer)?;
        Ok(PathBuf::from(path.into_owned()))
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
