//! One plugin: its generations, the gate that calls pass, and what is left of generations that were.
//!
//! - [`gate`]: which generation a call runs in, and when an old one is empty.
//! - [`thread`]: numbers for calling threads.
//! - [`generation`]: one loaded build.
//! - [`labels`]: names with counters.
//! - [`record`]: the plugin itself, and how most calls go.
//! - [`care`]: whether a call is to be looked at; [`careful`]: how the others go.
//! - [`bulkhead`]: how many calls are inside and how many wait; [`waits`]: who waits for whom.
//! - [`workers`]: threads for calls that must be answered in time; [`lost`]: those that did not come back.
//! - [`turn`]: changing a plugin: publish, hold back, retire.
//! - [`trial`]: what a new build may do wrong; [`canary`]: a new build for a share of the calls.
//! - [`http`]: requests to its own endpoints.
//! - [`handle`]: what an app holds.
//! - [`snapshot`]: what an operator sees.

mod bulkhead;
mod canary;
mod care;
mod careful;
pub mod gate;
pub(crate) mod generation;
mod handle;
mod http;
mod labels;
mod lost;
pub(crate) mod record;
mod snapshot;
pub(crate) mod thread;
pub(crate) mod trial;
pub(crate) mod turn;
pub(crate) mod waits;
pub(crate) mod workers;

pub use canary::{CanaryOptions, CanarySnapshot};
pub use handle::{Handle, LabelHandle, Lease};
pub use lost::LostThread;
pub use snapshot::{GenerationSnapshot, LabelSnapshot, PluginSnapshot, RetainedSnapshot};
pub use trial::ReturnPolicy;
pub use turn::Unloaded;
