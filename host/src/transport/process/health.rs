//! When a child is asked whether it is well, what its answers mean, and when it has been idle for long enough.
//!
//! No clock is read here: whoever asks says what time it is. All times are of the monotonic clock, which no
//! change of the wall clock moves, and what comes late happens once, not as often as it was missed.

use std::time::{Duration, Instant};

/// What is known of one child.
#[derive(Debug)]
pub(super) struct Health {
    /// When it was asked last, or became ready.
    asked: Instant,
    /// How many calls had begun then.
    calls: u64,
    /// How many answers in a row were none, or bad.
    failures: u32,
}

/// How often it is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rhythm {
    /// How long after one question the next one comes, while there are calls.
    pub(super) every: Duration,
    /// How long a question may take.
    pub(super) limit: Duration,
    /// After how long without a call it is ended.
    pub(super) idle: Option<Duration>,
}

/// What a child has to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Activity {
    /// Calls that have begun, ever.
    pub(super) calls: u64,
    /// Calls that are inside.
    pub(super) inside: usize,
    /// When the last one ended, or the child became ready.
    pub(super) last: Instant,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Due {
    /// Ask it.
    Ask,
    /// End it: nobody calls.
    End,
    /// Look again then.
    At(Instant),
    /// Nothing, before it is called again.
    Nothing,
}

/// So many bad answers in a row are one too many.
pub(super) const HYSTERESIS: u32 = 3;

impl Health {
    /// Of a child that has just said that it is ready.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            asked: now,
            calls: 0,
            failures: 0,
        }
    }

    /// What is to be done at `now`. A child that was not called since it was asked is left alone.
    pub(super) fn due(&self, now: Instant, activity: Activity, rhythm: &Rhythm) -> Due {
        let is_idle = activity.inside == 0;
        let pause = match self.failures {
            0 if is_idle && activity.calls == self.calls => None,
            0 => Some(rhythm.every),
            _ => Some(rhythm.every / 10),
        };
        let ask = pause.and_then(|pause| self.asked.checked_add(pause));
        let idle = rhythm.idle.filter(|_| is_idle);
        let end = idle.and_then(|idle| activity.last.checked_add(idle));
        let due = [end.map(|at| (at, Due::End)), ask.map(|at| (at, Due::Ask))];
        match due.into_iter().flatten().min_by_key(|(at, _)| *at) {
            Some((at, due)) if at <= now => due,
            // Whoever is inside may leave at any time, and then it is idle from that time on.
            Some((at, _)) => {
                let look = rhythm.idle.filter(|_| !is_idle);
                let look = look.and_then(|idle| now.checked_add(idle));
                Due::At(look.map_or(at, |look| look.min(at)))
            }
            None => Due::Nothing,
        }
    }

    /// It was asked from `start` to `end`, and answered well or not. Says whether that was once too often.
    pub(super) fn answered(
        &mut self,
        (start, end): (Instant, Instant),
        calls: u64,
        well: bool,
        rhythm: &Rhythm,
    ) -> bool {
        self.asked = end;
        self.calls = calls;
        if well {
            self.failures = 0;
        } else if end.saturating_duration_since(start) <= rhythm.limit * 2 {
            self.failures += 1;
        }
        // Else it was the host that did nothing for so long, and the question says nothing.
        self.failures >= HYSTERESIS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(10);
    const LIMIT: Duration = Duration::from_secs(2);
    const HOUR: Duration = Duration::from_secs(3600);

    fn rhythm(idle: Option<Duration>) -> Rhythm {
        Rhythm {
            every: EVERY,
            limit: LIMIT,
            idle,
        }
    }

    fn activity(calls: u64, inside: usize, last: Instant) -> Activity {
        Activity {
            calls,
            inside,
            last,
        }
    }

    #[test]
    fn an_idle_child_is_never_asked() {
        let start = Instant::now();
        let health = Health::new(start);
        let idle = activity(0, 0, start);
        for at in [start, start + EVERY, start + HOUR] {
            assert_eq!(health.due(at, idle, &rhythm(None)), Due::Nothing);
        }
    }

    #[test]
    fn a_child_with_calls_is_asked_once_in_a_while_and_once_more_after_the_last() {
        let start = Instant::now();
        let rhythm = rhythm(None);
        let mut health = Health::new(start);
        let busy = activity(7, 1, start);
        assert_eq!(health.due(start, busy, &rhythm), Due::At(start + EVERY));
        assert_eq!(health.due(start + EVERY, busy, &rhythm), Due::Ask);
        let then = start + EVERY;
        assert!(!health.answered((then, then), 7, true, &rhythm));
        // It is still inside.
        assert_eq!(health.due(then, busy, &rhythm), Due::At(then + EVERY));
        // It is not, and none came.
        let over = activity(7, 0, then);
        assert_eq!(health.due(then + HOUR, over, &rhythm), Due::Nothing);
        // One came and went.
        let over = activity(8, 0, then);
        assert_eq!(health.due(then, over, &rhythm), Due::At(then + EVERY));
    }

    #[test]
    fn three_bad_answers_in_a_row_are_too_many_and_flapping_is_not() {
        let start = Instant::now();
        let rhythm = rhythm(None);
        let mut health = Health::new(start);
        for well in [false, false, true, false, false, true, false, false] {
            assert!(!health.answered((start, start + LIMIT), 1, well, &rhythm));
        }
        // After a bad answer it is asked soon, also when no call came.
        let over = activity(1, 0, start);
        assert_eq!(
            health.due(start + LIMIT + EVERY / 10, over, &rhythm),
            Due::Ask
        );
        assert!(health.answered((start, start + LIMIT), 1, false, &rhythm));
    }

    /// Row 193.
    #[test]
    fn a_jump_of_the_clock_is_one_question_and_no_verdict() {
        let start = Instant::now();
        let rhythm = rhythm(Some(HOUR * 2));
        let mut health = Health::new(start);
        let busy = activity(3, 1, start);
        let late = start + HOUR;
        assert_eq!(health.due(late, busy, &rhythm), Due::Ask);
        for _ in 0..HYSTERESIS + 1 {
            assert!(!health.answered((start, late), 3, false, &rhythm));
        }
        assert!(!health.answered((late, late), 3, true, &rhythm));
        assert_eq!(health.due(late, busy, &rhythm), Due::At(late + EVERY));
        // A clock that stands still or goes back asks nobody.
        assert_eq!(health.due(start, busy, &rhythm), Due::At(late + EVERY));
    }

    #[test]
    fn a_child_is_ended_when_it_had_no_call_for_so_long() {
        let start = Instant::now();
        let rhythm = rhythm(Some(HOUR));
        let mut health = Health::new(start);
        let over = activity(1, 0, start + EVERY);
        health.answered((start + EVERY, start + EVERY), 1, true, &rhythm);
        let end = start + EVERY + HOUR;
        assert_eq!(health.due(start + HOUR, over, &rhythm), Due::At(end));
        assert_eq!(health.due(end, over, &rhythm), Due::End);
        let inside = activity(1, 1, start + EVERY);
        assert_eq!(health.due(end, inside, &rhythm), Due::Ask);
        // One that is to end soon is not asked before.
        let soon = Rhythm {
            idle: Some(EVERY / 2),
            ..rhythm
        };
        let again = activity(2, 0, start + EVERY);
        let long = activity(2, 1, start + EVERY);
        let at = start + EVERY + EVERY / 2;
        assert_eq!(health.due(start + EVERY, long, &soon), Due::At(at));
        assert_eq!(health.due(start + EVERY, again, &soon), Due::At(at));
        assert_eq!(health.due(at, again, &soon), Due::End);
    }
}
