//! What lets a plugin be unmapped for real.
//!
//! std inside a plugin leaves three things behind in the host's process: destructors of thread-locals
//! on the host's threads, pthread keys, and threads. glibc would keep the library mapped for the
//! first, crash for the second and third. So `plugin!` gives the plugin hidden definitions of the four
//! libc functions through which they come; the linker binds the plugin's own calls to them, and the
//! host's and other plugins' calls stay what they were. [`live_threads`] and [`give_back`] then say
//! and undo what is left.
//!
//! x86-64 and aarch64 with glibc. Elsewhere [`FLAG`] is 0 and the host keeps the library mapped.

#[cfg(any(
    feature = "no-unload-hooks",
    not(target_os = "linux"),
    not(target_env = "gnu"),
    not(any(target_arch = "x86_64", target_arch = "aarch64"))
))]
pub use absent::{FLAG, give_back, live_threads};
#[cfg(all(
    not(feature = "no-unload-hooks"),
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub use present::{
    FLAG, give_back, key_create, key_delete, live_threads, thread_atexit, thread_create,
};

/// The instruction that jumps to a function in the same library.
#[cfg(target_arch = "x86_64")]
#[doc(hidden)]
#[macro_export]
macro_rules! __jump {
    () => {
        "jmp"
    };
}

#[cfg(target_arch = "aarch64")]
#[doc(hidden)]
#[macro_export]
macro_rules! __jump {
    () => {
        "b"
    };
}

/// Defines the four hidden symbols in the plugin.
#[cfg(all(
    not(feature = "no-unload-hooks"),
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#[doc(hidden)]
#[macro_export]
macro_rules! __unload_hooks {
    () => {
        // A test binary of the crate is no plugin and keeps libc's own functions.
        #[cfg(not(test))]
        ::core::arch::global_asm!(
            ".pushsection .text.plg_unload_hooks,\"ax\",@progbits",
            ".globl pthread_key_create",
            ".hidden pthread_key_create",
            ".type pthread_key_create,@function",
            concat!("pthread_key_create: ", $crate::__jump!(), " {key_create}"),
            ".globl pthread_key_delete",
            ".hidden pthread_key_delete",
            ".type pthread_key_delete,@function",
            concat!("pthread_key_delete: ", $crate::__jump!(), " {key_delete}"),
            ".globl __cxa_thread_atexit_impl",
            ".hidden __cxa_thread_atexit_impl",
            ".type __cxa_thread_atexit_impl,@function",
            concat!("__cxa_thread_atexit_impl: ", $crate::__jump!(), " {thread_atexit}"),
            ".globl pthread_create",
            ".hidden pthread_create",
            ".type pthread_create,@function",
            concat!("pthread_create: ", $crate::__jump!(), " {thread_create}"),
            ".popsection",
            key_create = sym $crate::hooks::key_create,
            key_delete = sym $crate::hooks::key_delete,
            thread_atexit = sym $crate::hooks::thread_atexit,
            thread_create = sym $crate::hooks::thread_create,
        );
    };
}

#[cfg(any(
    feature = "no-unload-hooks",
    not(target_os = "linux"),
    not(target_env = "gnu"),
    not(any(target_arch = "x86_64", target_arch = "aarch64"))
))]
#[doc(hidden)]
#[macro_export]
macro_rules! __unload_hooks {
    () => {};
}

#[cfg(any(
    feature = "no-unload-hooks",
    not(target_os = "linux"),
    not(target_env = "gnu"),
    not(any(target_arch = "x86_64", target_arch = "aarch64"))
))]
mod absent {
    /// The note's flag for unload hooks: this target has none.
    pub const FLAG: u32 = 0;

    /// Threads are not tracked here.
    #[must_use]
    pub fn live_threads() -> u32 {
        0
    }

    /// Nothing is tracked here, so nothing can be given back.
    #[must_use]
    pub fn give_back() -> u32 {
        u32::MAX
    }
}

#[cfg(all(
    not(feature = "no-unload-hooks"),
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod present {
    #![expect(
        unsafe_code,
        reason = "these functions stand in for libc's and call the real ones"
    )]

    use core::cell::Cell;
    use core::ffi::{CStr, c_char, c_int, c_long, c_uint, c_ulong, c_void};
    use core::ptr;
    use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

    /// The note's flag for unload hooks.
    pub const FLAG: u32 = crate::abi::flag::UNLOAD_HOOKS;

    type Key = c_uint;
    type Destructor = unsafe extern "C" fn(*mut c_void);
    type ThreadStart = unsafe extern "C" fn(*mut c_void) -> *mut c_void;
    type KeyDelete = unsafe extern "C" fn(Key) -> c_int;
    type ThreadAtexit = unsafe extern "C" fn(Destructor, *mut c_void, *mut c_void) -> c_int;
    type ThreadCreate =
        unsafe extern "C" fn(*mut c_ulong, *const c_void, ThreadStart, *mut c_void) -> c_int;

    const EAGAIN: c_int = 11;
    #[cfg(target_arch = "x86_64")]
    const SYS_TGKILL: c_long = 234;
    #[cfg(target_arch = "aarch64")]
    const SYS_TGKILL: c_long = 131;

    unsafe extern "C" {
        fn __pthread_key_create(key: *mut Key, destructor: Option<Destructor>) -> c_int;
        fn pthread_setspecific(key: Key, value: *const c_void) -> c_int;
        fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
        fn syscall(number: c_long, ...) -> c_long;
        fn getpid() -> c_int;
        fn gettid() -> c_int;
        /// Identifies this library to glibc; every shared object has its own.
        static __dso_handle: u8;
    }

    /// The plugin's keys, each plus one so that 0 is free. std needs two; the rest is for others.
    static KEYS: [AtomicU32; 128] = [const { AtomicU32::new(0) }; 128];
    /// Set when a key found no place in [`KEYS`]: from then on the plugin cannot be unmapped.
    static KEYS_LOST: AtomicBool = AtomicBool::new(false);
    /// Kernel ids of the plugin's threads; 0 is free, [`STARTING`] is taken but not yet running.
    static THREADS: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];
    const STARTING: u64 = u64::MAX;
    /// The key whose destructor runs [`DESTRUCTORS`], plus one.
    static DESTRUCTORS_KEY: AtomicU32 = AtomicU32::new(0);

    struct Node {
        destructor: Destructor,
        object: *mut c_void,
        next: *mut Node,
    }

    thread_local! {
        /// Destructors that this thread owes the plugin, last registered first. Neither of the two
        /// has a destructor of its own, so touching them registers nothing.
        static DESTRUCTORS: Cell<*mut Node> = const { Cell::new(ptr::null_mut()) };
        /// Whether the plugin started this thread.
        static OWN_THREAD: Cell<bool> = const { Cell::new(false) };
    }

    struct Launch {
        start: ThreadStart,
        argument: *mut c_void,
        place: usize,
    }

    /// How many threads of the plugin are alive, counting those that have not started yet.
    #[must_use]
    pub fn live_threads() -> u32 {
        let alive = THREADS
            .iter()
            .filter(|thread| is_taken(thread.load(Ordering::Acquire)))
            .count();
        u32::try_from(alive).unwrap_or(u32::MAX)
    }

    /// Runs what this thread owes, forgets what others owe and deletes the plugin's keys. Answers 0
    /// when nothing of the plugin is left in the process.
    #[must_use]
    pub fn give_back() -> u32 {
        if KEYS_LOST.load(Ordering::Acquire) {
            return u32::MAX;
        }
        // SAFETY: the argument is not used.
        unsafe { run_destructors(ptr::null_mut()) };
        let Some(delete) = key_delete_of_libc() else {
            return u32::MAX;
        };
        for slot in &KEYS {
            let key = slot.swap(0, Ordering::AcqRel);
            if key != 0 {
                // SAFETY: the key is the plugin's and was not deleted: its place would be free.
                unsafe { delete(key - 1) };
            }
        }
        DESTRUCTORS_KEY.store(0, Ordering::Release);
        0
    }

    /// Stands in for `pthread_key_create` and remembers the key.
    ///
    /// # Safety
    ///
    /// As for `pthread_key_create`.
    pub unsafe extern "C" fn key_create(key: *mut Key, destructor: Option<Destructor>) -> c_int {
        // SAFETY: glibc's own name for the function; the caller vouches for the arguments.
        let answer = unsafe { __pthread_key_create(key, destructor) };
        if answer == 0 {
            // SAFETY: glibc just wrote it.
            let created = unsafe { key.read() };
            let placed = KEYS.iter().any(|slot| {
                slot.compare_exchange(0, created + 1, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
            });
            if !placed {
                KEYS_LOST.store(true, Ordering::Release);
            }
        }
        answer
    }

    /// Stands in for `pthread_key_delete` and forgets the key, whose number libc may give away again.
    ///
    /// # Safety
    ///
    /// As for `pthread_key_delete`.
    pub unsafe extern "C" fn key_delete(key: Key) -> c_int {
        for slot in &KEYS {
            let _ = slot.compare_exchange(key + 1, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
        match key_delete_of_libc() {
            // SAFETY: the caller vouches for the key.
            Some(delete) => unsafe { delete(key) },
            None => EAGAIN,
        }
    }

    /// Stands in for `__cxa_thread_atexit_impl`, which would pin the library until the thread ends.
    /// On a thread of the plugin itself that pin is wanted; on a host's thread the destructor hangs
    /// on one of the plugin's keys instead, which can be deleted.
    ///
    /// # Safety
    ///
    /// As for `__cxa_thread_atexit_impl`.
    pub unsafe extern "C" fn thread_atexit(
        destructor: Destructor,
        object: *mut c_void,
        dso: *mut c_void,
    ) -> c_int {
        if OWN_THREAD.with(Cell::get) {
            let Some(register) = thread_atexit_of_libc() else {
                return EAGAIN;
            };
            // SAFETY: the caller vouches for the arguments.
            return unsafe { register(destructor, object, dso) };
        }
        let Some(key) = destructors_key() else {
            return EAGAIN;
        };
        let node = Box::new(Node {
            destructor,
            object,
            next: DESTRUCTORS.with(Cell::get),
        });
        DESTRUCTORS.with(|head| head.set(Box::into_raw(node)));
        // SAFETY: the key is the plugin's; any value but null makes its destructor run.
        unsafe { pthread_setspecific(key, ptr::dangling()) }
    }

    /// Stands in for `pthread_create` and remembers the thread.
    ///
    /// # Safety
    ///
    /// As for `pthread_create`.
    pub unsafe extern "C" fn thread_create(
        thread: *mut c_ulong,
        attributes: *const c_void,
        start: ThreadStart,
        argument: *mut c_void,
    ) -> c_int {
        let Some(create) = thread_create_of_libc() else {
            return EAGAIN;
        };
        let Some(place) = take_place() else {
            return EAGAIN;
        };
        let launch = Box::into_raw(Box::new(Launch {
            start,
            argument,
            place,
        }));
        // SAFETY: the caller vouches for the arguments; `launch` is freed by `run_thread`, or below.
        let answer = unsafe { create(thread, attributes, run_thread, launch.cast()) };
        if answer != 0 {
            THREADS[place].store(0, Ordering::Release);
            // SAFETY: no thread was started, so nobody else has it.
            drop(unsafe { Box::from_raw(launch) });
        }
        answer
    }

    /// # Safety
    ///
    /// `launch` comes from [`thread_create`], once.
    unsafe extern "C" fn run_thread(launch: *mut c_void) -> *mut c_void {
        // SAFETY: the caller's promise.
        let launch = unsafe { Box::from_raw(launch.cast::<Launch>()) };
        // SAFETY: takes no argument.
        let id = unsafe { gettid() };
        THREADS[launch.place].store(id.unsigned_abs().into(), Ordering::Release);
        OWN_THREAD.with(|own| own.set(true));
        if let Some(register) = thread_atexit_of_libc() {
            let dso = (&raw const __dso_handle).cast_mut().cast();
            // A real pin for as long as this thread lives: glibc releases it only once the thread is
            // back inside libc, so the library cannot go from under the thread's last instructions.
            // SAFETY: the destructor ignores its argument and stands in this library.
            unsafe { register(nothing, ptr::null_mut(), dso) };
        }
        let Launch {
            start, argument, ..
        } = *launch;
        // SAFETY: the caller of `pthread_create` vouched for the pair.
        unsafe { start(argument) }
    }

    unsafe extern "C" fn nothing(_: *mut c_void) {}

    /// Runs what this thread owes; a destructor may add to it.
    unsafe extern "C" fn run_destructors(_: *mut c_void) {
        loop {
            let head = DESTRUCTORS.with(Cell::get);
            if head.is_null() {
                return;
            }
            // SAFETY: `thread_atexit` made it, on this thread, and it leaves the list here.
            let node = unsafe { Box::from_raw(head) };
            DESTRUCTORS.with(|first| first.set(node.next));
            // SAFETY: whoever registered the pair vouched for it.
            unsafe { (node.destructor)(node.object) };
        }
    }

    fn destructors_key() -> Option<Key> {
        let known = DESTRUCTORS_KEY.load(Ordering::Acquire);
        if known != 0 {
            return Some(known - 1);
        }
        let mut key = 0;
        // SAFETY: `key` is ours to write.
        if unsafe { key_create(&raw mut key, Some(run_destructors)) } != 0 {
            return None;
        }
        match DESTRUCTORS_KEY.compare_exchange(0, key + 1, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Some(key),
            Err(winner) => {
                // SAFETY: nobody else has seen the key.
                unsafe { key_delete(key) };
                Some(winner - 1)
            }
        }
    }

    /// Takes a free place, or one whose thread is gone.
    fn take_place() -> Option<usize> {
        THREADS.iter().position(|thread| {
            let seen = thread.load(Ordering::Acquire);
            !is_taken(seen)
                && thread
                    .compare_exchange(seen, STARTING, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
        })
    }

    fn is_taken(thread: u64) -> bool {
        thread == STARTING || (thread != 0 && is_alive(thread))
    }

    fn is_alive(thread: u64) -> bool {
        // SAFETY: takes no argument.
        let process = unsafe { getpid() };
        // SAFETY: signal 0 is sent to nobody, it only asks whether the thread exists.
        unsafe {
            syscall(
                SYS_TGKILL,
                c_long::from(process),
                thread.cast_signed(),
                0 as c_long,
            ) == 0
        }
    }

    fn key_delete_of_libc() -> Option<KeyDelete> {
        static FOUND: AtomicUsize = AtomicUsize::new(0);
        let function = find(&FOUND, c"pthread_key_delete")?;
        // SAFETY: this is the type POSIX gives the function of that name.
        Some(unsafe { core::mem::transmute::<*mut c_void, KeyDelete>(function) })
    }

    fn thread_atexit_of_libc() -> Option<ThreadAtexit> {
        static FOUND: AtomicUsize = AtomicUsize::new(0);
        let function = find(&FOUND, c"__cxa_thread_atexit_impl")?;
        // SAFETY: this is the type glibc gives the function of that name.
        Some(unsafe { core::mem::transmute::<*mut c_void, ThreadAtexit>(function) })
    }

    fn thread_create_of_libc() -> Option<ThreadCreate> {
        static FOUND: AtomicUsize = AtomicUsize::new(0);
        let function = find(&FOUND, c"pthread_create")?;
        // SAFETY: this is the type POSIX gives the function of that name.
        Some(unsafe { core::mem::transmute::<*mut c_void, ThreadCreate>(function) })
    }

    /// libc's own function: the hidden ones of this library are not found by name.
    fn find(found: &AtomicUsize, name: &CStr) -> Option<*mut c_void> {
        let known = found.load(Ordering::Relaxed);
        if known != 0 {
            return Some(ptr::with_exposed_provenance_mut(known));
        }
        // SAFETY: a null handle asks the global scope, and the name ends in NUL.
        let function = unsafe { dlsym(ptr::null_mut(), name.as_ptr()) };
        found.store(function.expose_provenance(), Ordering::Relaxed);
        (!function.is_null()).then_some(function)
    }
}
