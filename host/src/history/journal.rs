//! Entries in order, and the sets that they add up to.

use std::collections::VecDeque;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::entry::{Entry, Set};

/// Entries in the order in which they happened, of one host or of all that share a state directory.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    lines: VecDeque<Line>,
    skipped: usize,
}

/// An entry as it stands in a file.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Line {
    #[serde(flatten)]
    pub(super) entry: Entry,
    /// The set of its host before it, where that does not follow from the entries before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) set: Option<Set>,
}

/// How many entries are kept in memory.
const ENTRIES: usize = 10_000;

impl Journal {
    /// All entries, the oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> + ExactSizeIterator {
        self.lines.iter().map(|line| &line.entry)
    }

    /// How many lines of the file were passed over because they cannot be read.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// The set of the host that wrote the entry of this number, right after it. `None` when there is no
    /// such entry, or not any more.
    #[must_use]
    pub fn set_at(&self, number: u64) -> Option<Set> {
        let is_it = |line: &Line| line.entry.number == number;
        self.set_after(self.lines.iter().rposition(is_it)?)
    }

    /// The set at this time of the host whose entry was the last one then. `None` when there is no entry
    /// of that time or before it, or not any more.
    #[must_use]
    pub fn set_at_time(&self, at: SystemTime) -> Option<Set> {
        let is_before = |line: &Line| line.entry.at <= at;
        self.set_after(self.lines.iter().rposition(is_before)?)
    }

    fn set_after(&self, place: usize) -> Option<Set> {
        let run = self.lines.get(place)?.entry.run;
        let mut set = Set::new();
        let of_run = |line: &&Line| line.entry.run == run;
        for line in self.lines.range(..=place).filter(of_run) {
            line.apply(&mut set);
        }
        Some(set)
    }

    /// Adds an entry of the one host whose journal this is. The oldest one goes when there are too many.
    pub(super) fn push(&mut self, entry: Entry) {
        if self.lines.len() >= ENTRIES
            && let Some(mut oldest) = self.lines.pop_front()
            && let Some(next) = self.lines.front_mut()
        {
            let mut set = oldest.set.take().unwrap_or_default();
            oldest.entry.apply(&mut set);
            next.set = Some(set);
        }
        let set = None;
        self.lines.push_back(Line { entry, set });
    }

    /// Adds the lines of a file. A last one that has no end may be being written.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let (line, after) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
            rest = after;
            match serde_json::from_slice(line) {
                Ok(line) => self.lines.push_back(line),
                Err(_) if end.is_none() => {}
                Err(_) => self.skipped += 1,
            }
        }
    }
}

impl Line {
    fn apply(&self, set: &mut Set) {
        if let Some(known) = &self.set {
            set.clone_from(known);
        }
        self.entry.apply(set);
    }
}
