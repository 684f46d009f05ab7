//! The transport: one child for all calls of a build, started again by the next call when it died.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use plg_packaging::Digest;
use plg_plugin_api::abi::status;
use plg_plugin_api::process::wire::Fault;

pub(crate) use super::launch::{Build, Given};

use super::error::{ProcessError, Said};
use super::exchange::{Exchange, Question};
use super::launch::{LAST_WORDS, Running};
use crate::context::frame::{Call, Nested};
use crate::context::{Cancel, Context};
use crate::contracts::Offered;
use crate::loader::image::Image;
use crate::plugin::thread::Here;

/// A build that runs in a child.
#[derive(Debug)]
pub(crate) struct Process {
    build: Build,
    state: Mutex<State>,
    changed: Condvar,
    calls: AtomicU64,
    /// When something last went wrong, or nothing had yet.
    clean_since: Mutex<Instant>,
    own: Weak<Self>,
}

#[derive(Debug, Default)]
struct State {
    running: Option<Arc<Running>>,
    /// A thread is starting a child.
    starting: bool,
    /// How many children were begun, and why the last one cannot run.
    begun: u64,
    refused: Option<Arc<ProcessError>>,
    /// When the children of the last minute were begun.
    starts: VecDeque<Instant>,
    /// How many of them ended badly, one after the other.
    failures: u32,
    /// When the next one may be begun.
    not_before: Option<Instant>,
    /// How the last one ended.
    last: String,
    /// It is given up until it is loaded again.
    given_up: bool,
    closed: bool,
}

/// So many starts within so long are one too many.
const STARTS: (usize, Duration) = (5, Duration::from_secs(60));
/// How long after a bad end the next child is started, at first and at most; it doubles in between.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
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
        self.lock().running.as_ref()?.state
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
        let outcome = self.running(context.end(), context.canceller());
        let outcome = outcome.map(|_| Ok(()));
        self.answer(outcome, context)
    }

    /// Stops the child, if there is one, and starts no other.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.changed.notify_all();
        while state.starting {
            state = self.wait(state, Duration::MAX);
        }
        let running = state.running.take();
        drop(state);
        if let Some(running) = running {
            running.stop(&self.build.name, self.build.limits.grace);
        }
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
            let running = self.running(context.end(), context.canceller())?;
            let exchange = Exchange {
                running: &running,
                question,
                id: self.calls.fetch_add(1, Ordering::Relaxed) + 1,
                call,
                depth,
            };
            let error = match self.build.dialect.call(&exchange, context) {
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
            let ending = running.child.fate.wait(limit);
            // Who ends well has answered all that it began.
            let answered = ending.is_some_and(|ending| self.build.dialect.has_answered(ending));
            let is_unsent = error.is_unsent() || answered;
            if is_unsent && std::mem::take(&mut again) {
                continue;
            }
            return Err(match (error, ending) {
                (ProcessError::Unavailable { executed, .. }, Some(_)) => {
                    let why = last_words(&running);
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

    /// The child, started if there is none. Who gives up does not end the start.
    fn running(
        &self,
        end: Option<Instant>,
        cancel: Option<Cancel>,
    ) -> Result<Arc<Running>, ProcessError> {
        let mut waited_for = None;
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(ProcessError::unsent("the build is being stopped"));
            }
            if let Some(running) = &state.running {
                if running.child.fate.ending().is_none() {
                    return Ok(running.clone());
                }
                self.note_end(&mut state);
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
            if !state.starting {
                let pause = state
                    .not_before
                    .map_or(Duration::ZERO, |from| from.saturating_duration_since(now));
                if self.may_start(&mut state, now)? && pause.is_zero() {
                    self.start(&mut state, now)?;
                    waited_for = Some(state.begun);
                } else if end.is_some_and(|end| end < now + pause) {
                    let last = &state.last;
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

    /// Whether there were not too many starts.
    fn may_start(&self, state: &mut State, now: Instant) -> Result<bool, ProcessError> {
        let (starts, within) = STARTS;
        state
            .starts
            .retain(|start| now.saturating_duration_since(*start) < within);
        state.given_up |= state.starts.len() >= starts;
        if state.given_up {
            let last = state.last.clone();
            return Err(ProcessError::Failed {
                starts,
                within,
                last,
            });
        }
        Ok(true)
    }

    /// Has another thread start a child: it goes on when who asked gives up.
    fn start(&self, state: &mut State, now: Instant) -> Result<(), ProcessError> {
        let Some(own) = self.own.upgrade() else {
            return Err(ProcessError::unsent("the build is gone"));
        };
        let listener = tracing::dispatcher::get_default(Clone::clone);
        let start = move || {
            tracing::dispatcher::with_default(&listener, || {
                let outcome = own.build.launch();
                own.started(outcome);
            });
        };
        let thread = thread::Builder::new().name("plg-start".to_owned());
        thread
            .spawn(start)
            .map_err(|error| ProcessError::unsent(format!("no thread to start it: {error}")))?;
        state.starting = true;
        state.begun += 1;
        state.refused = None;
        state.starts.push_back(now);
        Ok(())
    }

    fn started(&self, outcome: Result<Running, ProcessError>) {
        let mut state = self.lock();
        state.starting = false;
        match outcome {
            Ok(running) => state.running = Some(Arc::new(running)),
            Err(error) => {
                state.last = error.to_string();
                // What the host lacks is no bad end of the plugin's.
                if error.is_for_want_of_descriptors() {
                    state.starts.pop_back();
                }
                state.refused = Some(Arc::new(error));
                back_off(&mut state);
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The child has ended: by itself, as it may when it has nothing to do, or badly.
    fn note_end(&self, state: &mut State) {
        let Some(running) = state.running.take() else {
            return;
        };
        let lived = running.child.fate.since.elapsed();
        let ending = running.child.fate.ending();
        let (dialect, idle) = (&self.build.dialect, self.build.idle);
        if ending.is_some_and(|ending| dialect.was_idle(idle, lived, ending)) {
            state.starts.pop_back();
            state.failures = 0;
            return;
        }
        if lived >= STARTS.1 {
            state.failures = 0;
        }
        state.last = last_words(&running);
        let plugin = self.build.name.as_str();
        tracing::warn!(plugin, "{}", state.last);
        self.soil();
        back_off(state);
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn back_off(state: &mut State) {
    let (first, most) = BACK_OFF;
    let factor = 1_u32.checked_shl(state.failures).unwrap_or(u32::MAX);
    let pause = first.saturating_mul(factor).min(most);
    state.failures = state.failures.saturating_add(1);
    state.not_before = Instant::now().checked_add(pause);
}

/// How a child ended and what it said last.
fn last_words(running: &Running) -> String {
    running.child.output.wait_for_end(LAST_WORDS);
    let ending = running.child.fate.ending();
    let ending = ending.map_or_else(
        || "ended".to_owned(),
        |ending| running.child.held.tell(ending),
    );
    let errors = running.child.output.errors();
    format!("its process {ending}{}", Said(&errors))
}
