//! Threads that a plugin did not give back in time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::bulkhead::Lane;
use super::care::Reason;
use super::generation::Generation;
use super::record::Plugin;
use super::trial::Tripped;
use super::workers::{Left, Place};
use crate::events::{Phase, Step};

/// A thread that ran a call beyond its deadline and has not come back.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct LostThread {
    /// The name of the thread.
    pub thread: String,
    /// The label that was called; `init`, `save` and `restore` are the plugin's functions of that name.
    pub label: String,
    /// The generation that it is inside.
    pub generation: u64,
    /// When its caller gave up.
    pub since: SystemTime,
}

/// The threads that a plugin has lost.
#[derive(Debug, Default)]
pub(super) struct Lost {
    threads: Vec<Entry>,
    /// The newest generation that was given up because of them.
    given_up: u64,
}

#[derive(Debug)]
struct Entry {
    /// Takes it out again.
    key: u64,
    /// The thread's number.
    number: usize,
    lost: LostThread,
}

impl Plugin {
    /// Keeps count of a thread that did not come back from a call. One that is inside no plugin is not lost:
    /// it comes back by itself.
    pub(crate) fn lose(left: Left) {
        let Some(place) = left.place() else {
            return;
        };
        let Some(plugin) = place.plugin.upgrade() else {
            return;
        };
        let Place {
            generation,
            label,
            number,
            ..
        } = place;
        let thread = left.thread();
        tracing::warn!(
            plugin = plugin.name().as_str(),
            label,
            thread,
            "a call did not come back"
        );
        let why = format!("a call of `{label}` did not come back");
        let key = plugin.lost().add(
            number,
            LostThread {
                thread,
                label,
                generation,
                since: SystemTime::now(),
            },
        );
        let own = plugin.own.clone();
        left.on_return(move || {
            if let Some(plugin) = own.upgrade() {
                plugin.lost().threads.retain(|entry| entry.key != key);
                plugin.look_at_lost();
            }
        });
        plugin.look_at_lost();
        if let Some(others) = plugin.ties.others.upgrade() {
            others.misbehaved(plugin.name(), generation, why);
        }
    }

    /// Refuses calls while too many threads are lost in the current generation, and only then.
    pub(super) fn look_at_lost(&self) {
        let mut lost = self.lost();
        // Read under the lock, so that who looks last decides by what is so.
        let current = self.current();
        let number = current.as_ref().map_or(0, |generation| generation.number);
        let canary = self.canary_generation();
        for thread in lost.outside([Some(number), canary]) {
            let lane = self.gate.lane_of(thread);
            self.bulkhead.forfeit(lane, u64::MAX);
            self.sent.forfeit(lane, u64::MAX);
        }
        let limit = self.lost_limit();
        let in_canary = canary.filter(|canary| lost.inside(*canary) >= limit);
        let inside = lost.inside(number);
        let gives_up = if inside < limit {
            self.care.remove(Reason::Stuck);
            false
        } else {
            self.care.add(Reason::Stuck);
            // They may come back and be lost again; that is the same news.
            std::mem::replace(&mut lost.given_up, number) != number
        };
        drop(lost);
        if gives_up {
            self.offer_for_isolation(current.as_deref(), inside);
        }
        if let (Some(canary), Some(others)) = (in_canary, self.ties.others.upgrade()) {
            let why = Tripped(format!("{limit} threads did not come back"));
            others.tripped(self.name(), canary, why);
        }
    }

    fn offer_for_isolation(&self, generation: Option<&Generation>, lost: usize) {
        let told = || {
            let message =
                format!("{lost} of its threads did not come back; isolate it or upgrade it");
            (self.subject(generation), message)
        };
        let code = Some("plugin.stuck");
        self.ties
            .hooks
            .tell(Step::Demotion, Phase::Done, code, told);
    }

    /// How many threads are lost, if calls of this generation, or the current one, are refused because of it.
    pub(super) fn stuck(&self, leased: Option<&Arc<Generation>>) -> Option<usize> {
        match leased {
            None if !self.care.has(Reason::Stuck) => None,
            None => Some(self.lost().threads.len()),
            Some(generation) => {
                let lost = self.lost().inside(generation.number);
                (lost >= self.lost_limit()).then_some(lost)
            }
        }
    }

    /// With as many lost as may be inside, nobody gets in any more.
    fn lost_limit(&self) -> usize {
        let limits = &self.ties.limits;
        limits.lost.min(limits.in_flight).max(1)
    }

    /// The threads that are lost now.
    pub(super) fn lost_threads(&self) -> Vec<LostThread> {
        let lost = self.lost();
        lost.threads
            .iter()
            .map(|entry| entry.lost.clone())
            .collect()
    }

    /// Whether all of these are.
    pub(super) fn are_lost(&self, mut lanes: impl Iterator<Item = Lane>) -> bool {
        let lost = self.lost();
        lanes.all(|(thread, _)| lost.threads.iter().any(|entry| entry.number == thread))
    }

    /// How many of them are inside that generation.
    pub(super) fn lost_inside(&self, generation: u64) -> usize {
        self.lost().inside(generation)
    }

    fn lost(&self) -> MutexGuard<'_, Lost> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lost {
    fn add(&mut self, number: usize, lost: LostThread) -> u64 {
        static ADDED: AtomicU64 = AtomicU64::new(0);
        let key = ADDED.fetch_add(1, Ordering::Relaxed);
        self.threads.push(Entry { key, number, lost });
        key
    }

    fn inside(&self, generation: u64) -> usize {
        let inside = |entry: &&Entry| entry.lost.generation == generation;
        self.threads.iter().filter(inside).count()
    }

    /// The numbers of those that are inside none of these generations.
    fn outside(&self, generations: [Option<u64>; 2]) -> Vec<usize> {
        let outside = |entry: &&Entry| !generations.contains(&Some(entry.lost.generation));
        let outside = self.threads.iter().filter(outside);
        outside.map(|entry| entry.number).collect()
    }
}
