//! The labels of a plugin, each with the place of its counters. They outlive generations, so a label
//! that was resolved once stays resolved.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use plg_packaging::Label;

use crate::metrics::Latency;

/// Labels by name; entries are only ever added.
#[derive(Debug)]
pub(crate) struct Labels {
    /// Most plugins have a handful: found without a lock, where [`start`] says or at the next free place.
    first: [OnceLock<Arc<Entry>>; FIRST],
    rest: RwLock<HashMap<Label, Arc<Entry>>>,
    /// Counts the calls of labels that have no entry.
    other: Arc<Entry>,
    limit: usize,
}

/// One label.
#[derive(Debug)]
pub(crate) struct Entry {
    name: Box<str>,
    /// Which of each lane's counters is this label's.
    pub(crate) place: usize,
    pub(crate) latency: Latency,
}

const FIRST: usize = 64;

impl Labels {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            first: [const { OnceLock::new() }; FIRST],
            rest: RwLock::default(),
            other: Arc::new(Entry::new("*", 0)),
            limit,
        }
    }

    #[inline]
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Entry>> {
        for place in self.places(name) {
            match place.get() {
                Some(entry) if *entry.name == *name => return Some(entry),
                Some(_) => {}
                None => return None,
            }
        }
        None
    }

    /// Where `name` can stand, the likeliest first.
    #[inline]
    fn places(&self, name: &str) -> impl Iterator<Item = &OnceLock<Arc<Entry>>> {
        let (before, from) = self.first.split_at(start(name));
        from.iter().chain(before)
    }

    /// Like [`find`](Self::find), through all of them.
    pub(crate) fn find_any(&self, name: &str) -> Option<Arc<Entry>> {
        if let Some(entry) = self.find(name) {
            return Some(entry.clone());
        }
        let rest = self.rest.read().unwrap_or_else(PoisonError::into_inner);
        rest.get(name).cloned()
    }

    /// The entry of `label`, made when there is none; when there is no more room, one that counts in the
    /// common place.
    pub(crate) fn entry(&self, label: &Label) -> Arc<Entry> {
        if let Some(entry) = self.find_any(label.as_str()) {
            return entry;
        }
        let mut rest = self.rest.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been faster; places are given under this lock only.
        if let Some(entry) = self.find(label.as_str()).or_else(|| rest.get(label)) {
            return entry.clone();
        }
        let taken = self
            .first
            .iter()
            .filter(|slot| slot.get().is_some())
            .count();
        let place = taken + rest.len() + 1;
        if place > self.limit {
            // It keeps its name and counts with the others.
            return Arc::new(Entry::new(label.as_str(), self.other.place));
        }
        let entry = Arc::new(Entry::new(label.as_str(), place));
        let free = self
            .places(label.as_str())
            .find(|slot| slot.get().is_none());
        match free {
            Some(slot) => slot.get_or_init(|| entry).clone(),
            None => rest.entry(label.clone()).or_insert(entry).clone(),
        }
    }

    pub(crate) fn other(&self) -> &Arc<Entry> {
        &self.other
    }

    /// Every label and the common entry, in the order they were made.
    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        let rest = self.rest.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = std::iter::once(&self.other)
            .chain(self.first.iter().filter_map(OnceLock::get))
            .chain(rest.values())
            .cloned()
            .collect();
        all.sort_by_key(|entry| entry.place);
        all
    }
}

/// A plugin's labels differ in length, or where they begin or end.
#[inline]
fn start(name: &str) -> usize {
    let bytes = name.as_bytes();
    let (first, last) = (bytes.first().unwrap_or(&0), bytes.last().unwrap_or(&0));
    (usize::from(*first) * 7 + usize::from(*last) + bytes.len() * 3) % FIRST
}

impl Entry {
    fn new(name: &str, place: usize) -> Self {
        Self {
            name: name.into(),
            place,
            latency: Latency::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}
