//! Calls that have to be looked at: with a deadline, among too many, with a canary or a hook about.

use std::ops::Deref;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::bulkhead::{Bulkhead, Closed, Lane, Permit, Request, Wait};
use super::care::Reason;
use super::gate::Refused;
use super::generation::Generation;
use super::labels::Entry;
use super::record::{Plugin, over};
use super::thread::{HERE, Here, Number};
use super::trial::Tripped;
use super::waits::Waiting;
use super::workers::{self, Outcome, Place, Until};
use crate::call::CallFailure;
use crate::context::Context;
use crate::error::Error;
use crate::events::{Phase, Subject};
use crate::metrics::Counts;

type Called = Result<(), Box<Error>>;

/// How a call is counted as inside.
enum Counted<'plugin> {
    /// Nobody counts yet; whoever begins to finds it in the gate.
    InGate,
    /// It is part of one that is.
    Nested,
    /// It took a place.
    With(#[expect(dead_code, reason = "it is held")] Permit<&'plugin Bulkhead>),
}

impl Plugin {
    /// Calls the current generation, or a leased one, and looks at everything that may stand against it.
    #[cold]
    pub(super) fn call_with_care(
        &self,
        here: &Here,
        leased: Option<&Arc<Generation>>,
        entry: &Arc<Entry>,
        label: &str,
        context: &mut Context,
    ) -> Called {
        if let Some(lost) = self.stuck(leased) {
            return Err(Box::new(self.failed(label, CallFailure::Stuck { lost })));
        }
        if self.care.has(Reason::Hooks) {
            let hooks = &self.ties.hooks;
            if hooks.want_calls() {
                let call = here.look_at();
                if hooks.want_call(call) {
                    return self.call_with_hooks(here, call, leased, entry, label, context);
                }
            } else if self.care.remove(Reason::Hooks) && hooks.want_calls() {
                // Somebody subscribed at this very moment.
                self.care.add(Reason::Hooks);
            }
        }
        self.call_in_time(here, leased, entry, label, context)
    }

    /// Calls a plugin that nobody may enter just now, if that passes.
    #[cold]
    pub(super) fn call_refused(
        &self,
        here: &Here,
        refused: Refused,
        entry: &Arc<Entry>,
        label: &str,
        context: &mut Context,
    ) -> Called {
        if refused == Refused::Empty && !self.is_empty(Number::of(here)) {
            return self.call_with_care(here, None, entry, label, context);
        }
        Err(Box::new(self.refused(label, refused)))
    }

    fn call_with_hooks(
        &self,
        here: &Here,
        call: u64,
        leased: Option<&Arc<Generation>>,
        entry: &Arc<Entry>,
        label: &str,
        context: &mut Context,
    ) -> Called {
        let hooks = &self.ties.hooks;
        let subject = || Subject {
            label: Some(label.to_owned()),
            ..self.subject(leased.cloned().or_else(|| self.current()).as_deref())
        };
        let outcome = match hooks.ask_about_call(call, context.end(), subject) {
            Ok(()) => self.call_in_time(here, leased, entry, label, context),
            Err(vetoed) => {
                let reason = vetoed.reason;
                Err(Box::new(self.failed(label, CallFailure::Vetoed { reason })))
            }
        };
        match &outcome {
            Ok(()) => {
                hooks.tell_of_call(call, Phase::Done, None, || (subject(), String::new()));
            }
            Err(error) => hooks.tell_of_call(call, Phase::Failed, Some(error.code()), || {
                (subject(), error.to_string())
            }),
        }
        outcome
    }

    /// Sends a call that somebody may give up to another thread, unless this is one already.
    fn call_in_time(
        &self,
        here: &Here,
        leased: Option<&Arc<Generation>>,
        entry: &Arc<Entry>,
        label: &str,
        context: &mut Context,
    ) -> Called {
        if context.is_bounded() && here.depth.get() == 0 {
            self.call_elsewhere(leased, entry, label, context)
        } else {
            self.call_chosen(here, leased, entry, label, context)
        }
    }

    fn call_elsewhere(
        &self,
        leased: Option<&Arc<Generation>>,
        entry: &Arc<Entry>,
        label: &str,
        context: &mut Context,
    ) -> Called {
        if context.is_over() {
            return Err(Box::new(self.failed(label, over(context))));
        }
        let Some(plugin) = self.own.upgrade() else {
            return Err(Box::new(self.refused(label, Refused::Empty)));
        };
        let counts = Counting::default();
        let permit = self.admit(self.sent.clone(), leased, label, context, &counts)?;
        let mut values = context.clone();
        let (entry, name) = (entry.clone(), label.to_owned());
        let leased = leased.cloned();
        let work = move || {
            let outcome = HERE.with(|here| {
                if let Some(permit) = &permit {
                    permit.goes_to(Number::of(here).get());
                }
                plugin.call_chosen(here, leased.as_ref(), &entry, &name, &mut values)
            });
            drop((leased, permit));
            (values, outcome)
        };
        let now = Instant::now();
        let end = context.end().map(|end| {
            let limit = end.saturating_duration_since(now);
            end.checked_add(grace(limit)).unwrap_or(end)
        });
        let cancel = context.canceller();
        let is_cancelled = || cancel.as_ref().is_some_and(|cancel| cancel.is_cancelled());
        let until = Until {
            end,
            is_cancelled: cancel.is_some().then_some(&is_cancelled),
        };
        match self.ties.workers.run(until, work) {
            Outcome::Done((values, outcome)) => {
                *context = values;
                outcome
            }
            Outcome::Left { left, cancelled } => {
                let failure = match left.place() {
                    Some(_) => {
                        let thread = left.thread();
                        CallFailure::Lost { thread, cancelled }
                    }
                    None if cancelled => CallFailure::Cancelled,
                    None => CallFailure::Timeout,
                };
                Self::lose(left);
                Err(Box::new(self.failed(label, failure)))
            }
            Outcome::NoThread(error) => {
                tracing::error!(
                    plugin = self.name().as_str(),
                    "no thread for a call: {error}"
                );
                Err(Box::new(self.failed(label, CallFailure::TooManyThreads)))
            }
        }
    }

    /// Calls on this very thread, in the build that the call is for.
    fn call_chosen(
        &self,
        here: &Here,
        leased: Option<&Arc<Generation>>,
        entry: &Arc<Entry>,
        label: &str,
        context: &mut Context,
    ) -> Called {
        let number = Number::of(here);
        if let Some(generation) = leased {
            let _counted = self.count(here, false, leased, label, context)?;
            return self.call_apart(here, generation, entry, label, context);
        }
        if self.care.has(Reason::Canary)
            && self.canary.takes(context.sticky_key(), here.token.get())
        {
            let _counted = self.count(here, false, None, label, context)?;
            if let Ok(pass) = self.canary.gate.enter(number) {
                let trial = self.canary.trial();
                let outcome = self.call_noted(here, &pass, pass.local(), entry, label, context);
                let generation = pass.number;
                drop(pass);
                if let Some(trial) = trial
                    && self.canary.count(&trial)
                    && let Some(others) = self.ties.others.upgrade()
                {
                    others.stage_done(self.name(), generation);
                }
                return outcome;
            }
        }
        let mut counted = self.count(here, true, None, label, context)?;
        loop {
            match self.gate.enter(number) {
                Ok(pass) => {
                    if matches!(counted, Counted::InGate) && self.care.has(Reason::Crowded) {
                        // Who began to count meanwhile may not have found this call in the gate.
                        drop(pass);
                        counted = self.count(here, true, None, label, context)?;
                        continue;
                    }
                    return self.call_noted(here, &pass, pass.local(), entry, label, context);
                }
                Err(Refused::Empty) => {
                    // Who is inside already must be let through, or it would wait for itself.
                    let held = self.paused().clone();
                    if let Some(generation) = held
                        && self.gate.is_inside(number)
                    {
                        return self.call_apart(here, &generation, entry, label, context);
                    }
                    if !self.wait_for_resume(context.end(), || context.is_over()) {
                        if context.is_over() {
                            return Err(Box::new(self.failed(label, over(context))));
                        }
                        if self.is_empty(number) {
                            return Err(Box::new(self.refused(label, Refused::Empty)));
                        }
                    }
                }
                Err(refused) => return Err(Box::new(self.refused(label, refused))),
            }
        }
    }

    /// Calls a generation that is kept by other means than the gate.
    fn call_apart(
        &self,
        here: &Here,
        generation: &Arc<Generation>,
        entry: &Arc<Entry>,
        label: &str,
        context: &mut Context,
    ) -> Called {
        let Some(counts) = self.gate.local(Number::of(here)) else {
            return Err(Box::new(self.refused(label, Refused::NoLane)));
        };
        self.call_noted(here, generation, counts, entry, label, context)
    }

    /// Calls a generation and notes that this thread is inside, for a caller that may give it up.
    fn call_noted(
        &self,
        here: &Here,
        generation: &Generation,
        counts: &Counts,
        entry: &Arc<Entry>,
        label: &str,
        context: &mut Context,
    ) -> Called {
        let place = || Place {
            plugin: self.own.clone(),
            generation: generation.number,
            label: label.to_owned(),
            number: Number::of(here).get(),
        };
        workers::inside(place, || {
            self.call_inside(here, generation, counts, entry, label, context)
        })
    }

    /// Counts this call as inside, once calls are counted. One inside another of the same thread is not
    /// counted again: it could wait for itself. A call that the gate does not show is always noted.
    fn count<'plugin>(
        &'plugin self,
        here: &Here,
        in_gate: bool,
        leased: Option<&Arc<Generation>>,
        label: &str,
        context: &Context,
    ) -> Result<Counted<'plugin>, Box<Error>> {
        let number = Number::of(here);
        if self.gate.is_inside(number) {
            return Ok(Counted::Nested);
        }
        let crowded = self.care.has(Reason::Crowded) || self.care.is_beyond(number);
        if !crowded && in_gate {
            return Ok(Counted::InGate);
        }
        let begin = || {
            self.care.add(Reason::Crowded);
            self.gate.inside()
        };
        let wait = Waiting {
            waits: &self.ties.waits,
            thread: number.get(),
            plugin: self,
        };
        let counts = Counting {
            thread: Some(number.get()),
            begin: crowded.then_some(&begin),
            waits: (here.depth.get() > 0).then_some(&wait),
        };
        let permit = self.admit(&self.bulkhead, leased, label, context, &counts)?;
        Ok(permit.map_or(Counted::Nested, Counted::With))
    }

    fn admit<B: Deref<Target = Bulkhead>>(
        &self,
        bulkhead: B,
        leased: Option<&Arc<Generation>>,
        label: &str,
        context: &Context,
        counts: &Counting<'_>,
    ) -> Result<Option<Permit<B>>, Box<Error>> {
        let is_over = || match self.stuck(leased) {
            Some(_) => Some(Closed::Stuck),
            None => context.is_over().then_some(Closed::Late),
        };
        let request = Request {
            thread: counts.thread,
            begin: counts.begin,
            is_inside: &|lane| self.gate.is_still_inside(*lane),
            deadline: context.end(),
            is_over: &is_over,
            waits: counts.waits,
        };
        Bulkhead::enter(bulkhead, &request).map_err(|closed| {
            let limits = &self.ties.limits;
            let failure = match closed {
                Closed::Full => CallFailure::Overloaded {
                    in_flight: limits.in_flight,
                    queue: limits.queue,
                },
                Closed::Late => over(context),
                Closed::Stuck => CallFailure::Stuck {
                    lost: self.stuck(leased).unwrap_or_default(),
                },
            };
            Box::new(self.failed(label, failure))
        })
    }

    /// Waits until calls are no longer held back; says whether they were.
    pub(super) fn wait_for_resume(&self, end: Option<Instant>, is_over: impl Fn() -> bool) -> bool {
        let mut paused = self.paused();
        if paused.is_none() {
            return false;
        }
        while paused.is_some() {
            if is_over() {
                return false;
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let limit = left
                .unwrap_or(LOOK)
                .min(LOOK)
                .max(Duration::from_micros(10));
            let waited = self.resumed.wait_timeout(paused, limit);
            paused = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Holds new calls back from now on.
    pub(super) fn pause(&self, generation: Arc<Generation>) {
        *self.paused() = Some(generation);
    }

    /// Lets calls that were held back go on.
    pub(super) fn resume(&self) {
        self.paused().take();
        self.resumed.notify_all();
    }

    /// Looks whether a failure of `generation` was one too many.
    #[cold]
    pub(super) fn judge(&self, generation: &Generation, panicked: bool) {
        let canary = self.canary.trial_of(generation.number);
        let trials = [canary.as_deref(), generation.trial.get()];
        for trial in trials.into_iter().flatten() {
            if let Some(why) = trial.failed(panicked)
                && let Some(others) = self.ties.others.upgrade()
            {
                others.tripped(self.name(), generation.number, why);
            }
        }
        let conduct = generation.conduct.as_ref();
        if let Some(Tripped(why)) = conduct.and_then(|conduct| conduct.failed(panicked))
            && let Some(others) = self.ties.others.upgrade()
        {
            others.misbehaved(self.name(), generation.number, why);
        }
    }

    /// What events say of a generation of this plugin.
    pub(crate) fn subject(&self, generation: Option<&Generation>) -> Subject {
        // The digest may have to be computed.
        let told = self.ties.hooks.are_listening();
        Subject {
            version: generation.map(|generation| generation.manifest.version.clone()),
            digest: generation.filter(|_| told).and_then(Generation::digest),
            generation: generation.map(|generation| generation.number),
            path: generation.map(|generation| generation.origin.clone()),
            ..Subject::plugin(self.name())
        }
    }
}

/// What is counted.
#[derive(Default)]
struct Counting<'a> {
    thread: Option<usize>,
    begin: Option<&'a dyn Fn() -> Vec<Lane>>,
    waits: Option<&'a dyn Wait>,
}

/// Code that looks at its deadline ends a little after it; that is no lost thread.
fn grace(limit: Duration) -> Duration {
    (limit / 10).clamp(Duration::from_millis(5), Duration::from_millis(50))
}

/// How often a call that is held back looks whether its time is over.
const LOOK: Duration = Duration::from_millis(20);
