//! When a child may be started again. No clock is read here: whoever asks says what time it is.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use crate::limits::Limits;

/// What became of the children so far.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    /// When the last ones were begun.
    starts: VecDeque<Instant>,
    /// How many of them ended badly, one after the other.
    failures: u32,
    /// When the next one may be begun.
    not_before: Option<Instant>,
    given_up: bool,
}

impl Restarts {
    /// One is begun.
    pub(super) fn begin(&mut self, now: Instant) {
        self.starts.push_back(now);
    }

    /// Whether there are too many now, or were once: then it is for good.
    pub(super) fn is_given_up(&mut self, now: Instant, limits: &Limits) -> bool {
        let within = limits.restarts_within;
        self.starts
            .retain(|start| now.saturating_duration_since(*start) < within);
        self.given_up |= self.starts.len() >= limits.restarts.max(1);
        self.given_up
    }

    /// Whether that was found before.
    pub(super) fn was_given_up(&self) -> bool {
        self.given_up
    }

    /// How long the next one has to wait.
    pub(super) fn pause(&self, now: Instant) -> Duration {
        self.not_before
            .map_or(Duration::ZERO, |from| from.saturating_duration_since(now))
    }

    /// One ended as it may, so it does not count.
    pub(super) fn ended_well(&mut self) {
        self.starts.pop_back();
        self.failures = 0;
    }

    /// One could not be started for a reason that is not its own. It waits like any other, and does not count.
    pub(super) fn was_held_up(&mut self) {
        self.starts.pop_back();
    }

    /// One ended badly after it had lived for so long, or could not be started.
    pub(super) fn ended_badly(&mut self, now: Instant, lived: Duration, limits: &Limits) {
        if lived >= limits.restarts_within {
            self.failures = 0;
        }
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let pause = limits.back_off.saturating_mul(factor);
        let pause = pause.min(limits.back_off_most);
        self.failures = self.failures.saturating_add(1);
        let pause = pause.saturating_add(pause.mul_f64(jitter()));
        self.not_before = now.checked_add(pause);
    }
}

/// Up to an eighth, so that plugins that fail together do not come back together.
fn jitter() -> f64 {
    let random = RandomState::new().hash_one(0);
    f64::from(u8::try_from(random & 0xff).unwrap_or_default()) / 2048.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 184, without waiting.
    #[test]
    fn the_pause_doubles_up_to_a_limit_and_the_fifth_bad_end_within_a_minute_is_the_last() {
        let limits = Limits::default();
        let mut restarts = Restarts::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        let mut spawned = 0;
        while !restarts.is_given_up(now, &limits) {
            restarts.begin(now);
            spawned += 1;
            restarts.ended_badly(now, Duration::ZERO, &limits);
            pauses.push(restarts.pause(now));
            now += restarts.pause(now);
        }
        assert_eq!(spawned, 5);
        for (at, pause) in pauses.into_iter().enumerate() {
            let least = limits.back_off * (1 << at);
            assert!(least <= pause && pause <= least * 9 / 8, "{pause:?}");
        }
        // For good, also an hour later.
        assert!(restarts.is_given_up(now + Duration::from_secs(3600), &limits));
    }

    #[test]
    fn ends_that_are_far_apart_or_good_never_add_up() {
        let limits = Limits::default();
        let mut restarts = Restarts::default();
        let mut now = Instant::now();
        for _ in 0..50 {
            assert!(!restarts.is_given_up(now, &limits));
            restarts.begin(now);
            now += limits.restarts_within;
            restarts.ended_badly(now, limits.restarts_within, &limits);
            assert!(restarts.pause(now) <= limits.back_off * 2);
        }
        for _ in 0..50 {
            assert!(!restarts.is_given_up(now, &limits));
            restarts.begin(now);
            restarts.ended_well();
        }
    }

    #[test]
    fn the_pause_is_never_longer_than_the_longest() {
        let limits = Limits {
            restarts: usize::MAX,
            ..Limits::default()
        };
        let mut restarts = Restarts::default();
        let now = Instant::now();
        for _ in 0..100 {
            restarts.ended_badly(now, Duration::ZERO, &limits);
        }
        assert!(restarts.pause(now) >= limits.back_off_most);
        assert!(restarts.pause(now) <= limits.back_off_most * 9 / 8);
    }
}
