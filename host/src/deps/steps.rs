//! How much work the solver does, by a measure that is the same on every machine.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::Hash;

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

/// How many steps were taken on this thread.
pub(super) fn steps() -> u64 {
    STEPS.get()
}

/// Takes some more. A step is about an operation on sets, a microsecond in a debug build.
pub(super) fn add_steps(count: u64) {
    STEPS.set(STEPS.get().wrapping_add(count));
}

/// The decisions of the solver in their order. It goes through all of them when it takes one back, and
/// that is many steps.
#[derive(Debug)]
pub(super) struct Decisions<Q> {
    order: Vec<Q>,
    places: HashMap<Q, usize>,
}

impl<Q> Default for Decisions<Q> {
    fn default() -> Self {
        Self {
            order: Vec::new(),
            places: HashMap::new(),
        }
    }
}

impl<Q: Copy + Eq + Hash> Decisions<Q> {
    /// Notes a decision. One that is taken again although others followed was taken back with them.
    pub(super) fn note(&mut self, question: Q) {
        if let Some(place) = self.places.get(&question).copied() {
            let taken_back = self.order.split_off(place);
            taken_back.iter().for_each(|question| {
                self.places.remove(question);
            });
            if taken_back.len() > 1 {
                let all = self.order.len() + taken_back.len();
                add_steps(u64::try_from(all / 8).unwrap_or(u64::MAX));
            }
        }
        self.places.insert(question, self.order.len());
        self.order.push(question);
    }
}
