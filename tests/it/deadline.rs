//! Callers that give up have their answer in time, whatever the plugin does, and what it keeps of the host
//! is bounded and named.

use std::fs::File;
use std::thread;
use std::time::{Duration, Instant};

use plg_host::{
    CallFailure, CanaryOptions, Cancel, Context, Error, Event, Events, Handle, HookOptions, Host,
    Limits, LostThread, Phase, Reason, Step, Unloaded, Value, Verdict,
};
use plg_tests::isolated;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::support::busy::{Board, busy, busy_library, busy_named};
use crate::support::lines::Lines;
use crate::support::plugins::{Baseline, bad, good, host, loaded, number, refused};
use crate::support::process::become_nobody;
use crate::support::{Variant, stamped, wait_until};

/// Long enough for a call that ends by itself on a busy machine.
const LONG: Duration = Duration::from_secs(60);
/// Short, and enough to get into the plugin.
const SHORT: Duration = Duration::from_millis(200);

fn host_with(limits: Limits) -> Host {
    Host::builder().limits(limits).build().unwrap()
}

/// Limits under which nothing is waited for for long.
fn hasty() -> Limits {
    Limits {
        drain: Duration::from_millis(50),
        stop: Duration::from_millis(50),
        ..Limits::default()
    }
}

/// Loses a thread to `visit`; it comes back when the board is opened.
fn lose(plugin: &Handle, board: &'static Board) {
    let entered = board.entered();
    let outcome = plugin.call("visit", &mut board.context().timeout(SHORT));
    refused(outcome, "call.timeout");
    assert_eq!(board.entered(), entered + 1);
}

fn lost(plugin: &Handle) -> Vec<LostThread> {
    plugin.snapshot().lost
}

fn wait_for_lost(plugin: &Handle, count: usize) {
    wait_until(&format!("{count} lost threads"), || {
        lost(plugin).len() == count
    });
}

/// What was told of builds that are given up.
fn demotions(events: &mut Events) -> Vec<Event> {
    let told = std::iter::from_fn(|| events.try_next());
    told.filter(|event| event.step == Step::Demotion).collect()
}

/// Row 81.
#[test]
fn a_caller_has_its_timeout_although_the_plugin_never_looks() {
    let host = host();
    let (busy, board) = (busy(&host), Board::new());
    let other = busy_named(&host, "other");
    let start = Instant::now();
    let mut ctx = board.context().with("left", "as it was").timeout(SHORT);
    let before: Vec<_> = ctx
        .iter()
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect();
    let Err(Error::Call(error)) = busy.call("spoil", &mut ctx) else {
        panic!("nobody lets the call end");
    };
    assert!(start.elapsed() >= SHORT && start.elapsed() < LONG);
    assert_eq!(error.code(), "call.timeout");
    let CallFailure::Lost {
        thread,
        cancelled: false,
    } = &error.failure
    else {
        panic!("{error}");
    };
    assert!(error.to_string().contains(thread), "{error}");
    let after = ctx
        .iter()
        .map(|(key, value)| (key.to_owned(), value.clone()));
    assert_eq!(after.collect::<Vec<_>>(), before);

    let snapshot = busy.snapshot();
    let [lost] = &snapshot.lost[..] else {
        panic!("{:?}", snapshot.lost);
    };
    assert_eq!(
        (&lost.thread, lost.label.as_str(), lost.generation),
        (thread, "spoil", 1)
    );
    assert!(lost.since.elapsed().unwrap() < LONG);
    assert!(!snapshot.stuck);
    assert_eq!((snapshot.in_flight, snapshot.waiting), (1, 0));
    // It is one of several threads, and the plugin one of several plugins.
    assert_eq!((number(&busy, "build"), number(&other, "build")), (1, 1));
    board.open();
    wait_for_lost(&busy, 0);
    wait_until("its place to be free", || busy.snapshot().in_flight == 0);
    // The same values are good for another call.
    let mut ctx = ctx.timeout(LONG);
    busy.call("spoil", &mut ctx).unwrap();
    assert_eq!(ctx.get("left"), Some(&Value::from(1)));
}

/// Row 82.
#[test]
fn a_caller_can_cancel_although_the_plugin_never_looks() {
    let host = host();
    let (busy, board) = (busy(&host), Board::new());
    for limit in [None, Some(LONG)] {
        board.shut();
        let cancel = Cancel::new();
        let start = Instant::now();
        thread::scope(|scope| {
            let call = scope.spawn(|| {
                let ctx = board.context().cancelled_by(&cancel);
                let mut ctx = match limit {
                    Some(limit) => ctx.timeout(limit),
                    None => ctx,
                };
                let outcome = busy.call("spoil", &mut ctx);
                assert_eq!(ctx.get("left"), None);
                outcome
            });
            board.wait_for(1);
            cancel.cancel();
            let said = refused(call.join().unwrap(), "call.cancelled");
            assert!(said.contains("has not come back"), "{said}");
        });
        assert!(start.elapsed() < LONG / 2);
        assert_eq!(lost(&busy).len(), 1);
        board.open();
        wait_for_lost(&busy, 0);
    }
}

isolated! {
    /// Row 81: once with a thread that takes a processor for ever.
    fn a_loop_without_end_holds_nobody_up() {
        let host = host_with(hasty());
        let (busy, board) = (busy(&host), Board::new());
        for label in ["spin", "hang"] {
            refused(busy.call(label, &mut board.context().timeout(SHORT)), "call.timeout");
        }
        assert_eq!(lost(&busy).len(), 2);
        assert_eq!(number(&busy, "build"), 1);
        // They have no end that anything could wait for.
        let unloaded = host.shutdown().unwrap();
        let reason = Reason::Calls(2);
        assert_eq!(unloaded[0].1, Unloaded::Retained { reason });
    }
}

/// Rows 81 and 93.
#[test]
fn a_plugin_that_keeps_too_many_threads_is_stuck_until_they_come_back() {
    let host = host();
    let (busy, board) = (busy(&host), Board::new());
    let other = busy_named(&host, "other");
    let mut events = host.events();
    for lost in 1..=4 {
        assert!(!busy.snapshot().stuck);
        lose(&busy, board);
        assert_eq!(busy.snapshot().lost.len(), lost);
    }
    assert!(busy.snapshot().stuck);
    let refuse = |ctx: Context| {
        for outcome in [
            busy.call("build", &mut ctx.clone()),
            host.call("busy", "build", &mut ctx.clone()),
            busy.label("build").unwrap().call(&mut ctx.clone()),
            busy.lease().unwrap().call("build", &mut ctx.clone()),
        ] {
            let said = refused(outcome, "plugin.stuck");
            assert!(said.contains("4 threads"), "{said}");
        }
    };
    refuse(Context::new());
    refuse(Context::new().timeout(LONG));
    assert_eq!(board.entered(), 4);
    assert_eq!(number(&other, "build"), 1);
    let told = demotions(&mut events);
    let [event] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(
        (event.phase, event.code),
        (Phase::Done, Some("plugin.stuck"))
    );
    assert_eq!(event.plugin.as_ref().unwrap().as_str(), "busy");
    assert_eq!(event.generation, Some(1));
    assert_eq!(event.version.as_ref().unwrap().to_string(), "1.0.0");
    assert_eq!(event.digest, busy.snapshot().current.unwrap().digest);

    board.open();
    wait_for_lost(&busy, 0);
    assert!(!busy.snapshot().stuck);
    assert_eq!(number(&busy, "build"), 1);
    // Being stuck once more is no news.
    board.shut();
    (0..4).for_each(|_| lose(&busy, board));
    refuse(Context::new());
    assert_eq!(demotions(&mut events), []);
    board.open();
    wait_for_lost(&busy, 0);
}

/// Row 81: the threads that another build lost are not held against the new one.
#[test]
fn an_upgrade_makes_a_stuck_plugin_answer() {
    for in_flight in [64, 4, 1] {
        let host = host_with(Limits {
            in_flight,
            ..hasty()
        });
        let (busy, board) = (busy(&host), Board::new());
        let lease = busy.lease().unwrap();
        let can_lose = in_flight.min(4);
        (0..can_lose).for_each(|_| lose(&busy, board));
        refused(busy.call("build", &mut Context::new()), "plugin.stuck");

        let upgraded = host.upgrade("busy", busy_library(&["BUILD=2"])).unwrap();
        let reason = Reason::Calls(can_lose);
        assert_eq!(upgraded.retired, Unloaded::Retained { reason });
        assert!(!busy.snapshot().stuck);
        assert_eq!(number(&busy, "build"), 2);
        let mut ctx = Context::new().timeout(LONG);
        busy.call("build", &mut ctx).unwrap();
        assert_eq!(ctx.get("build"), Some(&Value::from(2)));
        assert!(lost(&busy).iter().all(|lost| lost.generation == 1));
        // A lease is of the build that is stuck.
        refused(lease.call("build", &mut Context::new()), "plugin.stuck");

        board.open();
        wait_for_lost(&busy, 0);
        lease.call("build", &mut ctx).unwrap();
        assert_eq!(ctx.get("build"), Some(&Value::from(1)));
        drop(lease);
        wait_until("the old build to go", || {
            host.sweep();
            busy.snapshot().retained.is_empty()
        });
    }
}

isolated! {
    /// Nor does anybody wait until it is certain that they do not come back. In a process of its own nobody
    /// has begun to count when the first thread is lost.
    fn a_new_build_answers_while_lost_threads_are_waited_for() {
        let limits = Limits { in_flight: 1, drain: LONG, ..Limits::default() };
        let host = host_with(limits);
        let (busy, board) = (busy(&host), Board::new());
        lose(&busy, board);
        thread::scope(|scope| {
            let library = busy_library(&["BUILD=2"]);
            let upgrade = scope.spawn(|| host.upgrade("busy", library));
            wait_until("the new build", || {
                busy.generation() == Some(2) && !busy.snapshot().stuck
            });
            assert_eq!(number(&busy, "build"), 2);
            let mut ctx = Context::new().timeout(LONG);
            busy.call("build", &mut ctx).unwrap();
            assert_eq!(lost(&busy).len(), 1);
            board.open();
            let upgraded = upgrade.join().unwrap().unwrap();
            assert_eq!(upgraded.retired, Unloaded::Unmapped);
        });
    }
}

/// Nor is its state lost to those that are inside the old build.
#[test]
fn a_stuck_plugin_hands_its_state_over() {
    let directory = tempfile::tempdir().unwrap();
    let host = host_with(Limits {
        lost: 1,
        state: LONG,
        ..hasty()
    });
    let [one, two] = [1, 2].map(|build| stamped(directory.path(), Variant::State, build));
    let plugin = host.load(one).unwrap();
    let mut remember = Context::new().with("number", 7);
    plugin.call("remember", &mut remember).unwrap();
    // It ends some day, and by then this test has.
    let nap = Context::new().with("ms", 50_000).with("stubborn", true);
    refused(plugin.call("nap", &mut nap.timeout(SHORT)), "call.timeout");
    refused(plugin.call("recall", &mut Context::new()), "plugin.stuck");
    let upgraded = host.upgrade("fixture-good", two).unwrap();
    let reason = Reason::Calls(1);
    assert_eq!(upgraded.retired, Unloaded::Retained { reason });
    assert_eq!(number(&plugin, "recall"), 7);
    assert_eq!(number(&plugin, "build"), 2);
    assert_eq!(lost(&plugin).len(), 1);
}

/// A build on trial that loses threads goes, and the other one answers all calls again.
#[test]
fn a_canary_that_loses_threads_ends() {
    let host = host_with(hasty());
    let (busy, board) = (busy(&host), Board::new());
    let mut events = host.events();
    let options = CanaryOptions {
        stages: vec![100],
        calls: u64::MAX,
        ..CanaryOptions::default()
    };
    host.canary("busy", busy_library(&["BUILD=2"]), options)
        .unwrap();
    assert_eq!(number(&busy, "build"), 2);
    (0..4).for_each(|_| lose(&busy, board));
    wait_until("the canary to end", || busy.snapshot().canary.is_none());
    wait_until("the other build", || number(&busy, "build") == 1);
    assert!(lost(&busy).iter().all(|lost| lost.generation == 2));
    assert!(!busy.snapshot().stuck);
    wait_until("it to be told", || {
        events
            .try_next()
            .is_some_and(|event| event.code == Some("upgrade.returned"))
    });
    board.open();
    wait_for_lost(&busy, 0);
}

/// A leased build that is not the current one loses threads of its own.
#[test]
fn what_a_lease_loses_is_not_the_new_builds() {
    let host = host_with(hasty());
    let (busy, board) = (busy(&host), Board::new());
    let lease = busy.lease().unwrap();
    let _ = host.upgrade("busy", busy_library(&["BUILD=2"])).unwrap();
    for _ in 0..4 {
        let outcome = lease.call("visit", &mut board.context().timeout(SHORT));
        refused(outcome, "call.timeout");
    }
    refused(lease.call("build", &mut Context::new()), "plugin.stuck");
    assert_eq!(board.entered(), 4);
    assert!(lost(&busy).iter().all(|lost| lost.generation == 1));
    assert!(!busy.snapshot().stuck);
    assert_eq!(number(&busy, "build"), 2);
    board.open();
    wait_for_lost(&busy, 0);
}

/// Who hangs is the plugin that was called last.
#[test]
fn a_nested_call_that_hangs_is_the_inner_plugins() {
    let host = host();
    let (inner, board) = (busy(&host), Board::new());
    let outer = busy_named(&host, "outer");
    let relay = || {
        let ctx = board.context().with("path", "busy");
        outer.call("relay", &mut ctx.timeout(SHORT))
    };
    for entered in 1..=4 {
        refused(relay(), "call.timeout");
        assert_eq!(
            (board.entered(), lost(&inner).len()),
            (2 * entered, entered as usize)
        );
    }
    assert_eq!(lost(&inner)[0].label, "visit");
    assert_eq!(lost(&outer), []);
    assert!(inner.snapshot().stuck && !outer.snapshot().stuck);
    refused(relay(), "plugin.stuck");
    assert_eq!(number(&outer, "build"), 1);
    board.open();
    wait_for_lost(&inner, 0);
    relay().unwrap();
}

#[test]
fn an_init_that_never_ends_fails_the_load() {
    let directory = tempfile::tempdir().unwrap();
    let (host, go) = (
        host_with(Limits {
            init: SHORT,
            ..hasty()
        }),
        directory.path().join("go"),
    );
    let awaits = format!("INIT_AWAITS=\"{}\"", go.display());
    let start = Instant::now();
    let said = refused(host.load(busy_library(&[&awaits])), "native.init");
    assert!(
        said.contains("call.timeout") && said.contains("`init` was not done"),
        "{said}"
    );
    assert!(start.elapsed() < LONG);
    refused(host.plugin("busy"), "plugin.not_found");
    assert_eq!(number(&host.load(loaded(&[])).unwrap(), "build"), 1);
    let snapshots = host.snapshots();
    let busy = &snapshots[0];
    assert_eq!(busy.retained.len(), 1);
    let [lost] = &busy.lost[..] else {
        panic!("{:?}", busy.lost);
    };
    assert_eq!((lost.label.as_str(), lost.generation), ("init", 1));
    assert!(!busy.stuck);
    // Others of that name are loaded in spite of it.
    let busy = self::busy(&host);
    assert_eq!(number(&busy, "build"), 1);

    // In the way of an upgrade it is the new build's fault, as often as that is tried.
    for failed in 2..=6 {
        let library = busy_library(&[&awaits, "BUILD=2"]);
        let said = refused(host.upgrade("busy", library), "native.init");
        assert!(said.contains("call.timeout"), "{said}");
        assert_eq!(self::lost(&busy).len(), failed);
        assert!(!busy.snapshot().stuck);
        assert_eq!(number(&busy, "build"), 1);
    }
    File::create(&go).unwrap();
    wait_for_lost(&busy, 0);
    wait_until("the failed builds to go", || {
        host.sweep();
        busy.snapshot().retained.is_empty()
    });
}

/// Row 82: such a call is over by itself, and what it set stays.
#[test]
fn a_plugin_that_looks_loses_no_thread() {
    let host = host();
    let (busy, good, board) = (busy(&host), good(&host), Board::new());
    let mut events = host.events();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let limit = Duration::from_millis(600);
                let outcome = busy.call("polite", &mut board.context().timeout(limit));
                let Err(Error::Call(error)) = outcome else {
                    panic!("{outcome:?}");
                };
                assert!(matches!(error.failure, CallFailure::Timeout), "{error}");
            });
        }
    });
    assert_eq!((board.entered(), board.inside()), (6, 0));
    assert_eq!(lost(&busy), []);
    assert_eq!(demotions(&mut events), []);
    let ctx = Context::new().with("ms", 60_000).with("gentle", true);
    let mut ctx = ctx.timeout(Duration::from_millis(600));
    good.call("nap", &mut ctx).unwrap();
    assert_eq!(ctx.get("build"), Some(&Value::from(1)));
}

/// Row 81: a thread that waits to be let in is not lost, and the plugin not stuck because of many.
#[test]
fn calls_that_wait_for_a_place_lose_no_thread() {
    let host = host_with(Limits {
        in_flight: 6,
        ..Limits::default()
    });
    let (busy, board) = (busy(&host), Board::new());
    let mut events = host.events();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| busy.call("visit", &mut board.context()).unwrap());
        }
        board.wait_for(6);
        let late: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| busy.call("visit", &mut board.context().timeout(SHORT))))
            .collect();
        for call in late {
            let said = refused(call.join().unwrap(), "call.timeout");
            assert!(!said.contains("come back"), "{said}");
        }
        assert_eq!(lost(&busy), []);
        assert!(!busy.snapshot().stuck);
        board.open();
    });
    assert_eq!(demotions(&mut events), []);
    assert_eq!((board.entered(), board.most()), (6, 6));
}

/// What an app sees of a call does not depend on the thread that it runs on.
#[test]
fn progress_logs_and_nested_calls_work_under_a_deadline() {
    let host = host();
    let good = good(&host);
    let lines = Lines::default();
    let (tell, told) = std::sync::mpsc::channel();
    let caller = thread::current().id();
    let ctx = Context::new().timeout(LONG).on_progress(move |progress| {
        assert_ne!(thread::current().id(), caller);
        tell.send((progress.label.to_owned(), progress.done))
            .unwrap();
    });
    let mut ctx = ctx.with("line", "half full").with("plugin", "fixture-good");
    ctx.set("label", "progress");
    // Set for this thread alone.
    tracing::subscriber::with_default(lines.clone(), || {
        good.call("log", &mut ctx).unwrap();
        good.call("forward", &mut ctx).unwrap();
    });
    let line = "WARN plg::plugin message=half full plugin=fixture-good label=log";
    assert_eq!(lines.count(line), 1, "{lines:?}");
    let expected = (1..=3).map(|done| ("progress".to_owned(), done));
    assert_eq!(
        told.try_iter().collect::<Vec<_>>(),
        expected.collect::<Vec<_>>()
    );
    ctx.set("depth", 31);
    good.call("descend", &mut ctx).unwrap();
    ctx.set("depth", 32);
    refused(good.call("descend", &mut ctx), "call.depth");
    let bad = bad(&host);
    refused(
        bad.call("panic", &mut Context::new().timeout(LONG)),
        "call.panicked",
    );
    refused(
        bad.call("fail", &mut Context::new().timeout(LONG)),
        "call.failed",
    );
}

isolated! {
    /// The threads are the same few for all calls, and go with the host.
    fn many_deadlines_leave_nothing() {
        let host = host();
        let good = good(&host);
        let call = || {
            let mut ctx = Context::new().timeout(LONG);
            good.call("count", &mut ctx).unwrap();
        };
        let before = Baseline::after(&host, || (0..100).for_each(|_| call()));
        (0..10_000).for_each(|_| call());
        before.check(&host);
        assert_eq!(number(&good, "count"), 10_101);
        let threads = host.census().threads.unwrap();
        // Each caller has a thread of its own, and no more.
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1_000).for_each(|_| call()));
            }
        });
        wait_until("the callers to be gone", || host.census().threads <= Some(threads + 8));
        let _ = host.shutdown().unwrap();
        wait_until("the workers to be gone", || host.census().threads < Some(threads));
    }
}

isolated! {
    fn threads_that_have_nothing_to_do_end() {
        let host = host();
        let good = good(&host);
        good.call("count", &mut Context::new().timeout(LONG)).unwrap();
        let with_worker = host.census().threads;
        wait_until("the worker to end", || host.census().threads < with_worker);
        good.call("count", &mut Context::new().timeout(LONG)).unwrap();
        assert_eq!(number(&good, "count"), 3);
        assert_eq!(host.census().threads, with_worker);
    }
}

/// The host goes while a thread is lost; the thread comes back to nothing and harms nothing.
#[test]
fn a_lost_thread_may_outlive_its_host() {
    let (board, handle) = {
        let host = host_with(hasty());
        let (busy, board) = (busy(&host), Board::new());
        lose(&busy, board);
        (board, busy)
    };
    refused(handle.call("build", &mut Context::new()), "plugin.unloaded");
    drop(handle);
    board.open();
    board.wait_for(0);
}

isolated! {
    /// What the system does not give is an error of that call, and nothing else goes wrong.
    fn a_system_without_threads_is_an_error() {
        let host = host();
        let (good, board) = (good(&host), Board::new());
        let (busy, library) = (busy(&host), loaded(&[]));
        // The worker of `init` is kept inside, so that none is idle.
        lose(&busy, board);
        become_nobody();
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        setrlimit(Resource::Nproc, none).unwrap();
        let outcome = good.call("count", &mut Context::new().timeout(LONG));
        refused(outcome, "call.threads");
        refused(host.load(library), "native.init");
        let outcome = host.subscribe(HookOptions::default(), Silent);
        refused(outcome, "host.threads");
        assert_eq!(number(&good, "count"), 1);
        board.open();
        wait_for_lost(&busy, 0);
        good.call("count", &mut Context::new().timeout(LONG)).unwrap();
    }
}

struct Silent;

impl plg_host::Hook for Silent {
    fn before(&mut self, _: &Event) -> Verdict {
        Verdict::Go
    }
}

/// Row 93: each state in which a plugin does not answer has a code of its own, and a plugin that is being
/// upgraded answers.
#[test]
fn each_state_of_a_plugin_has_a_code() {
    let directory = tempfile::tempdir().unwrap();
    let go = directory.path().join("go");
    let host = host_with(Limits {
        in_flight: 4,
        queue: 0,
        ..hasty()
    });
    let (busy, board) = (busy(&host), Board::new());
    let build = |ctx: Context| busy.call("build", &mut ctx.clone());
    let both = |code: &str| {
        refused(build(Context::new()), code);
        refused(build(Context::new().timeout(LONG)), code);
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                busy.call("visit", &mut board.context().timeout(LONG))
                    .unwrap()
            });
        }
        board.wait_for(4);
        refused(build(Context::new().timeout(LONG)), "call.overloaded");
        board.open();
    });
    board.shut();
    // While the new build starts, the old one answers.
    let awaits = format!("INIT_AWAITS=\"{}\"", go.display());
    thread::scope(|scope| {
        let library = busy_library(&[&awaits, "BUILD=2"]);
        let upgrade = scope.spawn(|| host.upgrade("busy", library));
        for _ in 0..100 {
            assert_eq!(number(&busy, "build"), 1);
        }
        File::create(&go).unwrap();
        let _ = upgrade.join().unwrap().unwrap();
    });
    assert_eq!(number(&busy, "build"), 2);
    (0..4).for_each(|_| lose(&busy, board));
    both("plugin.stuck");
    let _ = host.unload("busy").unwrap();
    both("plugin.unloaded");
    board.open();
    wait_for_lost(&busy, 0);
    both("plugin.unloaded");
}
