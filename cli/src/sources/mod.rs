//! What a plugin is made from, and waiting for it to change.
//!
//! - [`files`]: the files, and which of them changed since they were looked at last.
//! - [`watcher`]: being told that there may be something to see.
//! - [`changes`]: both together. What counts is what the files are; whatever the system tells is only a
//!   reason to look.

mod changes;
mod files;
mod watcher;

pub(crate) use changes::{Change, Changes};
