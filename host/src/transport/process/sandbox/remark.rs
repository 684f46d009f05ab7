//! What a confinement has to do with the way a process ended.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

use super::{Confinement, Resources};
use crate::transport::process::error::Ending;

/// A process and what it is held to.
#[derive(Debug)]
pub(in super::super) struct Held {
    resources: Resources,
    /// How often the kernel had killed a process for want of memory when this one began.
    out_of_memory: Option<u64>,
    /// The directory in `/proc` that a sandboxed process may read. The rule stands for what is open here, and not
    /// for another one that the kernel makes when it has forgotten this one.
    _own: Option<OwnedFd>,
}

impl Held {
    pub(in super::super) fn new(confinement: &Confinement, process: Pid) -> Self {
        let open = || {
            let path = format!("/proc/{process}");
            rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()
        };
        Self {
            resources: *confinement.resources(),
            out_of_memory: out_of_memory(),
            _own: confinement.is_sandbox().then(open).flatten(),
        }
    }

    /// How it ended, and which cap had to do with that.
    pub(in super::super) fn tell(&self, ending: Ending) -> String {
        let signal = ending.0.and_then(|status| status.signal());
        match signal.and_then(|signal| self.remark(signal)) {
            Some(remark) => format!("{ending} ({remark})"),
            None => ending.to_string(),
        }
    }

    fn remark(&self, signal: i32) -> Option<String> {
        let resources = &self.resources;
        match signal {
            libc::SIGXCPU => {
                let seconds = resources.cpu_seconds?;
                Some(format!("it may have {seconds} s of processor time"))
            }
            libc::SIGXFSZ => {
                let bytes = resources.file_size?;
                Some(format!("a file of it may have {bytes} bytes"))
            }
            // What most runtimes do when an allocation fails.
            libc::SIGABRT | libc::SIGSEGV | libc::SIGTRAP => {
                let bytes = resources.memory?;
                Some(format!("it may have {bytes} bytes of memory"))
            }
            libc::SIGKILL if self.out_of_memory < out_of_memory() => {
                Some("the kernel ran out of memory".to_owned())
            }
            _ => None,
        }
    }
}

/// How often the kernel has killed a process for want of memory.
fn out_of_memory() -> Option<u64> {
    let counters = fs::read_to_string("/proc/vmstat").ok()?;
    let mut lines = counters.lines();
    lines.find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
}
