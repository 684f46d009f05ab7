//! What a program speaks: how it is told its configuration, how it says where it listens, how it is called, and
//! what its end means.
//!
//! - [`contracts`]: that of Skarlso's go-plugin-framework, stated in `CONTRACTS.md`.
//!
//! plg's own, stated in `PROTOCOL.md`, is what the modules around this one do where no dialect is asked.

pub(crate) mod contracts;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use plg_plugin_api::process::wire::Fault;

use super::error::{Ending, ProcessError};
use super::exchange::Exchange;
use super::launch::{Build, Ended, Running};
use super::run_directory::RunDirectory;
use crate::context::Context;
use crate::contracts::Offered;
use crate::limits::Limits;
use contracts::Contracts;

/// What a build's program speaks.
#[derive(Debug)]
pub(crate) enum Dialect {
    /// plg's own.
    Native,
    /// That of Skarlso's go-plugin-framework.
    Contracts(Box<Contracts>),
}

/// What a child is told when it starts, and what is known of it before it says anything.
pub(super) struct Told {
    /// Arguments that come after the program's own.
    pub(super) args: Vec<OsString>,
    /// What it reads from its standard input.
    pub(super) line: Vec<u8>,
    /// Whether a line can be the start line; the lines before it are passed over.
    pub(super) is_start: fn(&[u8]) -> bool,
    /// Files that it leaves where they do not go by themselves.
    pub(super) traces: Traces,
}

/// Files of a child outside its directory. They are removed when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Traces(pub(super) Vec<PathBuf>);

impl Dialect {
    /// Starts a child, and waits until it says where it listens.
    pub(super) fn launch(
        &self,
        build: &Build,
        directory: RunDirectory,
        ended: &Ended,
    ) -> Result<Running, ProcessError> {
        match self {
            Self::Native => build.launch_native(directory, ended),
            Self::Contracts(contracts) => contracts.launch(build, directory, ended),
        }
    }

    /// The contracts that the program says it offers.
    pub(super) fn offered(&self) -> Option<&Offered> {
        match self {
            Self::Native => None,
            Self::Contracts(contracts) => Some(&contracts.offered),
        }
    }

    /// How long a child may take until it takes calls.
    pub(super) fn patience(&self, limits: &Limits) -> Duration {
        match self {
            Self::Native => limits.start,
            Self::Contracts(contracts) => contracts.patience(),
        }
    }

    /// How long after an answer of `/healthz` that is not the wanted one it is asked again; `None` when that
    /// answer counts.
    pub(super) fn asks_again(&self, answer: &Result<u16, ProcessError>) -> Option<Duration> {
        match self {
            Self::Native => matches!(answer, Ok(503)).then_some(super::launch::READY),
            Self::Contracts(_) => contracts::asks_again(answer),
        }
    }

    /// Makes a call.
    pub(super) fn call(
        &self,
        exchange: &Exchange<'_>,
        context: &mut Context,
    ) -> Result<Result<(), Fault>, ProcessError> {
        match self {
            Self::Native => exchange.run(context),
            Self::Contracts(contracts) => contracts.call(exchange, context),
        }
    }

    /// Whether a child that ended so has answered all that it began.
    pub(super) fn has_answered(&self, ending: Ending) -> bool {
        match self {
            Self::Native => ending.is_success(),
            Self::Contracts(_) => false,
        }
    }

    /// Whether a child that lived so long and ended so had nothing to do, and may be started again without more.
    pub(super) fn was_idle(&self, idle: Option<Duration>, lived: Duration, ending: Ending) -> bool {
        match self {
            Self::Native => ending.is_success() && idle.is_some_and(|idle| lived >= idle),
            Self::Contracts(contracts) => contracts.was_idle(ending),
        }
    }
}

impl Told {
    /// A line of configuration and nothing else.
    pub(super) fn line(line: Vec<u8>) -> Self {
        Self {
            args: Vec::new(),
            line,
            is_start: |_| true,
            traces: Traces::default(),
        }
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        for path in &self.0 {
            contracts::remove(path);
        }
    }
}
