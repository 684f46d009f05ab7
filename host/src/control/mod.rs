//! Asking a host that runs: what it has loaded and where, moving plugins out of its process and back, and what
//! their processes wrote last.
//!
//! A host answers only if it was [told to](crate::Builder::control). It listens on a socket in its own private
//! directory, to processes of root and of the same user, but to none in a sandbox that the host is not in itself; one question and one answer, each a line of JSON, on a
//! connection. One thread waits for them and costs nothing while nobody asks.
//!
//! ```no_run
//! for host in plg_host::control::hosts(None) {
//!     for plugin in host.report()?.plugins {
//!         println!("{} {}: {}", host.pid(), plugin.name, plugin.transport);
//!     }
//! }
//! # Ok::<(), plg_host::control::ControlError>(())
//! ```
//!
//! - `wire`: what is asked and answered.
//! - `server`: the side of the host.
//! - `peer`: who asks, and how long that may take.
//! - `client`: the side of who asks.

mod client;
mod error;
mod peer;
mod server;
mod wire;

pub use client::{RunningHost, hosts};
pub use error::ControlError;
pub(crate) use server::Control;
pub use wire::{HostReport, Moved, PluginReport, Position, Tail};
