//! What a host that dies of a plugin leaves for the next start: which plugin, which build of it, and what
//! that was doing.
//!
//! Nothing can keep code in this process from ending it. So a host keeps a file in memory, in which each
//! thread notes which plugin it is inside; handlers of signals and of `exit` add how the process ended.
//! The pages are the kernel's, so they outlive the process, whatever it died of.
//!
//! - [`map`]: the file, from its creation to a clean end.
//! - [`format`](mod@format): what stands where in it.
//! - [`builds`]: names for what threads are inside.
//! - [`inside`]: a thread that enters and leaves.
//! - [`signals`]: the mark that a dying process adds.
//! - [`report`]: reading what dead hosts left.
//! - [`death`]: what comes of that.

mod builds;
mod death;
mod format;
mod inside;
mod map;
mod report;
mod signals;

pub(crate) use builds::Build;
pub use death::{Culprit, Death, Doing, Ending};
pub(crate) use inside::Recorded;
pub(crate) use map::LastWords;
pub(crate) use report::collect;

#[cfg(test)]
mod tests;
