//! The values of a call, and what a plugin can do with them while it runs.
//!
//! - [`values`]: the [`Context`] that an app fills and reads.
//! - [`keys`]: numbers for keys, so that a hot plugin compares no text.
//! - [`frame`]: one running call, found from its token.
//! - [`table`]: the functions a plugin calls.
//! - [`outside`]: what a plugin in another process says and leaves.
//! - [`json`]: between values and JSON.

pub(crate) mod frame;
pub mod json;
mod keys;
pub(crate) mod outside;
pub(crate) mod table;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use values::Failure;
pub use values::{Cancel, Context, Progress};
