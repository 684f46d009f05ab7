//! A plugin that is a program of its own, in a process of its own, spoken to over a socket. What is said is
//! stated in `PROTOCOL.md`.
//!
//! - [`supervisor`]: the transport: a child is started, started again when it died, and stopped.
//! - [`program`]: which file is run, and with which arguments.
//! - [`launch`]: from a program to a child that takes calls.
//! - [`spawner`]: the thread that children are started on.
//! - [`before_exec`]: what a child does between `fork` and `exec`.
//! - [`sandbox`]: what the child may do, and how it is held to that.
//! - [`child`]: a running child, its signals and its end.
//! - [`output`]: what it writes to its standard output and error.
//! - [`run_directory`]: where its socket is.
//! - [`connection`], [`http`]: requests and answers.
//! - [`exchange`]: one call.
//! - [`dialect`]: what a program speaks, where that is not plg's own.
//! - [`error`]: why something of this failed.

mod before_exec;
mod child;
mod connection;
pub(crate) mod dialect;
mod error;
mod exchange;
mod http;
mod launch;
mod output;
pub(crate) mod program;
pub(crate) mod run_directory;
pub(crate) mod sandbox;
mod spawner;
mod supervisor;

pub(crate) use error::ProcessError;
pub(crate) use run_directory::RunRoot;
pub(crate) use spawner::Spawner;
pub(crate) use supervisor::{Build, Given, Process};
