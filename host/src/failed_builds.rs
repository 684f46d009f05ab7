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

/// How many of them are remembered.
const MOST: usize = 1024;

impl FailedBuilds {
    /// Leaves a build alone for `first`, twice as long each further time; says for how long.
    pub(crate) fn add(&self, build: Digest, first: Duration) -> Duration {
        let mut builds = self.lock();
        if builds.len() >= MOST && !builds.contains_key(&build) {
            // Whoever writes builds without end has the oldest of them forgotten.
            let first = builds.iter().min_by_key(|(_, (_, until))| *until);
            if let Some(digest) = first.map(|(digest, _)| *digest) {
                builds.remove(&digest);
            }
        }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use plg_packaging::Digest;

    use super::{FailedBuilds, MOST};

    #[test]
    fn builds_without_end_take_no_memory_without_end() {
        let builds = FailedBuilds::default();
        let digest = |number: usize| Digest::of(&number.to_le_bytes());
        for number in 0..MOST * 4 {
            builds.add(digest(number), Duration::from_secs(60));
        }
        assert_eq!(builds.lock().len(), MOST);
        let again = builds.add(digest(MOST * 4 - 1), Duration::from_secs(60));
        assert_eq!(again, Duration::from_secs(120), "the newest are remembered");
    }
}
