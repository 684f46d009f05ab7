//! Replacing a generation while calls run.

use semver::Version;
use thiserror::Error;

use plg_packaging::PluginName;

use crate::plugin::Unloaded;

/// What an upgrade did.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Upgraded {
    /// The version that answered before.
    pub from: Version,
    /// The version that answers now.
    pub to: Version,
    /// The number of the generation that answers now.
    pub generation: u64,
    /// What became of the generation before.
    pub retired: Unloaded,
}

/// What an upgrade may do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct UpgradeOptions {
    /// Lets an older version replace a newer one.
    pub allow_downgrade: bool,
}

/// Why an upgrade was refused. The generation before goes on answering.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The new version is older.
    #[error("refused to replace `{name}` {from} by the older {to}: ask for a downgrade")]
    Downgrade {
        /// The plugin.
        name: PluginName,
        /// The version that answers.
        from: Version,
        /// The version that was given.
        to: Version,
    },
    /// The library is another plugin.
    #[error("refused to replace `{name}` by `{found}`")]
    OtherPlugin {
        /// The plugin.
        name: PluginName,
        /// The plugin that the file is.
        found: PluginName,
    },
    /// A build on trial for a share of the calls stands in the way.
    #[error("`{name}` has a canary: promote it or end it first")]
    Canary {
        /// The plugin.
        name: PluginName,
    },
    /// There is no canary.
    #[error("`{name}` has no canary")]
    NoCanary {
        /// The plugin.
        name: PluginName,
    },
    /// There is no build before.
    #[error("`{name}` has no earlier build to go back to")]
    NoPrevious {
        /// The plugin.
        name: PluginName,
    },
    /// The state could not be handed over.
    #[error("failed to {stage} for the state of `{name}`: {message} ({code})")]
    State {
        /// The plugin.
        name: PluginName,
        /// What was attempted.
        stage: &'static str,
        /// The code of what went wrong.
        code: String,
        /// What went wrong.
        message: String,
    },
    /// Too much of earlier generations is still there.
    #[error(
        "`{name}` has {retained} retained generations, the limit is {limit}: restart the process"
    )]
    NeedsRestart {
        /// The plugin.
        name: PluginName,
        /// How many.
        retained: usize,
        /// The limit.
        limit: usize,
    },
}

impl UpgradeError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Downgrade { .. } => "upgrade.rollback_denied",
            Self::OtherPlugin { .. } => "upgrade.other_plugin",
            Self::Canary { .. } => "upgrade.canary",
            Self::NoCanary { .. } => "upgrade.no_canary",
            Self::NoPrevious { .. } => "upgrade.no_previous",
            Self::State { .. } => "upgrade.state",
            Self::NeedsRestart { .. } => "upgrade.needs_restart",
        }
    }
}
