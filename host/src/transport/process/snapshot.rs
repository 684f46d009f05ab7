//! What an operator sees of a child.

use std::time::SystemTime;

use super::supervisor::Process;

/// The process of a plugin that has one of its own.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ProcessSnapshot {
    /// Its number; `None` while there is none. The next call starts one.
    pub pid: Option<u32>,
    /// Since when it runs.
    pub since: Option<SystemTime>,
    /// How many were started for this generation.
    pub starts: u64,
    /// How many of them were started in the place of one that ended.
    pub restarts: u64,
    /// Calls that are inside.
    pub in_flight: usize,
}

impl Process {
    /// What an operator sees of it now.
    pub(crate) fn snapshot(&self) -> ProcessSnapshot {
        let (running, starts) = self.glance();
        let fate = running.as_deref().map(|running| &running.child.fate);
        let fate = fate.filter(|fate| fate.ending().is_none());
        ProcessSnapshot {
            pid: fate.map(|fate| fate.number()),
            since: fate.and_then(|fate| SystemTime::now().checked_sub(fate.since.elapsed())),
            starts,
            restarts: starts.saturating_sub(1),
            in_flight: 0,
        }
    }
}
