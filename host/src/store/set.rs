//! A set: everything that is installed at a time. Each change makes a new one, with the next number.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use plg_packaging::bundle::Target;
use plg_packaging::manifest::Dependency;
use plg_packaging::{Digest, Permission, PluginName};
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

use crate::deps::Package;
use crate::state::time;

/// Everything that is installed at a time.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Set {
    /// The version of the format.
    pub(super) format: u64,
    /// Its number; 0 is the empty set that every store begins with.
    pub number: u64,
    /// When it came into force.
    #[serde(with = "time")]
    pub at: SystemTime,
    /// What made it.
    pub change: Change,
    /// The set that an undo goes back to; `None` when there is none.
    pub before: Option<u64>,
    /// The plugins, by name.
    pub plugins: Vec<Entry>,
}

/// A plugin that is installed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Entry {
    /// The plugin.
    pub name: PluginName,
    /// Its version.
    pub version: Version,
    /// What identifies the bundle; the build has this name.
    pub digest: Digest,
    /// Where the bundle came from.
    pub source: String,
    /// Who signed it, as the trust store names them; `None` for nobody who is known.
    pub signer: Option<String>,
    /// The digest of the signature that its build came with, which no list has.
    pub signature: Option<Digest>,
    /// How far it is trusted.
    pub level: String,
    /// The library of each platform that the bundle is for.
    pub platforms: BTreeMap<Target, Digest>,
    /// How many files are unpacked here.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What it depends on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dependencies: BTreeMap<PluginName, Needed>,
    /// What it asks the operator for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<Permission>,
}

/// Which versions of a plugin another one needs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Needed {
    /// Those that will do.
    pub version: VersionReq,
    /// Whether it can do without.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// What made a set of the one before.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Change {
    /// Nothing yet.
    Nothing {},
    /// Plugins came, and others may have been replaced.
    Install {
        /// Those.
        plugins: Vec<PluginName>,
    },
    /// Plugins were replaced by other builds of them.
    Upgrade {
        /// Those.
        plugins: Vec<PluginName>,
    },
    /// Plugins went.
    Remove {
        /// Those.
        plugins: Vec<PluginName>,
    },
    /// An earlier set came back.
    Undo {
        /// Its number.
        to: u64,
    },
}

/// A change of one plugin.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// What was installed.
    pub from: Option<Entry>,
    /// What is.
    pub to: Option<Entry>,
}

impl Set {
    pub(super) const FORMAT: u64 = 1;

    /// What every store begins with.
    pub(super) fn empty() -> Self {
        Self {
            format: Self::FORMAT,
            number: 0,
            at: SystemTime::UNIX_EPOCH,
            change: Change::Nothing {},
            before: None,
            plugins: Vec::new(),
        }
    }

    /// The plugin of that name.
    #[must_use]
    pub fn plugin(&self, name: &PluginName) -> Option<&Entry> {
        let place = self.plugins.binary_search_by(|entry| entry.name.cmp(name));
        place.ok().and_then(|place| self.plugins.get(place))
    }

    /// What has to be changed to get from `earlier` to this set, by name.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Vec<Difference> {
        let mut pairs: BTreeMap<&PluginName, (Option<&Entry>, Option<&Entry>)> = BTreeMap::new();
        for entry in &earlier.plugins {
            pairs.entry(&entry.name).or_default().0 = Some(entry);
        }
        for entry in &self.plugins {
            pairs.entry(&entry.name).or_default().1 = Some(entry);
        }
        let differing = pairs.into_values().filter(|(from, to)| from != to);
        differing
            .map(|(from, to)| Difference {
                from: from.cloned(),
                to: to.cloned(),
            })
            .collect()
    }

    pub(super) fn packages(&self) -> Vec<Package> {
        self.plugins.iter().map(Entry::package).collect()
    }
}

impl Entry {
    pub(super) fn package(&self) -> Package {
        let package = Package::new(self.name.clone(), self.version.clone());
        let needed = self.dependencies.iter();
        needed.fold(package, |package, (on, needed)| {
            let dependency = Dependency::new(needed.version.clone(), needed.optional);
            package.with(on.clone(), dependency)
        })
    }
}

impl From<&Dependency> for Needed {
    fn from(dependency: &Dependency) -> Self {
        Self {
            version: dependency.version.clone(),
            optional: dependency.optional,
        }
    }
}

impl Difference {
    /// The plugin.
    #[must_use]
    pub fn name(&self) -> Option<&PluginName> {
        let entry = self.to.as_ref().or(self.from.as_ref());
        entry.map(|entry| &entry.name)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, plugins) = match self {
            Self::Nothing {} => return f.write_str("nothing"),
            Self::Undo { to } => return write!(f, "undo to {to}"),
            Self::Install { plugins } => ("install", plugins),
            Self::Upgrade { plugins } => ("upgrade", plugins),
            Self::Remove { plugins } => ("remove", plugins),
        };
        f.write_str(verb)?;
        plugins.iter().try_for_each(|plugin| write!(f, " {plugin}"))
    }
}
