//! Wakes the thread of a watch: many events are one reason to look.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Rung by events, by whoever wants a look now, and at the end.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Rung {
    /// The first and the last event since the bell was heard.
    events: Option<(Instant, Instant)>,
    at_once: bool,
    over: bool,
}

/// How long events may go on before they are heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Without another event for this long, the burst is over.
    pub(super) quiet: Duration,
    /// A burst is heard after this long even if it goes on.
    pub(super) longest: Duration,
}

impl Bell {
    /// There was an event.
    pub(super) fn ring(&self) {
        let mut rung = self.lock();
        let now = Instant::now();
        let first = rung.events.map(|(first, _)| first);
        rung.events = Some((first.unwrap_or(now), now));
        // Later ones of a burst are noticed by the clock, without waking anybody for each.
        if first.is_none() {
            self.changed.notify_all();
        }
    }

    /// Somebody wants a look at once.
    pub(super) fn ring_at_once(&self) {
        self.lock().at_once = true;
        self.changed.notify_all();
    }

    /// It is over.
    pub(super) fn end(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }

    pub(super) fn is_over(&self) -> bool {
        self.lock().over
    }

    /// Waits for the bell, or until `until`. Says whether to go on.
    pub(super) fn wait(&self, until: Option<Instant>, patience: Patience) -> bool {
        let mut rung = self.lock();
        loop {
            if rung.over {
                return false;
            }
            let heard = rung.events.and_then(|(first, last)| {
                let quiet = last.checked_add(patience.quiet)?;
                Some(quiet.min(first.checked_add(patience.longest)?))
            });
            let end = [until, heard].into_iter().flatten().min();
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if rung.at_once || left.is_some_and(|left| left.is_zero()) {
                rung.at_once = false;
                rung.events = None;
                return true;
            }
            rung = match left {
                Some(left) => {
                    let waited = self.changed.wait_timeout(rung, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.changed.wait(rung);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rung> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
