//! `plg.lock`: which bytes are installed, of what, and from where. To replace it is to change the set.

use std::collections::BTreeMap;

use plg_packaging::bundle::Target;
use plg_packaging::{Digest, PluginName};
use semver::Version;
use serde::{Deserialize, Serialize};

use super::set::{Entry, Set};

/// What the lock file says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Pins {
    format: u64,
    /// The number of the set in force.
    pub generation: u64,
    /// The digest of the file of that set, which has more to say; the first set has none.
    pub set: Option<Digest>,
    /// The plugins, by name.
    pub plugins: Vec<Pin>,
}

/// What the lock file says of a plugin.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Pin {
    /// The plugin.
    pub name: PluginName,
    /// Its version.
    pub version: Version,
    /// Where the bundle came from.
    pub source: String,
    /// What identifies the bundle.
    pub digest: Digest,
    /// The library of each platform that the bundle is for.
    pub platforms: BTreeMap<Target, Digest>,
}

impl Pins {
    pub(super) const FORMAT: u64 = 1;

    /// What the lock file says while this set is in force, the file of which has that digest.
    pub(super) fn of(set: &Set, digest: Option<Digest>) -> Self {
        Self {
            format: Self::FORMAT,
            generation: set.number,
            set: digest,
            plugins: set.plugins.iter().map(Pin::of).collect(),
        }
    }

    pub(super) fn has_plugins_of(&self, set: &Set) -> bool {
        self.plugins == Self::of(set, None).plugins
    }

    /// The first thing that this set says otherwise.
    pub(super) fn difference(&self, set: &Set, digest: Option<Digest>) -> Option<String> {
        let expected = Self::of(set, digest);
        let number = set.number;
        for pin in &expected.plugins {
            let name = &pin.name;
            match self.plugins.iter().find(|other| other.name == *name) {
                None => return Some(format!("it lacks `{name}`, which the set {number} has")),
                Some(found) if found != pin => return Some(pin.against(found, number)),
                Some(_) => {}
            }
        }
        let is_other = |pin: &&Pin| set.plugin(&pin.name).is_none();
        if let Some(Pin { name, .. }) = self.plugins.iter().find(is_other) {
            return Some(format!("it has `{name}`, which the set {number} lacks"));
        }
        if self.set != digest {
            return Some(format!("the file of the set {number} is another one"));
        }
        (*self != expected)
            .then(|| format!("it lists the plugins of the set {number} in another way"))
    }
}

impl Pin {
    fn of(entry: &Entry) -> Self {
        Self {
            name: entry.name.clone(),
            version: entry.version.clone(),
            source: entry.source.clone(),
            digest: entry.digest,
            platforms: entry.platforms.clone(),
        }
    }

    fn against(&self, found: &Self, number: u64) -> String {
        let (what, expected, found) = if self.version != found.version {
            (
                "the version",
                self.version.to_string(),
                found.version.to_string(),
            )
        } else if self.digest != found.digest {
            (
                "the digest",
                self.digest.to_string(),
                found.digest.to_string(),
            )
        } else if self.source != found.source {
            ("the source", self.source.clone(), found.source.clone())
        } else {
            let name = &self.name;
            return format!("it has other libraries for `{name}` than the set {number}");
        };
        let name = &self.name;
        format!("{what} of `{name}` is {expected} in the set {number}, and {found} in it")
    }
}
