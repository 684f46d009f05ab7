//! Events as an iterator.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::event::Event;

/// The events of a host from the moment that this was asked for. Ends when the host is dropped.
///
/// A reader that is slow makes nobody wait: what does not fit is counted in [`missed`](Self::missed).
#[derive(Debug)]
pub struct Events {
    events: Receiver<Arc<Event>>,
    missed: Arc<AtomicU64>,
}

/// Events that wait to be read.
pub(super) const CAPACITY: usize = 4096;

impl Events {
    pub(super) fn new(events: Receiver<Arc<Event>>, missed: Arc<AtomicU64>) -> Self {
        Self { events, missed }
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<Event> {
        self.events.try_recv().ok().map(Arc::unwrap_or_clone)
    }

    /// The next event, waited for at most this long.
    pub fn next_within(&mut self, limit: Duration) -> Option<Event> {
        match self.events.recv_timeout(limit) {
            Ok(event) => Some(Arc::unwrap_or_clone(event)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }

    /// How many events were lost because this was read too slowly.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

impl Iterator for Events {
    type Item = Event;

    /// Waits for the next event; `None` once the host is gone.
    fn next(&mut self) -> Option<Event> {
        self.events.recv().ok().map(Arc::unwrap_or_clone)
    }
}
