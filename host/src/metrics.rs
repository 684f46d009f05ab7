//! What is counted: every call exactly, and how long one in 64 takes.
//!
//! Timing every call would cost many times the call. Counts stand in the lane of the calling thread,
//! which is their only writer; a snapshot adds the lanes up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One call in this many is timed.
pub const SAMPLED: u64 = 64;

/// One thread's counts for one plugin, a pair per label.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Stand in the lane, on lines that no other thread writes to.
    first: [Count; FIRST],
    rest: OnceLock<Box<[Count]>>,
}

/// Calls of one label by one thread.
#[derive(Debug, Default)]
pub(crate) struct Count {
    calls: AtomicU64,
    failures: AtomicU64,
}

const FIRST: usize = 14;
/// The most labels that have counters of their own.
pub(crate) const PLACES: usize = 1025;

impl Counts {
    #[inline]
    pub(crate) fn at(&self, place: usize) -> &Count {
        match self.first.get(place) {
            Some(count) => count,
            None => self.at_rest(place),
        }
    }

    #[cold]
    fn at_rest(&self, place: usize) -> &Count {
        let rest = self
            .rest
            .get_or_init(|| (FIRST..PLACES).map(|_| Count::default()).collect());
        // A place beyond the limit cannot come from `Labels`; it would be counted with the others.
        rest.get(place - FIRST).unwrap_or(&self.first[0])
    }

    /// Calls and failures at `place`.
    pub(crate) fn read(&self, place: usize) -> (u64, u64) {
        let count = match self.first.get(place) {
            Some(count) => count,
            None => match self.rest.get().and_then(|rest| rest.get(place - FIRST)) {
                Some(count) => count,
                None => return (0, 0),
            },
        };
        (
            count.calls.load(Ordering::Relaxed),
            count.failures.load(Ordering::Relaxed),
        )
    }
}

impl Count {
    /// Counts a call; says whether it is one to be timed.
    #[inline]
    pub(crate) fn call(&self) -> bool {
        let calls = self.calls.load(Ordering::Relaxed).wrapping_add(1);
        self.calls.store(calls, Ordering::Relaxed);
        calls.is_multiple_of(SAMPLED)
    }

    #[cold]
    pub(crate) fn failure(&self) {
        let failures = self.failures.load(Ordering::Relaxed).wrapping_add(1);
        self.failures.store(failures, Ordering::Relaxed);
    }
}

/// How long sampled calls took, in classes that double.
#[derive(Debug)]
pub(crate) struct Latency {
    total: AtomicU64,
    longest: AtomicU64,
    /// `classes[n]` counts calls of 2^n up to 2^(n+1) nanoseconds; the last takes all above.
    classes: [AtomicU64; CLASSES],
}

const CLASSES: usize = 40;

impl Default for Latency {
    fn default() -> Self {
        Self {
            total: AtomicU64::new(0),
            longest: AtomicU64::new(0),
            classes: [const { AtomicU64::new(0) }; CLASSES],
        }
    }
}

impl Latency {
    #[cold]
    pub(crate) fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let class = (nanos.max(1).ilog2() as usize).min(CLASSES - 1);
        self.classes[class].fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(nanos, Ordering::Relaxed);
        if nanos > self.longest.load(Ordering::Relaxed) {
            self.longest.fetch_max(nanos, Ordering::Relaxed);
        }
    }

    pub(crate) fn snapshot(&self) -> LatencySnapshot {
        let classes = self.classes.each_ref().map(|n| n.load(Ordering::Relaxed));
        let samples = classes.iter().sum::<u64>();
        if samples == 0 {
            return LatencySnapshot::default();
        }
        let quantile = |share: f64| {
            let rank = (samples as f64 * share).ceil() as u64;
            let mut seen = 0;
            let class = classes.iter().position(|count| {
                seen += count;
                seen >= rank
            });
            Duration::from_nanos(2_u64 << class.unwrap_or(0))
        };
        LatencySnapshot {
            samples,
            mean: Duration::from_nanos(self.total.load(Ordering::Relaxed) / samples),
            median: quantile(0.5),
            p99: quantile(0.99),
            longest: Duration::from_nanos(self.longest.load(Ordering::Relaxed)),
        }
    }
}

/// How long the sampled calls of a label took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct LatencySnapshot {
    /// How many calls were timed: one in [`SAMPLED`] per thread.
    pub samples: u64,
    /// The mean of them.
    pub mean: Duration,
    /// Half of them took at most this, rounded up to a power of two of nanoseconds.
    pub median: Duration,
    /// 99 of 100 took at most this, rounded up likewise.
    pub p99: Duration,
    /// The longest.
    pub longest: Duration,
}
