//! A running child: its signals, its end, and what is left of it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{self, ChildStdin};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, geteuid, kill_process_group, pidfd_open,
    pidfd_send_signal, waitpid,
};

use super::address;
use super::error::Ending;
use super::output::Output;
use super::sandbox::Held;

/// A child process. It is killed, with its group, when this is dropped.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) fate: Arc<Fate>,
    pub(super) output: Arc<Output>,
    /// What it is held to.
    pub(super) held: Held,
    /// Open for as long as the host lives: its end tells the child that the host is gone.
    pub(super) lifeline: Option<ChildStdin>,
    /// Reads what it writes and notices its end.
    pub(super) minder: Option<JoinHandle<()>>,
}

/// What becomes of a child.
#[derive(Debug)]
pub(super) struct Fate {
    pid: Pid,
    pub(super) process: OwnedFd,
    child: Mutex<Reaped>,
    ended: Condvar,
    pub(super) since: Instant,
    pub(super) began: SystemTime,
}

#[derive(Debug)]
enum Reaped {
    /// Its number is its own until somebody waits for it.
    Not(process::Child),
    Yes(Ending),
}

/// How long a killed child may take before its threads are looked at.
const SOON: Duration = Duration::from_millis(50);

impl Fate {
    pub(super) fn new(child: process::Child) -> io::Result<Self> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => Ok(Self {
                pid,
                process,
                child: Mutex::new(Reaped::Not(child)),
                ended: Condvar::new(),
                since: Instant::now(),
                began: SystemTime::now(),
            }),
            Err(error) => {
                let mut child = child;
                let _ = child.kill();
                let _ = child.wait();
                Err(error.into())
            }
        }
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for the child, which has ended, and ends what it left in its group.
    pub(super) fn reap(&self) {
        let mut state = self.lock();
        if let Reaped::Not(child) = &mut *state {
            // Nobody has waited for it, so its number is still its own, and that of its group.
            kill_group(self.pid);
            self.release_all();
            // An app that ignores SIGCHLD has the kernel reap, and the status is lost.
            let ending = Ending(child.wait().ok());
            *state = Reaped::Yes(ending);
            self.ended.notify_all();
        }
    }

    /// Waits until all threads of a dying child have ended.
    fn release_all(&self) {
        let limit = Timespec::try_from(SOON).ok();
        let mut ended = [PollFd::new(&self.process, PollFlags::IN)];
        while let Ok(0) | Err(Errno::INTR) = poll(&mut ended, limit.as_ref()) {
            self.release();
        }
    }

    /// Waits for threads of the child that have made this process their tracer, as any thread can: until then the
    /// kernel does not say that the child has ended.
    pub(super) fn release(&self) {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid));
        for task in tasks.into_iter().flatten().flatten() {
            let name = task.file_name();
            let thread = name.to_str().and_then(|name| name.parse().ok());
            let thread = thread.and_then(Pid::from_raw);
            if let Some(thread) = thread.filter(|thread| *thread != self.pid) {
                // Most of them are nobody's business.
                let _ = waitpid(Some(thread), WaitOptions::NOHANG);
            }
        }
    }

    /// How it ended, if it did.
    pub(super) fn ending(&self) -> Option<Ending> {
        match &*self.lock() {
            Reaped::Not(_) => None,
            Reaped::Yes(ending) => Some(*ending),
        }
    }

    /// Its number, while that is its own.
    pub(super) fn number(&self) -> Option<u32> {
        let is_its_own = matches!(&*self.lock(), Reaped::Not(_));
        is_its_own.then(|| self.pid.as_raw_nonzero().get().unsigned_abs())
    }

    /// Waits for its end, but no longer than `limit`.
    pub(super) fn wait(&self, limit: Duration) -> Option<Ending> {
        let end = Instant::now().checked_add(limit);
        let mut state = self.lock();
        loop {
            if let Reaped::Yes(ending) = &*state {
                return Some(*ending);
            }
            let left = end.map_or(limit, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return None;
            }
            let waited = self.ended.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
    /// Asks it to end.
    pub(super) fn terminate(&self) {
        // One that is gone already is what was asked for.
        let _ = pidfd_send_signal(&self.process, Signal::TERM);
    }

    /// Ends it and its group, whatever they do.
    pub(super) fn kill(&self) {
        if let Reaped::Not(_) = &*self.lock() {
            kill_group(self.pid);
            let _ = pidfd_send_signal(&self.process, Signal::KILL);
        }
    }

    /// Whether the other end of a connection is the child or one of its group.
    pub(super) fn is_peer(&self, socket: impl AsFd) -> io::Result<bool> {
        let peer = socket_peercred(socket)?;
        Ok(peer.uid == geteuid() && self.is_member(peer.pid))
    }

    /// The sockets of the child and of its group, as links in `/proc` name them.
    pub(super) fn sockets(&self) -> io::Result<BTreeSet<String>> {
        let mut sockets = BTreeSet::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            // The kernel's own threads are in a group that `getpgid` of this library panics at.
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            if group_in(&stat) != Some(self.pid.as_raw_nonzero().get()) {
                continue;
            }
            // It may have ended meanwhile.
            let Ok(files) = fs::read_dir(entry.path().join("fd")) else {
                continue;
            };
            let links = files
                .flatten()
                .filter_map(|file| fs::read_link(file.path()).ok());
            let links = links.filter_map(|link| link.into_os_string().into_string().ok());
            sockets.extend(links.filter(|link| link.starts_with("socket:")));
        }
        Ok(sockets)
    }

    fn is_member(&self, pid: Pid) -> bool {
        let group = || address::group_of(&Path::new("/proc").join(pid.to_string()));
        pid == self.pid || group() == Some(self.pid)
    }

    /// Whether the child or one of its group listens at `place`, as far as the system says.
    pub(super) fn is_listener(&self, place: SocketAddr) -> io::Result<bool> {
        Ok(address::is_listener(place, self.pid)? && self.ending().is_none())
    }

    fn lock(&self) -> MutexGuard<'_, Reaped> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        self.fate.kill();
        if let Some(minder) = self.minder.take()
            // The last of it may go with what the minder itself tells.
            && minder.thread().id() != thread::current().id()
        {
            while self.fate.wait(SOON).is_none() && !minder.is_finished() {
                self.fate.release();
            }
            // It ends soon after the child.
            let _ = minder.join();
        }
    }
}

/// The group of a process, by its line in `/proc`. Its name stands in brackets and may have brackets and blanks.
fn group_in(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(2)?.parse().ok()
}

fn kill_group(group: Pid) {
    // Nobody being left in it is what is wanted.
    let _ = kill_process_group(group, Signal::KILL);
}
