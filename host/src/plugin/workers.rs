//! Threads that run calls whose callers must have an answer in time, even when the code never returns.

use std::cell::{Cell, RefCell};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use super::record::Plugin;

/// The threads of one host. They are started when all are busy, and end when they were idle for long.
#[derive(Debug)]
pub(crate) struct Workers {
    state: Mutex<State>,
    own: Weak<Self>,
}

#[derive(Debug, Default)]
struct State {
    /// The last one to become idle is the next one to work: it is warm, and the others may go.
    idle: Vec<Arc<Seat>>,
    started: u64,
    closed: bool,
}

/// Where a thread waits for work.
#[derive(Default)]
struct Seat {
    next: Mutex<Next>,
    filled: Condvar,
}

#[derive(Default)]
enum Next {
    #[default]
    Unknown,
    Work(Arc<dyn Work>),
    End,
}

/// How work ended for who waited.
pub(crate) enum Outcome<T> {
    /// It is done.
    Done(T),
    /// It is not, and time is over. The thread goes on.
    Left {
        /// The work.
        left: Left,
        /// Whether that is because it was cancelled.
        cancelled: bool,
    },
    /// The system has no thread for it.
    NoThread(io::Error),
}

/// Until when somebody waits for work.
#[derive(Clone, Copy)]
pub(crate) struct Until<'a> {
    pub(crate) end: Option<Instant>,
    /// Looked at now and then.
    pub(crate) is_cancelled: Option<&'a dyn Fn() -> bool>,
}

/// Work that nobody waits for any more.
pub(crate) struct Left {
    work: Arc<dyn Work>,
}

/// One piece of work, with what both sides know of it.
struct Piece<F, T> {
    act: Mutex<Option<F>>,
    state: Mutex<PieceState<thread::Result<T>>>,
    done: Condvar,
    trace: Mutex<Trace>,
    caller: ThreadId,
}

enum PieceState<T> {
    Running,
    /// Nobody was told yet.
    Ended(T),
    Done(T),
    /// Nobody waits any more; what is to be done when the thread comes back.
    Left(Option<OnReturn>),
    /// It came back to nobody, or who waited took the outcome.
    Gone,
}

type OnReturn = Box<dyn FnOnce() + Send>;

/// Where the work is.
#[derive(Debug, Default)]
struct Trace {
    thread: String,
    /// The plugins that it is inside, the innermost last.
    inside: Vec<Place>,
}

/// A plugin that a thread is inside.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) plugin: Weak<Plugin>,
    pub(crate) generation: u64,
    pub(crate) label: String,
    /// The thread's number.
    pub(crate) number: usize,
}

/// A piece of work whatever it returns.
trait Work: Send + Sync {
    fn run(&self);
    fn finish(&self);
    fn trace(&self) -> MutexGuard<'_, Trace>;
    fn caller(&self) -> ThreadId;
    fn on_return(&self, act: OnReturn);
}

thread_local! {
    /// The work that this thread does for another.
    static WORK: RefCell<Option<Arc<dyn Work>>> = const { RefCell::new(None) };
    /// The thread that waits for what this one does.
    static ACTING_FOR: Cell<Option<ThreadId>> = const { Cell::new(None) };
}

/// How long a thread stays without work.
const IDLE: Duration = Duration::from_secs(10);
/// How often a waiting caller looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(5);
/// How long after a cancellation the code may still end by itself.
const AFTER_CANCEL: Duration = Duration::from_millis(50);

impl Workers {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            state: Mutex::default(),
            own: own.clone(),
        })
    }

    /// Runs `act` on another thread and waits for it, but not for longer than `until`. A panic in it is one
    /// of the caller's.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        until: Until<'_>,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> Outcome<T> {
        // Whoever listens to this thread's log listens to what is done for it.
        let listener = tracing::dispatcher::get_default(Clone::clone);
        let span = tracing::Span::current();
        let act = move || tracing::dispatcher::with_default(&listener, || span.in_scope(act));
        let piece = Arc::new(Piece {
            act: Mutex::new(Some(act)),
            state: Mutex::new(PieceState::Running),
            done: Condvar::new(),
            trace: Mutex::default(),
            caller: acting(),
        });
        if let Err(error) = self.start(piece.clone()) {
            return Outcome::NoThread(error);
        }
        match piece.wait(until) {
            Ok(Ok(outcome)) => Outcome::Done(outcome),
            Ok(Err(payload)) => panic::resume_unwind(payload),
            Err(Over { cancelled }) => Outcome::Left {
                left: Left { work: piece },
                cancelled,
            },
        }
    }

    /// Lets idle threads end. Those at work end when that is done.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        for seat in state.idle.drain(..) {
            seat.fill(Next::End);
        }
    }

    fn start(&self, work: Arc<dyn Work>) -> io::Result<()> {
        let mut state = lock(&self.state);
        if let Some(seat) = state.idle.pop() {
            drop(state);
            seat.fill(Next::Work(work));
            return Ok(());
        }
        state.started += 1;
        let name = format!("plg-call-{}", state.started);
        drop(state);
        let workers = self.own.clone();
        let serve = move || serve(&workers, work);
        thread::Builder::new().name(name).spawn(serve)?;
        Ok(())
    }
}

/// The thread that the calling one acts for: itself, unless it is a worker.
pub(crate) fn acting() -> ThreadId {
    ACTING_FOR.get().unwrap_or_else(|| thread::current().id())
}

/// Whether the calling thread does what another waits for, and may give up.
pub(crate) fn is_one() -> bool {
    ACTING_FOR.get().is_some()
}

/// Notes where the work of this thread is, if it does any, while `act` runs.
pub(crate) fn inside<T>(place: impl FnOnce() -> Place, act: impl FnOnce() -> T) -> T {
    // A thread on its way out may call once more, and has no such values then.
    let work = ACTING_FOR
        .get()
        .and_then(|_| WORK.try_with(|work| work.borrow().clone()).ok()?);
    let Some(work) = work else {
        return act();
    };
    work.trace().inside.push(place());
    let outcome = act();
    work.trace().inside.pop();
    outcome
}

/// A worker's life. It is idle before who waits for its work knows that it is done, so that a caller of
/// many calls meets the same thread again.
fn serve(workers: &Weak<Workers>, first: Arc<dyn Work>) {
    let seat = Arc::new(Seat::default());
    let mut work = first;
    loop {
        ACTING_FOR.set(Some(work.caller()));
        WORK.with(|current| *current.borrow_mut() = Some(work.clone()));
        work.run();
        WORK.with(|current| current.borrow_mut().take());
        ACTING_FOR.set(None);
        let goes_on = workers.upgrade().is_some_and(|workers| {
            let mut state = lock(&workers.state);
            if !state.closed {
                state.idle.push(seat.clone());
            }
            !state.closed
        });
        work.finish();
        drop(work);
        if !goes_on {
            return;
        }
        work = match seat.wait(workers) {
            Some(next) => next,
            None => return,
        };
    }
}

impl Seat {
    fn fill(&self, next: Next) {
        *lock(&self.next) = next;
        self.filled.notify_one();
    }

    /// The next work; `None` when the thread is to end.
    fn wait(self: &Arc<Self>, workers: &Weak<Workers>) -> Option<Arc<dyn Work>> {
        let mut next = lock(&self.next);
        let mut limit = IDLE;
        loop {
            match std::mem::take(&mut *next) {
                Next::Work(work) => return Some(work),
                Next::End => return None,
                Next::Unknown => {}
            }
            let waited = self.filled.wait_timeout(next, limit);
            let timeout;
            (next, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() && matches!(*next, Next::Unknown) {
                drop(next);
                let workers = workers.upgrade()?;
                let mut state = lock(&workers.state);
                let before = state.idle.len();
                state.idle.retain(|seat| !Arc::ptr_eq(seat, self));
                if state.idle.len() < before {
                    return None;
                }
                // It was chosen at this very moment: what it is to do is on its way.
                drop(state);
                limit = Duration::MAX;
                next = lock(&self.next);
            }
        }
    }
}

/// Time was over before the work was done.
struct Over {
    cancelled: bool,
}

impl<F: FnOnce() -> T, T> Piece<F, T> {
    fn wait(&self, until: Until<'_>) -> Result<thread::Result<T>, Over> {
        let mut state = lock(&self.state);
        let mut end = until.end;
        let mut cancelled = false;
        loop {
            *state = match std::mem::replace(&mut *state, PieceState::Gone) {
                PieceState::Done(outcome) => return Ok(outcome),
                state => state,
            };
            let now = Instant::now();
            let asked = until.is_cancelled.filter(|_| !cancelled);
            if asked.is_some_and(|is_cancelled| is_cancelled()) {
                let soon = now + AFTER_CANCEL;
                cancelled = end.is_none_or(|end| soon < end);
                end = Some(end.map_or(soon, |end| end.min(soon)));
            }
            let left = end.map(|end| end.saturating_duration_since(now));
            if left == Some(Duration::ZERO) && !matches!(*state, PieceState::Ended(_)) {
                *state = PieceState::Left(None);
                return Err(Over { cancelled });
            }
            let look = (until.is_cancelled.is_some() && !cancelled).then_some(LOOK);
            let limit = [left, look].into_iter().flatten().min();
            state = match limit {
                Some(limit) => {
                    let limit = limit.max(Duration::from_micros(1));
                    let waited = self.done.wait_timeout(state, limit);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self
                    .done
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl<F: FnOnce() -> T + Send, T: Send> Work for Piece<F, T> {
    fn run(&self) {
        lock(&self.trace).thread = thread::current().name().unwrap_or_default().to_owned();
        let Some(act) = lock(&self.act).take() else {
            return;
        };
        let outcome = panic::catch_unwind(AssertUnwindSafe(act));
        let mut state = lock(&self.state);
        match std::mem::replace(&mut *state, PieceState::Gone) {
            PieceState::Running => *state = PieceState::Ended(outcome),
            PieceState::Left(on_return) => {
                drop(state);
                if let Some(on_return) = on_return {
                    // This thread still has to end in order.
                    std::mem::forget(panic::catch_unwind(AssertUnwindSafe(on_return)));
                }
                if let Err(payload) = outcome {
                    // Its drop could panic as well.
                    std::mem::forget(payload);
                }
            }
            other => *state = other,
        }
    }

    fn finish(&self) {
        let mut state = lock(&self.state);
        if let PieceState::Ended(outcome) = std::mem::replace(&mut *state, PieceState::Gone) {
            *state = PieceState::Done(outcome);
            drop(state);
            self.done.notify_one();
        }
    }

    fn trace(&self) -> MutexGuard<'_, Trace> {
        lock(&self.trace)
    }

    fn caller(&self) -> ThreadId {
        self.caller
    }

    fn on_return(&self, act: OnReturn) {
        let mut state = lock(&self.state);
        if let PieceState::Left(on_return) = &mut *state {
            *on_return = Some(act);
            return;
        }
        drop(state);
        // It came back meanwhile.
        act();
    }
}

impl Left {
    /// The name of the thread that is lost.
    pub(crate) fn thread(&self) -> String {
        self.work.trace().thread.clone()
    }

    /// The innermost plugin that the thread is inside; `None` when it waits to get into one, which it will not
    /// do any more.
    pub(crate) fn place(&self) -> Option<Place> {
        self.work.trace().inside.last().cloned()
    }

    /// Does `act` when the thread comes back, at once when it already has.
    pub(crate) fn on_return(self, act: impl FnOnce() + Send + 'static) {
        self.work.on_return(Box::new(act));
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat").finish_non_exhaustive()
    }
}
