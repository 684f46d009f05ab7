//! The threads that call plugins: their numbers, and which of them are on their way out.
//!
//! A thread gets a number on its first call and keeps it until it is gone. On its way out it may still
//! run thread-local destructors inside a plugin, or call one from a destructor of its own, so an unload
//! waits for such threads. Numbers are the only state that hosts of one process share.

use std::cell::Cell;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use rustix::thread::gettid;

/// What a thread knows of itself while it calls. Nothing here has a destructor, so reading it is one
/// access relative to the thread pointer.
pub(crate) struct Here {
    /// Where a thread without a number has [`UNNUMBERED`].
    number: Cell<usize>,
    /// The innermost call that runs on this thread.
    pub(crate) frame: Cell<*const crate::context::frame::Frame>,
    /// How many calls are nested on this thread.
    pub(crate) depth: Cell<u32>,
    /// The token of the last call that this thread made.
    pub(crate) token: Cell<u64>,
    /// How many calls were looked at for hooks.
    looked_at: Cell<u64>,
}

impl Here {
    /// Which call of this thread it is among those that hooks may want.
    pub(crate) fn look_at(&self) -> u64 {
        let looked_at = self.looked_at.get().wrapping_add(1);
        self.looked_at.set(looked_at);
        looked_at
    }
}

const UNNUMBERED: usize = usize::MAX;

thread_local! {
    pub(crate) static HERE: Here = const {
        Here {
            number: Cell::new(UNNUMBERED),
            frame: Cell::new(std::ptr::null()),
            depth: Cell::new(0),
            token: Cell::new(0),
            looked_at: Cell::new(0),
        }
    };
    /// Says that the thread is on its way out. Its destructor runs before those that plugins hang on
    /// pthread keys.
    static NUMBERED: Leaving = const { Leaving };
}

/// The number of the thread that has this value, and of no other living thread.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    number: usize,
    /// Bound to its thread.
    thread: PhantomData<*const ()>,
}

impl Number {
    /// The number of the calling thread.
    #[inline]
    pub(crate) fn of(here: &Here) -> Self {
        let number = here.number.get();
        Self::assume(if number == UNNUMBERED {
            take_number(here)
        } else {
            number
        })
    }

    /// The number of the calling thread if it has one. It takes none, so a signal handler may ask.
    pub(crate) fn taken(here: &Here) -> Option<Self> {
        let number = here.number.get();
        (number != UNNUMBERED).then(|| Self::assume(number))
    }

    /// A number chosen by a test that numbers its threads itself.
    #[doc(hidden)]
    #[must_use]
    #[inline]
    pub fn assume(number: usize) -> Self {
        Self {
            number,
            thread: PhantomData,
        }
    }

    #[inline]
    pub(crate) fn get(self) -> usize {
        self.number
    }
}

/// The threads on their way out that are still there, leaving out the calling one.
pub(crate) fn leaving() -> Vec<Pid> {
    let id = gettid();
    let mut numbers = numbers();
    numbers.take_back(is_alive);
    let others = numbers.leaving.iter().map(|(thread, _)| *thread);
    others.filter(|thread| *thread != id).collect()
}

/// How many threads have a number, for the census.
pub(crate) fn numbered() -> usize {
    let mut numbers = numbers();
    numbers.take_back(is_alive);
    numbers.next - numbers.free.len()
}

struct Numbers {
    next: usize,
    free: Vec<usize>,
    /// Threads on their way out keep their number until they are gone: a destructor may call once more.
    leaving: Vec<(Pid, usize)>,
    /// How often a number was taken.
    taken: u64,
}

static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers {
    next: 0,
    free: Vec::new(),
    leaving: Vec::new(),
    taken: 0,
});

fn numbers() -> MutexGuard<'static, Numbers> {
    NUMBERS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Numbers {
    /// Frees the numbers of threads that are gone.
    fn take_back(&mut self, is_alive: impl Fn(Pid) -> bool) {
        let Self { free, leaving, .. } = self;
        leaving.retain(|(thread, number)| {
            let alive = is_alive(*thread);
            if !alive {
                free.push(*number);
            }
            alive
        });
    }
}

#[cold]
fn take_number(here: &Here) -> usize {
    let mut numbers = numbers();
    // A thread with the id of a leaving one proves that the other is gone.
    let id = gettid();
    numbers.take_back(|thread| thread != id);
    if numbers.free.is_empty() {
        numbers.take_back(is_alive);
    }
    let number = numbers.free.pop().unwrap_or_else(|| {
        numbers.next += 1;
        numbers.next - 1
    });
    numbers.taken += 1;
    // Tokens of different threads start far apart, so that one kept from another thread, even one that
    // is gone and had the same number, is not mistaken for a current one.
    here.token
        .set(numbers.taken.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    drop(numbers);
    here.number.set(number);
    // Even in the middle of the thread's other destructors this one is still to run.
    let _ = NUMBERED.try_with(|_| ());
    number
}

/// Whether a thread of this process is alive.
pub(crate) fn is_alive(thread: Pid) -> bool {
    let tasks = Path::new("/proc/self/task");
    match tasks.join(thread.as_raw_nonzero().to_string()).try_exists() {
        Ok(alive) if alive || tasks.exists() => alive,
        // Without the list, the whole system is asked whether the id is in use.
        _ => test_kill_process(thread) != Err(Errno::SRCH),
    }
}

struct Leaving;

impl Drop for Leaving {
    fn drop(&mut self) {
        let number = HERE.with(|here| here.number.get());
        if number != UNNUMBERED {
            let mut numbers = numbers();
            numbers.leaving.push((gettid(), number));
            // Without an unload nobody else looks at the list, and threads come and go.
            if numbers.leaving.len().is_multiple_of(256) {
                numbers.take_back(is_alive);
            }
        }
    }
}
