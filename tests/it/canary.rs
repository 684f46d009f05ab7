//! A new build answers a share of the calls: which ones, until when, and what is counted meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use plg_host::{
    CanaryOptions, CanarySnapshot, Context, Error, Handle, Host, Phase, Reason, ReturnPolicy, Step,
    Unloaded, UpgradeOptions, Value,
};
use plg_tests::isolated;

use crate::support::flaky::{build_of, flaky, flaky_with, returned, work};
use crate::support::plugins::{Baseline, host, loaded, number, refused};
use crate::support::{Over, Variant, stamped, wait_until};

const NAME: &str = "flaky";

/// A share that stays until somebody ends or promotes the canary.
fn share(percent: u32) -> CanaryOptions {
    CanaryOptions {
        stages: vec![percent],
        calls: u64::MAX,
        ..CanaryOptions::default()
    }
}

/// No failure ends it.
fn forgiving(percent: u32) -> CanaryOptions {
    CanaryOptions {
        errors: usize::MAX,
        panics: usize::MAX,
        ..share(percent)
    }
}

/// Which build answers calls with this key.
fn build_for(plugin: &Handle, key: &str) -> i64 {
    let mut ctx = Context::new().sticky(key);
    plugin.call("work", &mut ctx).expect("it works");
    ctx.get("build").and_then(Value::as_i64).expect("a number")
}

/// The keys whose calls the canary answers, of 2,000.
fn keys_of_canary(plugin: &Handle) -> BTreeSet<usize> {
    let of_canary = |key: &usize| build_for(plugin, &format!("user {key}")) == 2;
    (0..2_000).filter(of_canary).collect()
}

fn canary_of(plugin: &Handle) -> CanarySnapshot {
    plugin.snapshot().canary.expect("there is a canary")
}

#[test]
fn a_key_stays_with_its_build_and_never_goes_back_as_the_share_grows() {
    let host = host();
    let plugin = host.load(flaky(1, 0)).unwrap();
    let mut before = BTreeSet::new();
    for percent in [1, 10, 50, 100] {
        let generation = host.canary(NAME, flaky(2, 0), share(percent)).unwrap();
        let canary = canary_of(&plugin);
        assert_eq!((canary.generation, canary.share), (generation, percent));
        let keys = keys_of_canary(&plugin);
        assert_eq!(keys_of_canary(&plugin), keys);
        assert!(keys.is_superset(&before));
        let expected = percent as usize * 20;
        let off = keys.len().abs_diff(expected);
        assert!(off <= 15 + expected / 10, "{} of {expected}", keys.len());
        assert_eq!(keys.len() == 2_000, percent == 100);
        // Threads and deadlines make no difference.
        thread::scope(|scope| {
            scope.spawn(|| assert_eq!(keys_of_canary(&plugin), keys));
        });
        let key = keys.first().unwrap();
        let ctx = Context::new().timeout(Duration::from_secs(50));
        let mut ctx = ctx.sticky(&format!("user {key}"));
        plugin.call("work", &mut ctx).unwrap();
        assert_eq!(ctx.get("build"), Some(&Value::from(2)));
        before = keys;
        assert_eq!(host.end_canary(NAME).unwrap(), Unloaded::Unmapped);
        assert_eq!(keys_of_canary(&plugin), BTreeSet::new());
    }
}

#[test]
fn calls_without_a_key_are_shared_as_well() {
    let host = host();
    let plugin = host.load(flaky(1, 0)).unwrap();
    host.canary(NAME, flaky(2, 0), share(10)).unwrap();
    let of_canary = (0..5_000).filter(|_| work(&plugin).unwrap() == Some(2));
    let of_canary = of_canary.count();
    assert!((300..700).contains(&of_canary), "{of_canary}");
}

/// Both builds' counters together are the calls that were made, and the plugin's are those of both.
#[test]
fn the_counters_of_both_builds_add_up_to_the_calls() {
    let host = host();
    let plugin = host.load(flaky(1, 5)).unwrap();
    for _ in 0..20 {
        let _ = work(&plugin);
    }
    for round in 1..4 {
        host.canary(NAME, flaky(2, 3), forgiving(40)).unwrap();
        let counted: Vec<_> = thread::scope(|scope| {
            let callers: Vec<_> = (0..3)
                .map(|caller| {
                    let plugin = &plugin;
                    scope.spawn(move || {
                        let mut failed = 0;
                        for call in 0..2_000 {
                            let mut ctx = Context::new();
                            if call % 2 == 0 {
                                ctx = ctx.sticky(&format!("{caller} {call}"));
                            }
                            if call % 100 == 0 {
                                ctx = ctx.timeout(Duration::from_secs(50));
                            }
                            failed += u64::from(plugin.call("work", &mut ctx).is_err());
                        }
                        failed
                    })
                })
                .collect();
            callers.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let canary = canary_of(&plugin);
        assert_eq!(canary.calls + canary.other_calls, 6_000);
        let failures = canary.failures + canary.other_failures;
        assert_eq!(failures, counted.iter().sum::<u64>());
        // Each build fails as it does, so the counters are not those of the other.
        assert_eq!(canary.failures, canary.calls / 3);
        assert!(canary.other_failures.abs_diff(canary.other_calls / 5) <= 1);
        let all = plugin.snapshot().labels;
        let calls: u64 = all.iter().map(|label| label.calls).sum();
        assert_eq!(calls, 20 + 6_000 * round);
        assert_eq!(host.end_canary(NAME).unwrap(), Unloaded::Unmapped);
        assert_eq!(plugin.snapshot().canary, None);
    }
}

/// Fails until the canary is out; says how many calls failed.
fn fail_out(plugin: &Handle) -> usize {
    let mut failed = 0;
    wait_until("the canary to end", || {
        failed += usize::from(work(plugin).is_err());
        plugin.snapshot().canary.is_none()
    });
    failed
}

#[test]
fn a_canary_that_panics_or_fails_too_often_goes() {
    let host = host();
    let mut events = host.events();
    let plugin = host.load(flaky(1, 0)).unwrap();
    let errors = flaky_with(&["BUILD=2", "FAILS=1", "STATUS=PLG_FAILED"]);
    let options = |errors, panics| CanaryOptions {
        errors,
        panics,
        ..share(50)
    };
    let attempts = [
        (flaky(2, 1), options(100, 0), 1, "1 panics"),
        (flaky(2, 1), options(100, 4), 5, "5 panics"),
        (errors.clone(), options(6, 0), 7, "7 errors"),
        // Panics are errors as well.
        (flaky(2, 1), options(2, 100), 3, "3 errors"),
    ];
    for (path, options, least, words) in attempts {
        let generation = host.canary(NAME, path, options).unwrap();
        assert!(fail_out(&plugin) >= least);
        for _ in 0..100 {
            assert_eq!(work(&plugin).unwrap(), Some(1));
        }
        let notices = returned(&host, &mut events);
        assert_eq!(notices.len(), 1, "{notices:?}");
        let notice = &notices[0];
        assert_eq!((notice.step, notice.phase), (Step::Notice, Phase::Done));
        assert_eq!(notice.code, Some("upgrade.returned"));
        assert_eq!(notice.generation, Some(generation));
        assert!(notice.message.ends_with(words), "{}", notice.message);
        assert!(notice.digest.is_some());
        let _ = host.unload("witness").unwrap();
    }
    // So many may fail.
    host.canary(NAME, errors, options(5, 0)).unwrap();
    let mut failed = 0;
    while failed < 5 {
        failed += usize::from(work(&plugin).is_err());
    }
    assert_eq!(returned(&host, &mut events).len(), 0);
    assert_eq!(canary_of(&plugin).failures, 5);
    assert_eq!(plugin.generation(), Some(1));
}

/// From stage to stage, each with its calls, to all of them.
#[test]
fn a_canary_that_does_well_is_promoted() {
    let host = host();
    let mut events = host.events();
    let plugin = host.load(flaky(1, 0)).unwrap();
    let options = CanaryOptions {
        stages: vec![10, 50, 100],
        calls: 100,
        ..CanaryOptions::default()
    };
    let generation = host.canary(NAME, flaky(2, 0), options).unwrap();
    let (mut shares, mut calls) = (BTreeSet::new(), 0);
    wait_until("the promotion", || {
        for _ in 0..10 {
            work(&plugin).unwrap();
        }
        if let Some(canary) = plugin.snapshot().canary {
            shares.insert(canary.share);
            calls = canary.calls;
        }
        plugin.generation() == Some(generation)
    });
    assert_eq!(shares, BTreeSet::from([10, 50, 100]));
    assert!(calls >= 290, "{calls}");
    assert_eq!(plugin.snapshot().canary, None);
    assert_eq!(work(&plugin).unwrap(), Some(2));
    // The last of the events is told when the other build is gone.
    let mut told = Vec::new();
    wait_until("the event", || {
        while let Some(event) = events.try_next() {
            told.push(event);
        }
        let done = told.last();
        done.is_some_and(|one| one.step == Step::Upgrade && one.phase == Phase::Done)
    });
    let said: Vec<_> = told
        .iter()
        .filter(|event| event.step == Step::Notice)
        .map(|event| event.message.as_str())
        .collect();
    let expected = [
        "canary begins",
        "canary answers 50 % of the calls",
        "canary answers 100 % of the calls",
    ];
    assert_eq!(said, expected);
    assert_eq!(host.census().retained, 0);
    // The build before is the one that answered before.
    host.rollback(NAME).unwrap();
    assert_eq!(work(&plugin).unwrap(), Some(1));
}

#[test]
fn a_canary_can_be_promoted_and_ended_by_hand_and_stands_in_the_way_of_upgrades() {
    let host = host();
    let plugin = host.load(flaky(1, 0)).unwrap();
    let none = || {
        refused(host.promote_canary(NAME), "upgrade.no_canary");
        refused(host.end_canary(NAME), "upgrade.no_canary");
    };
    none();
    refused(host.promote_canary("nobody"), "plugin.not_found");
    host.upgrade(NAME, flaky(2, 0)).unwrap();
    host.canary(NAME, flaky(3, 0), share(10)).unwrap();
    let next = flaky(4, 0);
    refused(host.upgrade(NAME, &next), "upgrade.canary");
    refused(host.rollback(NAME), "upgrade.canary");
    refused(host.canary(NAME, &next, share(1)), "upgrade.canary");
    let together = host.upgrade_together(&[(NAME, &next)], UpgradeOptions::default());
    refused(together, "upgrade.canary");

    let promoted = host.promote_canary(NAME).unwrap();
    assert_eq!(
        (promoted.generation, promoted.retired),
        (3, Unloaded::Unmapped)
    );
    assert_eq!(promoted.from.to_string(), "1.0.0");
    assert_eq!(build_of(&plugin), 3);
    none();
    host.canary(NAME, &next, share(100)).unwrap();
    assert_eq!(work(&plugin).unwrap(), Some(4));
    assert_eq!(host.end_canary(NAME).unwrap(), Unloaded::Unmapped);
    assert_eq!(work(&plugin).unwrap(), Some(3));
    none();
    let back = host.rollback(NAME).unwrap();
    assert_eq!(back.retired, Unloaded::Unmapped);
    assert_eq!(work(&plugin).unwrap(), Some(2));
}

/// What cannot be an upgrade cannot be a canary either, and changes nothing.
#[test]
fn a_canary_that_cannot_begin_changes_nothing() {
    let (host, files) = (host(), tempfile::tempdir().unwrap());
    let plugin = host.load(flaky_with(&["VERSION=\"1.5.0\""])).unwrap();
    let obstacle = files.path().join("obstacle");
    fs::write(&obstacle, "").unwrap();
    let refuses = format!("REFUSES=\"{}\"", obstacle.display());
    let version = "VERSION=\"1.6.0\"";
    let attempts: [(PathBuf, &str); 4] = [
        (files.path().join("missing.so"), "io.not_found"),
        (flaky_with(&[&refuses, version]), "native.init"),
        (loaded(&[]), "upgrade.other_plugin"),
        (flaky(2, 0), "upgrade.rollback_denied"),
    ];
    for (path, code) in attempts {
        refused(host.canary(NAME, path, share(50)), code);
        assert_eq!(plugin.snapshot().canary, None);
        assert_eq!(host.census().retained, 0);
    }
    let options = CanaryOptions {
        allow_downgrade: true,
        ..share(50)
    };
    host.canary(NAME, flaky(2, 0), options).unwrap();
    refused(
        host.canary("nobody", flaky(2, 0), share(1)),
        "plugin.not_found",
    );
}

/// Two builds that each have a part of the state would both be wrong.
#[test]
fn a_plugin_that_keeps_state_has_no_canary() {
    let host = host();
    let plugin = host.load(loaded(&["STATE=1"])).unwrap();
    let next = loaded(&["STATE=1", "BUILD=2"]);
    let said = refused(host.canary("loaded", next, share(50)), "upgrade.state");
    assert!(said.contains("two builds"), "{said}");
    assert_eq!(plugin.snapshot().canary, None);
    assert_eq!(number(&plugin, "build"), 1);
}

/// A promoted build is on trial like any other new one.
#[test]
fn a_promoted_canary_is_on_trial() {
    let policy = ReturnPolicy {
        panics: Some(3),
        within: Duration::from_secs(100),
        ..ReturnPolicy::default()
    };
    let host = Host::builder().return_policy(Some(policy)).build().unwrap();
    let mut events = host.events();
    let plugin = host.load(flaky(1, 0)).unwrap();
    host.canary(NAME, flaky(2, 1), share(1)).unwrap();
    host.promote_canary(NAME).unwrap();
    wait_until("the old build", || work(&plugin).is_ok());
    assert_eq!(returned(&host, &mut events).len(), 1);
    assert_eq!((plugin.generation(), build_of(&plugin)), (Some(3), 1));

    // The build that answers is on trial, and fails while it has a canary.
    host.upgrade(NAME, flaky(3, 1)).unwrap();
    host.canary(NAME, flaky(4, 0), share(1)).unwrap();
    wait_until("the old build", || {
        let _ = work(&plugin);
        plugin.snapshot().canary.is_none() && plugin.generation() != Some(4)
    });
    wait_until("the old build", || work(&plugin).is_ok());
    assert_eq!(build_of(&plugin), 1);
}

isolated! {
    /// However a canary ends, nothing of it stays.
    fn canaries_leave_nothing_behind() {
        let host = host();
        let plugin = host.load(flaky(1, 0)).unwrap();
        let [one, two, bad] = [flaky(1, 0), flaky(2, 0), flaky(3, 1)];
        let calls = |count: usize| (0..count).for_each(|_| drop(work(&plugin)));
        let change = |round: usize| {
            let next = if round.is_multiple_of(2) { &two } else { &one };
            host.canary(NAME, next, share(50)).unwrap();
            calls(20);
            match round % 4 {
                0 => assert_eq!(host.end_canary(NAME).unwrap(), Unloaded::Unmapped),
                1 => assert_eq!(host.promote_canary(NAME).unwrap().retired, Unloaded::Unmapped),
                2 => {
                    assert_eq!(host.unload(NAME).unwrap(), Unloaded::Unmapped);
                    refused(host.end_canary(NAME), "upgrade.no_canary");
                    host.load(&one).unwrap();
                    host.upgrade(NAME, &two).unwrap();
                }
                _ => {
                    let _ = host.end_canary(NAME).unwrap();
                    host.canary(NAME, &bad, share(100)).unwrap();
                    wait_until("the canary to end", || {
                        let _ = work(&plugin);
                        plugin.snapshot().canary.is_none()
                    });
                    // The thread that ended it has let go of it when it can be done again.
                    host.canary(NAME, next, share(1)).unwrap();
                    let _ = host.end_canary(NAME).unwrap();
                }
            }
        };
        let baseline = Baseline::after(&host, || (0..8).for_each(change));
        (0..200).for_each(change);
        wait_until("what was kept to go", || {
            host.sweep();
            host.census().retained == 0
        });
        baseline.check(&host);
        host.canary(NAME, &two, share(50)).unwrap();
        calls(20);
        assert_eq!(host.shutdown().unwrap().len(), 1);
        assert_eq!(host.census().image_mappings, Some(0));
        assert_eq!(host.census().retained, 0);
    }
}

#[test]
fn no_call_is_lost_while_canaries_come_and_go() {
    let host = host();
    let plugin = host.load(flaky(1, 0)).unwrap();
    let builds = [flaky(1, 0), flaky(2, 0)];
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let end = Over(&over);
        for caller in 0..3 {
            let (plugin, over) = (&plugin, &over);
            scope.spawn(move || {
                let mut call = 0;
                while !over.load(Ordering::Relaxed) {
                    call += 1;
                    if caller == 0 {
                        build_for(plugin, &format!("user {call}"));
                    } else {
                        work(plugin).unwrap();
                        let _ = plugin.snapshot();
                    }
                }
            });
        }
        for round in 0..150_usize {
            let next = &builds[round % 2];
            let options = CanaryOptions {
                stages: vec![20, 60],
                calls: 50,
                ..CanaryOptions::default()
            };
            let generation = host.canary(NAME, next, options).unwrap();
            // It may have promoted itself before somebody asks.
            let outcome: Result<(), Error> = match round % 3 {
                0 => host.end_canary(NAME).map(drop),
                1 => host.promote_canary(NAME).map(drop),
                _ => {
                    wait_until("the promotion", || plugin.generation() == Some(generation));
                    Ok(())
                }
            };
            if let Err(error) = outcome {
                assert_eq!(error.code(), "upgrade.no_canary");
            }
        }
        drop(end);
    });
    assert_eq!(host.sweep(), []);
    assert_eq!(host.census().retained, 0);
}

/// A call that stays inside the canary keeps it whole, and nobody else waits for it.
#[test]
fn a_call_inside_a_canary_ends_there() {
    let limits = plg_host::Limits {
        drain: Duration::from_millis(20),
        ..plg_host::Limits::default()
    };
    let host = Host::builder().limits(limits).build().unwrap();
    let files = tempfile::tempdir().unwrap();
    let build = |number| stamped(files.path(), Variant::Debug, number);
    let good = host.load(build(1)).unwrap();
    host.canary("fixture-good", build(2), share(100)).unwrap();
    let cancel = plg_host::Cancel::new();
    thread::scope(|scope| {
        let napper = scope.spawn(|| {
            let ctx = Context::new().cancelled_by(&cancel).with("ms", 600_000);
            let mut ctx = ctx.with("gentle", true);
            good.call("nap", &mut ctx).unwrap();
            ctx.remove("build")
        });
        wait_until("the nap", || canary_of(&good).calls > 0);
        let kept = |reason| Unloaded::Retained { reason };
        let ended = host.end_canary("fixture-good").unwrap();
        assert_eq!(ended, kept(Reason::Calls(1)));
        assert_eq!(number(&good, "build"), 1);
        // Nor does an upgrade wait for it.
        let upgraded = host.upgrade("fixture-good", build(3)).unwrap();
        assert_eq!(upgraded.retired, Unloaded::Unmapped);
        cancel.cancel();
        assert_eq!(napper.join().unwrap(), Some(Value::from(2)));
    });
    wait_until("the canary to go", || {
        host.sweep();
        host.census().retained == 0
    });
}
