//! What the operator lets each plugin do: where it runs, what it may reach, and what becomes of one that
//! misbehaves.
//!
//! - `level`: how far a plugin is trusted.
//! - `rules`: the operator's [`Policy`].
//! - `placement`: where a build runs, and why there.
//! - `error`: why it runs nowhere.

mod error;
mod level;
mod placement;
mod rules;

pub use error::PolicyError;
pub use level::Level;
pub use rules::{Policy, Rule};

pub(crate) use placement::{Placed, Placement};
