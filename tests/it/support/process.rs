//! What a test does to a process of its own.
#![expect(unsafe_code, reason = "these system calls have no safe form")]

/// Ignores a signal.
pub(crate) fn ignore(signal: i32) {
    // SAFETY: no handler is installed, so nothing of ours runs in a signal.
    let before = unsafe { libc::signal(signal, libc::SIG_IGN) };
    assert_ne!(before, libc::SIG_ERR);
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
