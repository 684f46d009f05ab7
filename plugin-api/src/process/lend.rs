//! Functions of the ABI, run for a call that came over the protocol.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::call::Call;
use super::codec::Values;
use super::log::log;
use super::plugin::Answer;
use crate::abi::{Ctx, Str};
use crate::context::Level;
use crate::error::Error;
use crate::export::{Entry, Restore};
use crate::memory::{self, Beyond, Ended};
use crate::spare;
use crate::value::Value;

/// Runs a function of the ABI for `call` over these values: whatever it asks of its context reaches the host
/// that made the call. The function is given the context and the call's label, and answers with a
/// [`status`](crate::abi::status).
///
/// A host that isolates a library serves it so; a program made with [`Program`](super::Program) needs nothing of
/// this.
pub fn lend(call: &Arc<Call>, values: Values, function: impl FnOnce(Ctx, Str) -> i32) -> Answer {
    let beyond = Rc::new(Asking(call.clone()));
    answer(memory::lend(call.label(), values.0, beyond, function))
}

/// Runs a function of the ABI that belongs to no call, such as `init`: what it logs is written to the standard
/// error, and it reaches no other plugin.
///
/// # Errors
///
/// What the function failed with.
pub fn lend_aside(values: Values, function: impl FnOnce(Ctx, Str) -> i32) -> Result<(), Error> {
    let ended = memory::lend("", values.0, Rc::new(Aside), function);
    ended.error.map_or(Ok(()), Err)
}

/// Runs an entry point for `call`.
pub(super) fn run(call: &Arc<Call>, values: Values, entry: Entry) -> Answer {
    let beyond = Rc::new(Asking(call.clone()));
    answer(memory::run(call.label(), values.0, beyond, entry))
}

/// Runs `restore` for `call`, whose label is the version of the state.
pub(super) fn restore(call: &Arc<Call>, state: Values, restore: Restore) -> Answer {
    let beyond = Rc::new(Asking(call.clone()));
    answer(memory::restore(call.label(), state.0, beyond, restore))
}

/// Runs what belongs to no call.
pub(super) fn aside(values: Values, entry: Entry) -> Result<(), Error> {
    let ended = memory::run("", values.0, Rc::new(Aside), entry);
    ended.error.map_or(Ok(()), Err)
}

fn answer(ended: Ended) -> Answer {
    let values = ended.values.into_iter().zip(ended.set);
    let set = values.filter_map(|(entry, is_set)| {
        if is_set {
            return Some(entry);
        }
        spare::keep(entry.1);
        None
    });
    Answer {
        set: set.collect(),
        removed: ended.removed,
        error: ended.error,
    }
}

/// What a call reaches: the host, over its connection.
struct Asking(Arc<Call>);

impl Beyond for Asking {
    fn remaining(&self) -> Option<Duration> {
        let deadline = self.0.deadline()?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    fn cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    fn log(&self, level: Level, message: &str) {
        self.0.log(level, message);
    }

    fn progress(&self, done: u64, total: Option<u64>, message: &str) {
        self.0.progress(done, total, message);
    }

    fn call(
        &self,
        plugin: &str,
        label: &str,
        input: BTreeMap<String, Value>,
    ) -> Result<Vec<(String, Value)>, Error> {
        let values = self.0.call(plugin, label, input.into_iter().collect())?;
        Ok(values.0)
    }
}

/// What `init` and `stop` reach: the log.
struct Aside;

impl Beyond for Aside {
    fn remaining(&self) -> Option<Duration> {
        None
    }

    fn cancelled(&self) -> bool {
        false
    }

    fn log(&self, level: Level, message: &str) {
        log(level, message);
    }

    fn progress(&self, _done: u64, _total: Option<u64>, _message: &str) {}

    fn call(
        &self,
        plugin: &str,
        _label: &str,
        _input: BTreeMap<String, Value>,
    ) -> Result<Vec<(String, Value)>, Error> {
        let message = format!("there is no call from which `{plugin}` could be called");
        Err(Error::failed(message))
    }
}
