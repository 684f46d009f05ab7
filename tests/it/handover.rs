//! State goes from one build to the next while calls are held back, and no update is lost; where it
//! cannot, the old build goes on with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use plg_host::{Cancel, Context, Handle, Host, Limits, ReturnPolicy, Unloaded, Value};
use plg_tests::isolated;

use crate::support::plugins::{Baseline, host, loaded, number, refused};
use crate::support::{Over, Variant, library, stamped, wait_until};

const GOOD: &str = "fixture-good";
/// What no test takes unless something waits that should not.
const LONG: Duration = Duration::from_secs(50);

/// Builds that keep what they were told to remember, in a directory of the test's own.
struct Builds(tempfile::TempDir);

impl Builds {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory can be made"))
    }

    fn build(&self, number: u64) -> PathBuf {
        stamped(self.0.path(), Variant::State, number)
    }

    /// One that keeps none.
    fn without_state(&self, number: u64) -> PathBuf {
        stamped(self.0.path(), Variant::Debug, number)
    }
}

/// `loaded.c`, whose `count` outlives an upgrade.
fn counting(build: u64, state: u32) -> PathBuf {
    loaded(&[&format!("BUILD={build}"), &format!("STATE={state}")])
}

fn with_limits(limits: Limits) -> Host {
    let host = Host::builder().limits(limits).build();
    host.expect("a host can be made")
}

fn remember(good: &Handle, number: i64) {
    let mut ctx = Context::new().with("number", number);
    good.call("remember", &mut ctx).expect("it remembers");
}

/// How the next `save` and `restore` go.
fn mode(good: &Handle, save: &str, restore: &str, ms: i64) {
    let ctx = Context::new().with("save", save).with("restore", restore);
    good.call("state-mode", &mut ctx.with("ms", ms))
        .expect("the mode is set");
}

fn build_and_recall(good: &Handle) -> (i64, i64) {
    (number(good, "build"), number(good, "recall"))
}

fn is_kept(host: &Host) -> bool {
    host.sweep();
    host.census().retained > 0
}

#[test]
fn state_outlives_upgrades_and_rollbacks() {
    let (host, builds) = (host(), Builds::new());
    let good = host.load(builds.build(1)).unwrap();
    remember(&good, 41);
    let upgraded = host.upgrade(GOOD, builds.build(2)).unwrap();
    assert_eq!(upgraded.retired, Unloaded::Unmapped);
    assert_eq!(build_and_recall(&good), (2, 41));
    remember(&good, 42);
    for build in [1, 2, 1] {
        let back = host.rollback(GOOD).unwrap();
        assert_eq!(back.retired, Unloaded::Unmapped);
        assert_eq!(build_and_recall(&good), (build, 42));
    }
}

/// Several builds of one plugin, one with a clock that ticks.
#[test]
fn the_counter_keeps_its_total_and_its_clock() {
    let (host, files) = (host(), Builds::new());
    let counter = host
        .load(library("counter", Variant::Debug))
        .expect("the counter loads");
    let call = |label: &str, key: &str| {
        let mut ctx = Context::new().with("by", 1).with("every_ms", 1);
        counter.call(label, &mut ctx).expect(label);
        ctx.get(key).and_then(Value::as_i64)
    };
    counter.call("counter.start", &mut Context::new()).unwrap();
    for round in 1..5 {
        assert_eq!(call("counter.add", "total"), Some(round));
        let next = files.0.path().join(format!("{round}.so"));
        std::fs::copy(library("counter", Variant::Debug), &next).unwrap();
        let before = call("counter.ticks", "ticks");
        let upgraded = host.upgrade("counter", &next).unwrap();
        assert_eq!(upgraded.retired, Unloaded::Unmapped);
        assert!(call("counter.ticks", "ticks") >= before);
        wait_until("the clock to tick on", || {
            call("counter.ticks", "ticks") > before
        });
    }
    assert_eq!(call("counter.total", "total"), Some(4));
}

/// The count is what every call added, whoever answered it: none is lost, none counted twice.
#[test]
fn no_update_is_lost_while_builds_change() {
    let host = host();
    let counter = host.load(counting(1, 1)).unwrap();
    let label = counter.label("count").unwrap();
    let builds: Vec<_> = (0..4).map(|build| counting(build, 1)).collect();
    let over = AtomicBool::new(false);
    let counted: u64 = thread::scope(|scope| {
        let end = Over(&over);
        let callers: Vec<_> = (0..3)
            .map(|caller| {
                let (label, over) = (&label, &over);
                scope.spawn(move || {
                    let (mut calls, mut newest) = (0, 0);
                    while !over.load(Ordering::Relaxed) {
                        let mut ctx = Context::new();
                        if caller == 0 {
                            // Given to another thread, which is held back as well.
                            ctx = ctx.timeout(LONG);
                        }
                        label.call(&mut ctx).unwrap();
                        let count = ctx.get("count").and_then(Value::as_i64).unwrap();
                        assert!(count > newest, "{count} after {newest}");
                        newest = count;
                        calls += 1;
                    }
                    calls
                })
            })
            .collect();
        for round in 0..300_usize {
            let changed = match round % 4 {
                3 => host.rollback("loaded"),
                build => host.upgrade("loaded", &builds[build]),
            };
            assert_eq!(changed.unwrap().retired, Unloaded::Unmapped);
            assert!(counter.generation().is_some());
        }
        drop(end);
        callers.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert!(counted > 1000, "{counted}");
    assert_eq!(number(&counter, "count"), counted.cast_signed() + 1);
    assert!(!is_kept(&host));
}

/// Row 111: whatever goes wrong, the old build answers with its state, and calls that were held back go
/// on there.
#[test]
fn a_state_that_cannot_be_handed_over_stays_where_it_is() {
    let limits = Limits {
        state: Duration::from_millis(300),
        stop: Duration::from_millis(20),
        state_bytes: 1 << 20,
        lost: 100,
        ..Limits::default()
    };
    let (host, builds) = (with_limits(limits), Builds::new());
    let good = host.load(builds.build(1)).unwrap();
    remember(&good, 7);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let end = Over(&over);
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(build_and_recall(&good), (1, 7));
                }
            });
        }
        let fails = |path: &Path, expected: &[&str]| {
            let start = Instant::now();
            let said = refused(host.upgrade(GOOD, path), "upgrade.state");
            assert!(start.elapsed() < LONG);
            for expected in expected {
                assert!(said.contains(expected), "{said}");
            }
            assert_eq!(good.generation(), Some(1));
        };
        let attempts: [(&str, &str, &[&str]); 7] = [
            ("fail", "", &["save", "told to fail", "fixture.state"]),
            ("panic", "", &["save", "deliberate panic"]),
            ("large", "", &["save", "ctx.too_large"]),
            ("hang", "", &["save", "call.timeout"]),
            ("", "fail", &["restore", "told to fail", "fixture.state"]),
            ("", "panic", &["restore", "deliberate panic"]),
            ("", "hang", &["restore", "call.timeout"]),
        ];
        for (save, restore, expected) in attempts {
            mode(&good, save, restore, 600);
            fails(&builds.build(2), expected);
        }
        mode(&good, "", "", 0);
        fails(&builds.without_state(2), &["cannot restore"]);
        drop(end);
    });
    assert_eq!(build_and_recall(&good), (1, 7));
    // The thread of the `restore` that took too long comes back, and its build goes.
    wait_until("the builds that failed to go", || !is_kept(&host));
    assert_eq!(good.snapshot().lost, []);
    host.upgrade(GOOD, builds.build(3)).unwrap();
    assert_eq!(build_and_recall(&good), (3, 7));
}

/// Row 111: a state over the limit although each of its values is small enough.
#[test]
fn a_state_over_the_limit_stays_where_it_is() {
    let limits = Limits {
        state_bytes: 8,
        ..Limits::default()
    };
    let (host, builds) = (with_limits(limits), Builds::new());
    let good = host.load(builds.build(1)).unwrap();
    let said = refused(host.upgrade(GOOD, builds.build(2)), "upgrade.state");
    assert!(said.contains("bytes, the limit is 8"), "{said}");
    assert_eq!(build_and_recall(&good), (1, 0));
}

/// Row 111: versions go up, and a build that knows no newer one says so.
#[test]
fn a_build_that_does_not_know_the_version_of_the_state_is_refused() {
    let host = host();
    let counter = host.load(counting(1, 1)).unwrap();
    assert_eq!(number(&counter, "count"), 1);
    host.upgrade("loaded", counting(2, 2)).unwrap();
    assert_eq!(number(&counter, "count"), 2);
    let said = refused(host.upgrade("loaded", counting(1, 1)), "upgrade.state");
    assert!(said.contains("version that it does not know"), "{said}");
    // Nor can the build before come back, which knows no more.
    refused(host.rollback("loaded"), "upgrade.state");
    refused(host.rollback("loaded"), "upgrade.state");
    let save_only = loaded(&["STATE=2", "SAVE_ONLY"]);
    refused(host.upgrade("loaded", save_only), "upgrade.state");
    assert_eq!(
        (number(&counter, "build"), number(&counter, "count")),
        (2, 3)
    );
    assert!(!is_kept(&host));
    // One that keeps no state may always be given some.
    let stateless = host.load(loaded(&["NAME=\"other\""])).unwrap();
    number(&stateless, "count");
    host.upgrade("other", loaded(&["NAME=\"other\"", "STATE=1"]))
        .unwrap();
    assert_eq!(number(&stateless, "count"), 1);
    // And it can go back to where it kept none.
    host.rollback("other").unwrap();
    assert_eq!(number(&stateless, "count"), 1);
}

/// Calls that stay inside keep the old build, and new ones do not wait for longer than may be.
#[test]
fn calls_that_stay_inside_keep_the_old_build() {
    let limits = Limits {
        state: Duration::from_millis(50),
        ..Limits::default()
    };
    let (host, builds) = (with_limits(limits), Builds::new());
    let good = host.load(builds.build(1)).unwrap();
    remember(&good, 5);
    let cancel = Cancel::new();
    thread::scope(|scope| {
        let napper = scope.spawn(|| {
            let ctx = Context::new().cancelled_by(&cancel).with("ms", 600_000);
            good.call("nap", &mut ctx.with("gentle", true)).unwrap();
        });
        wait_until("the nap", || {
            let labels = good.snapshot().labels;
            labels.iter().any(|one| one.label == "nap" && one.calls > 0)
        });
        for _ in 0..3 {
            let said = refused(host.upgrade(GOOD, builds.build(2)), "upgrade.state");
            assert!(said.contains("1 calls were inside"), "{said}");
            assert_eq!(build_and_recall(&good), (1, 5));
        }
        cancel.cancel();
        napper.join().unwrap();
    });
    let upgraded = host.upgrade(GOOD, builds.build(2)).unwrap();
    assert_eq!(upgraded.retired, Unloaded::Unmapped);
    assert_eq!(build_and_recall(&good), (2, 5));
}

/// A call that is held back keeps its deadline, and waits for no upgrade.
#[test]
fn a_call_that_is_held_back_ends_at_its_deadline() {
    let (host, builds) = (host(), Builds::new());
    let good = host.load(builds.build(1)).unwrap();
    mode(&good, "hang", "", 1_000);
    let saving = AtomicBool::new(false);
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| {
            let upgraded = host.upgrade(GOOD, builds.build(2));
            saving.store(true, Ordering::SeqCst);
            upgraded.unwrap()
        });
        let mut late = 0;
        while !saving.load(Ordering::SeqCst) {
            let mut ctx = Context::new().timeout(Duration::from_millis(100));
            if let Err(error) = good.call("recall", &mut ctx) {
                assert_eq!(error.code(), "call.timeout");
                late += 1;
            }
        }
        assert!(late > 0);
        assert_eq!(upgrade.join().unwrap().retired, Unloaded::Unmapped);
    });
    assert_eq!(build_and_recall(&good), (2, 0));
}

/// Who is inside is waited for, so what it calls must not wait for the upgrade in turn.
#[test]
fn a_plugin_that_calls_itself_is_let_through_while_calls_are_held_back() {
    let limits = Limits {
        state: LONG,
        ..Limits::default()
    };
    let (host, builds) = (Arc::new(with_limits(limits)), Builds::new());
    let good = host.load(builds.build(1)).unwrap();
    let next = builds.build(2);
    let start = Instant::now();
    let upgrades = Arc::new(AtomicU64::new(0));
    let inside = {
        let (host, good, upgrades) = (host.clone(), good.clone(), upgrades.clone());
        Context::new().on_progress(move |progress| {
            if progress.done > 1 {
                return;
            }
            let (host, next, upgrades) = (host.clone(), next.clone(), upgrades.clone());
            thread::spawn(move || {
                host.upgrade(GOOD, next).unwrap();
                upgrades.fetch_add(1, Ordering::SeqCst);
            });
            // The upgrade comes to hold calls back in the middle of this, as others notice.
            wait_until("a call to be held back", || {
                let mut ctx = Context::new().timeout(Duration::from_millis(500));
                let plugin = good.clone();
                let other = thread::spawn(move || plugin.call("recall", &mut ctx).is_err());
                assert_eq!(number(&good, "build"), 1);
                other.join().unwrap()
            });
            for _ in 0..10 {
                assert_eq!(number(&good, "build"), 1);
            }
            let ctx = Context::new().with("plugin", GOOD).with("depth", 5);
            good.call("descend", &mut ctx.clone()).unwrap();
            assert_eq!(good.generation(), Some(1));
        })
    };
    let mut inside = inside;
    good.call("progress", &mut inside).unwrap();
    wait_until("the upgrade", || upgrades.load(Ordering::SeqCst) == 1);
    assert!(start.elapsed() < LONG);
    assert_eq!(number(&good, "build"), 2);
}

/// It would wait for itself.
#[test]
fn a_plugin_that_keeps_state_is_not_upgraded_from_inside_a_call_to_itself() {
    let (host, builds) = (Arc::new(host()), Builds::new());
    let good = host.load(builds.build(1)).unwrap();
    let outcomes = Arc::new(AtomicU64::new(0));
    let mut ctx = Context::new().on_progress({
        let (host, outcomes, next) = (host.clone(), outcomes.clone(), builds.build(2));
        move |_| {
            let said = refused(host.upgrade(GOOD, &next), "upgrade.state");
            assert!(said.contains("plugin.busy"), "{said}");
            outcomes.fetch_add(1, Ordering::SeqCst);
        }
    });
    let start = Instant::now();
    good.call("progress", &mut ctx).unwrap();
    assert!(start.elapsed() < LONG);
    assert_eq!(outcomes.load(Ordering::SeqCst), 3);
    assert_eq!(number(&good, "build"), 1);
    host.upgrade(GOOD, builds.build(2)).unwrap();
}

/// The build that comes back has what the failing one knew.
#[test]
fn a_build_that_comes_back_by_itself_takes_the_state_along() {
    let policy = ReturnPolicy {
        errors: Some(3),
        within: Duration::from_secs(100),
        ..ReturnPolicy::default()
    };
    let host = Host::builder().return_policy(Some(policy)).build();
    let (host, builds) = (host.unwrap(), Builds::new());
    let good = host.load(builds.build(1)).unwrap();
    remember(&good, 1);
    host.upgrade(GOOD, builds.build(2)).unwrap();
    remember(&good, 2);
    for _ in 0..3 {
        refused(good.call("nap", &mut Context::new()), "ctx.missing");
    }
    wait_until("the old build", || good.generation() == Some(3));
    assert_eq!(build_and_recall(&good), (1, 2));
}

#[test]
fn unload_and_shutdown_wait_for_a_hand_over() {
    let (host, builds) = (host(), Builds::new());
    let good = host.load(builds.build(1)).unwrap();
    mode(&good, "hang", "", 2_000);
    let next = builds.build(2);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let end = Over(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if let Err(error) = good.call("recall", &mut Context::new()) {
                    assert_eq!(error.code(), "plugin.unloaded");
                }
            }
        });
        let upgrade = scope.spawn(|| host.upgrade(GOOD, next));
        wait_until("the upgrade to hold calls back", || {
            let mut ctx = Context::new().timeout(Duration::from_millis(500));
            good.call("recall", &mut ctx).is_err()
        });
        let unloaded = host.shutdown().unwrap();
        assert_eq!(unloaded.len(), 1);
        assert_eq!(upgrade.join().unwrap().unwrap().generation, 2);
        drop(end);
    });
    assert_eq!(good.generation(), None);
}

isolated! {
    /// Whether state is handed over or not, nothing is left behind.
    fn handing_state_over_leaves_nothing_behind() {
        let host = host();
        let counter = host.load(counting(1, 1)).unwrap();
        let [good, refuses] = [counting(2, 1), loaded(&["STATE=1", "SAVE_ONLY"])];
        let change = || {
            host.upgrade("loaded", &good).unwrap();
            refused(host.upgrade("loaded", &refuses), "upgrade.state");
            number(&counter, "count");
            let back = host.rollback("loaded").unwrap();
            assert_eq!(back.retired, Unloaded::Unmapped);
        };
        let baseline = Baseline::after(&host, change);
        (0..100).for_each(|_| change());
        baseline.check(&host);
        assert_eq!(number(&counter, "count"), 102);
    }
}
