//! What a host tells about what it does, and who may object.
//!
//! - [`event`]: one thing that is about to happen, happened or failed.
//! - [`hook`]: subscribers, each on a thread of its own, asked before and told after.
//! - [`stream`]: the same events as an iterator.

mod event;
mod hook;
mod stream;

pub use event::{Event, Phase, Step};
pub use hook::{Calls, Hook, HookOptions, Subscription, Verdict};
pub use stream::Events;

pub(crate) use event::Subject;
pub(crate) use hook::Hooks;
