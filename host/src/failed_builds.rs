//! Builds that failed on trial, left alone by the watch for a while.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use plg_packaging::Digest;

/// Which builds, until when, and how often each failed.
#[derive(Debug, Default)]
pub(crate) struct FailedBuilds {
    builds: Mutex<HashMap<Digest, (u32, Instant)>>,
}

/// A build that fails again and again is tried once in this long.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

impl FailedBuilds {
    /// Leaves a build alone for `first`, twice as long each further time; says for how long.
    pub(crate) fn add(&self, build: Digest, first: Duration) -> Duration {
        let mut builds = self.lock();
        let (times, until) = builds.entry(build).or_insert((0, Instant::now()));
        let back_off = first
            .saturating_mul(1_u32.checked_shl(*times).unwrap_or(u32::MAX))
            .min(LONGEST);
        *times = times.saturating_add(1);
        *until = Instant::now() + back_off;
        back_off
    }

    /// For how long a build is still left alone.
    #[cfg(feature = "watch")]
    pub(crate) fn left(&self, build: &Digest) -> Option<Duration> {
        let builds = self.lock();
        let (_, until) = builds.get(build)?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, (u32, Instant)>> {
        self.builds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
