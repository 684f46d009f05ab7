//! The caps that an operator can set.

use serde::{Deserialize, Serialize};

/// What the process of a plugin may use of the machine. A cap that is not set is the level's own: a sandboxed plugin
/// has those of [`Resources::SANDBOXED`], an isolated one has none. No cap raises what the host itself is held to.
///
/// ```
/// use plg_host::Resources;
///
/// let small = Resources { memory: Some(64 << 20), ..Resources::default() };
/// assert_eq!(small.or(&Resources::SANDBOXED).open_files, Some(256));
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {
    /// Bytes of address space of each of its processes. An allocation beyond fails.
    pub memory: Option<u64>,
    /// Seconds of processor time of each of its processes, from their start. With the last one they get SIGXCPU,
    /// and a second later they are killed.
    pub cpu_seconds: Option<u64>,
    /// Bytes of a file that it writes. A write beyond fails, or the process gets SIGXFSZ. How many files it writes
    /// is not held to anything.
    pub file_size: Option<u64>,
    /// Descriptors of each of its processes that are open at once.
    pub open_files: Option<u64>,
    /// Processes and threads that it may start. The kernel counts all of its user, so those that there are at
    /// the start are added; what other programs of the same user start meanwhile is counted against the plugin,
    /// and nothing is for a host that runs as root.
    pub processes: Option<u64>,
}

impl Resources {
    /// No caps.
    pub(crate) const NONE: Self = Self {
        memory: None,
        cpu_seconds: None,
        file_size: None,
        open_files: None,
        processes: None,
    };

    /// The caps of a sandboxed plugin, where the operator sets no others.
    pub const SANDBOXED: Self = Self {
        memory: Some(1 << 30),
        cpu_seconds: None,
        file_size: Some(256 << 20),
        open_files: Some(256),
        processes: Some(256),
    };

    /// These caps, and those of `others` where these have none.
    #[must_use]
    pub fn or(&self, others: &Self) -> Self {
        Self {
            memory: self.memory.or(others.memory),
            cpu_seconds: self.cpu_seconds.or(others.cpu_seconds),
            file_size: self.file_size.or(others.file_size),
            open_files: self.open_files.or(others.open_files),
            processes: self.processes.or(others.processes),
        }
    }
}
