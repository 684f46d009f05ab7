//! The error that the host's functions return, and the table of all codes.

use plg_packaging::PluginName;
use thiserror::Error as ThisError;

use crate::call::CallError;
use crate::contracts::ContractError;
use crate::deps::DependencyError;
use crate::discovery::DiscoverError;
use crate::host::HostError;
use crate::loader::LoadError;
use crate::policy::PolicyError;
use crate::store::StoreError;
use crate::trust::TrustError;
use crate::upgrade::UpgradeError;

/// What went wrong, by what was attempted. Every error has a stable [`code`](Self::code), which
/// [`codes::find`](crate::codes::find) explains.
///
/// The variants are boxed so that a call that works carries little.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// A call failed.
    #[error(transparent)]
    Call(Box<CallError>),
    /// A file was not loaded.
    #[error(transparent)]
    Load(Box<LoadError>),
    /// A directory or file is no plugin.
    #[error(transparent)]
    Discover(Box<DiscoverError>),
    /// An upgrade was refused or undone.
    #[error(transparent)]
    Upgrade(Box<UpgradeError>),
    /// Plugins that depend on each other do not go together.
    #[error(transparent)]
    Dependency(Box<DependencyError>),
    /// A contract is not fulfilled.
    #[error(transparent)]
    Contract(Box<ContractError>),
    /// The store did not do it.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// The trust store refuses, or cannot be used.
    #[error(transparent)]
    Trust(Box<TrustError>),
    /// The operator's policy stands against it.
    #[error(transparent)]
    Policy(Box<PolicyError>),
    /// The host itself cannot do it.
    #[error(transparent)]
    Host(Box<HostError>),
    /// There is no plugin of that name.
    #[error("there is no plugin `{name}`{}", suggestion(similar))]
    NotFound {
        /// The name that was asked for.
        name: String,
        /// The name that may have been meant.
        similar: Option<PluginName>,
    },
    /// The plugin was unloaded.
    #[error("`{name}` is not loaded any more")]
    NotLoaded {
        /// The plugin.
        name: PluginName,
    },
    /// Another build of the plugin is loaded.
    #[error("`{name}` is loaded already, from other bytes: upgrade it instead")]
    Loaded {
        /// The plugin.
        name: PluginName,
    },
    /// The plugin is being changed by the very thread that asks, from inside its `init` or `stop`.
    #[error("`{name}` cannot be changed from inside its own `init` or `stop`")]
    Busy {
        /// The plugin.
        name: PluginName,
    },
}

impl Error {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Call(error) => error.code(),
            Self::Load(error) => error.code(),
            Self::Discover(error) => error.code(),
            Self::Upgrade(error) => error.code(),
            Self::Dependency(error) => error.code(),
            Self::Contract(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Trust(error) => error.code(),
            Self::Policy(error) => error.code(),
            Self::Host(error) => error.code(),
            Self::NotFound { .. } => "plugin.not_found",
            Self::NotLoaded { .. } => "plugin.unloaded",
            Self::Loaded { .. } => "plugin.loaded",
            Self::Busy { .. } => "plugin.busy",
        }
    }
}

impl Error {
    /// The message with those of its causes.
    pub(crate) fn in_full(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

macro_rules! boxed {
    ($($error:ty => $variant:ident),*) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::$variant(Box::new(error))
            }
        })*
    };
}

boxed!(
    CallError => Call,
    LoadError => Load,
    DiscoverError => Discover,
    UpgradeError => Upgrade,
    DependencyError => Dependency,
    ContractError => Contract,
    StoreError => Store,
    TrustError => Trust,
    PolicyError => Policy,
    HostError => Host
);

fn suggestion(similar: &Option<PluginName>) -> String {
    match similar {
        Some(similar) => format!("; did you mean `{similar}`?"),
        None => String::new(),
    }
}

/// How many letters differ, for suggestions; names are short.
pub(crate) fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, other) in right.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
