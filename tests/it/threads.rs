//! Threads that come and go: their places in a gate, their counts, and what they run on their way out.

use std::cell::RefCell;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use plg_host::{Cancel, Context, Handle, Host, Limits, Reason, Unloaded, Value};
use plg_tests::isolated;

use crate::support::plugins::{host, number};
use crate::support::{Variant, stamped, wait_until};

const GOOD: &str = "fixture-good";

fn calls(good: &Handle, label: &str) -> u64 {
    let labels = good.snapshot().labels;
    let labels = labels.iter().filter(|counted| counted.label == label);
    labels.map(|label| label.calls).sum()
}

/// Calls while the plugin comes and goes.
fn call_if_loaded(good: &Handle) {
    match good.call("build", &mut Context::new()) {
        Ok(()) => {}
        Err(error) => assert_eq!(error.code(), "plugin.unloaded"),
    }
}

/// A host with this much patience for calls and threads.
fn with_patience(patience: Duration) -> Host {
    let limits = Limits {
        drain: patience,
        stop: patience,
        in_flight: 1_000,
        ..Limits::default()
    };
    let host = Host::builder().limits(limits).build();
    host.expect("a host can be made")
}

/// More threads than the first lanes of a gate are for, all inside at once.
#[test]
fn an_upgrade_waits_for_each_of_many_threads() {
    let host = with_patience(Duration::from_secs(100));
    let directory = tempfile::tempdir().unwrap();
    let build = |number| stamped(directory.path(), Variant::Debug, number);
    let good = host.load(build(1)).unwrap();
    let threads = 200;
    let cancel = Cancel::new();
    thread::scope(|scope| {
        let naps: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let ctx = Context::new().cancelled_by(&cancel);
                    let mut ctx = ctx.with("ms", 600_000).with("gentle", true);
                    // With so many to wake, a call may come back after its caller gave up.
                    match good.call("nap", &mut ctx) {
                        Ok(()) => assert_eq!(ctx.remove("build"), Some(Value::from(1))),
                        Err(error) => assert_eq!(error.code(), "call.cancelled"),
                    }
                })
            })
            .collect();
        wait_until("all to be inside", || calls(&good, "nap") == threads);
        let upgrade = scope.spawn(|| host.upgrade(GOOD, build(2)).unwrap());
        wait_until("the new build", || good.generation() == Some(2));
        assert!(!upgrade.is_finished());
        cancel.cancel();
        for nap in naps {
            nap.join().unwrap();
        }
        assert_eq!(upgrade.join().unwrap().retired, Unloaded::Unmapped);
    });
}

/// A thread that is inside a destructor of the plugin: it has ended as far as its own code goes.
fn linger(good: &Handle, time: Duration) -> thread::JoinHandle<()> {
    let lingering = good.clone();
    let thread = thread::spawn(move || {
        let time = i64::try_from(time.as_millis()).expect("it is short");
        let mut ctx = Context::new().with("ms", time);
        let left = lingering.call("linger", &mut ctx);
        left.expect("the fixture leaves a thread-local");
    });
    wait_until("the thread to be on its way out", || {
        number(good, "lingering") == 1
    });
    thread
}

isolated! {
    /// Row 101: code that a thread runs on its way out is not unmapped under it.
    fn an_unload_waits_for_threads_on_their_way_out() {
        let (host, directory) = (with_patience(Duration::from_secs(100)), tempfile::tempdir().unwrap());
        let good = host.load(stamped(directory.path(), Variant::Debug, 1)).unwrap();
        let thread = linger(&good, Duration::from_millis(300));
        assert_eq!(host.unload(GOOD).unwrap(), Unloaded::Unmapped);
        thread.join().unwrap();
    }
}

isolated! {
    /// Row 101: what it does not wait for is kept, and goes later.
    fn an_unload_gives_up_on_threads_on_their_way_out() {
        let (host, directory) = (with_patience(Duration::from_millis(10)), tempfile::tempdir().unwrap());
        let good = host.load(stamped(directory.path(), Variant::Debug, 1)).unwrap();
        let thread = linger(&good, Duration::from_millis(1_000));
        let reason = Reason::LeavingThreads;
        assert_eq!(host.unload(GOOD).unwrap(), Unloaded::Retained { reason });
        thread.join().unwrap();
        wait_until("the thread to be gone", || {
            host.sweep();
            host.census().retained == 0
        });
    }
}

isolated! {
    fn threads_that_are_gone_hold_no_place() {
        let (host, directory) = (host(), tempfile::tempdir().unwrap());
        let good = host.load(stamped(directory.path(), Variant::Debug, 1)).unwrap();
        let before = host.census().calling_threads;
        for _ in 0..20 {
            let (called, leave) = (Barrier::new(101), Barrier::new(101));
            thread::scope(|scope| {
                for _ in 0..100 {
                    scope.spawn(|| {
                        good.call("build", &mut Context::new()).unwrap();
                        called.wait();
                        leave.wait();
                    });
                }
                called.wait();
                // Those of the round before are gone, whoever starts first.
                let calling = host.census().calling_threads;
                assert!((before + 100..before + 200).contains(&calling), "{calling}");
                leave.wait();
            });
        }
        wait_until("the threads to be gone", || {
            host.census().calling_threads == before
        });
        assert_eq!(calls(&good, "build"), 20 * 100);
    }
}

/// A host in which a build is loaded, unloaded and loaded again, at least 200 times and until
/// `is_enough`, while two threads do `what` to the plugin over and over.
fn come_and_go(what: impl Fn(&Handle) + Sync, is_enough: impl Fn(&Handle) -> bool) -> Host {
    let (host, directory) = (
        host(),
        tempfile::tempdir().expect("a directory can be made"),
    );
    let path = stamped(directory.path(), Variant::Release, 1);
    let good = host.load(&path).expect("the fixture loads");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    what(&good);
                }
            });
        }
        let start = Instant::now();
        let mut rounds = 0;
        while rounds < 200 || !is_enough(&good) {
            assert_eq!(host.unload(GOOD).expect("it is loaded"), Unloaded::Unmapped);
            host.load(&path).expect("the fixture loads");
            rounds += 1;
            assert!(start.elapsed() < Duration::from_secs(60));
        }
        over.store(true, Ordering::Relaxed);
    });
    host
}

isolated! {
    /// Row 101: threads end while what they called is unmapped; their destructors are in it.
    fn threads_that_end_during_unloads_never_crash() {
        come_and_go(
            |good| {
                let threads: Vec<_> = (0..8)
                    .map(|_| {
                        let good = good.clone();
                        thread::spawn(move || call_if_loaded(&good))
                    })
                    .collect();
                for thread in threads {
                    thread.join().unwrap();
                }
            },
            |good| calls(good, "build") > 300,
        );
    }
}

/// Calls the plugin while its thread ends: a destructor of the app's own.
struct CallsAtTheEnd(Handle);

impl Drop for CallsAtTheEnd {
    fn drop(&mut self) {
        call_if_loaded(&self.0);
    }
}

thread_local! {
    static AT_THE_END: RefCell<Option<CallsAtTheEnd>> = const { RefCell::new(None) };
}

isolated! {
    /// Row 101: threads that call once more on their way out.
    fn threads_that_call_while_they_end_never_crash() {
        let host = come_and_go(
            |good| {
                let good = good.clone();
                let thread = thread::spawn(move || {
                    // Made first, so that it goes last.
                    AT_THE_END.set(Some(CallsAtTheEnd(good.clone())));
                    call_if_loaded(&good);
                });
                thread.join().unwrap();
            },
            |good| calls(good, "build") > 100,
        );
        // The calls at the end took no place for good.
        wait_until("the threads to be gone", || {
            host.census().calling_threads <= 3
        });
    }
}
