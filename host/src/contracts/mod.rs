//! Plugins by what they offer. Plugins written for Skarlso's go-plugin-framework say which contracts they fulfil, and
//! so can those that are compiled into the app.
//!
//! - [`options`]: how plugins of the framework are run.
//! - [`settings`]: what the host was told about them, and about the configuration of all.
//! - [`offered`]: what one plugin offers.
//! - [`discovery`]: plugins without a `plugin.json`, by the framework's rules.
//! - [`lookup`]: who offers a contract.
//! - [`error`]: why nobody does.

mod discovery;
mod error;
mod lookup;
mod offered;
mod options;
mod settings;

pub use discovery::{ContractDiscovery, SkippedProgram};
pub use error::ContractError;
pub use lookup::{Contract, Offer};
pub use offered::ContractType;
pub(crate) use offered::Offered;
pub use options::{ContractFilter, ContractOptions};
pub(crate) use settings::{Asked, Settings};
