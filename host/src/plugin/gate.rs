//! The gate that every call to a plugin passes, and that an upgrade closes behind the old generation.
//!
//! Each calling thread owns a lane. A call stores an odd sequence in its lane, reads the current value,
//! runs, and stores an even sequence. Publishing swaps the current value, issues a barrier on every
//! running thread, and notes which lanes are odd: only those can still be inside the old value. It is
//! theirs until their sequence moves.
//!
//! The two barriers are asymmetric: calls pay a compiler fence, publishing pays a `membarrier`. Where
//! that call is missing both sides use a sequentially consistent fence. The protocol is generic over
//! [`Atomics`], so that a model checker runs this very code.
#![expect(
    unsafe_code,
    reason = "the gate lends what it holds by address and takes it back after the drain"
)]

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::atomic::{self, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::thread::Number;

/// The atomics and barriers that a gate is made of.
pub trait Atomics {
    /// A sequence that its own thread writes and others read.
    type Sequence: Sequence;
    /// The pointer to the current value.
    type Pointer<T>: Pointer<T>;

    /// Keeps the store of an odd sequence before the load of the current value, as seen by a thread
    /// that has passed [`heavy_barrier`](Self::heavy_barrier) since.
    fn light_barrier();

    /// Makes every other thread pass a full barrier; says whether that worked.
    fn heavy_barrier() -> bool;
}

/// See [`Atomics::Sequence`].
pub trait Sequence {
    /// A sequence of 0.
    fn new() -> Self;
    /// Reads without ordering; for the thread that writes it.
    fn own(&self) -> u64;
    /// Writes after everything the thread did before.
    fn release(&self, value: u64);
    /// Reads before everything the thread does after.
    fn acquire(&self) -> u64;
}

/// See [`Atomics::Pointer`].
pub trait Pointer<T> {
    /// A pointer to `value`.
    fn new(value: *mut T) -> Self;
    /// Reads before everything the thread does after.
    fn acquire(&self) -> *mut T;
    /// Replaces the pointer, in one order for all threads.
    fn exchange(&self, value: *mut T) -> *mut T;
}

/// Holds the current value of type `T`; `L` is what each lane keeps for its thread.
pub struct Gate<T, L, A: Atomics = Machine> {
    current: A::Pointer<T>,
    /// Lanes in blocks, each twice as long as the one before; a block is made when it is first used.
    blocks: [OnceLock<Block<L, A>>; BLOCKS],
    first_block: usize,
    owns: PhantomData<Arc<T>>,
}

/// One thread's place in a gate. Lanes stand on cache lines of their own, in pairs because processors
/// fetch those.
#[repr(align(128))]
struct Lane<L, A: Atomics = Machine> {
    sequence: A::Sequence,
    local: L,
}

/// A call on its way through the gate: the value stays whole until this is dropped, on the thread
/// that entered.
pub struct Pass<'gate, T, L, A: Atomics = Machine> {
    value: &'gate T,
    lane: &'gate Lane<L, A>,
    /// The sequence to leave with. Inside another pass of the same lane it is the odd one that stands
    /// there: leaving then changes nothing.
    leave: u64,
    thread: PhantomData<*const ()>,
}

/// Why a gate lets nobody in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// It holds no value.
    Empty,
    /// There are more threads than lanes.
    NoLane,
}

/// A value that was current, with the lanes that may still be inside it. Dropping it leaks the value:
/// what a call may still run is never freed.
#[derive(Debug)]
pub struct Replaced<T> {
    value: ManuallyDrop<Arc<T>>,
    inside: Vec<(usize, u64)>,
}

type Block<L, A> = Box<[Lane<L, A>]>;

const BLOCKS: usize = 10;

impl<T, L: Default, A: Atomics> Gate<T, L, A> {
    /// A gate without a value. `first_block` is how many lanes the first block has; together there
    /// are 1,023 times as many.
    #[must_use]
    pub fn new(first_block: usize) -> Self {
        Self {
            current: A::Pointer::new(ptr::null_mut()),
            blocks: [const { OnceLock::new() }; BLOCKS],
            first_block,
            owns: PhantomData,
        }
    }

    /// The lane of the thread with this number; `None` when there are not that many lanes.
    #[inline]
    fn lane(&self, thread: usize) -> Option<&Lane<L, A>> {
        match self.blocks[0].get().and_then(|block| block.get(thread)) {
            Some(lane) => Some(lane),
            None => self.lane_of_later_block(thread),
        }
    }

    #[cold]
    fn lane_of_later_block(&self, thread: usize) -> Option<&Lane<L, A>> {
        let (mut start, mut length) = (0, self.first_block);
        for block in &self.blocks {
            if thread < start + length {
                let block = block.get_or_init(|| (0..length).map(|_| Lane::new()).collect());
                return block.get(thread - start);
            }
            start += length;
            length *= 2;
        }
        None
    }

    /// Enters as the calling thread.
    ///
    /// # Errors
    ///
    /// When the gate holds no value, or has no lane for this number.
    #[inline]
    pub fn enter(&self, thread: Number) -> Result<Pass<'_, T, L, A>, Refused> {
        let lane = self.lane(thread.get()).ok_or(Refused::NoLane)?;
        let sequence = lane.sequence.own();
        // A drain that sees this instead of the even sequence before it must be after the call that
        // left with that one, so it is a release as well. Inside another pass it is odd already.
        lane.sequence.release(sequence | 1);
        let outermost = !sequence & 1;
        let leave = sequence.wrapping_add(outermost * 2);
        A::light_barrier();
        let value = self.current.acquire();
        // SAFETY: null, or what `publish` got from `Arc::into_raw`. That count is not dropped before
        // the lane's sequence moved, which the `Pass` does on drop.
        match unsafe { value.as_ref() } {
            Some(value) => Ok(Pass {
                value,
                lane,
                leave,
                thread: PhantomData,
            }),
            None => {
                lane.sequence.release(leave);
                Err(Refused::Empty)
            }
        }
    }

    /// What the calling thread left in its lane.
    pub fn local(&self, thread: Number) -> Option<&L> {
        self.lane(thread.get()).map(|lane| &lane.local)
    }

    /// Whether the calling thread is inside a call.
    pub fn is_inside(&self, thread: Number) -> bool {
        self.lane(thread.get())
            .is_some_and(|lane| lane.sequence.own() & 1 == 1)
    }

    /// Which lanes have a call inside, each with the sequence that it shows meanwhile. Whatever the
    /// calling thread wrote before is seen by every call that is not among them, unless the kernel refuses
    /// its barrier: an empty lane would never say that its call left.
    pub fn inside(&self) -> Vec<(usize, u64)> {
        A::heavy_barrier();
        self.occupied(true)
    }

    /// What the lane of a thread shows now.
    pub(crate) fn lane_of(&self, thread: usize) -> (usize, u64) {
        let shown = self.lane(thread).map(|lane| lane.sequence.acquire());
        (thread, shown.unwrap_or_default())
    }

    /// Whether a call that [`inside`](Self::inside) found is still inside.
    pub fn is_still_inside(&self, (number, sequence): (usize, u64)) -> bool {
        self.lane(number)
            .is_some_and(|lane| lane.sequence.acquire() == sequence)
    }

    /// The lanes that show a call; all of them when the others cannot be trusted to be empty.
    fn occupied(&self, seen: bool) -> Vec<(usize, u64)> {
        self.lanes()
            .enumerate()
            .filter_map(|(number, lane)| {
                let sequence = lane.sequence.acquire();
                (sequence & 1 == 1 || !seen).then_some((number, sequence))
            })
            .collect()
    }

    /// Makes `value` the current one, for every call that enters from now on, and returns the one
    /// before, which calls may still be inside.
    pub fn publish(&self, value: Option<Arc<T>>) -> Option<Replaced<T>> {
        let value = value.map_or(ptr::null(), Arc::into_raw);
        let before = self.current.exchange(value.cast_mut());
        if before.is_null() {
            return None;
        }
        // Without the barrier any lane may be inside and not show it yet.
        let seen = A::heavy_barrier();
        let inside = self.occupied(seen);
        // SAFETY: it came from `Arc::into_raw` above, and the exchange handed it to this caller alone.
        let value = ManuallyDrop::new(unsafe { Arc::from_raw(before) });
        Some(Replaced { value, inside })
    }

    /// What each thread that ever entered left in its lane.
    pub fn locals(&self) -> impl Iterator<Item = &L> {
        self.lanes().map(|lane| &lane.local)
    }

    /// Every lane made so far.
    fn lanes(&self) -> impl Iterator<Item = &Lane<L, A>> {
        // A block without its predecessors would give wrong numbers, so missing ones are made up for
        // by making the first: numbers grow from 0, and blocks are made in order of first use.
        let last = self.blocks.iter().rposition(|block| block.get().is_some());
        let mut length = self.first_block;
        self.blocks[..last.map_or(0, |last| last + 1)]
            .iter()
            .flat_map(move |block| {
                let lanes = block.get_or_init(|| (0..length).map(|_| Lane::new()).collect());
                length *= 2;
                lanes.iter()
            })
    }
}

impl<T> Replaced<T> {
    /// Looks again whether calls are inside it.
    pub fn is_drained<L: Default, A: Atomics>(&mut self, gate: &Gate<T, L, A>) -> bool {
        self.inside.retain(|lane| gate.is_still_inside(*lane));
        self.inside.is_empty()
    }

    /// Takes the value back once no call is inside it any more.
    ///
    /// # Errors
    ///
    /// Itself, while calls are.
    pub fn drained<L: Default, A: Atomics>(mut self, gate: &Gate<T, L, A>) -> Result<Arc<T>, Self> {
        if self.is_drained(gate) {
            Ok(self.without_drain())
        } else {
            Err(self)
        }
    }

    /// How many calls are inside, as of the last look.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.inside.len()
    }

    /// The lanes of those calls.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = (usize, u64)> {
        self.inside.iter().copied()
    }

    /// The value, for reading.
    #[must_use]
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Takes the value back although calls may be inside it: the fault that shows what the drain is for.
    #[doc(hidden)]
    #[must_use]
    pub fn without_drain(self) -> Arc<T> {
        ManuallyDrop::into_inner(self.value)
    }
}

impl<L: Default, A: Atomics> Lane<L, A> {
    fn new() -> Self {
        Self {
            sequence: A::Sequence::new(),
            local: L::default(),
        }
    }
}

impl<'gate, T, L, A: Atomics> Pass<'gate, T, L, A> {
    /// What the gate's owner keeps for this thread.
    #[inline]
    #[must_use]
    pub fn local(&self) -> &'gate L {
        &self.lane.local
    }

    /// Keeps the value beyond this pass.
    #[must_use]
    pub fn keep(&self) -> Arc<T> {
        let value = ptr::from_ref(self.value);
        // SAFETY: it came from `Arc::into_raw`, and the gate's count lives as long as the pass.
        unsafe { Arc::increment_strong_count(value) };
        // SAFETY: the count above is this one's.
        unsafe { Arc::from_raw(value) }
    }
}

impl<T, L, A: Atomics> std::ops::Deref for Pass<'_, T, L, A> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.value
    }
}

impl<T, L, A: Atomics> Drop for Pass<'_, T, L, A> {
    #[inline]
    fn drop(&mut self) {
        self.lane.sequence.release(self.leave);
    }
}

impl<T, L, A: Atomics> Drop for Gate<T, L, A> {
    fn drop(&mut self) {
        let current = self.current.exchange(ptr::null_mut());
        if !current.is_null() {
            // SAFETY: it came from `Arc::into_raw` in `publish`; nobody is inside because every pass
            // borrows the gate.
            drop(unsafe { Arc::from_raw(current) });
        }
    }
}

impl<T, L, A: Atomics> fmt::Debug for Gate<T, L, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl<T: fmt::Debug, L, A: Atomics> fmt::Debug for Pass<'_, T, L, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pass").field(&self.value).finish()
    }
}

/// The machine's own atomics.
#[derive(Debug)]
pub struct Machine;

impl Atomics for Machine {
    type Sequence = AtomicU64;
    type Pointer<T> = AtomicPtr<T>;

    #[inline]
    fn light_barrier() {
        if membarrier::is_registered() {
            atomic::compiler_fence(Ordering::SeqCst);
        } else {
            atomic::fence(Ordering::SeqCst);
        }
    }

    fn heavy_barrier() -> bool {
        atomic::fence(Ordering::SeqCst);
        !membarrier::is_registered() || membarrier::issue()
    }
}

impl Sequence for AtomicU64 {
    fn new() -> Self {
        Self::new(0)
    }

    #[inline]
    fn own(&self) -> u64 {
        self.load(Ordering::Relaxed)
    }

    #[inline]
    fn release(&self, value: u64) {
        self.store(value, Ordering::Release);
    }

    #[inline]
    fn acquire(&self) -> u64 {
        self.load(Ordering::Acquire)
    }
}

impl<T> Pointer<T> for AtomicPtr<T> {
    fn new(value: *mut T) -> Self {
        Self::new(value)
    }

    #[inline]
    fn acquire(&self) -> *mut T {
        self.load(Ordering::Acquire)
    }

    #[inline]
    fn exchange(&self, value: *mut T) -> *mut T {
        self.swap(value, Ordering::SeqCst)
    }
}

/// The kernel's barrier on all threads of this process.
pub(crate) mod membarrier {
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Once true it stays true, so a thread that still reads false uses the stronger fence.
    static REGISTERED: AtomicBool = AtomicBool::new(false);

    /// Registers this process. Without it, or where the kernel refuses, fences are used.
    pub(crate) fn register() {
        if !is_registered() && call(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) {
            REGISTERED.store(true, Ordering::Release);
        }
    }

    #[inline]
    pub(crate) fn is_registered() -> bool {
        REGISTERED.load(Ordering::Relaxed)
    }

    /// The kernel may stop answering, when the app forbids itself the call.
    pub(crate) fn issue() -> bool {
        call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
    }

    fn call(command: libc::c_int) -> bool {
        // SAFETY: the call takes three integers and touches no memory of ours.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }
}
