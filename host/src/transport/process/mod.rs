//! A plugin that is a program of its own, in a process of its own, spoken to over a socket. What is said is
//! stated in `PROTOCOL.md`.
//!
//! - [`supervisor`]: the transport: a child is started, started again when it died, and stopped.
//! - [`restarts`]: when a child may be started again.
//! - [`pulse`], [`watching`], [`health`]: the thread that looks at children, and what it does with them.
//! - [`notices`], [`snapshot`]: what is told of them, and what an operator sees.
//! - [`program`]: which file is run, and with which arguments.
//! - [`launch`]: from a program to a child that takes calls.
//! - [`spawner`]: the thread that children are started on.
//! - [`before_exec`]: what a child does between `fork` and `exec`.
//! - [`sandbox`]: what the child may do, and how it is held to that.
//! - [`child`]: a running child, its signals and its end.
//! - [`output`]: what it writes to its standard output and error.
//! - [`run_directory`]: where its socket is.
//! - [`address`], [`connection`], [`http`]: requests and answers.
//! - [`exchange`]: one call.
//! - [`passage`]: one request to a plugin's own endpoints.
//! - [`tail`]: what it wrote last.
//! - [`dialect`]: what a program speaks, where that is not plg's own.
//! - [`error`]: why something of this failed.

mod address;
mod before_exec;
mod child;
mod connection;
pub(crate) mod dialect;
mod error;
mod exchange;
mod health;
mod http;
mod launch;
mod notices;
mod output;
mod passage;
pub(crate) mod program;
mod pulse;
mod remove;
mod restarts;
pub(crate) mod run_directory;
pub(crate) mod sandbox;
mod snapshot;
mod spawner;
mod supervisor;
mod tail;
mod watching;

pub(crate) use error::ProcessError;
#[cfg(feature = "conformance")]
pub(crate) use launch::command;
pub(crate) use pulse::Pulse;
#[cfg(feature = "conformance")]
pub(crate) use run_directory::RunDirectory;
pub(crate) use run_directory::{RunRoot, run_directories};
pub use snapshot::ProcessSnapshot;
pub(crate) use spawner::Spawner;
pub(crate) use supervisor::{Build, Given, Process};
