//! What a `plg` plugin links.
//!
//! A plugin is a crate of type `cdylib` with one entry point, exported by [`plugin!`] and described
//! by a `plugin.json` beside its `Cargo.toml`. This is all of one:
//!
//! ```
//! use plg_plugin_api::{Context, Error, plugin};
//!
//! fn execute(ctx: &mut Context<'_>) -> Result<(), Error> {
//!     match ctx.label() {
//!         "greet" => {
//!             let name: &str = ctx.get("name")?;
//!             let reply = format!("Hello, {name}!");
//!             ctx.set("reply", reply)
//!         }
//!         other => Err(Error::unknown_label(other, &["greet"])),
//!     }
//! }
//!
//! # /*
//! plugin!(execute, labels: ["greet"]);
//! # */
//! # plugin!(execute, labels: ["greet"], manifest: b"");
//! # fn main() {}
//! ```
//!
//! `cargo build --lib` makes the library that a host loads.
//!
//! # What runs where
//!
//! In process a plugin is part of the host: it can do what the host can do, and an abort, a
//! segmentation fault or an endless loop in it is the host's. A panic is not: the exported shims catch
//! it and the caller gets `call.panicked`. Build with unwinding panics, the default; a plugin built
//! with `panic = "abort"` is refused.
//!
//! # Threads and state
//!
//! An entry point is called from many threads at once. State lives in a `static`; threads are ended
//! in `stop`. On x86-64 and aarch64 with glibc the plugin then leaves the process for real when the
//! host unloads it; see [`hooks`].
//!
//! An upgrade begins with new statics. What should outlive it goes through `save` and `restore`; see
//! [`plugin!`].
//!
//! # Features
//!
//! - `testing`: `testing::Call` runs an entry point without a host.
//! - `process`: serves the entry point from a `main`, for a plugin that is a program of its own.
//! - `abi_stable`: exports the layout of the boundary, so that a host can name what differs.
//!
//! # Modules
//!
//! Authors need the items at this level. [`abi`] states the binary contract for other languages; the
//! other modules serve the host and the export macro.

pub mod abi;
mod context;
mod convert;
mod error;
pub mod export;
pub mod hooks;
mod key;
#[cfg(feature = "abi_stable")]
pub mod layout;
#[cfg(any(feature = "process", feature = "testing"))]
mod memory;
#[cfg(feature = "process")]
pub mod process;
#[cfg(any(feature = "process", feature = "testing"))]
mod spare;
#[cfg(feature = "testing")]
pub mod testing;
mod value;
pub mod view;

pub use context::{Context, Level};
pub use convert::{FromValue, IntoValue, View};
pub use error::Error;
pub use key::{AsKey, Key};
pub use value::{Kind, Value};
