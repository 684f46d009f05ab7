//! Why a contract has no answer.

use plg_packaging::PluginName;
use thiserror::Error;

/// Why a contract is not fulfilled.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ContractError {
    /// No plugin that is loaded offers it.
    #[error("no plugin offers the contract `{contract}`; there is {}", list(known))]
    NotFound {
        /// The contract.
        contract: String,
        /// The contracts that are offered.
        known: Vec<String>,
    },
    /// Those who offer it do not have that type of it.
    #[error(
        "no plugin offers the type `{kind}` of the contract `{contract}`; there is {}",
        list(known)
    )]
    NoType {
        /// The contract.
        contract: String,
        /// The type.
        kind: String,
        /// The types that are offered.
        known: Vec<String>,
    },
    /// Several offer it, and nothing says which one is meant.
    #[error(
        "the contract `{contract}` is offered by {}; name the plugin",
        names(plugins)
    )]
    Ambiguous {
        /// The contract, with the type if one was asked for.
        contract: String,
        /// Who offers it.
        plugins: Vec<PluginName>,
    },
    /// The values of a call do not fit the schema that the plugin declares. It was not called.
    #[error("the values for `{kind}` of `{plugin}` do not fit its schema: {problems}")]
    Payload {
        /// The plugin.
        plugin: PluginName,
        /// The type.
        kind: String,
        /// All that does not fit.
        problems: String,
    },
    /// The schema that the plugin declares is not usable. It was not called.
    #[error("the schema of `{kind}` of `{plugin}` is not usable: {problem}")]
    Schema {
        /// The plugin.
        plugin: PluginName,
        /// The type.
        kind: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl ContractError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "contract.not_found",
            Self::NoType { .. } => "contract.type",
            Self::Ambiguous { .. } => "contract.ambiguous",
            Self::Payload { .. } => "contract.payload",
            Self::Schema { .. } => "contract.schema",
        }
    }
}

fn list(known: &[String]) -> String {
    if known.is_empty() {
        return "none".to_owned();
    }
    let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    known.join(", ")
}

fn names(plugins: &[PluginName]) -> String {
    let plugins: Vec<String> = plugins.iter().map(|name| format!("`{name}`")).collect();
    plugins.join(", ")
}
