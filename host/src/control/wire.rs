//! What a host is asked, and what it answers: a line of JSON each.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::plugin::PluginSnapshot;

/// The most bytes of a question.
pub(super) const QUESTION: usize = 4096;
/// The most bytes of an answer.
pub(super) const ANSWER: u64 = 4 << 20;

/// A question.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "ask", rename_all = "lowercase")]
pub(super) enum Question {
    Snapshot,
    Isolate {
        plugin: String,
    },
    Inline {
        plugin: String,
    },
    Logs {
        plugin: String,
        after: Option<Position>,
    },
}

/// An answer.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answer {
    Snapshot(HostReport),
    Moved(Moved),
    Logs(Tail),
    Error { code: String, message: String },
}

/// A host at one moment.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HostReport {
    /// Its process.
    pub pid: u32,
    /// The program that it is part of, as far as that is known.
    pub program: String,
    /// The version of this library there.
    pub version: String,
    /// For how many milliseconds it has answered questions.
    pub uptime_ms: u64,
    /// Its plugins, by name.
    pub plugins: Vec<PluginReport>,
}

/// A plugin of such a host.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PluginReport {
    /// Its name.
    pub name: String,
    /// The version of the build that answers; `None` when it is not loaded.
    pub version: Option<String>,
    /// The number of that build.
    pub generation: Option<u64>,
    /// What carries its calls: `in-process`, `process`, or `none` when it is not loaded.
    pub transport: String,
    /// Why it runs in a process of its own, if it does.
    pub because: Option<String>,
    /// That process; `None` for a plugin without one, and while it is not running.
    pub pid: Option<u32>,
    /// For how many milliseconds that process, or else the build, has been there.
    pub uptime_ms: Option<u64>,
    /// How many times a process was started in the place of one that ended.
    pub restarts: u64,
    /// Calls that are inside, as far as they are counted.
    pub in_flight: u64,
    /// Calls that wait.
    pub waiting: u64,
    /// Calls that reached it.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
}

/// What became of a plugin that was to move.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Moved {
    /// What carries its calls now.
    pub transport: String,
    /// What became of the code where it was, in words; `None` when it was there already.
    pub left: Option<String>,
}

/// A place in what a plugin's process wrote: which process of that build, and after how many bytes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Position {
    /// Counts the processes of a build.
    pub process: u64,
    /// Counts its bytes.
    pub byte: u64,
}

/// The last of what a plugin's process wrote to its standard error.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Tail {
    /// Where it ends. What is written later is asked for with this.
    pub next: Position,
    /// The text, as the process wrote it. At most the last 64 KiB are kept.
    pub text: String,
}

impl PluginReport {
    pub(super) fn of(snapshot: &PluginSnapshot) -> Self {
        let current = snapshot.current.as_ref();
        let process = current.and_then(|current| current.process.as_ref());
        let since = process.map_or_else(
            || current.map(|current| current.loaded_at),
            |process| process.since,
        );
        let labels = snapshot.labels.iter();
        let (calls, failures) = labels.fold((0, 0), |sum: (u64, u64), label| {
            (sum.0 + label.calls, sum.1 + label.failures)
        });
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Self {
            name: snapshot.name.to_string(),
            version: current.map(|current| current.version.to_string()),
            generation: current.map(|current| current.number),
            transport: current
                .map_or("none", |current| current.transport)
                .to_owned(),
            because: current.and_then(|current| current.isolated_because.clone()),
            pid: process.and_then(|process| process.pid),
            uptime_ms: since.and_then(|since| {
                let since = SystemTime::now().duration_since(since).ok()?;
                u64::try_from(since.as_millis()).ok()
            }),
            restarts: process.map_or(0, |process| process.restarts),
            in_flight: count(snapshot.in_flight)
                .max(process.map_or(0, |process| count(process.in_flight))),
            waiting: count(snapshot.waiting),
            calls,
            failures,
        }
    }
}
