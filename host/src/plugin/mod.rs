//! One plugin: its generations, the gate that calls pass, and what is left of generations that were.
//!
//! - [`gate`]: which generation a call runs in, and when an old one is empty.
//! - [`thread`]: numbers for calling threads.
//! - [`generation`]: one loaded build.
//! - [`labels`]: names with counters.
//! - [`record`]: the plugin itself: call, publish, retire.
//! - [`handle`]: what an app holds.
//! - [`snapshot`]: what an operator sees.

pub mod gate;
pub(crate) mod generation;
mod handle;
mod labels;
pub(crate) mod record;
mod snapshot;
pub(crate) mod thread;

pub use handle::{Handle, LabelHandle, Lease};
pub use record::Unloaded;
pub use snapshot::{GenerationSnapshot, LabelSnapshot, PluginSnapshot, RetainedSnapshot};
