//! Threads that a plugin did not give back in time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

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
    threads: Vec<(u64, LostThread)>,
}

impl Lost {
    /// Adds a thread; the number takes it out again.
    pub(super) fn add(&mut self, thread: LostThread) -> u64 {
        static ADDED: AtomicU64 = AtomicU64::new(0);
        let number = ADDED.fetch_add(1, Ordering::Relaxed);
        self.threads.push((number, thread));
        number
    }

    /// Takes a thread out that came back.
    pub(super) fn remove(&mut self, number: u64) {
        self.threads.retain(|(other, _)| *other != number);
    }

    pub(super) fn threads(&self) -> Vec<LostThread> {
        self.threads.iter().map(|(_, lost)| lost.clone()).collect()
    }

    /// How many are inside this generation.
    pub(super) fn inside(&self, generation: u64) -> usize {
        let inside = |(_, lost): &&(u64, LostThread)| lost.generation == generation;
        self.threads.iter().filter(inside).count()
    }
}
