//! Calls that have to be looked at: with a deadline, among too many, with a canary or a hook about.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::bulkhead::{Bulkhead, Closed, Permit};
use super::care::Reason;
use super::gate::Refused;
use super::generation::Generation;
use super::labels::Entry;
use super::lost::{Lost, LostThread};
use super::record::{Plugin, over};
use super::thread::{HERE, Here, Number};
use super::workers::{Left, Outcome, Until};
use crate::call::CallFailure;
use crate::context::Context;
use crate::error::Error;
use crate::events::{Phase, Step, Subject};

type Called = Result<(), Box<Error>>;

/// Code that looks at its deadline ends a little after it; that is no lost thread.
const GRACE: Duration = Duration::from_millis(20);

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
        if self.care.has(Reason::Stuck) {
            let lost = self.lost().threads().len();
            return Err(Box::new(self.failed(label, CallFailure::Stuck { lost })));
        }
        let one_in = self.ties.hooks.calls();
        if one_in == 0 {
            self.care.remove(Reason::Hooks);
        } else if here.is_sampled(one_in) {
            return self.call_with_hooks(here, leased, entry, label, context);
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
        if refused == Refused::Empty && self.paused().is_some() {
            return self.call_with_care(here, None, entry, label, context);
        }
        Err(Box::new(self.refused(label, refused)))
    }

    fn call_with_hooks(
        &self,
        here: &Here,
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
        if let Err(vetoed) = hooks.ask(Step::Call, subject) {
            let reason = vetoed.reason;
            return Err(Box::new(self.failed(label, CallFailure::Vetoed { reason })));
        }
        let outcome = self.call_in_time(here, leased, entry, label, context);
        match &outcome {
            Ok(()) => hooks.tell(Step::Call, Phase::Done, None, || (subject(), String::new())),
            Err(error) => hooks.tell(Step::Call, Phase::Failed, Some(error.code()), || {
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
        let permit = self.admit(self.sent.clone(), label, context, |_| false)?;
        let mut values = context.clone();
        let (entry, name) = (entry.clone(), label.to_owned());
        let leased = leased.cloned();
        let work = move || {
            let outcome = HERE
                .with(|here| plugin.call_chosen(here, leased.as_ref(), &entry, &name, &mut values));
            drop((leased, permit));
            (values, outcome)
        };
        let now = Instant::now();
        let end = context.end().map(|end| {
            let limit = end.saturating_duration_since(now);
            end + GRACE.min(limit / 20)
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
            Outcome::Left(left) => {
                let thread = left.thread();
                let innermost = left.innermost();
                let others = innermost.and_then(|name| self.ties.others.upgrade()?.other(&name));
                match others {
                    Some(other) => other.lose(left, label),
                    None => self.lose(left, label),
                }
                let cancelled = !context.is_late();
                let failure = CallFailure::Lost { thread, cancelled };
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
        let _permit = self.count(number, label, context)?;
        if let Some(generation) = leased {
            let Some(counts) = self.gate.local(number) else {
                return Err(Box::new(self.refused(label, Refused::NoLane)));
            };
            return self.call_inside(here, generation, counts, entry, label, context);
        }
        if self.care.has(Reason::Canary)
            && self.canary.takes(context.sticky_key(), here.token.get())
            && let Ok(pass) = self.canary.gate.enter(number)
        {
            let trial = self.canary.trial();
            let outcome = self.call_inside(here, &pass, pass.local(), entry, label, context);
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
        loop {
            match self.gate.enter(number) {
                Ok(pass) => {
                    return self.call_inside(here, &pass, pass.local(), entry, label, context);
                }
                Err(Refused::Empty) => {
                    // Who is inside already must be let through, or it would wait for itself.
                    if self.gate.is_inside(number)
                        && let Some(generation) = self.paused().clone()
                        && let Some(counts) = self.gate.local(number)
                    {
                        return self.call_inside(here, &generation, counts, entry, label, context);
                    }
                    if !self.wait_for_resume(context.end(), || context.is_over()) {
                        if context.is_over() {
                            return Err(Box::new(self.failed(label, over(context))));
                        }
                        // It may have been resumed just now.
                        if self.gate.enter(number).is_err() {
                            return Err(Box::new(self.refused(label, Refused::Empty)));
                        }
                    }
                }
                Err(refused) => return Err(Box::new(self.refused(label, refused))),
            }
        }
    }

    /// Counts this call as inside, once calls are counted. One inside another of the same thread is not
    /// counted again: it could wait for itself.
    fn count<'plugin>(
        &'plugin self,
        number: Number,
        label: &str,
        context: &Context,
    ) -> Result<Option<Permit<&'plugin Bulkhead>>, Box<Error>> {
        if !self.care.has(Reason::Crowded) {
            if !self.care.is_beyond(number) {
                return Ok(None);
            }
            if self.care.add(Reason::Crowded) {
                self.bulkhead.begin(self.gate.inside());
            }
        }
        if self.gate.is_inside(number) {
            return Ok(None);
        }
        let is_inside = |lane: &(usize, u64)| self.gate.is_still_inside(*lane);
        self.admit(&self.bulkhead, label, context, is_inside)
            .map(Some)
    }

    fn admit<B: std::ops::Deref<Target = Bulkhead>>(
        &self,
        bulkhead: B,
        label: &str,
        context: &Context,
        is_inside: impl Fn(&(usize, u64)) -> bool,
    ) -> Result<Permit<B>, Box<Error>> {
        let entered = Bulkhead::enter(bulkhead, context.end(), || context.is_over(), is_inside);
        entered.map_err(|closed| {
            let limits = &self.ties.limits;
            let failure = match closed {
                Closed::Full => CallFailure::Overloaded {
                    in_flight: limits.in_flight,
                    queue: limits.queue,
                },
                Closed::Late => over(context),
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

    /// Keeps count of a thread that did not come back from a call.
    pub(crate) fn lose(&self, left: Left, label: &str) {
        let generation = self.current().map_or(0, |generation| generation.number);
        let lost = LostThread {
            thread: left.thread(),
            label: label.to_owned(),
            generation,
            since: SystemTime::now(),
        };
        tracing::warn!(
            plugin = self.name().as_str(),
            label,
            thread = lost.thread,
            "a call did not come back"
        );
        let number = self.lost().add(lost);
        let own = self.own.clone();
        left.on_return(move || {
            if let Some(plugin) = own.upgrade() {
                plugin.lost().remove(number);
                plugin.look_at_lost();
            }
        });
        self.look_at_lost();
    }

    /// Refuses calls while too many threads are lost in the current generation, and only then.
    pub(super) fn look_at_lost(&self) {
        let current = self.current();
        let number = current.as_ref().map_or(0, |generation| generation.number);
        let lost = self.lost().inside(number);
        if lost < self.ties.limits.lost.max(1) {
            self.care.remove(Reason::Stuck);
        } else if self.care.add(Reason::Stuck) {
            let code = Some("plugin.stuck");
            let told = || {
                let message =
                    format!("{lost} of its threads did not come back; isolate it or upgrade it");
                (self.subject(current.as_deref()), message)
            };
            self.ties
                .hooks
                .tell(Step::Demotion, Phase::Done, code, told);
        }
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
    }

    /// What events say of a generation of this plugin.
    pub(crate) fn subject(&self, generation: Option<&Generation>) -> Subject {
        Subject {
            version: generation.map(|generation| generation.manifest.version.clone()),
            digest: generation.and_then(Generation::digest),
            generation: generation.map(|generation| generation.number),
            path: generation.map(|generation| generation.origin.clone()),
            ..Subject::plugin(self.name())
        }
    }

    pub(super) fn lost(&self) -> MutexGuard<'_, Lost> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often a call that is held back looks whether its time is over.
const LOOK: Duration = Duration::from_millis(20);
