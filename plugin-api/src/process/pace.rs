//! How eagerly a side waits for the other one.
//!
//! A thread that sleeps until there is something to read is woken up some 40 µs late on another processor,
//! several times what a small call takes. So after a call each side looks for a moment whether the next thing
//! comes at once. That is for nothing when it does not, so it is done only where it was of use before.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How eagerly a side waits for the other one.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pace {
    /// Waits awake for at most 200 µs each time, whether or not that was of use before.
    Latency,
    /// Waits awake for at most 50 µs, and only while what is waited for keeps coming that fast.
    #[default]
    #[serde(other)]
    Balanced,
}

/// Waits awake, as long as that pays.
#[derive(Debug)]
pub struct Spin {
    pace: Pace,
    /// Whether the last thing that was waited for came soon.
    was_soon: bool,
}

/// How many threads of this process wait awake just now.
static AWAKE: AtomicUsize = AtomicUsize::new(0);

impl Spin {
    /// Nothing was waited for yet.
    #[must_use]
    pub const fn new(pace: Pace) -> Self {
        Self {
            pace,
            was_soon: false,
        }
    }

    /// Looks whether there is something, until that would no longer pay; `None` when it is time to sleep. Never
    /// more threads of a process are awake for this than leave it one of the `processors` that it has.
    pub fn wait<T>(&mut self, processors: usize, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        if !self.pays() || processors < 2 {
            return None;
        }
        let limit = self.pace.limit();
        let start = Instant::now();
        let mut found = None;
        if AWAKE.fetch_add(1, Ordering::Relaxed) + 1 < processors {
            loop {
                found = look();
                if found.is_some() || start.elapsed() >= limit {
                    break;
                }
                // Whoever is to answer may need this processor.
                thread::yield_now();
            }
        }
        AWAKE.fetch_sub(1, Ordering::Relaxed);
        found
    }

    /// Notes how long the last wait took in all, awake or asleep.
    pub fn took(&mut self, time: Duration) {
        self.was_soon = time < SOON;
    }

    /// Whether it is worth the while to wait awake.
    #[must_use]
    pub fn pays(&self) -> bool {
        self.was_soon || self.pace == Pace::Latency
    }
}

impl Pace {
    fn limit(self) -> Duration {
        match self {
            Self::Latency => Duration::from_micros(200),
            Self::Balanced => Duration::from_micros(50),
        }
    }
}

/// What comes so soon, the time to wake up included, is worth to be waited for awake.
const SOON: Duration = Duration::from_micros(150);

/// How many processors this process may use, as it was when that was asked for the first time.
#[must_use]
pub fn processors() -> usize {
    static KNOWN: OnceLock<usize> = OnceLock::new();
    *KNOWN.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}
