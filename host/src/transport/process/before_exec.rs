//! What a child does between `fork` and `exec`, where only calls that are safe in a signal handler may be
//! made.
#![expect(
    unsafe_code,
    reason = "the standard library cannot close descriptors or ask for a signal at the parent's death, and \
              nothing that allocates may be used"
)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::sandbox::{Barrier, Walls};

/// Has the child end with the thread that starts it, keep no descriptor but its standard streams and the one that it
/// is `given`, and put the barrier around itself.
pub(super) fn prepare(command: &mut Command, given: Option<RawFd>, barrier: Barrier) {
    let parent = getpid();
    let steps = move || {
        detach(parent, given)?;
        confine(&barrier)
    };
    // SAFETY: the closure makes system calls and nothing else: it takes no lock, allocates nothing and cannot
    // panic.
    unsafe { command.pre_exec(steps) };
}

fn detach(parent: Pid, given: Option<RawFd>) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before it was asked for.
    if getppid() != Some(parent) {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    // The one through which a failed `exec` is reported goes as well when `exec` succeeds.
    // SAFETY: no memory is passed, and descriptors are only marked.
    let marked = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            FIRST,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    done(marked)?;
    match given {
        // SAFETY: no memory is passed, and a flag of a descriptor is all that changes.
        Some(given) => done(unsafe { libc::fcntl(given, libc::F_SETFD, 0) }.into()),
        None => Ok(()),
    }
}

fn confine(barrier: &Barrier) -> io::Result<()> {
    for (resource, limit) in &barrier.limits {
        setrlimit(*resource, *limit)?;
    }
    match &barrier.walls {
        Some(walls) => enclose(walls),
        None => Ok(()),
    }
}

/// Gives up every privilege, and then what the rules and filters do not leave.
fn enclose(walls: &Walls) -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none)?;
    allow_own_process(&walls.rules);
    // SAFETY: no memory is passed, and the descriptor is open.
    let restricted = unsafe {
        libc::syscall(
            libc::SYS_landlock_restrict_self,
            walls.rules.as_raw_fd(),
            NO_FLAGS,
        )
    };
    done(restricted)?;
    for filter in &walls.filters {
        seccompiler::apply_filter(filter).map_err(|_| io::Error::last_os_error())?;
    }
    Ok(())
}

/// Lets the child read what the system says of itself: runtimes look for the end of their stack there. It has
/// no number before now. Without it, it goes on with less.
fn allow_own_process(rules: &OwnedFd) {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let Ok(own) = rustix::fs::open(c"/proc/self", flags, Mode::empty()) else {
        return;
    };
    let rule = Rule {
        allowed: READ,
        parent: own.as_raw_fd(),
    };
    // SAFETY: the rule has the form that the kernel reads for rules of this kind, and lives longer than the call.
    let _ = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            rules.as_raw_fd(),
            PATH_BENEATH,
            &raw const rule,
            NO_FLAGS,
        )
    };
}

fn done(outcome: libc::c_long) -> io::Result<()> {
    match outcome {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The first descriptor that is no standard stream.
const FIRST: libc::c_uint = 3;

/// `struct landlock_path_beneath_attr`
#[repr(C, packed)]
struct Rule {
    allowed: u64,
    parent: RawFd,
}

/// `LANDLOCK_ACCESS_FS_READ_FILE` and `LANDLOCK_ACCESS_FS_READ_DIR`
const READ: u64 = (1 << 2) | (1 << 3);
/// `LANDLOCK_RULE_PATH_BENEATH`
const PATH_BENEATH: libc::c_int = 1;
const NO_FLAGS: libc::c_uint = 0;
