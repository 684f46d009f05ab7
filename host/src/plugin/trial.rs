//! A new build on trial: what it may do wrong before the one before comes back.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When the build before comes back by itself after an upgrade.
///
/// It comes back once: the build that failed is not installed again by the watch for
/// [`back_off`](Self::back_off), twice as long each further time. Whoever asks for it gets it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReturnPolicy {
    /// So many errors within [`within`](Self::within) bring the build before back; `None` counts none,
    /// since errors are often the caller's. Panics count as well.
    pub errors: Option<usize>,
    /// So many panics do; `None` counts none.
    pub panics: Option<usize>,
    /// How close together they must be.
    pub within: Duration,
    /// How long after the upgrade a build is on trial.
    pub trial: Duration,
    /// How long the watch leaves a build alone that failed.
    pub back_off: Duration,
}

impl Default for ReturnPolicy {
    /// 5 panics within 10 seconds, in the first 5 minutes; left alone for a minute.
    fn default() -> Self {
        Self {
            errors: None,
            panics: Some(5),
            within: Duration::from_secs(10),
            trial: Duration::from_secs(300),
            back_off: Duration::from_secs(60),
        }
    }
}

/// The trial of one generation.
#[derive(Debug)]
pub(crate) struct Trial {
    bounds: Bounds,
    failures: Mutex<Failures>,
    /// Calls that the generation was chosen for, when that is counted.
    calls: AtomicU64,
    over: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) errors: Option<usize>,
    pub(crate) panics: Option<usize>,
    /// `None` counts from the beginning.
    pub(crate) within: Option<Duration>,
    pub(crate) end: Option<Instant>,
}

/// The latest failures, no more than count.
#[derive(Debug, Default)]
struct Failures {
    errors: VecDeque<Instant>,
    panics: VecDeque<Instant>,
}

/// A trial that failed, in words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Tripped(pub(crate) String);

impl Trial {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            failures: Mutex::default(),
            calls: AtomicU64::new(0),
            over: AtomicBool::new(false),
        }
    }

    /// The trial after an upgrade under `policy`.
    pub(crate) fn of(policy: &ReturnPolicy) -> Self {
        Self::new(Bounds {
            errors: policy.errors,
            panics: policy.panics,
            within: Some(policy.within),
            end: Instant::now().checked_add(policy.trial),
        })
    }

    /// Counts a call; says which one it is, from 1.
    pub(crate) fn call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Ends the trial: what fails from now on counts for nothing. Says whether it was going on.
    pub(crate) fn end(&self) -> bool {
        !self.over.swap(true, Ordering::SeqCst)
    }

    /// Counts a failure. Says so, once, when it was one too many.
    #[cold]
    pub(crate) fn failed(&self, panicked: bool) -> Option<Tripped> {
        if self.over.load(Ordering::Relaxed) {
            return None;
        }
        let now = Instant::now();
        if self.bounds.end.is_some_and(|end| end <= now) {
            self.end();
            return None;
        }
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let Bounds {
            errors,
            panics,
            within,
            ..
        } = self.bounds;
        let many = errors.is_some_and(|limit| add(&mut failures.errors, limit, within, now));
        let panics =
            panics.filter(|limit| panicked && add(&mut failures.panics, *limit, within, now));
        drop(failures);
        let (count, what) = match (panics, errors.filter(|_| many)) {
            (Some(count), _) => (count, "panics"),
            (None, Some(count)) => (count, "errors"),
            (None, None) => return None,
        };
        if !self.end() {
            return None;
        }
        Some(Tripped(match within {
            Some(within) => format!("{count} {what} within {within:?}"),
            None => format!("{count} {what}"),
        }))
    }
}

/// Adds one; says whether the last `limit` are close together.
fn add(
    latest: &mut VecDeque<Instant>,
    limit: usize,
    within: Option<Duration>,
    now: Instant,
) -> bool {
    latest.push_back(now);
    while latest.len() > limit.max(1) {
        latest.pop_front();
    }
    let first = latest.front().copied().unwrap_or(now);
    latest.len() >= limit.max(1) && within.is_none_or(|within| now.duration_since(first) <= within)
}
