//! What a plugin can change about the process and must not, compared before and after.
//!
//! In process there is no boundary: a plugin can change the working directory, close standard output or
//! install a signal handler, and what breaks is something else, later. That cannot be prevented. It can
//! be seen: a [`Sentinel`] is a picture of that state, cheap enough to be taken around every load and
//! every few seconds, and [`Sentinel::changes`] says what is different.
//!
//! ```
//! use plg_host::sentinel::Sentinel;
//!
//! let before = Sentinel::take();
//! // A plugin is loaded, or called.
//! for change in before.changes(&Sentinel::take()) {
//!     eprintln!("warning[{}]: {change}", change.code());
//! }
//! ```
//!
//! Taking one changes nothing, waits for nobody and cannot be harmed by a thread that changes the same
//! state meanwhile. What the system does not say, for instance without `/proc`, is left out of the
//! picture and never reported.

mod change;
mod environment;
mod memory;
mod picture;
pub(crate) mod system;

pub use change::{Change, What};
pub use picture::Sentinel;
