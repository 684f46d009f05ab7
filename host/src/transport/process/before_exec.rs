//! What a child does between `fork` and `exec`, where only calls that are safe in a signal handler may be
//! made.
#![expect(
    unsafe_code,
    reason = "the standard library cannot close descriptors or ask for a signal at the parent's death"
)]

use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

/// Has the child end with the thread that starts it, and keep no descriptor but its standard streams and the one
/// that it is `given`.
pub(super) fn prepare(command: &mut Command, given: Option<RawFd>) {
    let parent = getpid();
    // SAFETY: the closure makes four system calls and nothing else: it takes no lock, allocates nothing
    // and cannot panic.
    unsafe { command.pre_exec(move || detach(parent, given)) };
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
    if marked != 0 {
        return Err(io::Error::last_os_error());
    }
    if let Some(given) = given {
        // SAFETY: no memory is passed, and a flag of a descriptor is all that changes.
        let kept = unsafe { libc::fcntl(given, libc::F_SETFD, 0) };
        if kept != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The first descriptor that is no standard stream.
const FIRST: libc::c_uint = 3;
