//! The gate's protocol under a model checker, which runs every interleaving of a few threads and every
//! value that the memory model lets a load see; and its stronger fences on real threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64 as Counter, Ordering};

use loom::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, fence};
use loom::thread;
use plg_host::gate::{Atomics, Gate, Pointer, Refused, Replaced, Sequence};
use plg_host::{Context, Faults, Host, ThreadNumber, Unloaded, Value};
use plg_tests::{child, isolated};

use crate::support::{Variant, stamped};

/// The gate's atomics as the checker has them. With one part missing the protocol is broken, and the
/// checker must find out how.
struct Modelled<const LIGHT: bool, const HEAVY: bool, const RELEASE: bool>;

type Whole = Modelled<true, true, true>;
type WithoutLight = Modelled<false, true, true>;
type WithoutHeavy = Modelled<true, false, true>;
type WithoutRelease = Modelled<true, true, false>;

struct Word<const RELEASE: bool>(AtomicU64);
struct Place<T>(AtomicPtr<T>);

impl<const LIGHT: bool, const HEAVY: bool, const RELEASE: bool> Atomics
    for Modelled<LIGHT, HEAVY, RELEASE>
{
    type Sequence = Word<RELEASE>;
    type Pointer<T> = Place<T>;

    fn light_barrier() {
        if LIGHT {
            fence(Ordering::SeqCst);
        }
    }

    fn heavy_barrier() -> bool {
        if HEAVY {
            fence(Ordering::SeqCst);
        }
        true
    }
}

impl<const RELEASE: bool> Sequence for Word<RELEASE> {
    fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn own(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn release(&self, value: u64) {
        let order = if RELEASE {
            Ordering::Release
        } else {
            Ordering::Relaxed
        };
        self.0.store(value, order);
    }

    fn acquire(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl<T> Pointer<T> for Place<T> {
    fn new(value: *mut T) -> Self {
        Self(AtomicPtr::new(value))
    }

    fn acquire(&self) -> *mut T {
        self.0.load(Ordering::Acquire)
    }

    fn exchange(&self, value: *mut T) -> *mut T {
        self.0.swap(value, Ordering::SeqCst)
    }
}

/// What stands for a build. Its end is a write, so a call that reads it at the same time is a race that
/// the checker reports.
#[derive(Debug)]
struct Build {
    number: usize,
    alive: loom::cell::UnsafeCell<()>,
}

impl Build {
    fn new(number: usize) -> Self {
        Self {
            number,
            alive: loom::cell::UnsafeCell::new(()),
        }
    }

    #[expect(
        clippy::arc_with_non_send_sync,
        reason = "the checker runs its threads one at a time, and finds what is not safe to share"
    )]
    fn shared(number: usize) -> Arc<Self> {
        Arc::new(Self::new(number))
    }

    fn run(&self) {
        self.alive.with(|_| ());
    }

    fn end(&self) {
        self.alive.with_mut(|_| ());
    }
}

type Tried<A> = Gate<Build, (), A>;

/// A gate with build 1 and its lanes made.
fn gate<A: Atomics + 'static>() -> Arc<Tried<A>> {
    let gate = Gate::new(4);
    assert!(gate.local(ThreadNumber::assume(0)).is_some());
    assert!(gate.publish(Some(Build::shared(1))).is_none());
    Arc::new(gate)
}

/// A thread that calls `times` times, and never meets a build older than one it met before.
fn caller<A: Atomics + 'static>(
    gate: &Arc<Tried<A>>,
    number: usize,
    times: usize,
) -> thread::JoinHandle<usize> {
    let gate = gate.clone();
    thread::spawn(move || {
        let number = ThreadNumber::assume(number);
        let mut newest = 0;
        for _ in 0..times {
            let Ok(pass) = gate.enter(number) else {
                // Only an unload empties the gate, and these models end with it.
                newest = usize::MAX;
                continue;
            };
            assert!(pass.number >= newest, "an older build after a newer one");
            newest = pass.number;
            pass.run();
        }
        newest
    })
}

/// Publishes, waits for the drain, and ends the build that was replaced. The memory goes at the end of
/// the model only, so that what the checker reports is the race and not what a broken gate does to it.
fn replace<A: Atomics>(gate: &Tried<A>, next: Option<usize>) -> Arc<Build> {
    let next = next.map(Build::shared);
    let mut replaced = gate.publish(next).expect("the gate held a build");
    loop {
        match replaced.drained(gate) {
            Ok(build) => {
                build.end();
                return build;
            }
            Err(not_yet) => {
                replaced = not_yet;
                thread::yield_now();
            }
        }
    }
}

/// Runs every interleaving with at most this many switches that no thread asked for.
fn model(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(run);
}

/// One caller against one publisher, with the barriers that `A` has.
fn one_caller_meets_one_publisher<A: Atomics + 'static>() {
    model(3, || {
        let gate = gate::<A>();
        let calls = caller(&gate, 0, 2);
        let ended = replace(&gate, Some(2));
        assert!(calls.join().expect("the caller ends") <= 2);
        assert_eq!(ended.number, 1);
    });
}

/// Row 98: the loads that follow an upgrade never see what it ended.
#[test]
fn no_call_runs_in_a_build_that_has_ended() {
    one_caller_meets_one_publisher::<Whole>();
}

/// Row 96: with two upgrades, and per caller the build never goes back.
#[test]
fn two_upgrades_under_one_caller() {
    model(3, || {
        let gate = gate::<Whole>();
        let calls = caller(&gate, 0, 2);
        let ended = [replace(&gate, Some(2)), replace(&gate, Some(3))];
        assert!(calls.join().expect("the caller ends") <= 3);
        drop(ended);
    });
}

#[test]
fn two_callers_meet_one_publisher() {
    model(2, || {
        let gate = gate::<Whole>();
        let first = caller(&gate, 0, 1);
        let second = caller(&gate, 1, 1);
        let ended = replace(&gate, Some(2));
        assert!(first.join().expect("the first caller ends") <= 2);
        assert!(second.join().expect("the second caller ends") <= 2);
        drop(ended);
    });
}

#[test]
fn two_publishers_end_a_build_once_each() {
    model(2, || {
        let gate = gate::<Whole>();
        let calls = caller(&gate, 0, 1);
        let other = {
            let gate = gate.clone();
            thread::spawn(move || replace(&gate, Some(2)))
        };
        let mine = replace(&gate, Some(3));
        let theirs = other.join().expect("the other publisher ends");
        assert_ne!(mine.number, theirs.number);
        calls.join().expect("the caller ends");
    });
}

#[test]
fn an_unload_leaves_the_gate_empty() {
    model(3, || {
        let gate = gate::<Whole>();
        let calls = caller(&gate, 0, 2);
        let ended = replace(&gate, None);
        calls.join().expect("the caller ends");
        let refused = gate.enter(ThreadNumber::assume(0)).err();
        assert_eq!(refused, Some(Refused::Empty));
        assert!(!gate.is_inside(ThreadNumber::assume(0)));
        drop(ended);
    });
}

/// A call inside a call keeps what the outer one runs in, whatever the inner one finds.
#[test]
fn a_nested_call_ends_with_the_outer_one() {
    model(3, || {
        let gate = gate::<Whole>();
        let calls = {
            let gate = gate.clone();
            thread::spawn(move || {
                let number = ThreadNumber::assume(0);
                let outer = gate.enter(number).expect("the gate holds a build");
                let inner = gate.enter(number).expect("the gate holds a build");
                inner.run();
                assert!(inner.number >= outer.number);
                drop(inner);
                assert!(gate.is_inside(number));
                outer.run();
            })
        };
        let ended = replace(&gate, Some(2));
        calls.join().expect("the caller ends");
        drop(ended);
    });
}

/// A call that keeps its build outlives the drain; the count says so.
#[test]
fn a_kept_build_is_not_the_gates_alone() {
    model(3, || {
        let gate = gate::<Whole>();
        let keeper = {
            let gate = gate.clone();
            thread::spawn(move || {
                let pass = gate.enter(ThreadNumber::assume(0));
                let kept = pass.expect("the gate holds a build").keep();
                kept.run();
                kept
            })
        };
        let replaced = gate.publish(Some(Build::shared(2)));
        let mut replaced: Replaced<Build> = replaced.expect("the gate held a build");
        while !replaced.is_drained(&gate) {
            thread::yield_now();
        }
        let old = replaced.drained(&gate).expect("it is drained");
        let kept = keeper.join().expect("the keeper ends");
        let shared = Arc::strong_count(&old) == 2;
        assert_eq!(shared, kept.number == 1);
    });
}

/// Runs a broken model in a child, which must end by what the checker found.
fn must_fail(test: &str, found: &str, run: impl FnOnce()) {
    let ended = child::run(test, &[], run);
    assert!(!ended.status.success(), "the checker found nothing");
    assert!(ended.output.contains(found), "{}", ended.output);
}

/// What the checker says when a build is run and ended at once.
const RACE: &str = "Causality violation";

/// Row 98, must fail.
#[test]
fn without_the_callers_barrier_the_checker_finds_a_call_in_an_ended_build() {
    must_fail(
        concat!(
            module_path!(),
            "::without_the_callers_barrier_the_checker_finds_a_call_in_an_ended_build"
        ),
        RACE,
        one_caller_meets_one_publisher::<WithoutLight>,
    );
}

/// Row 98, must fail.
#[test]
fn without_the_publishers_barrier_the_checker_finds_a_call_in_an_ended_build() {
    must_fail(
        concat!(
            module_path!(),
            "::without_the_publishers_barrier_the_checker_finds_a_call_in_an_ended_build"
        ),
        RACE,
        one_caller_meets_one_publisher::<WithoutHeavy>,
    );
}

/// Row 98, must fail.
#[test]
fn without_order_on_the_way_out_the_checker_finds_a_call_in_an_ended_build() {
    must_fail(
        concat!(
            module_path!(),
            "::without_order_on_the_way_out_the_checker_finds_a_call_in_an_ended_build"
        ),
        RACE,
        one_caller_meets_one_publisher::<WithoutRelease>,
    );
}

/// Row 98, must fail.
#[test]
fn without_the_drain_the_checker_finds_a_call_in_an_ended_build() {
    must_fail(
        concat!(
            module_path!(),
            "::without_the_drain_the_checker_finds_a_call_in_an_ended_build"
        ),
        RACE,
        || {
            model(3, || {
                let gate = gate::<Whole>();
                let calls = caller(&gate, 0, 1);
                let replaced = gate.publish(Some(Build::shared(2)));
                let ended = replaced.expect("the gate held a build").without_drain();
                ended.end();
                calls.join().expect("the caller ends");
            });
        },
    );
}

/// The gate as one writes it first: load the build, then count yourself in. Between the two the build
/// can end.
struct LoadThenCount {
    current: AtomicPtr<Counted>,
}

struct Counted {
    build: Build,
    inside: AtomicUsize,
}

impl Counted {
    /// Kept for good: freeing it is what the checker must show to be wrong.
    fn leak(number: usize) -> &'static Self {
        Box::leak(Box::new(Self {
            build: Build::new(number),
            inside: AtomicUsize::new(0),
        }))
    }
}

impl LoadThenCount {
    fn call(&self) {
        let current = self.current.load(Ordering::SeqCst);
        #[expect(unsafe_code, reason = "the model's builds are kept for good")]
        // SAFETY: it comes from `leak`.
        let counted: &'static Counted = unsafe { &*current };
        counted.inside.fetch_add(1, Ordering::SeqCst);
        counted.build.run();
        counted.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Row 98, must fail.
#[test]
fn loading_before_counting_lets_the_checker_find_a_call_in_an_ended_build() {
    must_fail(
        concat!(
            module_path!(),
            "::loading_before_counting_lets_the_checker_find_a_call_in_an_ended_build"
        ),
        RACE,
        || {
            model(3, || {
                let old = Counted::leak(1);
                let gate = Arc::new(LoadThenCount {
                    current: AtomicPtr::new(std::ptr::from_ref(old).cast_mut()),
                });
                let calls = {
                    let gate = gate.clone();
                    thread::spawn(move || gate.call())
                };
                let new = std::ptr::from_ref(Counted::leak(2)).cast_mut();
                gate.current.swap(new, Ordering::SeqCst);
                while old.inside.load(Ordering::SeqCst) > 0 {
                    thread::yield_now();
                }
                old.build.end();
                calls.join().expect("the caller ends");
            });
        },
    );
}

isolated! {
    /// The fences that stand in for the kernel's barrier, on real threads.
    fn without_membarrier_upgrades_lose_no_call() {
        let host = Host::builder()
            .faults(Faults { no_membarrier: true, ..Faults::default() })
            .build()
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let build = |number| stamped(directory.path(), Variant::Release, number);
        let good = host.load(build(1)).unwrap();
        let newest = Counter::new(1);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let label = good.label("build").unwrap();
                        let mut ctx = Context::new();
                        let mut calls = 0_u64;
                        while !done.load(Ordering::Relaxed) {
                            let least = newest.load(Ordering::SeqCst);
                            label.call(&mut ctx).unwrap();
                            let build = ctx.get("build").and_then(Value::as_i64).unwrap();
                            assert!(build >= least, "build {build} answered after {least}");
                            calls += 1;
                        }
                        calls
                    })
                })
                .collect();
            for number in 2..300 {
                let upgraded = host.upgrade("fixture-good", build(number)).unwrap();
                newest.store(number.cast_signed(), Ordering::SeqCst);
                assert_eq!(upgraded.retired, Unloaded::Unmapped);
            }
            done.store(true, Ordering::Relaxed);
            for caller in callers {
                assert!(caller.join().unwrap() > 0);
            }
        });
        assert!(!has_asked_for_membarrier());
        // The control: a host without the fault asks.
        let _host = Host::builder().build().unwrap();
        assert!(has_asked_for_membarrier());
    }
}

/// The kernel refuses its barrier to a process that did not register.
#[expect(unsafe_code, reason = "libc has no safe way to ask")]
fn has_asked_for_membarrier() -> bool {
    let command = libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED;
    // SAFETY: the call takes three integers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}
