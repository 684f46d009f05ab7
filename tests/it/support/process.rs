//! What a test does to a process of its own.
#![expect(unsafe_code, reason = "these system calls have no safe form")]

use std::ffi::CString;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Ignores a signal.
pub(crate) fn ignore(signal: i32) {
    // SAFETY: no handler is installed, so nothing of ours runs in a signal.
    let before = unsafe { libc::signal(signal, libc::SIG_IGN) };
    assert_ne!(before, libc::SIG_ERR);
}

/// Sends the calling thread a signal every `pause` while `act` runs. It does nothing but end waits.
pub(crate) fn with_signals<T>(pause: Duration, act: impl FnOnce() -> T) -> T {
    extern "C" fn nothing(_: libc::c_int) {}
    let handler = nothing as extern "C" fn(libc::c_int);
    // SAFETY: the handler does nothing.
    let before = unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
    assert_ne!(before, libc::SIG_ERR);
    let (process, caller) = (rustix::process::getpid(), rustix::thread::gettid());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let numbers = (
                    process.as_raw_nonzero().get(),
                    caller.as_raw_nonzero().get(),
                );
                // SAFETY: takes numbers only, and the thread is there as long as this one.
                unsafe { libc::syscall(libc::SYS_tgkill, numbers.0, numbers.1, libc::SIGUSR1) };
                thread::sleep(pause);
            }
        });
        let outcome = act();
        done.store(true, Ordering::Relaxed);
        outcome
    })
}

/// Gives up root for good: from now on modes and owners of files count. Other users stay as they are.
pub(crate) fn become_nobody() {
    const NOBODY: u32 = 65534;
    // SAFETY: takes numbers only.
    if unsafe { libc::geteuid() } != 0 {
        return;
    }
    // SAFETY: as above.
    let groups = unsafe { libc::setgroups(0, std::ptr::null()) };
    // SAFETY: as above.
    let group = unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) };
    // SAFETY: as above.
    let user = unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) };
    assert_eq!((groups, group, user), (0, 0, 0));
}

/// Gives the calling thread a disk at `directory` that no other process sees, with options such as
/// `size=64k`; says whether the system lets it.
pub(crate) fn mount_small_disk(directory: &Path, options: &str) -> bool {
    let c_string = |text: &str| CString::new(text).expect("no NUL inside");
    // SAFETY: takes a number only.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return false;
    }
    let (none, root) = (c_string("none"), c_string("/"));
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    let nothing = std::ptr::null();
    // SAFETY: the texts are C strings that outlive the call, and what may be null is.
    let private =
        unsafe { libc::mount(none.as_ptr(), root.as_ptr(), nothing, flags, nothing.cast()) };
    if private != 0 {
        // Others would see the disk.
        return false;
    }
    let (kind, options) = (c_string("tmpfs"), c_string(options));
    let place = c_string(directory.to_str().expect("a path is text"));
    let (place, kind, options) = (place.as_ptr(), kind.as_ptr(), options.as_ptr());
    // SAFETY: as above.
    unsafe { libc::mount(kind, place, kind, 0, options.cast()) == 0 }
}
