//! Threads that come and go: their places in a gate, their counts, and what they run on their way out.

use std::cell::RefCell;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use plg_host::{Context, Handle, Host, Unloaded, Value};
use plg_tests::isolated;

use crate::support::plugins::host;
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

/// More threads than the first lanes of a gate are for, all inside at once.
#[test]
fn an_upgrade_waits_for_each_of_many_threads() {
    let (host, directory) = (host(), tempfile::tempdir().unwrap());
    let build = |number| stamped(directory.path(), Variant::Debug, number);
    let good = host.load(build(1)).unwrap();
    let threads = 200;
    let gathered = Barrier::new(threads + 1);
    thread::scope(|scope| {
        let naps: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut ctx = Context::new().with("ms", 1_000);
                    gathered.wait();
                    good.call("nap", &mut ctx).unwrap();
                    ctx.remove("build")
                })
            })
            .collect();
        gathered.wait();
        wait_until("all to be inside", || calls(&good, "nap") == threads as u64);
        let upgraded = host.upgrade(GOOD, build(2)).unwrap();
        assert_eq!(upgraded.retired, Unloaded::Unmapped);
        for nap in naps {
            assert_eq!(nap.join().unwrap(), Some(Value::from(1)));
        }
    });
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
