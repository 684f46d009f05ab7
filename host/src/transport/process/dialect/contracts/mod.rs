//! The dialect of Skarlso's go-plugin-framework. What is said is stated in `CONTRACTS.md`.
//!
//! - [`capabilities`]: what a program offers, asked before it is loaded.
//! - [`start_line`]: where a child says that it listens.
//! - [`place`]: the names of its socket and lock file, and what is left of others.
//! - [`port`]: who listens on a port.
//! - [`request`]: labels and values as requests.
//! - [`answer`]: answers as values and errors.

mod answer;
pub(crate) mod capabilities;
mod place;
mod port;
mod request;
mod start_line;

use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use plg_plugin_api::process::wire::{Fault, MAX_BODY};
use serde_json::{Map, Value, json};

use super::{Told, Traces};
use crate::context::Context;
use crate::contracts::{ContractOptions, Offered};
use crate::transport::process::connection::{Address, Until};
use crate::transport::process::error::{Ending, ProcessError};
use crate::transport::process::exchange::Exchange;
use crate::transport::process::http::Answer;
use crate::transport::process::launch::{Build, Ended, Running};
use crate::transport::process::run_directory::RunDirectory;
use request::Request;

pub(super) use place::remove;

/// What is known of a program that speaks this dialect.
#[derive(Debug)]
pub(crate) struct Contracts {
    pub(crate) options: ContractOptions,
    pub(crate) tcp: bool,
    /// After how long without a call it may end.
    pub(crate) idle: Duration,
    /// What it is given, by type.
    pub(crate) config: Vec<(String, Vec<u8>)>,
    pub(crate) offered: Offered,
    pub(crate) activity: Activity,
}

/// Calls inside, and since when there are none.
#[derive(Debug)]
pub(crate) struct Activity {
    state: Mutex<(usize, Instant)>,
    swept: Once,
}

/// How often a child that is not ready yet is asked again.
const READY: Duration = Duration::from_millis(100);
/// The most bytes of the configuration: what the kernel takes as one argument.
const ARGUMENT: usize = (128 << 10) - 1;

impl Contracts {
    /// Starts a child and waits until it says where it listens.
    pub(super) fn launch(
        &self,
        build: &Build,
        directory: RunDirectory,
        ended: &Ended,
    ) -> Result<Running, ProcessError> {
        self.activity.swept.call_once(place::sweep);
        let mut again = self.tcp;
        loop {
            let place = place::choose(&build.name);
            let place = place.map_err(|source| ProcessError::RunDirectory {
                path: place::DIRECTORY.into(),
                source,
            })?;
            let config = self.config(&place.id)?;
            let mut told = Told {
                args: vec!["--config".into(), config.into()],
                line: Vec::new(),
                is_start: start_line::is_one,
                traces: Traces(place.files()),
            };
            let (child, first) = build.spawn(&directory, &told, ended)?;
            let line = match build.first_line(&child, &first) {
                // It looked for a free port, and somebody took that before it could.
                Err(ProcessError::Exited { .. }) if std::mem::take(&mut again) => continue,
                line => line?,
            };
            let address = start_line::address(&line, &place.id)?;
            if let Address::Unix(path) = &address
                && place.is_named_in(path)
                && !told.traces.0.contains(path)
            {
                told.traces.0.push(path.clone());
            }
            if let Address::Tcp(addresses) = &address {
                let held = addresses.first().map(|address| address.port());
                let held = held.map(|port| port::is_held_by(&child.fate, port));
                let why = match held {
                    Some(Ok(true)) => None,
                    Some(Err(error)) => Some(format!("nobody can tell who listens: {error}")),
                    _ => Some("it does not listen there, or not alone".to_owned()),
                };
                if let Some(why) = why {
                    return Err(ProcessError::Unhealthy { why });
                }
            }
            self.activity.begin();
            let traces = std::mem::take(&mut told.traces);
            return Ok(Running::new(build, child, address, directory, traces));
        }
    }

    pub(super) fn patience(&self) -> Duration {
        self.options.start_timeout
    }

    /// Whether a child that ended so was idle for as long as it may be. Its status says nothing: it is 1 when all is
    /// well.
    pub(super) fn was_idle(&self, ending: Ending) -> bool {
        // Its clock is not ours.
        !ending.was_killed() && self.activity.is_quiet_since(self.idle / 10 * 9)
    }

    /// Makes a call.
    pub(super) fn call(
        &self,
        exchange: &Exchange<'_>,
        context: &mut Context,
    ) -> Result<Result<(), Fault>, ProcessError> {
        let request = match Request::new(exchange.call.label, context) {
            Ok(request) => request,
            Err(fault) => return Ok(Err(fault)),
        };
        let _inside = self.activity.enter();
        let limit = self.options.timeout;
        let until = Until {
            end: context.end().or_else(|| Instant::now().checked_add(limit)),
            cancel: context.canceller(),
            fate: &exchange.running.child.fate,
        };
        let outcome = self.exchange(exchange, &request, context, &until);
        match outcome {
            Err(ProcessError::Over) if !context.is_over() => Ok(Err(Fault {
                code: "call.timeout".to_owned(),
                message: format!("no answer within {limit:?}"),
            })),
            outcome => outcome,
        }
    }

    fn exchange(
        &self,
        exchange: &Exchange<'_>,
        request: &Request,
        context: &mut Context,
        until: &Until<'_>,
    ) -> Result<Result<(), Fault>, ProcessError> {
        until.check()?;
        let mut connection = exchange.running.connect(until)?;
        connection.send(&request.bytes()?, until)?;
        let mut answer = Answer::read(&mut connection, until)?;
        let body = answer.rest(&mut connection, MAX_BODY, until)?;
        exchange.running.give_back(connection, &answer);
        let limits = exchange.call.callee.limits();
        match answer.status {
            200 => answer::accept(&body, context, limits),
            201..=299 if self.options.accept_any_2xx => answer::accept(&body, context, limits),
            300..=399 => Err(ProcessError::Redirect(answer.status)),
            status => Ok(Err(answer::fault(status, &body, limits))),
        }
    }

    /// What comes after `--config`.
    fn config(&self, id: &str) -> Result<String, ProcessError> {
        let config = json!({
            "id": id,
            "type": if self.tcp { "tcp" } else { "unix" },
            "idleTimeout": i64::try_from(self.idle.as_nanos()).unwrap_or(i64::MAX),
            "configTypes": self.config.iter().map(|(kind, data)| {
                json!({ "type": kind, "data": BASE64.encode(data) })
            }).collect::<Vec<_>>(),
        })
        .to_string();
        if config.len() > ARGUMENT {
            let bytes = config.len();
            return Err(ProcessError::TooLarge(format!(
                "the configuration has {bytes} bytes, the limit is {ARGUMENT}"
            )));
        }
        Ok(config)
    }
}

/// Whether a child that answers so is asked again. An answer is an answer, so nothing but 200 means that it is ready.
pub(super) fn asks_again(answer: &Result<u16, ProcessError>) -> Option<Duration> {
    match answer {
        Ok(200) | Err(ProcessError::Over) => None,
        _ => Some(READY),
    }
}

/// What a plugin is given, by type: what the options say, and the operator's configuration of this plugin before
/// that.
///
/// # Errors
///
/// The types that it asks for and nobody configured, if it is given no others.
pub(crate) fn config_types(
    options: &ContractOptions,
    own: &Map<String, Value>,
    declared: &[String],
) -> Result<Vec<(String, Vec<u8>)>, Vec<String>> {
    let mut types = options.config.clone();
    for (kind, value) in own {
        types.insert(kind.clone(), value.to_string().into_bytes());
    }
    if options.only_declared_config {
        let missing = declared.iter().filter(|kind| !types.contains_key(*kind));
        let missing: Vec<String> = missing.cloned().collect();
        if !missing.is_empty() {
            return Err(missing);
        }
        types.retain(|kind, _| declared.contains(kind));
    }
    Ok(types.into_iter().collect())
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            state: Mutex::new((0, Instant::now())),
            swept: Once::new(),
        }
    }
}

impl Activity {
    /// A child began to have nothing to do.
    fn begin(&self) {
        self.with(|(_, since)| *since = Instant::now());
    }

    fn enter(&self) -> Inside<'_> {
        self.with(|(inside, _)| *inside += 1);
        Inside(self)
    }

    fn is_quiet_since(&self, limit: Duration) -> bool {
        self.with(|(inside, since)| *inside == 0 && since.elapsed() >= limit)
    }

    fn with<T>(&self, look: impl FnOnce(&mut (usize, Instant)) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A call that is inside.
struct Inside<'a>(&'a Activity);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.with(|(inside, since)| {
            *inside -= 1;
            *since = Instant::now();
        });
    }
}
