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

#[derive(Debug, Default)]
struct Failures {
    errors: Latest,
    panics: Latest,
}

/// The latest failures of a kind, no more than matter.
#[derive(Debug, Default)]
struct Latest {
    /// How many there were when it does not matter when.
    all: usize,
    close: VecDeque<Instant>,
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
        let many = errors.is_some_and(|limit| failures.errors.add(limit, within, now));
        let panics = panics.filter(|limit| panicked && failures.panics.add(*limit, within, now));
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

impl Latest {
    /// Adds one; says whether `limit` of them are as close together as `within`.
    fn add(&mut self, limit: usize, within: Option<Duration>, now: Instant) -> bool {
        let limit = limit.max(1);
        let Some(within) = within else {
            self.all = self.all.saturating_add(1);
            return self.all >= limit;
        };
        self.close.push_back(now);
        while let Some(first) = self.close.front()
            && (self.close.len() > limit || now.duration_since(*first) > within)
        {
            self.close.pop_front();
        }
        self.close.len() >= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(panics: usize, within: Option<Duration>) -> Bounds {
        Bounds {
            errors: None,
            panics: Some(panics),
            within,
            end: None,
        }
    }

    /// Failures that are too far apart count for nothing and take no room.
    #[test]
    fn only_failures_close_together_count() {
        let mut latest = Latest::default();
        let (start, within) = (Instant::now(), Some(Duration::from_secs(10)));
        let mut add =
            |second, limit| latest.add(limit, within, start + Duration::from_secs(second));
        assert!(!add(0, 3) && !add(1, 3) && !add(11, 3));
        // Those of 1, 11 and 11 are 10 seconds apart, and that of 0 is gone.
        assert!(add(11, 3));
        for second in 100..10_000 {
            assert!(!add(second, usize::MAX));
        }
        assert!(latest.close.len() <= 11);
    }

    #[test]
    fn a_trial_without_a_length_of_time_counts_all() {
        let trial = Trial::new(bounds(3, None));
        assert_eq!((trial.failed(true), trial.failed(false)), (None, None));
        assert_eq!(trial.failed(true), None);
        assert_eq!(trial.failed(true), Some(Tripped("3 panics".to_owned())));
        // Once.
        assert_eq!(trial.failed(true), None);
    }

    #[test]
    fn what_fails_after_the_trial_counts_for_nothing() {
        let over = Trial::new(Bounds {
            end: Some(Instant::now()),
            ..bounds(1, None)
        });
        assert_eq!(over.failed(true), None);
        let ended = Trial::new(bounds(1, None));
        assert!(ended.end() && !ended.end());
        assert_eq!(ended.failed(true), None);
    }
}
