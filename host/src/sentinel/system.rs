//! The system calls that have no safe form. Each of them only asks.
#![expect(unsafe_code, reason = "these system calls have no safe form")]

use std::io;
use std::mem;
use std::ptr;

/// What a signal does: the handler's address and the flags it was installed with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Action {
    pub(super) handler: usize,
    pub(super) flags: u32,
}

/// Where a thread handles signals; `None` for its ordinary stack.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct SignalStack(pub(super) Option<(usize, usize)>);

/// `None` for a signal that cannot be handled or that libc keeps for itself.
pub(super) fn action(signal: i32) -> Option<Action> {
    // SAFETY: zeros are a value of each field; what is called in there is optional.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: without a new action none is set, and the old one is written to a place of its type.
    let outcome = unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
    // Added by libc to every handler.
    const RESTORER: u32 = 0x0400_0000;
    (outcome == 0).then_some(Action {
        handler: action.sa_sigaction,
        flags: action.sa_flags.cast_unsigned() & !RESTORER,
    })
}

/// The stack of the calling thread for signals.
pub(super) fn signal_stack() -> Option<SignalStack> {
    // SAFETY: zeros are a value of each field.
    let mut stack: libc::stack_t = unsafe { mem::zeroed() };
    // SAFETY: without a new stack none is set, and the old one is written to a place of its type.
    let outcome = unsafe { libc::sigaltstack(ptr::null(), &raw mut stack) };
    let place = (stack.ss_sp.addr(), stack.ss_size);
    let is_set = stack.ss_flags & libc::SS_DISABLE == 0;
    (outcome == 0).then_some(SignalStack(is_set.then_some(place)))
}

/// Where the name of the process's locale stands. It is good until the locale is changed, so it must be
/// read as memory that nobody vouches for.
pub(super) fn locale_name() -> u64 {
    // SAFETY: without a name the locale stays as it is, and the answer is not followed.
    let name = unsafe { libc::setlocale(libc::LC_ALL, ptr::null()) };
    name.addr() as u64
}

/// The locale of the calling thread, as a number to compare; `None` when it is that of the process.
pub(super) fn thread_locale() -> Option<usize> {
    // SAFETY: without a locale the one of the thread stays as it is, and the answer is not followed.
    let locale = unsafe { libc::uselocale(ptr::null_mut()) };
    // `LC_GLOBAL_LOCALE`.
    const OF_THE_PROCESS: usize = usize::MAX;
    (locale.addr() != OF_THE_PROCESS).then_some(locale.addr())
}

/// What a descriptor or, with [`libc::AT_FDCWD`], the working directory is: the device and the number of
/// the file there. The answer is what the kernel knows, without asking a server that may be away.
pub(super) fn identity(descriptor: i32) -> io::Result<(u32, u32, u64)> {
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    // SAFETY: zeros are a value of each field.
    let mut found: libc::statx = unsafe { mem::zeroed() };
    let (empty, file) = (c"".as_ptr(), &raw mut found);
    // SAFETY: the path is a C string, the answer has a place of its type, and a number that stands for
    // nothing is an error.
    match unsafe { libc::statx(descriptor, empty, flags, libc::STATX_INO, file) } {
        0 => Ok((found.stx_dev_major, found.stx_dev_minor, found.stx_ino)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How the calling thread calculates: the control bits of its floating-point units, without the flags
/// that calculations leave behind.
#[cfg(target_arch = "x86_64")]
pub(super) fn floating_point() -> Option<u32> {
    let mut vector = 0_u32;
    let mut legacy = 0_u16;
    // SAFETY: stores four bytes at the address that is given, and does nothing else.
    unsafe {
        std::arch::asm!(
            "stmxcsr [{}]",
            in(reg) &raw mut vector,
            options(nostack, preserves_flags)
        );
    }
    // SAFETY: stores two bytes at the address that is given, and does nothing else.
    unsafe {
        std::arch::asm!(
            "fnstcw [{}]",
            in(reg) &raw mut legacy,
            options(nostack, preserves_flags)
        );
    }
    const CONTROL: u32 = 0xffc0;
    Some(u32::from(legacy) << 16 | vector & CONTROL)
}

/// How the calling thread calculates: the control bits of its floating-point unit.
#[cfg(target_arch = "aarch64")]
pub(super) fn floating_point() -> Option<u32> {
    let control: u64;
    // SAFETY: reads a register, and does nothing else.
    unsafe {
        std::arch::asm!(
            "mrs {}, fpcr",
            out(reg) control,
            options(nomem, nostack, preserves_flags)
        );
    }
    u32::try_from(control).ok()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn floating_point() -> Option<u32> {
    None
}

/// The version of landlock's interface that this kernel has; 0 if it has none.
pub(crate) fn landlock_abi() -> i32 {
    const VERSION: libc::c_uint = 1;
    let (no_rules, no_bytes) = (ptr::null::<libc::c_void>(), 0_usize);
    // SAFETY: with this flag no rules are read, and none are made.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            no_rules,
            no_bytes,
            VERSION,
        )
    };
    i32::try_from(version).unwrap_or(0).max(0)
}

/// Whether this kernel can refuse system calls with an error.
pub(crate) fn filters_system_calls() -> bool {
    let error: u32 = libc::SECCOMP_RET_ERRNO;
    let (ask, no_flags) = (libc::SECCOMP_GET_ACTION_AVAIL, 0_u32);
    // SAFETY: the kernel reads a number of four bytes, and changes nothing.
    unsafe { libc::syscall(libc::SYS_seccomp, ask, no_flags, &raw const error) == 0 }
}

/// Whether this kernel can close descriptors by their range.
pub(crate) fn closes_ranges() -> bool {
    let (none, no_flags) = (libc::c_uint::MAX, 0_u32);
    // SAFETY: no descriptor has such a number, so none is closed.
    unsafe { libc::syscall(libc::SYS_close_range, none, none, no_flags) == 0 }
}
