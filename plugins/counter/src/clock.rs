//! The thread that ticks.

use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};

use plg_plugin_api::Error;

use crate::state::{self, CHANGED, Clock};

/// The longest time between two ticks.
const MAX_EVERY_MS: i64 = 60 * 60 * 1000;

/// Starts the clock, and says whether it had to: there is never more than one.
pub(crate) fn start(every_ms: i64) -> Result<bool, Error> {
    let every = match u64::try_from(every_ms) {
        Ok(millis) if (1..=MAX_EVERY_MS).contains(&every_ms) => Duration::from_millis(millis),
        _ => {
            let message = format!("`every_ms` is {every_ms}, expected 1 to {MAX_EVERY_MS}");
            return Err(Error::new("counter.interval", message));
        }
    };
    // The lock is held until the handle is in its place, so that `join` cannot miss the thread.
    let mut state = state::lock();
    if state.stopping {
        return Err(state::stopped());
    }
    if state.clock.is_some() {
        return Ok(false);
    }
    let thread = thread::Builder::new()
        .name("counter-clock".to_owned())
        .spawn(move || tick(every))
        .map_err(|error| {
            let message = format!("failed to start the clock: {error}");
            Error::new("counter.thread", message)
        })?;
    state.clock = Some(Clock { thread, every_ms });
    Ok(true)
}

/// Waits for the clock to end, which it does once the plugin is stopping. Returns how often it
/// ticked, or `None` when it was never started.
pub(crate) fn join() -> Option<u64> {
    // The clock takes the lock to end, so the lock is given back before the join.
    let clock = state::lock().clock.take()?;
    // The clock does nothing that panics, and if it did, it would have ended all the same.
    let _ = clock.thread.join();
    Some(state::lock().ticks)
}

fn tick(every: Duration) {
    let mut next = Instant::now() + every;
    let mut state = state::lock();
    while !state.stopping {
        let left = next.saturating_duration_since(Instant::now());
        if left.is_zero() {
            state.ticks += 1;
            // From the last due time and not from now, so that late ticks do not add up.
            next += every;
            continue;
        }
        (state, _) = CHANGED
            .wait_timeout(state, left)
            .unwrap_or_else(PoisonError::into_inner);
    }
}
