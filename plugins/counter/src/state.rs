//! What all calls and the clock share.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use plg_plugin_api::Error;

/// Everything that changes, behind one mutex, so that no two parts of it can disagree.
pub(crate) struct State {
    pub(crate) total: i64,
    pub(crate) ticks: u64,
    /// The clock, once it was started.
    pub(crate) clock: Option<Clock>,
    /// Set while the plugin is asked to end: nothing may be started or waited for any more.
    pub(crate) stopping: bool,
}

/// The thread that ticks.
pub(crate) struct Clock {
    pub(crate) thread: JoinHandle<()>,
    pub(crate) every_ms: i64,
}

static STATE: Mutex<State> = Mutex::new(State {
    total: 0,
    ticks: 0,
    clock: None,
    stopping: false,
});

/// Wakes whoever waits for a change of the total or for the end.
pub(crate) static CHANGED: Condvar = Condvar::new();

/// Locks the state, for a few instructions: whoever holds it makes no call to the host.
pub(crate) fn lock() -> MutexGuard<'static, State> {
    // Each change is a single assignment, so a panic in between left nothing half done.
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The total.
pub(crate) fn total() -> i64 {
    lock().total
}

/// Adds to the total and returns it.
pub(crate) fn add(by: i64) -> Result<i64, Error> {
    let mut state = lock();
    let Some(total) = state.total.checked_add(by) else {
        let message = format!("{} and {by} make more than 64 bits hold", state.total);
        return Err(Error::new("counter.overflow", message));
    };
    state.total = total;
    drop(state);
    CHANGED.notify_all();
    Ok(total)
}

/// Waits until the total is at least `until`, for no longer than `turn`, and returns the total.
pub(crate) fn total_within(until: i64, turn: Duration) -> Result<i64, Error> {
    let (state, _) = CHANGED
        .wait_timeout_while(lock(), turn, |state| state.total < until && !state.stopping)
        .unwrap_or_else(PoisonError::into_inner);
    if state.total < until && state.stopping {
        return Err(stopped());
    }
    Ok(state.total)
}

/// The error of a call that comes while the plugin ends.
pub(crate) fn stopped() -> Error {
    Error::new("counter.stopped", "the plugin is being unloaded")
}
