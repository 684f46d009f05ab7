//! Several plugins change as one: all of their new builds answer, or none.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use plg_host::{
    Cancel, Context, Error, Handle, Host, Limits, PluginName, Unloaded, UpgradeOptions, Upgraded,
    Value,
};
use plg_tests::isolated;

use crate::support::plugins::{Baseline, host, loaded, number, refused, with_header};
use crate::support::{Over, Variant, stamped, wait_until};

const GOOD: &str = "fixture-good";
/// What no test takes unless something waits that should not.
const LONG: Duration = Duration::from_secs(50);

/// `fixtures/c/partner.c`, named `caller`, which asks the plugin `callee` for its build.
fn caller(build: u32) -> PathBuf {
    let build = format!("BUILD={build}");
    with_header("partner.c", &[], &["PARTNER=\"callee\"", &build])
}

fn callee_with(build: u32, defines: &[&str]) -> PathBuf {
    let build = format!("BUILD={build}");
    loaded(&[&["NAME=\"callee\"", &build], defines].concat())
}

fn callee(build: u32) -> PathBuf {
    callee_with(build, &[])
}

fn together(host: &Host, upgrades: &[(&str, &Path)]) -> Result<Vec<(PluginName, Upgraded)>, Error> {
    host.upgrade_together(upgrades, UpgradeOptions::default())
}

/// Which build the caller is, and which one its partner.
fn pair(caller: &Handle) -> (i64, i64) {
    let mut ctx = Context::new();
    caller.call("pair", &mut ctx).expect("the pair answers");
    let number = |key: &str| ctx.get(key).and_then(Value::as_i64).expect("a number");
    (number("own"), number("partner"))
}

#[test]
fn all_of_them_answer_with_their_new_builds() {
    let host = host();
    let plugin = host.load(caller(1)).unwrap();
    host.load(callee(1)).unwrap();
    let upgraded = together(&host, &[("callee", &callee(2)), ("caller", &caller(2))]).unwrap();
    let report: Vec<_> = upgraded
        .iter()
        .map(|(name, upgraded)| (name.as_str(), upgraded.generation, upgraded.retired))
        .collect();
    let gone = Unloaded::Unmapped;
    assert_eq!(report, [("callee", 2, gone), ("caller", 2, gone)]);
    assert_eq!(pair(&plugin), (2, 2));
    // Each goes back by itself.
    host.rollback("callee").unwrap();
    assert_eq!(pair(&plugin), (2, 1));
    host.rollback("caller").unwrap();
    assert_eq!(pair(&plugin), (1, 1));
    assert_eq!(together(&host, &[]).unwrap(), []);
}

/// Row 108: whoever meets the new caller meets the new callee behind it.
#[test]
fn no_new_build_ever_meets_an_old_one() {
    let host = host();
    let plugin = host.load(caller(1)).unwrap();
    host.load(callee(1)).unwrap();
    let builds: Vec<_> = (1..=30)
        .map(|build| (callee(build), caller(build)))
        .collect();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let end = Over(&over);
        for _ in 0..2 {
            scope.spawn(|| {
                let mut newest = 0;
                while !over.load(Ordering::Relaxed) {
                    let (own, partner) = pair(&plugin);
                    assert!(partner >= own, "build {own} met build {partner}");
                    assert!(own >= newest, "build {own} after {newest}");
                    newest = own;
                }
            });
        }
        for (callee, caller) in &builds {
            for (_, upgraded) in together(&host, &[("callee", callee), ("caller", caller)]).unwrap()
            {
                assert_eq!(upgraded.retired, Unloaded::Unmapped);
            }
        }
        drop(end);
    });
    assert_eq!(pair(&plugin), (30, 30));
    assert_eq!(host.census().retained, 0);
}

isolated! {
    /// Whichever of them fails, and at whatever stage, none of the new builds answers.
    fn one_that_fails_keeps_all_from_answering_and_leaves_nothing() {
        let limits = Limits {
            state: Duration::from_millis(200),
            ..Limits::default()
        };
        let host = Host::builder().limits(limits).build().unwrap();
        let files = tempfile::tempdir().unwrap();
        let text = files.path().join("text.so");
        fs::write(&text, "this is no library").unwrap();
        let plugin = host.load(caller(1)).unwrap();
        let counter = host.load(callee_with(1, &["STATE=1"])).unwrap();
        let missing = files.path().join("missing.so");
        let old = callee_with(2, &["STATE=1", "VERSION=\"0.9.0\""]);
        let [good, refuses] = [
            callee_with(2, &["STATE=1"]),
            callee_with(2, &["STATE=1", "INIT_REFUSE"]),
        ];
        let attempts: [(&Path, &str); 7] = [
            (&missing, "io.not_found"),
            (&text, "native.format"),
            (&refuses, "native.init"),
            (&caller(2), "upgrade.other_plugin"),
            (&old, "upgrade.rollback_denied"),
            (&callee(2), "upgrade.state"),
            (&callee_with(2, &["STATE=1", "SAVE_ONLY"]), "upgrade.state"),
        ];
        let mut counted = 0;
        let mut fail_all = || {
            for (path, code) in attempts {
                let next = caller(2);
                let both = [("caller", next.as_path()), ("callee", path)];
                refused(together(&host, &both), code);
                refused(together(&host, &[both[1], both[0]]), code);
                assert_eq!(pair(&plugin), (1, 1));
                counted += 1;
                assert_eq!(number(&counter, "count"), counted);
                assert_eq!((plugin.generation(), counter.generation()), (Some(1), Some(1)));
            }
            let twice = [("callee", good.as_path()), ("callee", good.as_path())];
            refused(together(&host, &twice), "plugin.busy");
            refused(together(&host, &[twice[0], ("nobody", &good)]), "plugin.not_found");
        };
        let baseline = Baseline::after(&host, &mut fail_all);
        for _ in 0..10 {
            fail_all();
        }
        baseline.check(&host);
        together(&host, &[("callee", &good), ("caller", &caller(2))]).unwrap();
        assert_eq!(pair(&plugin), (2, 2));
        assert_eq!(number(&counter, "count"), counted + 1);
    }
}

/// One of them has a call inside that does not end: none changes, and calls that were held back from the
/// others go on.
#[test]
fn a_call_that_stays_inside_one_keeps_all_where_they_are() {
    let limits = Limits {
        state: Duration::from_millis(50),
        ..Limits::default()
    };
    let host = Host::builder().limits(limits).build().unwrap();
    let files = tempfile::tempdir().unwrap();
    let build = |number| stamped(files.path(), Variant::State, number);
    let good = host.load(build(1)).unwrap();
    let counter = host.load(callee_with(1, &["STATE=1"])).unwrap();
    let [next_good, next_counter] = [build(2), callee_with(2, &["STATE=1"])];
    let both = [(GOOD, next_good.as_path()), ("callee", &next_counter)];
    let (cancel, over) = (Cancel::new(), AtomicBool::new(false));
    let counted = thread::scope(|scope| {
        let end = Over(&over);
        let napper = scope.spawn(|| {
            let ctx = Context::new().cancelled_by(&cancel).with("ms", 600_000);
            good.call("nap", &mut ctx.with("gentle", true)).unwrap();
        });
        let counting = scope.spawn(|| {
            let mut counted = 0;
            while !over.load(Ordering::Relaxed) {
                counted += 1;
                assert_eq!(number(&counter, "count"), counted);
            }
            counted
        });
        wait_until("the nap", || {
            let labels = good.snapshot().labels;
            labels.iter().any(|one| one.label == "nap" && one.calls > 0)
        });
        for both in [both, [both[1], both[0]]] {
            let said = refused(together(&host, &both), "upgrade.state");
            assert!(said.contains("1 calls were inside"), "{said}");
            assert_eq!(number(&good, "build"), 1);
            assert_eq!(number(&counter, "build"), 1);
        }
        cancel.cancel();
        napper.join().unwrap();
        wait_until("the upgrade", || together(&host, &both).is_ok());
        drop(end);
        counting.join().unwrap()
    });
    assert_eq!(number(&counter, "count"), counted + 1);
    assert_eq!((number(&good, "build"), number(&counter, "build")), (2, 2));
}

/// Both keep state, and one of them calls the other: nothing that was counted is lost.
#[test]
fn state_of_all_is_handed_over_and_none_of_it_is_lost() {
    let host = host();
    let files = tempfile::tempdir().unwrap();
    let build = |number| stamped(files.path(), Variant::State, number);
    let good = host.load(build(1)).unwrap();
    let counter = host.load(callee_with(1, &["STATE=1"])).unwrap();
    good.call("remember", &mut Context::new().with("number", 9))
        .unwrap();
    let builds = [1, 2].map(|number| {
        let callee = callee_with(number, &["STATE=1"]);
        (callee, build(u64::from(number)))
    });
    let over = AtomicBool::new(false);
    let counted: i64 = thread::scope(|scope| {
        let end = Over(&over);
        let callers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut counted = 0;
                    while !over.load(Ordering::Relaxed) {
                        let ctx = Context::new().with("plugin", "callee");
                        let mut ctx = ctx.with("label", "count");
                        good.call("forward", &mut ctx).unwrap();
                        counted += 1;
                    }
                    counted
                })
            })
            .collect();
        for (callee, good) in builds.iter().cycle().take(60) {
            let both = [("callee", callee.as_path()), (GOOD, good)];
            for (_, upgraded) in together(&host, &both).unwrap() {
                assert_eq!(upgraded.retired, Unloaded::Unmapped);
            }
        }
        drop(end);
        callers.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert!(counted > 0);
    assert_eq!(number(&counter, "count"), counted + 1);
    assert_eq!(number(&good, "recall"), 9);
}

/// Nobody waits for a plugin that another change has while it has what that one waits for.
#[test]
fn changes_in_opposite_order_at_once_end() {
    let host = host();
    let plugin = host.load(caller(1)).unwrap();
    host.load(callee(1)).unwrap();
    let start = Instant::now();
    let (next_caller, next_callee) = (caller(2), callee(2));
    let both = [("caller", next_caller.as_path()), ("callee", &next_callee)];
    thread::scope(|scope| {
        for thread in 0..3 {
            let (host, plugin) = (&host, &plugin);
            scope.spawn(move || {
                for _ in 0..40 {
                    match thread {
                        0 => drop(together(host, &both).unwrap()),
                        1 => drop(together(host, &[both[1], both[0]]).unwrap()),
                        _ => drop(host.upgrade("callee", both[1].1).unwrap()),
                    }
                    pair(plugin);
                }
            });
        }
    });
    assert!(start.elapsed() < LONG);
    assert_eq!(plugin.generation(), Some(81));
    assert_eq!(host.census().retained, 0);
}

#[test]
fn a_shutdown_meanwhile_leaves_none_of_them() {
    for _ in 0..20 {
        let host = host();
        let handles = [host.load(caller(1)).unwrap(), host.load(callee(1)).unwrap()];
        thread::scope(|scope| {
            let change = scope.spawn(|| {
                match together(&host, &[("callee", &callee(2)), ("caller", &caller(2))]) {
                    Ok(upgraded) => assert_eq!(upgraded.len(), 2),
                    Err(error) => {
                        let code = error.code();
                        assert!(
                            ["host.closed", "plugin.unloaded"].contains(&code),
                            "{error}"
                        );
                    }
                }
            });
            host.shutdown().unwrap();
            change.join().unwrap();
        });
        assert!(handles.iter().all(|handle| handle.generation().is_none()));
        assert_eq!(host.census().retained, 0);
    }
}
