//! The plugin itself, and how most calls go.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use plg_packaging::{Label, PluginName};
use plg_plugin_api::abi::status;

use super::bulkhead::{Bulkhead, Lane, Queue};
use super::canary::{self, Canary, CanarySnapshot};
use super::care::{self, Care};
use super::gate::{Gate, Refused};
use super::generation::Generation;
use super::labels::{Entry, Labels};
use super::lost::Lost;
use super::thread::{HERE, Here, Number};
use super::trial::Tripped;
use super::turn::{Retained, State};
use super::waits::Waits;
use super::workers::Workers;
use crate::builder::Faults;
use crate::call::{CallError, CallFailure};
use crate::context::frame::{Call, Callee};
use crate::context::{Context, Failure};
use crate::events::Hooks;
use crate::last_words::Doing;
use crate::limits::Limits;
use crate::metrics::{Count, Counts, PLACES};
use crate::transport::Transport;

/// One plugin by name. It stays when its last generation goes, so that handles find the next one.
pub(crate) struct Plugin {
    name: PluginName,
    pub(super) gate: Gate<Generation, Counts>,
    pub(super) care: Care,
    pub(super) labels: Labels,
    pub(super) canary: Canary,
    /// Counts calls inside once there are more threads than may be.
    pub(super) bulkhead: Bulkhead,
    /// Counts calls that were given to workers.
    pub(super) sent: Arc<Bulkhead>,
    pub(super) lost: Mutex<Lost>,
    state: Mutex<State>,
    pub(super) turns: Condvar,
    /// The generation that new calls are held back from.
    pub(super) paused: Mutex<Option<Arc<Generation>>>,
    pub(super) resumed: Condvar,
    /// Whether a generation was ever published; until then there is no plugin of this name for anybody.
    pub(super) published: AtomicBool,
    pub(super) ties: Ties,
    pub(super) own: Weak<Self>,
}

/// What a plugin shares with the others of its host.
#[derive(Clone)]
pub(crate) struct Ties {
    pub(crate) limits: Arc<Limits>,
    pub(crate) faults: Faults,
    pub(crate) hooks: Arc<Hooks>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) waits: Arc<Waits>,
    pub(crate) others: Weak<dyn Others>,
}

/// The other plugins of the same host, and the host itself.
pub(crate) trait Others: Send + Sync {
    /// Calls one of them.
    fn call(&self, plugin: &str, label: &str, context: &mut Context) -> Result<(), crate::Error>;

    /// A generation on trial failed.
    fn tripped(&self, plugin: &PluginName, generation: u64, why: Tripped);

    /// A generation does in this process what it should not.
    fn misbehaved(&self, plugin: &PluginName, generation: u64, why: String);

    /// A canary had the calls of its stage.
    fn stage_done(&self, plugin: &PluginName, generation: u64);
}

impl Plugin {
    pub(crate) fn new(name: PluginName, ties: Ties) -> Arc<Self> {
        let limits = ties.limits.clone();
        let queue = Queue::new(limits.queue);
        Arc::new_cyclic(|own| Self {
            name,
            gate: Gate::new(FIRST_LANES),
            care: Care::new(limits.in_flight),
            labels: Labels::new(limits.labels.min(PLACES - 1)),
            canary: Canary::new(FIRST_LANES),
            bulkhead: Bulkhead::new(limits.in_flight, &queue, false),
            sent: Arc::new(Bulkhead::new(limits.in_flight, &queue, true)),
            lost: Mutex::default(),
            state: Mutex::default(),
            turns: Condvar::new(),
            paused: Mutex::default(),
            resumed: Condvar::new(),
            published: AtomicBool::new(false),
            own: own.clone(),
            ties,
        })
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
        entry: &Arc<Entry>,
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
        entry: &Arc<Entry>,
        label: &str,
        context: &mut Context,
    ) -> Result<(), Box<crate::Error>> {
        let number = Number::of(here);
        let pass = match self.gate.enter(number) {
            Ok(pass) => pass,
            Err(refused) => return self.call_refused(here, refused, entry, label, context),
        };
        // Read inside the gate: who begins to count waits for the calls that did not see it.
        if self.care.is_needed(number) | context.is_bounded() {
            drop(pass);
            return self.call_with_care(here, None, entry, label, context);
        }
        self.call_inside(here, &pass, pass.local(), entry, label, context)
    }

    /// Calls a generation that is kept from going away.
    #[inline(always)]
    pub(super) fn call_inside(
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
        let depth = self.ties.limits.depth;
        let count = counts.at(entry.place);
        let timed = count.call();
        let call = Call {
            callee: self,
            label,
        };
        let recorded = generation.recorded.as_deref();
        let inside = recorded.and_then(|build| {
            let place = match entry.place {
                0 => build.place_of(label),
                place => place,
            };
            build.enter(Number::of(here), place, Doing::Call)
        });
        let answer = if timed {
            execute_timed(&generation.transport, here, context, &call, depth, entry)
        } else {
            generation.transport.execute(here, context, &call, depth)
        };
        drop(inside);
        if answer == Some(status::OK) {
            return Ok(());
        }
        Err(self.unanswered(generation, label, answer, count, context))
    }

    #[cold]
    fn unanswered(
        &self,
        generation: &Generation,
        label: &str,
        answer: Option<i32>,
        count: &Count,
        context: &mut Context,
    ) -> Box<crate::Error> {
        count.failure();
        let failure = failure(answer, self.ties.limits.depth, context);
        let panicked = matches!(failure, CallFailure::Panicked { .. });
        self.judge(generation, panicked);
        Box::new(self.failed(label, failure))
    }

    /// Calls through a lease.
    pub(super) fn call_leased(
        &self,
        generation: &Arc<Generation>,
        label: &str,
        context: &mut Context,
    ) -> Result<(), crate::Error> {
        self.check_label(label, Some(generation))?;
        let entry = self.labels.find_any(label);
        let entry = entry.as_ref().unwrap_or(self.labels.other());
        HERE.with(|here| self.call_with_care(here, Some(generation), entry, label, context))
            .map_err(|error| *error)
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
        let is_open = known.is_empty() || !generation.transport.shows_labels();
        if is_open || known.iter().any(|known| known.as_str() == label) {
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
    pub(super) fn refused(&self, label: &str, refused: Refused) -> crate::Error {
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
    pub(super) fn failed(&self, label: &str, failure: CallFailure) -> crate::Error {
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
        let enter = || {
            HERE.with(|here| {
                let pass = self.gate.enter(Number::of(here)).ok()?;
                Some(pass.keep())
            })
        };
        enter().or_else(|| {
            let paused = self.paused();
            paused.clone().or_else(enter)
        })
    }

    /// Whether there is nothing to enter, as opposed to calls being held back for a moment.
    #[cold]
    pub(super) fn is_empty(&self, number: Number) -> bool {
        // Calls are held back before the gate is emptied and go on after it is filled again, so while this
        // is locked an empty gate means what it says.
        let paused = self.paused();
        paused.is_none() && self.gate.enter(number).is_err()
    }

    /// The current generation, counted as leased.
    pub(super) fn lease(&self) -> Result<Arc<Generation>, crate::Error> {
        HERE.with(|here| {
            let number = Number::of(here);
            let pass = loop {
                match self.gate.enter(number) {
                    Err(Refused::Empty) if !self.is_empty(number) => {
                        self.wait_for_resume(None, || false);
                    }
                    pass => break pass.map_err(|refused| self.refused("", refused))?,
                }
            };
            pass.leases.fetch_add(1, Ordering::SeqCst);
            Ok(pass.keep())
        })
    }

    /// What every thread that called counted, for each of the builds that answer.
    pub(super) fn counts(&self) -> impl Iterator<Item = &Counts> {
        self.gate.locals().chain(self.canary.gate.locals())
    }

    pub(super) fn with_retained<T>(&self, read: impl FnOnce(&[Retained]) -> T) -> T {
        read(&self.lock().retained)
    }

    /// The number of the build that answers a share of the calls, if there is one.
    pub(crate) fn canary_generation(&self) -> Option<u64> {
        Some(self.canary.generation()?.number)
    }

    pub(crate) fn has_canary(&self) -> bool {
        self.canary.generation().is_some()
    }

    pub(crate) fn canary_snapshot(&self) -> Option<CanarySnapshot> {
        self.canary.snapshot(canary::tally(self.gate.locals()))
    }

    /// Whether a generation was ever published.
    pub(crate) fn was_published(&self) -> bool {
        self.published.load(Ordering::Acquire)
    }

    /// How many generations are retained.
    pub(crate) fn retained(&self) -> usize {
        self.lock().retained.len()
    }

    pub(crate) fn limits_of(&self) -> &Limits {
        &self.ties.limits
    }

    pub(super) fn faults(&self) -> Faults {
        self.ties.faults
    }

    /// The threads inside, when as many are counted as may be.
    pub(super) fn full_of(&self) -> Option<Vec<usize>> {
        let is_inside = |lane: &Lane| self.gate.is_still_inside(*lane);
        self.bulkhead.full_of(&is_inside)
    }

    /// Looks at calls from now on because a hook wants to.
    pub(crate) fn watch_calls(&self) {
        self.care.add(care::Reason::Hooks);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn paused(&self) -> MutexGuard<'_, Option<Arc<Generation>>> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Callee for Plugin {
    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn limits(&self) -> &Limits {
        &self.ties.limits
    }

    fn call_other(&self, plugin: &str, label: &str, context: &mut Context) -> Result<(), Failure> {
        let Some(others) = self.ties.others.upgrade() else {
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
pub(super) fn over(context: &Context) -> CallFailure {
    if context.is_late() {
        CallFailure::Timeout
    } else {
        CallFailure::Cancelled
    }
}
