//! How many calls are inside a plugin at once, and how many wait.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lets so many in, and so many wait.
#[derive(Debug)]
pub(crate) struct Bulkhead {
    in_flight: usize,
    queue: usize,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    inside: usize,
    waiting: usize,
    /// Calls that entered before anybody counted, each by where it shows that it left.
    uncounted: Vec<(usize, u64)>,
}

/// One call's place inside, free again when it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permit<B: std::ops::Deref<Target = Bulkhead>>(B);

/// Why a call is not let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Closed {
    /// As many as may wait do already.
    Full,
    /// Its time was over before there was a place.
    Late,
}

/// Calls that nobody counted do not say when they leave.
const LOOK: Duration = Duration::from_millis(1);

impl Bulkhead {
    pub(crate) fn new(in_flight: usize, queue: usize) -> Self {
        Self {
            in_flight: in_flight.max(1),
            queue,
            state: Mutex::default(),
            freed: Condvar::new(),
        }
    }

    /// Counts calls as inside until `still_inside` says otherwise: those that entered before counting began.
    pub(crate) fn begin(&self, uncounted: Vec<(usize, u64)>) {
        self.lock().uncounted = uncounted;
    }

    /// Takes a place, waiting for one until `is_over` if that is not too many. `is_inside` says whether an
    /// uncounted call still is.
    ///
    /// # Errors
    ///
    /// When too many wait, or the wait was too long.
    pub(crate) fn enter<B: std::ops::Deref<Target = Self>>(
        this: B,
        deadline: Option<Instant>,
        is_over: impl Fn() -> bool,
        is_inside: impl Fn(&(usize, u64)) -> bool,
    ) -> Result<Permit<B>, Closed> {
        let mut state = this.lock();
        let mut waits = false;
        let outcome = loop {
            if state.inside + state.uncounted.len() >= this.in_flight {
                state.uncounted.retain(&is_inside);
            }
            // Who waits is asked first, so that nobody overtakes it for ever.
            let taken = state.inside + state.uncounted.len();
            let before = if waits { 0 } else { state.waiting };
            if taken + before < this.in_flight {
                state.inside += 1;
                break Ok(());
            }
            if !waits && state.waiting >= this.queue {
                break Err(Closed::Full);
            }
            if is_over() {
                break Err(Closed::Late);
            }
            if !waits {
                waits = true;
                state.waiting += 1;
            }
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            let look = (!state.uncounted.is_empty()).then_some(LOOK);
            let limit = [left, look].into_iter().flatten().min();
            // A cancelled call has to be seen as well.
            let limit = limit.unwrap_or(Duration::from_millis(50));
            let woken = this.freed.wait_timeout(state, limit);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        };
        if waits {
            state.waiting -= 1;
        }
        drop(state);
        outcome.map(|()| Permit(this))
    }

    /// How many calls are inside and how many wait.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.lock();
        (state.inside + state.uncounted.len(), state.waiting)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: std::ops::Deref<Target = Bulkhead>> Drop for Permit<B> {
    fn drop(&mut self) {
        self.0.lock().inside -= 1;
        self.0.freed.notify_one();
    }
}
