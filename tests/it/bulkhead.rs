//! How many calls are inside a plugin at once, how many wait, and that nobody waits for itself.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use plg_host::{
    Calls, CanaryOptions, Cancel, Context, Error, Event, Handle, Hook, HookOptions, Host, Limits,
    Reason, Step, Unloaded,
};
use plg_tests::isolated;

use crate::support::busy::{Board, busy, busy_library, busy_named};
use crate::support::plugins::{number, refused};
use crate::support::wait_until;

/// Long enough for a call that ends by itself on a busy machine.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(200);

fn host(in_flight: usize, queue: usize) -> Host {
    let limits = Limits {
        in_flight,
        queue,
        drain: Duration::from_millis(50),
        stop: Duration::from_millis(50),
        ..Limits::default()
    };
    Host::builder().limits(limits).build().unwrap()
}

fn visit(plugin: &Handle, ctx: Context) -> Result<(), Error> {
    plugin.call("visit", &mut ctx.clone())
}

/// What an operator sees: calls inside, and those that wait.
fn load(plugin: &Handle) -> (usize, usize) {
    let snapshot = plugin.snapshot();
    (snapshot.in_flight, snapshot.waiting)
}

/// Row 94.
#[test]
fn no_more_calls_are_inside_than_may_be() {
    let host = host(4, 256);
    let (busy, board) = (busy(&host), Board::new());
    thread::scope(|scope| {
        for caller in 0..32 {
            let ctx = board.context();
            // Whoever gives up one day counts as much.
            let ctx = if caller % 2 == 0 {
                ctx
            } else {
                ctx.timeout(LONG)
            };
            let busy = &busy;
            scope.spawn(move || visit(busy, ctx).unwrap());
        }
        board.wait_for(4);
        wait_until("the others to wait", || load(&busy) == (4, 28));
        board.open();
    });
    assert_eq!((board.entered(), board.most(), board.inside()), (32, 4, 0));
    assert_eq!(load(&busy), (0, 0));
}

struct Everything;

impl Hook for Everything {
    fn after(&mut self, _: &Event) {}
}

isolated! {
    /// Whatever way they take: beside a canary, through a lease, under a hook, and while counting begins.
    fn no_way_leads_past_the_count() {
        for round in 0..60 {
            let host = host(3, 256);
            let (busy, board) = (busy(&host), Board::new());
            if round % 3 == 1 {
                let options = CanaryOptions { stages: vec![50], calls: u64::MAX, ..CanaryOptions::default() };
                host.canary("busy", busy_library(&["BUILD=2"]), options).unwrap();
            }
            let hook = (round % 3 == 2).then(|| {
                let options = HookOptions {
                    steps: vec![Step::Call],
                    calls: Calls::Sampled(7),
                    ..HookOptions::default()
                };
                host.subscribe(options, Everything).unwrap()
            });
            let lease = busy.lease().unwrap();
            let start = Barrier::new(10);
            thread::scope(|scope| {
                for caller in 0..10 {
                    let (busy, lease, start) = (&busy, &lease, &start);
                    scope.spawn(move || {
                        start.wait();
                        for _ in 0..20 {
                            let mut ctx = board.context();
                            match caller % 5 {
                                0 => lease.call("linger", &mut ctx).unwrap(),
                                1 => busy.call("linger", &mut ctx.timeout(LONG)).unwrap(),
                                _ => busy.call("linger", &mut ctx).unwrap(),
                            }
                        }
                    });
                }
            });
            assert_eq!((board.entered(), board.inside()), (200, 0));
            assert!(board.most() <= 3, "{} inside in round {round}", board.most());
            assert_eq!(load(&busy), (0, 0));
            drop(hook);
        }
    }
}

/// A plugin that must not be called by two threads at once.
#[test]
fn one_at_a_time_is_one_at_a_time() {
    let host = host(1, 256);
    let (busy, board) = (busy(&host), Board::new());
    board.open();
    thread::scope(|scope| {
        for caller in 0..8 {
            let busy = &busy;
            scope.spawn(move || {
                for _ in 0..50 {
                    let ctx = board.context();
                    let mut ctx = if caller % 2 == 0 {
                        ctx
                    } else {
                        ctx.timeout(LONG)
                    };
                    busy.call("linger", &mut ctx).unwrap();
                }
            });
        }
    });
    assert_eq!((board.entered(), board.most()), (400, 1));
}

isolated! {
    /// Calls that entered before anybody counted are counted once somebody does.
    fn counting_begins_with_those_inside() {
        let host = host(3, 256);
        // Its `init` runs on the first thread with a number, this test on the second.
        let (busy, board) = (busy(&host), Board::new());
        thread::scope(|scope| {
            let call = || visit(&busy, board.context()).unwrap();
            assert_eq!(number(&busy, "build"), 1);
            scope.spawn(call);
            board.wait_for(1);
            assert_eq!(load(&busy), (0, 0), "nobody counts yet");
            scope.spawn(call);
            board.wait_for(2);
            assert_eq!(load(&busy), (2, 0));
            scope.spawn(call);
            board.wait_for(3);
            (0..4).for_each(|_| drop(scope.spawn(call)));
            wait_until("the others to wait", || load(&busy) == (3, 4));
            board.open();
        });
        assert_eq!((board.entered(), board.most()), (7, 3));
        assert_eq!(load(&busy), (0, 0));
    }
}

isolated! {
    fn few_threads_are_not_counted() {
        let host = host(64, 256);
        let (busy, board) = (busy(&host), Board::new());
        thread::scope(|scope| {
            (0..8).for_each(|_| drop(scope.spawn(|| visit(&busy, board.context()).unwrap())));
            board.wait_for(8);
            assert_eq!(load(&busy), (0, 0));
            board.open();
        });
        assert_eq!(board.entered(), 8);
    }
}

/// Row 94: the one that is too many is told so at once, and other plugins do not notice.
#[test]
fn what_finds_no_room_to_wait_is_refused_at_once() {
    let host = host(2, 3);
    let (busy, board) = (busy(&host), Board::new());
    let other = busy_named(&host, "other");
    thread::scope(|scope| {
        let calls = [None, Some(LONG), None, Some(LONG), None];
        for (before, limit) in calls.into_iter().enumerate() {
            let ctx = board.context();
            let ctx = match limit {
                Some(limit) => ctx.timeout(limit),
                None => ctx,
            };
            let plugin = &busy;
            scope.spawn(move || visit(plugin, ctx).unwrap());
            let expected = (2.min(before + 1), (before + 1).saturating_sub(2));
            wait_until("one more", || {
                board.inside() == expected.0 as i32 && load(&busy).1 == expected.1
            });
        }
        for ctx in [board.context(), board.context().timeout(LONG)] {
            let said = refused(visit(&busy, ctx), "call.overloaded");
            assert!(
                said.contains("2 calls are inside") && said.contains("3 wait"),
                "{said}"
            );
        }
        assert_eq!(number(&other, "build"), 1);
        board.open();
    });
    assert_eq!((board.entered(), board.most()), (5, 2));
    visit(&busy, board.context()).unwrap();
}

#[test]
fn a_call_that_waits_is_over_when_its_caller_gives_up() {
    let host = host(1, 256);
    let (busy, board) = (busy(&host), Board::new());
    let cancel = Cancel::new();
    thread::scope(|scope| {
        scope.spawn(|| visit(&busy, board.context()).unwrap());
        board.wait_for(1);
        refused(visit(&busy, board.context().timeout(SHORT)), "call.timeout");
        // Cancelling is seen, however far the deadline is.
        let far = || board.context().timeout(LONG * 60);
        let contexts = [board.context(), far(), far()];
        let calls = contexts.map(|ctx| {
            let ctx = ctx.cancelled_by(&cancel);
            scope.spawn(|| visit(&busy, ctx))
        });
        wait_until("all to wait", || load(&busy).1 == 3);
        cancel.cancel();
        for call in calls {
            refused(call.join().unwrap(), "call.cancelled");
        }
        wait_until("nobody to wait", || load(&busy).1 == 0);
        board.open();
    });
    assert_eq!(board.entered(), 1);
    assert_eq!(busy.snapshot().lost, []);
}

/// Whoever waits for a plugin is told when it gets stuck.
#[test]
fn nobody_waits_for_a_plugin_that_is_stuck() {
    let host = host(2, 256);
    let (busy, board) = (busy(&host), Board::new());
    thread::scope(|scope| {
        let lost =
            [(); 2].map(|()| scope.spawn(|| visit(&busy, board.context().timeout(SHORT * 5))));
        board.wait_for(2);
        let waiting = [board.context(), board.context().timeout(LONG)]
            .map(|ctx| scope.spawn(|| visit(&busy, ctx)));
        for call in lost {
            refused(call.join().unwrap(), "call.timeout");
        }
        for call in waiting {
            refused(call.join().unwrap(), "plugin.stuck");
        }
        board.open();
    });
    wait_until("the lost threads", || busy.snapshot().lost.is_empty());
    visit(&busy, board.context()).unwrap();
}

/// A call inside another of the same plugin has its place already, whatever way the first one went.
#[test]
fn a_plugin_that_calls_itself_does_not_wait_for_itself() {
    let host = host(1, 0);
    let (busy, board) = (busy(&host), Board::new());
    board.open();
    let ctx = || board.context().with("path", "busy busy");
    busy.call("relay", &mut ctx()).unwrap();
    busy.call("relay", &mut ctx().timeout(LONG)).unwrap();
    let lease = busy.lease().unwrap();
    lease.call("relay", &mut ctx()).unwrap();
    lease.call("relay", &mut ctx().timeout(LONG)).unwrap();
    let options = CanaryOptions {
        stages: vec![50],
        calls: u64::MAX,
        ..CanaryOptions::default()
    };
    host.canary("busy", busy_library(&["BUILD=2"]), options)
        .unwrap();
    for _ in 0..100 {
        busy.call("relay", &mut ctx()).unwrap();
    }
    busy.call("relay", &mut ctx().timeout(LONG)).unwrap();
    assert_eq!(load(&busy), (0, 0));
}

/// Row 89: all who enter by the same plugin have it, so nobody waits for another.
#[test]
fn plugins_that_call_each_other_from_many_threads_all_answer() {
    let host = host(2, 256);
    let (busy, twin, board) = (busy(&host), busy_named(&host, "twin"), Board::new());
    board.open();
    thread::scope(|scope| {
        for caller in 0..64 {
            let busy = &busy;
            scope.spawn(move || {
                for _ in 0..20 {
                    let ctx = board.context().with("path", "twin busy twin busy");
                    let mut ctx = if caller % 2 == 0 {
                        ctx
                    } else {
                        ctx.timeout(LONG)
                    };
                    busy.call("relay", &mut ctx).unwrap();
                }
            });
        }
    });
    assert_eq!(board.entered(), 64 * 20 * 5);
    assert_eq!((load(&busy), load(&twin)), ((0, 0), (0, 0)));
}

/// Row 89: two that are inside and each want into where the other is would wait for ever; the one that comes
/// last is refused instead.
#[test]
fn calls_that_would_wait_for_each_other_are_refused() {
    let host = host(1, 256);
    let (busy, twin, board) = (busy(&host), busy_named(&host, "twin"), Board::new());
    thread::scope(|scope| {
        let meet = |plugin: &Handle, path: &str| {
            plugin.call("meet", &mut board.context().with("path", path))
        };
        let one = scope.spawn(move || meet(&busy, "twin"));
        let other = scope.spawn(move || meet(&twin, "busy"));
        board.wait_for(2);
        board.open();
        let outcomes = [one.join().unwrap(), other.join().unwrap()];
        let mut codes =
            outcomes.map(|outcome| outcome.map_or_else(|error| error.code(), |()| "fine"));
        codes.sort_unstable();
        // The second may find the first gone already.
        assert!(
            codes == ["call.overloaded", "fine"] || codes == ["fine", "fine"],
            "{codes:?}"
        );
    });
    assert_eq!(board.inside(), 0);
}

/// Row 89, from both ends and through a third: it finishes, and most are served.
#[test]
fn a_ring_of_plugins_entered_everywhere_does_not_stand_still() {
    let host = host(2, 256);
    let names = ["busy", "twin", "third"];
    let plugins = names.map(|name| busy_named(&host, name));
    let board = Board::new();
    board.open();
    let (served, refused_count) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for caller in 0..48 {
            let (plugins, served, refused_count) = (&plugins, &served, &refused_count);
            scope.spawn(move || {
                let [first, second, third] = [0, 1, 2].map(|step| (caller + step) % 3);
                let path = format!("{} {}", names[second], names[third]);
                for _ in 0..20 {
                    let mut ctx = board.context().with("path", path.as_str());
                    match plugins[first].call("relay", &mut ctx) {
                        Ok(()) => served.fetch_add(1, Ordering::Relaxed),
                        Err(error) => {
                            assert_eq!(error.code(), "call.overloaded", "{error}");
                            refused_count.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            });
        }
    });
    let (served, refused) = (served.into_inner(), refused_count.into_inner());
    assert_eq!(served + refused, 48 * 20);
    assert!(served > 0);
    assert_eq!(board.inside(), 0);
    assert!(plugins.iter().all(|plugin| load(plugin) == (0, 0)));
}

isolated! {
    /// Row 94.
    fn hundreds_of_threads_and_one_slow_plugin() {
        let host = host(64, 256);
        let (busy, board) = (busy(&host), Board::new());
        let other = busy_named(&host, "other");
        let refused = Arc::new(AtomicUsize::new(0));
        let done = AtomicBool::new(false);
        let served: usize = thread::scope(|scope| {
            let calls: Vec<_> = (0..500)
                .map(|_| {
                    let refused = refused.clone();
                    let busy = &busy;
                    scope.spawn(move || match visit(busy, board.context()) {
                        Ok(()) => 1,
                        Err(error) => {
                            assert_eq!(error.code(), "call.overloaded", "{error}");
                            refused.fetch_add(1, Ordering::SeqCst);
                            0
                        }
                    })
                })
                .collect();
            // Others are answered all the while, with and without a deadline.
            let others = [None, None, Some(LONG), Some(LONG)].map(|limit| {
                let (other, done) = (&other, &done);
                scope.spawn(move || {
                    let mut calls = 0;
                    while !done.load(Ordering::SeqCst) || calls < 1_000 {
                        let ctx = Context::new();
                        let mut ctx = match limit {
                            Some(limit) => ctx.timeout(limit),
                            None => ctx,
                        };
                        other.call("build", &mut ctx).unwrap();
                        calls += 1;
                    }
                })
            });
            wait_until("all to be inside, wait or be refused", || {
                load(&busy) == (64, 256) && refused.load(Ordering::SeqCst) == 180
            });
            assert_eq!(board.inside(), 64);
            done.store(true, Ordering::SeqCst);
            for other in others {
                other.join().unwrap();
            }
            board.open();
            calls.into_iter().map(|call| call.join().unwrap()).sum()
        });
        assert_eq!((served, board.most()), (320, 64));
    }
}

/// What hangs inside a build that was replaced keeps nobody out of the new one, deadline or not.
#[test]
fn the_old_build_takes_no_places_from_the_new_one() {
    let host = host(2, 256);
    let (busy, board) = (busy(&host), Board::new());
    thread::scope(|scope| {
        (0..2).for_each(|_| drop(scope.spawn(|| visit(&busy, board.context()).unwrap())));
        board.wait_for(2);
        refused(visit(&busy, board.context().timeout(SHORT)), "call.timeout");
        let upgraded = host.upgrade("busy", busy_library(&["BUILD=2"])).unwrap();
        let reason = Reason::Calls(2);
        assert_eq!(upgraded.retired, Unloaded::Retained { reason });
        assert_eq!(number(&busy, "build"), 2);
        busy.call("build", &mut Context::new().timeout(LONG))
            .unwrap();
        assert_eq!(load(&busy), (0, 0));
        // The limit is the same for the new one.
        let new = Board::new();
        (0..3).for_each(|_| drop(scope.spawn(|| visit(&busy, new.context()).unwrap())));
        wait_until("the third to wait", || load(&busy) == (2, 1));
        // The old ones leave, and give nothing back that they no longer have.
        board.open();
        board.wait_for(0);
        assert_eq!((new.inside(), new.most()), (2, 2));
        new.open();
    });
    assert_eq!(load(&busy), (0, 0));
}
