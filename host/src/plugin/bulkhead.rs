//! How many calls are inside a plugin at once, and how many wait.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lets so many in, and so many wait.
#[derive(Debug)]
pub(crate) struct Bulkhead {
    in_flight: usize,
    queue: Arc<Queue>,
    state: Mutex<State>,
    freed: Condvar,
}

/// Room for calls that wait; bulkheads may share it.
#[derive(Debug)]
pub(crate) struct Queue {
    free: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    /// Until somebody counts, who enters is noted and let in.
    counting: bool,
    taken: Vec<Place>,
    /// The number of the newest place.
    newest: u64,
    waiting: usize,
    /// Calls that entered before anybody counted, each by its thread and how that shows that it left.
    uncounted: Vec<Lane>,
    /// Those that will not be among them.
    forfeited: Vec<Lane>,
}

/// A thread's number, and what its lane in the gate shows while the call is inside.
pub(crate) type Lane = (usize, u64);

#[derive(Debug)]
struct Place {
    number: u64,
    /// The thread that is inside, once it is known.
    thread: Option<usize>,
}

/// One call's place inside, free again when it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permit<B: Deref<Target = Bulkhead>> {
    bulkhead: B,
    number: u64,
}

/// A call that wants a place.
pub(crate) struct Request<'a> {
    /// The thread that goes in, if that is known.
    pub(crate) thread: Option<usize>,
    /// Has calls counted from now on, and says which are inside already.
    pub(crate) begin: Option<&'a dyn Fn() -> Vec<Lane>>,
    /// Whether a call that nobody counted is still inside.
    pub(crate) is_inside: &'a dyn Fn(&Lane) -> bool,
    pub(crate) deadline: Option<Instant>,
    /// Why there is nothing to wait for any more.
    pub(crate) is_over: &'a dyn Fn() -> Option<Closed>,
    /// For a call from inside another: says, before it waits, whether whom it waits for can go on, and is
    /// told when it waits no more.
    pub(crate) waits: Option<&'a dyn Wait>,
}

/// Somebody who wants to know who waits.
pub(crate) trait Wait {
    /// Whether this wait can end.
    fn begin(&self) -> bool;

    /// It ended.
    fn end(&self);
}

/// Why a call is not let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Closed {
    /// As many as may wait do already.
    Full,
    /// Its time was over before there was a place.
    Late,
    /// Too many of those inside will not come back.
    Stuck,
}

/// What a bulkhead holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) counting: bool,
    pub(crate) inside: usize,
    pub(crate) waiting: usize,
}

/// Calls that nobody counted do not say when they leave.
const LOOK: Duration = Duration::from_millis(1);
/// How often a call that waits looks whether that is over.
const LOOK_IF_OVER: Duration = Duration::from_millis(20);

impl Queue {
    pub(crate) fn new(room: usize) -> Arc<Self> {
        Arc::new(Self {
            free: AtomicUsize::new(room),
        })
    }

    fn take(&self) -> bool {
        let one_less = |free: usize| free.checked_sub(1);
        let taken = self
            .free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        taken.is_ok()
    }

    fn give_back(&self) {
        self.free.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bulkhead {
    /// One that counts from the first call on, or once somebody asks for it.
    pub(crate) fn new(in_flight: usize, queue: &Arc<Queue>, counting: bool) -> Self {
        Self {
            in_flight: in_flight.max(1),
            queue: queue.clone(),
            state: Mutex::new(State {
                counting,
                ..State::default()
            }),
            freed: Condvar::new(),
        }
    }

    /// Takes a place, waiting for one if that is not too many. `None` for a thread that has one: it could
    /// wait for itself.
    ///
    /// # Errors
    ///
    /// When too many wait, or the wait makes no sense any more.
    pub(crate) fn enter<B: Deref<Target = Self>>(
        this: B,
        request: &Request<'_>,
    ) -> Result<Option<Permit<B>>, Closed> {
        let mut state = this.lock();
        let mut waits = false;
        let outcome = loop {
            if let (false, Some(begin)) = (state.counting, request.begin) {
                state.counting = true;
                state.uncounted = begin();
                let forfeited = std::mem::take(&mut state.forfeited);
                state.uncounted.retain(|lane| !forfeited.contains(lane));
            }
            if request.thread.is_some_and(|thread| state.holds(thread)) {
                break Ok(None);
            }
            // Who waits is asked first, so that nobody overtakes it for ever.
            let before = if waits { 0 } else { state.waiting };
            let inside = state.inside(request.is_inside);
            if !state.counting || inside + before < this.in_flight {
                break Ok(Some(state.take(request.thread)));
            }
            if let Some(closed) = (request.is_over)() {
                break Err(closed);
            }
            if !waits {
                if !this.queue.take() {
                    break Err(Closed::Full);
                }
                waits = true;
                state.waiting += 1;
                if let Some(wait) = request.waits {
                    drop(state);
                    let can_end = wait.begin();
                    state = this.lock();
                    if !can_end {
                        break Err(Closed::Full);
                    }
                    // There may be a place by now.
                    continue;
                }
            }
            let left = request
                .deadline
                .map(|end| end.saturating_duration_since(Instant::now()));
            let look = (!state.uncounted.is_empty()).then_some(LOOK);
            let limits = [left, look, Some(LOOK_IF_OVER)];
            let limit = limits.into_iter().flatten().min().unwrap_or(LOOK);
            let woken = this.freed.wait_timeout(state, limit);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        };
        if waits {
            state.waiting -= 1;
            this.queue.give_back();
            // What woke it may have been meant for another.
            if outcome.is_err() && state.waiting > 0 {
                this.freed.notify_one();
            }
        }
        drop(state);
        if let (true, Some(wait)) = (waits, request.waits) {
            wait.end();
        }
        let number = outcome?;
        Ok(number.map(|number| Permit {
            bulkhead: this,
            number,
        }))
    }

    /// What is inside and waits.
    pub(crate) fn load(&self, is_inside: &dyn Fn(&Lane) -> bool) -> Load {
        let mut state = self.lock();
        Load {
            inside: state.inside(is_inside),
            counting: state.counting,
            waiting: state.waiting,
        }
    }

    /// The threads inside, when there is no place left.
    pub(crate) fn full_of(&self, is_inside: &dyn Fn(&Lane) -> bool) -> Option<Vec<usize>> {
        let mut state = self.lock();
        if state.inside(is_inside) < self.in_flight {
            return None;
        }
        let uncounted = state.uncounted.iter().map(|(thread, _)| *thread);
        let counted = state.taken.iter().filter_map(|place| place.thread);
        Some(counted.chain(uncounted).collect())
    }

    /// The number of the newest place.
    pub(crate) fn newest(&self) -> u64 {
        self.lock().newest
    }

    /// Gives the places away that a thread took, up to that number, and what its lane shows: it is inside code
    /// that is not called any more, and may never come back.
    pub(crate) fn forfeit(&self, lane: Lane, newest: u64) {
        let mut state = self.lock();
        let its = |place: &Place| place.thread == Some(lane.0) && place.number <= newest;
        state.taken.retain(|place| !its(place));
        if state.counting {
            state.uncounted.retain(|uncounted| *uncounted != lane);
        } else if !state.forfeited.contains(&lane) {
            state.forfeited.push(lane);
        }
        drop(state);
        self.freed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How many are inside.
    fn inside(&mut self, is_inside: &dyn Fn(&Lane) -> bool) -> usize {
        if !self.uncounted.is_empty() {
            self.uncounted.retain(is_inside);
        }
        self.taken.len() + self.uncounted.len()
    }

    fn holds(&self, thread: usize) -> bool {
        let mut taken = self.taken.iter();
        taken.any(|place| place.thread == Some(thread))
    }

    fn take(&mut self, thread: Option<usize>) -> u64 {
        self.newest += 1;
        let number = self.newest;
        self.taken.push(Place { number, thread });
        number
    }
}

impl<B: Deref<Target = Bulkhead>> Permit<B> {
    /// Says which thread it is that goes in.
    pub(crate) fn goes_to(&self, thread: usize) {
        let mut state = self.bulkhead.lock();
        let mut taken = state.taken.iter_mut();
        if let Some(place) = taken.find(|place| place.number == self.number) {
            place.thread = Some(thread);
        }
    }
}

impl<B: Deref<Target = Bulkhead>> Drop for Permit<B> {
    fn drop(&mut self) {
        let mut state = self.bulkhead.lock();
        let place = |place: &Place| place.number == self.number;
        // It may have been given away.
        if let Some(position) = state.taken.iter().position(place) {
            state.taken.swap_remove(position);
        }
        let waiting = state.waiting > 0;
        drop(state);
        if waiting {
            self.bulkhead.freed.notify_one();
        }
    }
}
