//! A program around an entry point.

use std::collections::BTreeMap;
use std::panic;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;

use super::call::Call;
use super::codec::Values;
use super::lend;
use super::log::log;
use super::plugin::{Answer, Plugin, Request, Response};
use super::serve::serve;
use super::wire::Config;
use crate::context::Level;
use crate::error::Error;
use crate::export::{self, Entry, Restore};
use crate::value::Value;

/// Serves `execute`; `manifest` is the text of `plugin.json`. It is all that a `main` does:
/// `process::run(execute, include_str!("../plugin.json"))`.
///
/// See [`serve`] for what it returns.
#[must_use]
pub fn run(execute: Entry, manifest: &'static str) -> ExitCode {
    Program::new(execute, manifest).run()
}

/// The operator's configuration for this plugin, as values; empty outside of [`Program::run`].
#[must_use]
pub fn config() -> &'static BTreeMap<String, Value> {
    static NONE: BTreeMap<String, Value> = BTreeMap::new();
    CONFIG.get().unwrap_or(&NONE)
}

static CONFIG: OnceLock<BTreeMap<String, Value>> = OnceLock::new();

/// A program around an entry point, and what else it does.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// use plg_plugin_api::process::{Program, Response};
/// use plg_plugin_api::{Context, Error};
///
/// fn execute(ctx: &mut Context<'_>) -> Result<(), Error> {
///     ctx.set("label", ctx.label())
/// }
///
/// fn stop(_: &mut Context<'_>) -> Result<(), Error> {
///     Ok(())
/// }
///
/// fn main() -> ExitCode {
///     Program::new(execute, r#"{ "name": "echo", "version": "0.1.0" }"#)
///         .stop(stop)
///         .http(|request| Response::text(200, request.path()))
///         .run()
/// }
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "a program does nothing before it is run"]
pub struct Program {
    execute: Entry,
    manifest: &'static str,
    init: Option<Entry>,
    stop: Option<Entry>,
    state: Option<State>,
    http: Option<fn(&Request) -> Response>,
}

/// What outlives an upgrade.
#[derive(Clone, Copy, Debug)]
struct State {
    version: u32,
    save: Entry,
    restore: Restore,
}

impl Program {
    /// A program that answers calls with `execute`; `manifest` is the text of `plugin.json`.
    pub const fn new(execute: Entry, manifest: &'static str) -> Self {
        Self {
            execute,
            manifest,
            init: None,
            stop: None,
            state: None,
            http: None,
        }
    }

    /// Runs once before the first call, over the operator's configuration as values; an error ends the program.
    pub const fn init(mut self, init: Entry) -> Self {
        self.init = Some(init);
        self
    }

    /// Runs after the last call.
    pub const fn stop(mut self, stop: Entry) -> Self {
        self.stop = Some(stop);
        self
    }

    /// What outlives an upgrade: `save` puts the state into the context, in the form of that `version`, and
    /// `restore` of the next build takes it over. No other call runs meanwhile.
    pub const fn state(mut self, version: u32, save: Entry, restore: Restore) -> Self {
        self.state = Some(State {
            version,
            save,
            restore,
        });
        self
    }

    /// Answers requests that are not part of the protocol, which the host passes on from its users.
    pub const fn http(mut self, http: fn(&Request) -> Response) -> Self {
        self.http = Some(http);
        self
    }

    /// Serves it; see [`serve`].
    #[must_use]
    pub fn run(self) -> ExitCode {
        panic::set_hook(Box::new(|info| {
            export::note_panic(info);
            log(Level::Error, info);
        }));
        // What is no manifest has no version, and the host says so.
        let version = serde_json::from_str::<Versioned>(self.manifest)
            .map(|manifest| manifest.version)
            .unwrap_or_default();
        serve(Served {
            program: self,
            version,
        })
    }
}

#[derive(Deserialize)]
struct Versioned {
    version: String,
}

struct Served {
    program: Program,
    version: String,
}

impl Plugin for Served {
    fn version(&self) -> &str {
        &self.version
    }

    fn capabilities(&self) -> &str {
        self.program.manifest
    }

    fn start(&self, config: &Config) -> Result<(), Error> {
        let values = config.values();
        // A process is started once.
        let _ = CONFIG.set(values.0.iter().cloned().collect());
        match self.program.init {
            Some(init) => lend::aside(values, init),
            None => Ok(()),
        }
    }

    fn execute(&self, call: &Arc<Call>, values: Values) -> Answer {
        lend::run(call, values, self.program.execute)
    }

    fn state_version(&self) -> Option<u32> {
        self.program.state.map(|state| state.version)
    }

    fn save(&self, call: &Arc<Call>) -> Answer {
        match self.program.state {
            Some(state) => lend::run(call, Values::default(), state.save),
            None => Answer::default(),
        }
    }

    fn restore(&self, call: &Arc<Call>, values: Values) -> Answer {
        match self.program.state {
            Some(state) => lend::restore(call, values, state.restore),
            None => Answer::default(),
        }
    }

    fn http(&self, request: &Request) -> Response {
        match self.program.http {
            Some(http) => http(request),
            None => Response::text(404, "not found"),
        }
    }

    fn stop(&self) {
        if let Some(Err(error)) = self
            .program
            .stop
            .map(|stop| lend::aside(Values::default(), stop))
        {
            log(Level::Error, format_args!("failed to stop: {error}"));
        }
    }
}
