//! What an operator sees of a child.

use std::fs;
use std::time::SystemTime;

use super::launch::Running;
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
    /// How the one before ended, if one did other than by an unload.
    pub last_exit: Option<String>,
    /// Bytes of memory that it has resident; `None` where the system does not say.
    pub rss: Option<u64>,
}

impl Process {
    /// What an operator sees of it now.
    pub(crate) fn snapshot(&self) -> ProcessSnapshot {
        let state = self.lock();
        let kept = state.kept.as_ref().map(|kept| kept.running.clone());
        let (starts, last_exit) = (state.begun, state.last.clone());
        // What is cloned here must not be dropped last under the lock.
        drop(state);
        let running = kept.as_deref();
        let pid = running.and_then(|running| running.child.fate.number());
        ProcessSnapshot {
            pid,
            since: running.map(|running| running.child.fate.began),
            starts,
            restarts: starts.saturating_sub(1),
            in_flight: running.map_or(0, |running| running.activity().inside),
            last_exit,
            rss: pid.and_then(|pid| running.and_then(|running| resident(pid, running))),
        }
    }
}

fn resident(pid: u32, running: &Running) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    // The number was its own until here.
    running.child.fate.number().map(|_| kilobytes << 10)
}
