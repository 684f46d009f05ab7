//! A plugin that is a program of its own: the native protocol, which `host/PROTOCOL.md` states.
//!
//! The entry point is the same as in a library; a `main` serves it:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use plg_plugin_api::{Context, Error, process};
//!
//! fn execute(ctx: &mut Context<'_>) -> Result<(), Error> {
//!     match ctx.label() {
//!         "greet" => {
//!             let reply = format!("Hello, {}!", ctx.get::<&str>("name")?);
//!             ctx.set("reply", reply)
//!         }
//!         other => Err(Error::unknown_label(other, &["greet"])),
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     process::run(execute, r#"{ "name": "greeter", "version": "0.1.0" }"#)
//! }
//! ```
//!
//! In earnest the second argument is `include_str!("../plugin.json")`. [`Program`] has more to set.
//!
//! # What runs where
//!
//! Every connection of the host has a thread, and calls run on it: several at once. A panic is the answer
//! `call.panicked`; an abort, a segmentation fault or an endless loop is the program's own, and the host starts
//! it again. The program exits when its host asks it to, when its host is gone, and after
//! [`idle_ms`](wire::Config::idle_ms) without a call.
//!
//! # Layers
//!
//! [`wire`] has the records, for both sides of the protocol. [`serve`] serves anything that is a [`Plugin`];
//! [`Program`] is one that has an entry point, and [`lend`] runs functions of the ABI for one that has
//! a library.

mod binary;
mod call;
mod codec;
mod configuration;
mod connection;
mod form;
mod http;
mod lend;
mod life;
mod listen;
mod log;
pub mod pace;
mod pieces;
mod plugin;
mod program;
mod router;
mod serve;
mod source;
pub mod wire;

pub use call::Call;
pub use lend::{lend, lend_aside};
pub use log::log;
pub use plugin::{Answer, Plugin, Request, Response};
pub use program::{Program, config, run};
pub use serve::serve;
pub use wire::Values;
