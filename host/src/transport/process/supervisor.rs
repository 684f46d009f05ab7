//! The transport: one child for all calls of a build, started again by the next call when it died.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use plg_packaging::Digest;
use plg_plugin_api::abi::status;
use plg_plugin_api::process::wire::Fault;

pub(crate) use super::launch::{Build, Given};

use super::dialect::Dialect;
use super::error::{Ending, ProcessError, Said};
use super::exchange::{Exchange, Question};
use super::health::Health;
use super::launch::{Ended, LAST_WORDS, Running, Visit};
use super::passage::Passage;
use super::restarts::Restarts;
use crate::context::frame::{Call, Nested};
use crate::context::{Cancel, Context};
use crate::contracts::Offered;
use crate::loader::image::Image;
use crate::plugin::thread::Here;

/// A build that runs in a child.
#[derive(Debug)]
pub(crate) struct Process {
    pub(super) build: Build,
    state: Mutex<State>,
    changed: Condvar,
    calls: AtomicU64,
    /// When something last went wrong, or nothing had yet.
    clean_since: Mutex<Instant>,
    pub(super) own: Weak<Self>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) kept: Option<Kept>,
    /// A thread is starting a child.
    starting: bool,
    /// How many children were begun, and why the last one cannot run.
    pub(super) begun: u64,
    refused: Option<Arc<ProcessError>>,
    pub(super) restarts: Restarts,
    /// How the last one ended.
    pub(super) last: Option<String>,
    /// Children that are being stopped aside.
    pub(super) leaving: usize,
    closed: bool,
}

/// The child that takes calls.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) running: Arc<Running>,
    /// Which of the children that were begun it is.
    pub(super) number: u64,
    pub(super) health: Health,
    /// Whether somebody is going to look at it.
    pub(super) watched: bool,
}

/// Wakes who waits when it is dropped.
struct Changed<'a>(&'a Condvar);

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        self.0.notify_all();
    }
}

/// How often who waits for a start looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(5);

impl Process {
    pub(crate) fn new(build: Build) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            build,
            state: Mutex::default(),
            changed: Condvar::new(),
            calls: AtomicU64::new(0),
            clean_since: Mutex::new(Instant::now()),
            own: own.clone(),
        })
    }

    /// Runs a call; `None` when calls nest too deeply.
    pub(crate) fn execute(
        &self,
        here: &Here,
        context: &mut Context,
        call: &Call<'_>,
        depth: u32,
    ) -> Option<i32> {
        let nested = Nested::enter(here, depth)?;
        let outcome = self.call(context, call, nested.depth(), Question::Execute);
        Some(self.answer(outcome, context))
    }

    /// The version of the state that the child hands over; `None` when it hands none over, or there is no child.
    pub(crate) fn state_version(&self) -> Option<u32> {
        self.lock().kept.as_ref()?.running.state
    }

    /// Has the child put its state into `context`.
    pub(crate) fn save(&self, context: &mut Context, call: &Call<'_>) -> i32 {
        let outcome = self.call(context, call, 1, Question::Save);
        self.answer(outcome, context)
    }

    /// Has the child take over the state in `context`.
    pub(crate) fn restore(&self, context: &mut Context, call: &Call<'_>) -> i32 {
        let outcome = self.call(context, call, 1, Question::Restore);
        self.answer(outcome, context)
    }

    /// Starts the child.
    pub(crate) fn init(&self, context: &mut Context) -> i32 {
        let outcome = self.child(context.end(), context.canceller(), |_| ());
        let outcome = outcome.map(Ok);
        self.answer(outcome, context)
    }

    /// Stops the child, if there is one, and starts no other.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.changed.notify_all();
        while state.starting || state.leaving > 0 {
            state = self.wait(state, Duration::MAX);
        }
        let kept = state.kept.take();
        drop(state);
        if let Some(Kept { running, .. }) = kept {
            running.stop(&self.build.name, self.build.limits.grace);
        }
    }

    /// Whether it can have endpoints of its own, beside those of what it speaks.
    pub(crate) fn has_endpoints(&self) -> bool {
        matches!(self.build.dialect, Dialect::Native)
    }

    /// The SHA-256 of the file that the build is known by.
    pub(crate) fn digest(&self) -> Digest {
        self.build.digest
    }

    /// How long no call panicked or was cut off, and no child ended badly.
    pub(crate) fn clean_for(&self) -> Duration {
        let since = self.clean_since.lock();
        since.unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn soil(&self) {
        let since = self.clean_since.lock();
        *since.unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// The library that the child serves, if it is a runner.
    pub(crate) fn library(&self) -> Option<&Image> {
        self.build.given.as_ref().map(|given| &given.image)
    }

    /// Bytes of that file.
    pub(crate) fn bytes(&self) -> u64 {
        self.build.bytes
    }

    /// The contracts that it says it offers.
    pub(crate) fn offered(&self) -> Option<&Offered> {
        self.build.dialect.offered()
    }

    fn call(
        &self,
        context: &mut Context,
        call: &Call<'_>,
        depth: u32,
        question: Question,
    ) -> Result<Result<(), Fault>, ProcessError> {
        // The state of one child is not that of the next.
        let mut again = question == Question::Execute;
        loop {
            let visit = self.child(context.end(), context.canceller(), |kept| self.enter(kept))?;
            let running = &visit.running;
            let outcome = match Passage::of(call) {
                Some(passage) => passage.run(running, context),
                None => {
                    let exchange = Exchange {
                        running,
                        question,
                        id: self.calls.fetch_add(1, Ordering::Relaxed) + 1,
                        call,
                        depth,
                    };
                    self.build.dialect.call(&exchange, context)
                }
            };
            let error = match outcome {
                Err(error @ (ProcessError::Unavailable { .. } | ProcessError::Refused)) => error,
                outcome => return outcome,
            };
            // Its end is noticed a moment after what it spoke through is closed. One that takes no calls any
            // more may still end what it began.
            let limit = match &error {
                ProcessError::Refused => self.build.limits.grace,
                _ => LAST_WORDS,
            };
            let left = context
                .end()
                .map(|end| end.saturating_duration_since(Instant::now()));
            let limit = left.map_or(limit, |left| left.min(limit));
            let ending = wait_for_end(running, limit, context.canceller());
            // Who ends well has answered all that it began.
            let answered = ending.is_some_and(|ending| self.build.dialect.has_answered(ending));
            let is_unsent = error.is_unsent() || answered;
            if is_unsent && std::mem::take(&mut again) {
                continue;
            }
            return Err(match (error, ending) {
                (ProcessError::Unavailable { executed, .. }, Some(_)) => {
                    let left = context
                        .end()
                        .map(|end| end.saturating_duration_since(Instant::now()));
                    let left = left.map_or(LAST_WORDS, |left| left.min(LAST_WORDS));
                    running.child.output.wait_for_end(left);
                    let why = last_words(running);
                    ProcessError::Unavailable { why, executed }
                }
                (error, _) => error,
            });
        }
    }

    fn answer(
        &self,
        outcome: Result<Result<(), Fault>, ProcessError>,
        context: &mut Context,
    ) -> i32 {
        let (code, message) = match outcome {
            Ok(Ok(())) => return status::OK,
            Ok(Err(Fault { code, message })) => (code, message),
            Err(error) => (error.code().to_owned(), error.to_string()),
        };
        let panicked = code == "call.panicked";
        if panicked || matches!(code.as_str(), "call.unavailable" | "call.timeout") {
            self.soil();
        }
        context.fail(code, message);
        if panicked {
            status::PANICKED
        } else {
            status::FAILED
        }
    }

    /// A call goes inside, and from now on the child is looked at.
    fn enter(&self, kept: &mut Kept) -> Visit {
        self.watch(kept);
        kept.running.enter()
    }

    /// Uses the child, started if there is none. Who gives up does not end the start.
    fn child<T>(
        &self,
        end: Option<Instant>,
        cancel: Option<Cancel>,
        mut take: impl FnMut(&mut Kept) -> T,
    ) -> Result<T, ProcessError> {
        let mut waited_for = None;
        // Goes after the lock: it may wait for a thread that takes the lock.
        let mut gone = Vec::new();
        let mut state = self.lock();
        loop {
            let mut is_read = true;
            if state.closed {
                return Err(ProcessError::unsent("the build is being stopped"));
            }
            if let Some(kept) = &mut state.kept {
                if kept.running.child.fate.ending().is_none() {
                    return Ok(take(kept));
                }
                // Else who reads what it said last notes its end within a moment.
                is_read = kept.running.child.output.has_ended();
                if is_read {
                    gone.extend(self.note_end(&mut state));
                }
            }
            if let (Some(begun), Some(refused)) = (waited_for, &state.refused)
                && state.begun == begun
            {
                return Err(ProcessError::Start {
                    code: refused.code(),
                    message: refused.to_string(),
                });
            }
            let now = Instant::now();
            let mut limit = Duration::MAX;
            if !is_read {
                limit = LAST_WORDS;
            } else if !state.starting {
                self.check_restarts(&mut state, now)?;
                let pause = state.restarts.pause(now);
                if pause.is_zero() {
                    self.start(&mut state, now)?;
                    waited_for = Some(state.begun);
                } else if end.is_some_and(|end| end < now + pause) {
                    let last = state.last.as_deref().unwrap_or("it did not start");
                    let why = format!("{last}; it is started again in {pause:?}");
                    return Err(ProcessError::unsent(why));
                } else {
                    limit = pause;
                }
            } else if waited_for.is_none() {
                waited_for = Some(state.begun);
            }
            let is_over = end.is_some_and(|end| end <= now);
            if is_over || cancel.as_ref().is_some_and(Cancel::is_cancelled) {
                return Err(ProcessError::Over);
            }
            if let Some(end) = end {
                limit = limit.min(end.saturating_duration_since(now));
            }
            if cancel.is_some() {
                limit = limit.min(LOOK);
            }
            state = self.wait(state, limit);
        }
    }

    fn check_restarts(&self, state: &mut State, now: Instant) -> Result<(), ProcessError> {
        let limits = &self.build.limits;
        let before = state.restarts.was_given_up();
        if !state.restarts.is_given_up(now, limits) {
            return Ok(());
        }
        let error = ProcessError::Failed {
            starts: limits.restarts,
            within: limits.restarts_within,
            last: state.last.clone().unwrap_or_default(),
        };
        if !before {
            self.tell_failed(&error);
        }
        Err(error)
    }

    /// Has another thread start a child: it goes on when who asked gives up.
    fn start(&self, state: &mut State, now: Instant) -> Result<(), ProcessError> {
        let Some(own) = self.own.upgrade() else {
            return Err(ProcessError::unsent("the build is gone"));
        };
        let listener = tracing::dispatcher::get_default(Clone::clone);
        let number = state.begun + 1;
        let start = move || {
            tracing::dispatcher::with_default(&listener, || {
                let whose = own.own.clone();
                let ended: Ended = Arc::new(move || {
                    if let Some(process) = whose.upgrade() {
                        process.ended(number);
                    }
                });
                // Who listens to the log runs here as well, and somebody waits for the outcome.
                let launch = AssertUnwindSafe(|| own.build.launch(&ended));
                let outcome = panic::catch_unwind(launch).unwrap_or_else(|payload| {
                    // Its drop could panic as well.
                    std::mem::forget(payload);
                    Err(ProcessError::unsent(
                        "the host panicked while it started it",
                    ))
                });
                own.started(number, outcome);
            });
        };
        let thread = thread::Builder::new().name("plg-start".to_owned());
        thread
            .spawn(start)
            .map_err(|error| ProcessError::unsent(format!("no thread to start it: {error}")))?;
        state.starting = true;
        state.begun = number;
        state.refused = None;
        state.restarts.begin(now);
        Ok(())
    }

    fn started(&self, number: u64, outcome: Result<Running, ProcessError>) {
        let now = Instant::now();
        // Who listens to the log may panic below, and others wait.
        let _told = Changed(&self.changed);
        let mut gone = None;
        let mut state = self.lock();
        state.starting = false;
        match outcome {
            Ok(running) => {
                self.tell_started(&state, &running);
                // What it says after this is read by who notes its end then.
                let has_ended = running.child.output.has_ended();
                let kept = state.kept.insert(Kept {
                    running: Arc::new(running),
                    number,
                    health: Health::new(now),
                    watched: false,
                });
                if self.build.idle.is_some() {
                    self.watch(kept);
                }
                if has_ended {
                    gone = self.note_end(&mut state);
                }
            }
            Err(error) => {
                if number > 1 {
                    self.tell_failed(&error);
                }
                state.last = Some(error.to_string());
                if error.is_for_want_of_descriptors() {
                    state.restarts.was_held_up();
                }
                state.refused = Some(Arc::new(error));
                let limits = &self.build.limits;
                state.restarts.ended_badly(now, Duration::ZERO, limits);
            }
        }
        drop(state);
        drop(gone);
    }

    /// The child of that number has ended, and all that it wrote was read.
    fn ended(&self, number: u64) {
        let _told = Changed(&self.changed);
        let mut state = self.lock();
        let is_it = state
            .kept
            .as_ref()
            .is_some_and(|kept| kept.number == number);
        let gone = is_it.then(|| self.note_end(&mut state));
        drop(state);
        drop(gone);
    }

    /// The child has ended: by itself, as it may when it has nothing to do, or badly. What is returned is not to
    /// be dropped under the lock.
    fn note_end(&self, state: &mut State) -> Option<Kept> {
        let kept = state.kept.take()?;
        let fate = &kept.running.child.fate;
        let lived = fate.since.elapsed();
        let ending = fate.ending();
        let why = last_words(&kept.running);
        self.tell_ended(&why);
        let (dialect, idle) = (&self.build.dialect, self.build.idle);
        if ending.is_some_and(|ending| dialect.was_idle(idle, lived, ending)) {
            state.restarts.ended_well();
        } else {
            let plugin = self.build.name.as_str();
            tracing::warn!(plugin, "{why}");
            self.soil();
            let limits = &self.build.limits;
            state.restarts.ended_badly(Instant::now(), lived, limits);
        }
        state.last = Some(why);
        Some(kept)
    }

    /// Says that what was to be done aside is.
    pub(super) fn has_left(&self) {
        self.lock().leaving -= 1;
        self.changed.notify_all();
    }

    fn wait<'state>(
        &self,
        state: MutexGuard<'state, State>,
        limit: Duration,
    ) -> MutexGuard<'state, State> {
        if limit == Duration::MAX {
            let waited = self.changed.wait(state);
            return waited.unwrap_or_else(PoisonError::into_inner);
        }
        let limit = limit.max(Duration::from_micros(50));
        let waited = self.changed.wait_timeout(state, limit);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the end of a child, unless the caller gives up.
fn wait_for_end(running: &Running, limit: Duration, cancel: Option<Cancel>) -> Option<Ending> {
    let fate = &running.child.fate;
    let Some(cancel) = cancel else {
        return fate.wait(limit);
    };
    let start = Instant::now();
    loop {
        let left = limit.saturating_sub(start.elapsed());
        let ending = fate.wait(left.min(LOOK));
        if ending.is_some() || left.is_zero() || cancel.is_cancelled() {
            return ending;
        }
    }
}

/// Why a child ended, how, and what it said last.
fn last_words(running: &Running) -> String {
    let ending = running.child.fate.ending();
    let ending = ending.map_or_else(
        || "ended".to_owned(),
        |ending| running.child.held.tell(ending),
    );
    let errors = running.child.output.errors();
    let said = Said(&errors);
    match running.verdict.get() {
        Some(verdict) => format!("{verdict}, and {ending}{said}"),
        None => format!("its process {ending}{said}"),
    }
}
