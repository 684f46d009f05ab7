//! The mark that a dying process adds: handlers of the signals that a crash raises, and of `exit`.
//!
//! They are installed once for the process, when the first host wants them, and mark the files of all
//! its hosts. A handler allocates nothing, takes no lock and calls only what is safe in one, and then
//! lets happen what would have happened without it.
#![expect(
    unsafe_code,
    reason = "handlers get and pass on addresses, and libc installs them"
)]

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::io;
use std::mem;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use libc::{SA_NODEFER, SA_ONSTACK, SA_RESETHAND, SA_RESTART, SA_SIGINFO, sigaction, siginfo_t};

use super::format::{Dying, EXIT, Words};
use super::map::disown;
use crate::plugin::thread::{HERE, Number};

/// What a crash raises. `SIGTRAP` is how `__builtin_trap` ends a process on some processors.
const SIGNALS: [c_int; 6] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGABRT,
];

/// The status of a process in which a plugin called `exit`.
const EXITED: c_int = 70;

/// The files of this process.
static REGIONS: [Region; 64] = [const { Region::new() }; 64];
/// How many handlers look at the files now.
static READERS: AtomicUsize = AtomicUsize::new(0);
/// What handled each signal before; nothing for those that are left alone.
static BEFORE: [OnceLock<sigaction>; SIGNALS.len()] = [const { OnceLock::new() }; SIGNALS.len()];

struct Region {
    words: AtomicPtr<Words>,
    /// Its descriptor, for as long as there are words.
    file: AtomicI32,
}

impl Region {
    const fn new() -> Self {
        Self {
            words: AtomicPtr::new(ptr::null_mut()),
            file: AtomicI32::new(-1),
        }
    }
}

type Handler = unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void);
type PlainHandler = unsafe extern "C" fn(c_int);

unsafe extern "C" {
    // In every libc of Linux, and not in the libc crate.
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> c_int;
}

/// Installs the handlers, unless that was done before.
pub(super) fn install() -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *installed {
        return Ok(());
    }
    for (signal, before) in SIGNALS.into_iter().zip(&BEFORE) {
        install_one(signal, before)?;
    }
    // SAFETY: the function lives as long as the process and takes nothing.
    let failed = unsafe { libc::atexit(on_exit) };
    if failed != 0 {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    // SAFETY: as above.
    let failed = unsafe { pthread_atfork(None, None, Some(in_copy)) };
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed));
    }
    *installed = true;
    Ok(())
}

fn install_one(signal: c_int, before: &OnceLock<sigaction>) -> io::Result<()> {
    // An attempt that failed later on may have installed this one.
    if before.get().is_some() {
        return Ok(());
    }
    let old = current(signal)?;
    // A fault ends the process all the same, and what is sent is to be ignored.
    if old.sa_sigaction == libc::SIG_IGN {
        return Ok(());
    }
    // A signal may come as soon as the handler is there.
    let _ = before.set(old);
    set(signal, &ours(&old))
}

/// Our handler, where `old` was.
fn ours(old: &sigaction) -> sigaction {
    let handler: Handler = on_signal;
    sigaction {
        sa_sigaction: handler as usize,
        // On the stack that the thread has for this: its own may be what ended.
        sa_flags: SA_SIGINFO | SA_ONSTACK | (old.sa_flags & (SA_NODEFER | SA_RESTART)),
        ..*old
    }
}

fn set(signal: c_int, action: &sigaction) -> io::Result<()> {
    // SAFETY: it is ours, which lives as long as the process and has the form that its flags say, or one
    // that was installed before.
    if unsafe { libc::sigaction(signal, action, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What handles a signal now.
fn current(signal: c_int) -> io::Result<sigaction> {
    let mut action = mem::MaybeUninit::<sigaction>::zeroed();
    // SAFETY: there is room for the answer, and nothing is installed.
    if unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was zeroed, which is a whole one, and then filled in.
    Ok(unsafe { action.assume_init() })
}

/// Lets handlers mark `words` from now on.
///
/// # Errors
///
/// When there are too many in this process.
///
/// # Safety
///
/// The words stay mapped until [`withdraw`] has returned.
pub(super) unsafe fn enlist(words: NonNull<Words>, file: RawFd) -> io::Result<()> {
    static ENLISTING: Mutex<()> = Mutex::new(());
    let _enlisting = ENLISTING.lock().unwrap_or_else(PoisonError::into_inner);
    let is_free = |region: &&Region| region.words.load(Ordering::Relaxed).is_null();
    let Some(region) = REGIONS.iter().find(is_free) else {
        let most = REGIONS.len();
        return Err(io::Error::other(format!(
            "{most} hosts of this process record their last words already"
        )));
    };
    region.file.store(file, Ordering::Relaxed);
    region.words.store(words.as_ptr(), Ordering::SeqCst);
    Ok(())
}

/// Takes `words` off the list, and waits until no handler looks at them.
pub(super) fn withdraw(words: NonNull<Words>) {
    for region in &REGIONS {
        let _ = region.words.compare_exchange(
            words.as_ptr(),
            ptr::null_mut(),
            Ordering::SeqCst,
            Ordering::SeqCst,
        );
    }
    while READERS.load(Ordering::SeqCst) != 0 {
        std::thread::yield_now();
    }
}

/// Shows every file of this process to `visit`.
fn each(visit: impl Fn(&Words)) {
    READERS.fetch_add(1, Ordering::SeqCst);
    let pid = u64::from(std::process::id());
    for region in &REGIONS {
        let words = region.words.load(Ordering::SeqCst);
        // SAFETY: null, or mapped until `withdraw` has seen that nobody reads; see `enlist`.
        let words = unsafe { words.as_ref() };
        // Not in a child that shares this memory for a moment, on its way to another program.
        if let Some(words) = words.filter(|words| words.header.pid.load(Ordering::Relaxed) == pid) {
            visit(words);
        }
    }
    READERS.fetch_sub(1, Ordering::SeqCst);
}

/// The number of the calling thread, if it has one.
fn thread() -> Option<usize> {
    HERE.with(Number::taken).map(Number::get)
}

/// Seconds since 1970.
fn now() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: there is room for the answer. It is one of the functions that handlers may call.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    now.tv_sec.cast_unsigned()
}

/// Marks the files, and passes the signal on.
unsafe extern "C" fn on_signal(signal: c_int, detail: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a whole one, or another handler passes on what it got.
    let cause = unsafe { cause(detail) };
    // SAFETY: as above.
    let instruction = unsafe { instruction(context) };
    let is_ours = cause != Cause::Others;
    let dying = Dying {
        ending: signal.unsigned_abs().into(),
        thread: thread().filter(|_| is_ours),
        instruction: if is_ours { instruction } else { 0 },
        time: now(),
    };
    let marked = Cell::new(false);
    each(|words| marked.set(words.mark(dying) | marked.get()));
    // Rust's handler aborts when the stack has overflowed. The stack that this runs on has no room for
    // one more signal to be handled, and the mark is made.
    let aborts = cause == Cause::Fault && signal != libc::SIGABRT && give_back(libc::SIGABRT);
    // SAFETY: these are the arguments of this handler.
    let was_handled = unsafe { pass_on(signal, detail, context, cause) };
    let goes_on = match cause {
        // Rust's handler cannot put it right, and leaves the default for when the instruction runs again.
        Cause::Fault => is_installed(signal),
        // `abort` ends the process when the handler is done.
        Cause::Raised => false,
        Cause::Others => true,
    };
    if !was_handled || !goes_on {
        return;
    }
    if marked.get() {
        each(Words::unmark);
    }
    if aborts && let Some(before) = before(libc::SIGABRT) {
        let _ = set(libc::SIGABRT, &ours(before));
    }
}

/// Whether our handler is the one that gets a signal. A function of its own, like the next, so that the
/// handler that is passed on to has the room that this one takes.
#[inline(never)]
fn is_installed(signal: c_int) -> bool {
    let handler: Handler = on_signal;
    current(signal).is_ok_and(|now| now.sa_sigaction == handler as usize)
}

/// Lets a signal go where it went before; says whether that changed anything.
#[inline(never)]
fn give_back(signal: c_int) -> bool {
    let before = before(signal);
    before.is_some_and(|before| is_installed(signal) && set(signal, before).is_ok())
}

/// What handled a signal before; `None` when it is not one of ours.
fn before(signal: c_int) -> Option<&'static sigaction> {
    let place = SIGNALS.iter().position(|known| *known == signal)?;
    BEFORE[place].get()
}

/// Why a signal came.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Cause {
    /// What the thread did.
    Fault,
    /// The thread wanted it, as in `abort`.
    Raised,
    /// Somebody sent it to the process, and this thread happens to get it.
    Others,
}

/// # Safety
///
/// `detail` is null or what the kernel passes to a handler.
unsafe fn cause(detail: *const siginfo_t) -> Cause {
    // SAFETY: the caller's promise.
    let Some(detail) = (unsafe { detail.as_ref() }) else {
        return Cause::Others;
    };
    if detail.si_code > 0 {
        return Cause::Fault;
    }
    // SAFETY: what is not a fault was sent, by a process.
    let sender = unsafe { detail.si_pid() };
    if detail.si_code == libc::SI_TKILL && sender.unsigned_abs() == std::process::id() {
        Cause::Raised
    } else {
        Cause::Others
    }
}

/// Where the thread was when the signal came; 0 on processors that this does not know.
///
/// # Safety
///
/// `context` is null or what the kernel passes to a handler.
unsafe fn instruction(context: *const c_void) -> u64 {
    // SAFETY: the caller's promise.
    let Some(context) = (unsafe { context.cast::<libc::ucontext_t>().as_ref() }) else {
        return 0;
    };
    #[cfg(target_arch = "x86_64")]
    let instruction = context.uc_mcontext.gregs[libc::REG_RIP as usize].cast_unsigned();
    #[cfg(target_arch = "aarch64")]
    let instruction = context.uc_mcontext.pc;
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let instruction = {
        let _ = context;
        0
    };
    instruction
}

/// Lets happen what would have happened without our handler, and says whether another one was there.
///
/// # Safety
///
/// The arguments are those of a handler.
unsafe fn pass_on(
    signal: c_int,
    detail: *mut siginfo_t,
    context: *mut c_void,
    cause: Cause,
) -> bool {
    let (handler, flags) = before(signal).map_or((libc::SIG_DFL, 0), |before| {
        (before.sa_sigaction, before.sa_flags)
    });
    if handler == libc::SIG_DFL || flags & SA_RESETHAND != 0 {
        // SAFETY: the default is always one to install.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    if handler == libc::SIG_DFL {
        // A fault comes again when this returns, from where it came; not so a trap, which is over.
        if cause != Cause::Fault || signal == libc::SIGTRAP {
            // SAFETY: it comes once this returns, and then has its default effect.
            unsafe { libc::raise(signal) };
        }
        return false;
    }
    let handler = ptr::with_exposed_provenance::<c_void>(handler);
    if flags & SA_SIGINFO == 0 {
        // SAFETY: whoever installed it without the flag gave a function of this form.
        let handler = unsafe { mem::transmute::<*const c_void, PlainHandler>(handler) };
        // SAFETY: as the kernel would have called it.
        unsafe { handler(signal) };
    } else {
        // SAFETY: whoever installed it with the flag gave a function of this form.
        let handler = unsafe { mem::transmute::<*const c_void, Handler>(handler) };
        // SAFETY: as the kernel would have called it, with what it passed.
        unsafe { handler(signal, detail, context) };
    }
    true
}

/// Ends the process with a mark if a plugin called `exit`, and otherwise notes that its app did.
extern "C" fn on_exit() {
    let thread = thread();
    let is_inside = Cell::new(false);
    each(|words| is_inside.set(words.crumb_of(thread).word() != 0 || is_inside.get()));
    if !is_inside.get() {
        each(|words| words.header.left.store(1, Ordering::Relaxed));
        return;
    }
    let dying = Dying {
        ending: EXIT,
        thread,
        instruction: 0,
        time: now(),
    };
    each(|words| {
        words.mark(dying);
    });
    // SAFETY: it ends the process at once.
    unsafe { libc::_exit(EXITED) };
}

/// Runs in a child that got a copy of this process, before anything else there: the files stay the
/// parent's, and so do their locks.
extern "C" fn in_copy() {
    // The thread that may have been counted is not in the copy.
    READERS.store(0, Ordering::SeqCst);
    for region in &REGIONS {
        let words = region.words.swap(ptr::null_mut(), Ordering::SeqCst);
        let Some(words) = NonNull::new(words) else {
            continue;
        };
        // SAFETY: what is on the list is mapped, and the copy has one thread. It cannot fail for want of
        // memory before the child writes there, and nobody could be told.
        let _ = unsafe { disown(words) };
        // SAFETY: it is the parent's, and `LastWords` does not close it in a copy.
        unsafe { libc::close(region.file.load(Ordering::Relaxed)) };
    }
}
