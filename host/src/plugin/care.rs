//! What a plugin's calls have to be looked at for; nothing, most of the time.

use std::sync::atomic::{AtomicU32, Ordering};

use super::thread::Number;

/// A set of reasons, and from which thread on calls are counted.
#[derive(Debug)]
pub(crate) struct Care {
    reasons: AtomicU32,
    in_flight: usize,
}

/// Why calls are looked at.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Reason {
    /// There are more threads than calls may be inside.
    Crowded = 1,
    /// A share of the calls goes to another build.
    Canary = 2,
    /// A hook wants to know of calls.
    Hooks = 4,
    /// Too many threads did not come back.
    Stuck = 8,
}

impl Care {
    pub(super) fn new(in_flight: usize) -> Self {
        Self {
            reasons: AtomicU32::new(0),
            in_flight: in_flight.max(1),
        }
    }

    /// Whether calls of this thread are to be looked at. A thread has one call inside at most, so as long
    /// as there are no more threads than calls may be inside, nobody has to count.
    #[inline(always)]
    pub(super) fn is_needed(&self, thread: Number) -> bool {
        (self.reasons.load(Ordering::Relaxed) != 0) | self.is_beyond(thread)
    }

    #[inline(always)]
    pub(super) fn is_beyond(&self, thread: Number) -> bool {
        thread.get() >= self.in_flight
    }

    pub(super) fn has(&self, reason: Reason) -> bool {
        self.reasons.load(Ordering::Relaxed) & reason as u32 != 0
    }

    /// Adds a reason; says whether it is new.
    pub(super) fn add(&self, reason: Reason) -> bool {
        self.reasons.fetch_or(reason as u32, Ordering::SeqCst) & reason as u32 == 0
    }

    /// Takes a reason away; says whether it was there.
    pub(super) fn remove(&self, reason: Reason) -> bool {
        self.reasons.fetch_and(!(reason as u32), Ordering::SeqCst) & reason as u32 != 0
    }
}
