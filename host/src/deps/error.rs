//! Why plugins do not go together.

use std::fmt::{self, Display};

use plg_packaging::PluginName;
use semver::{Version, VersionReq};
use thiserror::Error;

use super::chain::{Chain, Few};

/// Why a plugin cannot be loaded, changed or unloaded because of another one.
///
/// A `path` leads from the plugin that was refused, each needing the next, to the one where it goes wrong.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum DependencyError {
    /// A plugin that is needed is not there, in no version.
    #[error("{}there is no plugin `{name}`{}", who_needs(need.as_deref()), way(path))]
    Missing {
        /// The plugin that is not there.
        name: PluginName,
        /// Who needs it; `None` when it was asked for itself.
        need: Option<Box<Need>>,
        /// From the plugin that was refused to the one that is not there.
        path: Chain,
    },
    /// No version of a plugin is right for all who need it.
    #[error(
        "no version of `{name}` will do: {needs}; available: {available}{}",
        way(path)
    )]
    Unsatisfied {
        /// The plugin that they do not agree on.
        name: PluginName,
        /// What cannot all be had at once. Those for `name` come first.
        needs: Few<Need>,
        /// The versions of `name` that there are, the newest first.
        available: Few<Offer>,
        /// From the plugin that was refused to `name`.
        path: Chain,
    },
    /// A plugin depends on itself.
    #[error("`{name}` {version} depends on itself{}", way(path))]
    Itself {
        /// The plugin.
        name: PluginName,
        /// The version that does.
        version: Version,
        /// From the plugin that was refused to that one.
        path: Chain,
    },
    /// Plugins depend on each other in a circle, so none of them can be the first.
    #[error(
        "there is no order for a cycle of dependencies: `{cycle}`{}",
        way(path)
    )]
    Cycle {
        /// The cycle, ending with the name it begins with.
        cycle: Chain,
        /// From the plugin that was refused to the first name of the cycle.
        path: Chain,
    },
    /// No answer was found in the number of steps that may be spent on one.
    #[error(
        "gave up on `{name}`: versions of what it depends on exclude each other in too many ways"
    )]
    Undecided {
        /// The plugin that was refused.
        name: PluginName,
    },
    /// A change would leave a plugin without what it needs.
    #[error("refused `{name}` {version}, which would break what depends on it: {needs}")]
    Breaks {
        /// The plugin that was to be changed.
        name: PluginName,
        /// The version that it would have.
        version: Version,
        /// What the others need instead.
        needs: Few<Need>,
    },
    /// A plugin cannot be unloaded, because loaded ones need it.
    #[error("`{name}` is in use by {dependants}")]
    InUse {
        /// The plugin that was to be unloaded.
        name: PluginName,
        /// The plugins that need it, by name.
        dependants: Few<PluginName>,
    },
}

impl DependencyError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "deps.missing",
            Self::Unsatisfied { .. } => "deps.unsatisfied",
            Self::Itself { .. } => "deps.self",
            Self::Cycle { .. } => "deps.cycle",
            Self::Undecided { .. } => "deps.undecided",
            Self::Breaks { .. } => "deps.breaks",
            Self::InUse { .. } => "deps.in_use",
        }
    }

    /// From the plugin that was refused to the one where it goes wrong, for an error that has such a way.
    #[must_use]
    pub fn path(&self) -> Option<&Chain> {
        match self {
            Self::Missing { path, .. }
            | Self::Unsatisfied { path, .. }
            | Self::Itself { path, .. }
            | Self::Cycle { path, .. } => Some(path),
            Self::Undecided { .. } | Self::Breaks { .. } | Self::InUse { .. } => None,
        }
    }
}

/// What one plugin asks of another.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Need {
    /// The plugin that asks.
    pub by: PluginName,
    /// The version of it that asks.
    pub version: Version,
    /// The plugin that is asked for.
    pub on: PluginName,
    /// The versions that will do.
    pub range: VersionReq,
    /// Whether it could do without, though not with another version.
    pub optional: bool,
}

/// A version that is available.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Offer {
    /// The version.
    pub version: Version,
    /// Whether it has what it needs itself.
    pub loadable: bool,
}

impl Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.loadable {
            true => write!(f, "{}", self.version),
            false => write!(f, "{} (not loadable itself)", self.version),
        }
    }
}

impl Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.optional {
            true => "works only with",
            false => "needs",
        };
        let Self {
            by,
            version,
            on,
            range,
            ..
        } = self;
        write!(f, "`{by}` {version} {verb} `{on} {range}`")
    }
}

fn who_needs(need: Option<&Need>) -> String {
    match need {
        Some(need) => format!("{need}, and "),
        None => String::new(),
    }
}

/// The way to the plugin that a message is about, if it says more than the message itself.
fn way(path: &Chain) -> String {
    match path.names() {
        [] | [_] | [_, _] => String::new(),
        _ => format!("; needed by way of `{path}`"),
    }
}
