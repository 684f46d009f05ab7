//! The plugin itself: call, publish, retire.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use plg_packaging::{Label, PluginName};
use plg_plugin_api::abi::status;

use super::gate::{Gate, Refused, Replaced};
use super::generation::Generation;
use super::labels::{Entry, Labels};
use super::thread::{HERE, Here, Number};
use crate::builder::Faults;
use crate::call::{CallError, CallFailure};
use crate::context::frame::{Call, Callee};
use crate::context::{Context, Failure};
use crate::limits::Limits;
use crate::metrics::{Count, Counts, PLACES};
use crate::transport::{Reason, Transport, wait};

/// What became of the code of a generation that is no longer called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Unloaded {
    /// It is gone: nothing of it is mapped.
    Unmapped,
    /// It is whole and stays mapped, for this reason. The host tries again on later loads, upgrades
    /// and unloads, and on [`Host::sweep`](crate::Host::sweep).
    Retained {
        /// Why.
        reason: Reason,
    },
}

/// One plugin by name. It stays when its last generation goes, so that handles find the next one.
pub(crate) struct Plugin {
    name: PluginName,
    gate: Gate<Generation, Counts>,
    pub(super) labels: Labels,
    limits: Arc<Limits>,
    faults: Faults,
    state: Mutex<State>,
    turns: Condvar,
    /// Whether a generation was ever published; until then there is no plugin of this name for anybody.
    published: AtomicBool,
    others: Weak<dyn Others>,
}

/// The other plugins of the same host.
pub(crate) trait Others: Send + Sync {
    /// Calls one of them.
    fn call(&self, plugin: &str, label: &str, context: &mut Context) -> Result<(), crate::Error>;
}

#[derive(Default)]
struct State {
    /// The number of the newest generation.
    newest: u64,
    /// The thread that changes the plugin now. No lock is held meanwhile: a change calls the plugin.
    turn: Option<ThreadId>,
    retained: Vec<Retained>,
}

/// What is left of a generation that is no longer called.
pub(super) struct Retained {
    pub(super) number: u64,
    pub(super) version: semver::Version,
    pub(super) mapped_bytes: usize,
    pub(super) reason: Reason,
    remains: Remains,
}

enum Remains {
    /// Calls may be inside it.
    Replaced(Replaced<Generation>),
    /// Nobody is inside it, but someone may hold it.
    Held(Arc<Generation>),
    /// Nobody holds it.
    Alone(Box<Generation>),
}

/// The right to change a plugin, one thread at a time.
pub(crate) struct Turn<'plugin>(&'plugin Plugin);

impl Plugin {
    pub(crate) fn new(
        name: PluginName,
        limits: Arc<Limits>,
        faults: Faults,
        others: Weak<dyn Others>,
    ) -> Self {
        Self {
            name,
            gate: Gate::new(FIRST_LANES),
            labels: Labels::new(limits.labels.min(PLACES - 1)),
            limits,
            faults,
            state: Mutex::default(),
            turns: Condvar::new(),
            published: AtomicBool::new(false),
            others,
        }
    }

    pub(crate) fn name(&self) -> &PluginName {
        &self.name
    }

    /// Calls a label by name.
    #[inline]
    pub(crate) fn call(&self, label: &str, context: &mut Context) -> Result<(), crate::Error> {
        match self.labels.find(label) {
            Some(entry) => self.call_entry(entry, label, context),
            None => self.call_unlisted(label, context),
        }
    }

    #[cold]
    fn call_unlisted(&self, label: &str, context: &mut Context) -> Result<(), crate::Error> {
        if let Some(entry) = self.labels.find_any(label) {
            return self.call_entry(&entry, label, context);
        }
        self.check_label(label, self.current().as_deref())?;
        self.call_entry(self.labels.other(), label, context)
    }

    /// Calls a label whose counters are known.
    #[inline]
    pub(super) fn call_entry(
        &self,
        entry: &Entry,
        label: &str,
        context: &mut Context,
    ) -> Result<(), crate::Error> {
        // What runs inside is large; a closure of one call lets the access to `HERE` be inlined.
        HERE.with(|here| self.call_here(here, entry, label, context))
            .map_err(|error| *error)
    }

    /// The error is boxed so that an answer without one is a register.
    fn call_here(
        &self,
        here: &Here,
        entry: &Entry,
        label: &str,
        context: &mut Context,
    ) -> Result<(), Box<crate::Error>> {
        let pass = match self.gate.enter(Number::of(here)) {
            Ok(pass) => pass,
            Err(refused) => return Err(Box::new(self.refused(label, refused))),
        };
        self.call_inside(here, &pass, pass.local(), entry, label, context)
    }

    /// Calls a generation that is kept from going away.
    #[inline(always)]
    fn call_inside(
        &self,
        here: &Here,
        generation: &Generation,
        counts: &Counts,
        entry: &Entry,
        label: &str,
        context: &mut Context,
    ) -> Result<(), Box<crate::Error>> {
        if context.is_over() {
            return Err(Box::new(self.failed(label, over(context))));
        }
        context.forget_failure();
        let depth = self.limits.depth;
        let count = counts.at(entry.place);
        let timed = count.call();
        let call = Call {
            callee: self,
            label,
        };
        let answer = if timed {
            execute_timed(&generation.transport, here, context, &call, depth, entry)
        } else {
            generation.transport.execute(here, context, &call, depth)
        };
        if answer == Some(status::OK) {
            return Ok(());
        }
        Err(self.unanswered(label, answer, count, context))
    }

    #[cold]
    fn unanswered(
        &self,
        label: &str,
        answer: Option<i32>,
        count: &Count,
        context: &mut Context,
    ) -> Box<crate::Error> {
        count.failure();
        Box::new(self.failed(label, failure(answer, self.limits.depth, context)))
    }

    /// Calls through a lease.
    pub(super) fn call_leased(
        &self,
        generation: &Generation,
        label: &str,
        context: &mut Context,
    ) -> Result<(), crate::Error> {
        self.check_label(label, Some(generation))?;
        let entry = self.labels.find_any(label);
        let entry = entry.as_ref().unwrap_or(self.labels.other());
        HERE.with(|here| {
            let Some(counts) = self.gate.local(Number::of(here)) else {
                return Err(self.refused(label, Refused::NoLane));
            };
            self.call_inside(here, generation, counts, entry, label, context)
                .map_err(|error| *error)
        })
    }

    /// The counters of a label, for a handle that calls it often.
    pub(super) fn resolve(&self, label: &str) -> Result<Arc<Entry>, crate::Error> {
        self.check_label(label, self.current().as_deref())?;
        Ok(self.labels.entry(&self.label(label)?))
    }

    /// Refuses a label that the generation says it does not have.
    fn check_label(
        &self,
        label: &str,
        generation: Option<&Generation>,
    ) -> Result<(), crate::Error> {
        self.label(label)?;
        let Some(generation) = generation else {
            return Ok(());
        };
        let known = &generation.manifest.labels;
        if known.is_empty() || known.iter().any(|known| known.as_str() == label) {
            return Ok(());
        }
        let known = known
            .iter()
            .map(|label| label.as_str().to_owned())
            .collect();
        Err(self.failed(label, CallFailure::NoRoute { known }))
    }

    fn label(&self, label: &str) -> Result<Label, crate::Error> {
        Label::new(label).map_err(|source| {
            let excerpt: String = label.chars().take(64).collect();
            self.failed(&excerpt, CallFailure::BadLabel { source })
        })
    }

    #[cold]
    fn refused(&self, label: &str, refused: Refused) -> crate::Error {
        if !self.was_published() {
            return crate::Error::NotFound {
                name: self.name.to_string(),
                similar: None,
            };
        }
        self.failed(
            label,
            match refused {
                Refused::Empty => CallFailure::Unloaded,
                Refused::NoLane => CallFailure::TooManyThreads,
            },
        )
    }

    #[cold]
    fn failed(&self, label: &str, failure: CallFailure) -> crate::Error {
        CallError {
            plugin: self.name.clone(),
            label: label.to_owned(),
            failure,
        }
        .into()
    }

    /// The current generation, kept until the caller drops it.
    pub(crate) fn current(&self) -> Option<Arc<Generation>> {
        if !self.was_published() {
            return None;
        }
        HERE.with(|here| {
            let pass = self.gate.enter(Number::of(here)).ok()?;
            Some(pass.keep())
        })
    }

    /// The current generation, counted as leased.
    pub(super) fn lease(&self) -> Result<Arc<Generation>, crate::Error> {
        HERE.with(|here| {
            let pass = self.gate.enter(Number::of(here));
            let pass = pass.map_err(|refused| self.refused("", refused))?;
            pass.leases.fetch_add(1, Ordering::SeqCst);
            Ok(pass.keep())
        })
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = &Counts> {
        self.gate.locals()
    }

    pub(super) fn with_retained<T>(&self, read: impl FnOnce(&[Retained]) -> T) -> T {
        read(&self.lock().retained)
    }

    /// Whether a generation was ever published.
    pub(crate) fn was_published(&self) -> bool {
        self.published.load(Ordering::Acquire)
    }

    /// How many generations are retained.
    pub(crate) fn retained(&self) -> usize {
        self.lock().retained.len()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Waits until no other thread changes this plugin; `None` when the calling thread itself does,
    /// from inside the plugin's `init` or `stop`.
    pub(crate) fn take_turn(&self) -> Option<Turn<'_>> {
        let mut state = self.lock();
        while let Some(thread) = state.turn {
            if thread == thread::current().id() {
                return None;
            }
            state = self
                .turns
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.turn = Some(thread::current().id());
        Some(Turn(self))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// The number for the next generation.
    pub(crate) fn next_number(&self) -> u64 {
        let mut state = self.0.lock();
        state.newest += 1;
        state.newest
    }

    /// Makes `generation` the one that every call enters from now on, and retires the one before.
    pub(crate) fn publish(&self, generation: Option<Generation>) -> Option<Unloaded> {
        if let Some(generation) = &generation {
            for label in &generation.manifest.labels {
                self.0.labels.entry(label);
            }
            self.0.published.store(true, Ordering::Release);
        }
        let replaced = self.0.gate.publish(generation.map(Arc::new))?;
        let remains = if self.0.faults.skip_drain {
            Remains::Held(replaced.without_drain())
        } else {
            Remains::Replaced(replaced)
        };
        Some(self.settle(remains, true))
    }

    /// Retires a generation that was never published.
    pub(crate) fn discard(&self, generation: Generation) -> Unloaded {
        self.settle(Remains::Alone(Box::new(generation)), true)
    }

    /// Tries again what earlier retirements left.
    pub(crate) fn sweep(&self) -> Vec<(u64, Unloaded)> {
        let retained = std::mem::take(&mut self.0.lock().retained);
        retained
            .into_iter()
            .map(|retained| (retained.number, self.settle(retained.remains, false)))
            .collect()
    }

    fn settle(&self, remains: Remains, patient: bool) -> Unloaded {
        match self.retire(remains, patient) {
            Ok(()) => Unloaded::Unmapped,
            Err((remains, reason)) => {
                let generation = remains.generation();
                let retained = Retained {
                    number: generation.number,
                    version: generation.manifest.version.clone(),
                    mapped_bytes: generation.transport.mapped_bytes(),
                    reason,
                    remains,
                };
                tracing::info!(
                    plugin = self.0.name.as_str(),
                    generation = retained.number,
                    "retained: {reason}"
                );
                self.0.lock().retained.push(retained);
                Unloaded::Retained { reason }
            }
        }
    }

    /// Waits until nobody is inside, then until nobody holds it, then ends it.
    fn retire(&self, remains: Remains, patient: bool) -> Result<(), (Remains, Reason)> {
        let limits = self.0.limits();
        // A sweep looks and does not wait: what it finds was waited for before.
        let (drain, patience) = if patient {
            (limits.drain, limits.stop)
        } else {
            (Duration::ZERO, Duration::ZERO)
        };
        let remains = match remains {
            Remains::Replaced(replaced) => match self.drain(replaced, drain) {
                Ok(generation) => Remains::Held(generation),
                Err(replaced) => {
                    let reason = Reason::Calls(replaced.calls());
                    return Err((Remains::Replaced(replaced), reason));
                }
            },
            remains => remains,
        };
        let generation = match remains {
            Remains::Held(generation) => match sole_owner(generation, patience) {
                Ok(generation) => Box::new(generation),
                Err(generation) => {
                    let leases = generation.leases.load(Ordering::SeqCst).max(1);
                    return Err((Remains::Held(generation), Reason::Leases(leases)));
                }
            },
            Remains::Alone(generation) => generation,
            remains @ Remains::Replaced(_) => return Err((remains, Reason::Calls(0))),
        };
        let call = Call {
            callee: self.0,
            label: "",
        };
        HERE.with(|here| {
            // The plugin's `stop` runs on this thread, which must be known to later unloads.
            Number::of(here);
            generation.retire(here, &call, patience)
        })
        .map_err(|(generation, reason)| (Remains::Alone(generation), reason))
    }

    /// Waits for calls inside, unless one of them is the calling thread's own: that one cannot end
    /// before this returns, so it is left to a later sweep.
    fn drain(
        &self,
        mut replaced: Replaced<Generation>,
        limit: Duration,
    ) -> Result<Arc<Generation>, Replaced<Generation>> {
        let gate = &self.0.gate;
        let own = HERE.with(|here| gate.is_inside(Number::of(here)));
        let limit = if own { Duration::ZERO } else { limit };
        wait(limit, || replaced.is_drained(gate));
        replaced.drained(gate)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().turn = None;
        self.0.turns.notify_one();
    }
}

impl Remains {
    fn generation(&self) -> &Generation {
        match self {
            Self::Replaced(replaced) => replaced.value(),
            Self::Held(generation) => generation,
            Self::Alone(generation) => generation,
        }
    }
}

impl Callee for Plugin {
    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn call_other(&self, plugin: &str, label: &str, context: &mut Context) -> Result<(), Failure> {
        let Some(others) = self.others.upgrade() else {
            return Err(Failure {
                code: "host.closed".to_owned(),
                message: "the host is shutting down".to_owned(),
            });
        };
        others
            .call(plugin, label, context)
            .map_err(|error| Failure {
                code: error.code().to_owned(),
                message: error.to_string(),
            })
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// 64 threads find their lane without looking further.
const FIRST_LANES: usize = 64;

/// A snapshot may hold the generation for a moment; a lease does for longer.
fn sole_owner(
    generation: Arc<Generation>,
    patience: Duration,
) -> Result<Generation, Arc<Generation>> {
    wait(patience, || {
        Arc::strong_count(&generation) == 1 || generation.leases.load(Ordering::SeqCst) > 0
    });
    Arc::try_unwrap(generation)
}

/// Runs a call and records how long it takes.
#[cold]
fn execute_timed(
    transport: &Transport,
    here: &Here,
    context: &mut Context,
    call: &Call<'_>,
    depth: u32,
    entry: &Entry,
) -> Option<i32> {
    let start = Instant::now();
    let answer = transport.execute(here, context, call, depth);
    entry.latency.record(start.elapsed());
    answer
}

/// Why a call did not end well.
#[cold]
fn failure(answer: Option<i32>, depth: u32, context: &mut Context) -> CallFailure {
    let said = context.take_failure();
    let said = said.map(|failure| (failure.code, failure.message));
    match (answer, said) {
        (None, _) => CallFailure::Depth { limit: depth },
        (Some(status::PANICKED), said) => CallFailure::Panicked {
            message: said.map_or_else(|| "it did not say why".to_owned(), |(_, message)| message),
        },
        (_, Some((code, message))) if !context.is_over() => CallFailure::Failed { code, message },
        _ if context.is_over() => over(context),
        (answer, _) => CallFailure::Failed {
            code: "call.failed".to_owned(),
            message: format!(
                "it answered {} and did not say why",
                answer.unwrap_or_default()
            ),
        },
    }
}

#[cold]
fn over(context: &Context) -> CallFailure {
    if context.is_late() {
        CallFailure::Timeout
    } else {
        CallFailure::Cancelled
    }
}
