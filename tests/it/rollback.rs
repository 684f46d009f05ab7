//! The build before comes back: when somebody asks, and by itself when the new one fails on trial.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use plg_host::{Context, Handle, Host, Phase, ReturnPolicy, Step, Unloaded, UpgradeOptions};
use plg_tests::isolated;
use tracing::span;

use crate::support::flaky::{build_of, flaky, flaky_with, returned, work};
use crate::support::plugins::{Baseline, host, refused};
use crate::support::{Over, Variant, stamped, wait_until};

const GOOD: &str = "fixture-good";

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

fn on_trial(policy: ReturnPolicy) -> Host {
    let host = Host::builder().return_policy(Some(policy)).build();
    host.expect("a host can be made")
}

/// 3 panics bring the build before back.
fn strict() -> ReturnPolicy {
    ReturnPolicy {
        panics: Some(3),
        within: Duration::from_secs(100),
        ..ReturnPolicy::default()
    }
}

#[test]
fn the_build_before_comes_back_from_its_own_bytes() {
    let (host, files) = (host(), directory());
    let build = |number| stamped(files.path(), Variant::Debug, number);
    let (first, second) = (build(1), build(2));
    let good = host.load(&first).unwrap();
    host.upgrade(GOOD, &second).unwrap();
    // One file is another build by now, the other is none.
    fs::rename(build(9), &first).unwrap();
    fs::remove_file(&second).unwrap();

    let back = host.rollback(GOOD).unwrap();
    assert_eq!((back.generation, back.retired), (3, Unloaded::Unmapped));
    assert_eq!(build_of(&good), 1);
    assert_eq!(good.snapshot().current.unwrap().origin, first);
    let forth = host.rollback(GOOD).unwrap();
    assert_eq!((forth.generation, forth.retired), (4, Unloaded::Unmapped));
    assert_eq!(build_of(&good), 2);
    host.rollback(GOOD).unwrap();
    assert_eq!(build_of(&good), 1);
    // An upgrade takes the file as it is now, and what goes is kept.
    host.upgrade(GOOD, &first).unwrap();
    assert_eq!(build_of(&good), 9);
    host.rollback(GOOD).unwrap();
    assert_eq!(build_of(&good), 1);
}

/// Images in files are removed when their code goes; what is kept is not.
#[test]
fn the_build_before_comes_back_where_images_are_files() {
    let (files, images) = (directory(), directory());
    let host = Host::builder().image_directory(images.path()).build();
    let host = host.unwrap();
    let build = |number| stamped(files.path(), Variant::Debug, number);
    let good = host.load(build(1)).unwrap();
    host.upgrade(GOOD, build(2)).unwrap();
    fs::remove_file(build(1)).unwrap();
    for expected in [1, 2, 1] {
        let back = host.rollback(GOOD).unwrap();
        assert_eq!(back.retired, Unloaded::Unmapped);
        assert_eq!(build_of(&good), expected);
    }
    drop(host);
    assert_eq!(fs::read_dir(images.path()).unwrap().count(), 0);
}

#[test]
fn without_an_upgrade_there_is_no_build_before() {
    let (host, files) = (host(), directory());
    let build = |number| stamped(files.path(), Variant::Debug, number);
    let none = || refused(host.rollback(GOOD), "upgrade.no_previous");
    refused(host.rollback(GOOD), "plugin.not_found");
    let good = host.load(build(1)).unwrap();
    assert!(none().contains(GOOD));
    refused(host.upgrade(GOOD, build(666)), "native.init");
    none();
    host.upgrade(GOOD, build(2)).unwrap();
    let _ = host.unload(GOOD).unwrap();
    refused(host.rollback(GOOD), "plugin.unloaded");
    host.load(build(3)).unwrap();
    none();
    assert_eq!(build_of(&good), 3);
    // A failed upgrade leaves the build before as it was.
    host.upgrade(GOOD, build(4)).unwrap();
    refused(host.upgrade(GOOD, build(667)), "native.init");
    host.rollback(GOOD).unwrap();
    assert_eq!(build_of(&good), 3);
    host.shutdown().unwrap();
    refused(host.rollback(GOOD), "host.closed");
}

/// An older version needs not to be asked for twice, and the manifest is that of the build.
#[test]
fn a_rollback_is_asked_for_and_goes_to_any_version() {
    let host = host();
    let build = |number: &str, version: &str| {
        flaky_with(&[
            &format!("BUILD={number}"),
            &format!("VERSION=\"{version}\""),
        ])
    };
    let plugin = host.load(build("1", "1.0.0")).unwrap();
    host.upgrade("flaky", build("2", "2.0.0")).unwrap();
    let back = host.rollback("flaky").unwrap();
    let versions = |from: &plg_host::Upgraded| (from.from.to_string(), from.to.to_string());
    assert_eq!(versions(&back), ("2.0.0".to_owned(), "1.0.0".to_owned()));
    assert_eq!(plugin.manifest().unwrap().version.to_string(), "1.0.0");
    assert_eq!(build_of(&plugin), 1);
    let forth = host.rollback("flaky").unwrap();
    assert_eq!(versions(&forth), ("1.0.0".to_owned(), "2.0.0".to_owned()));
    let options = UpgradeOptions {
        allow_downgrade: true,
    };
    host.upgrade_with("flaky", build("3", "0.1.0"), options)
        .unwrap();
    assert_eq!(versions(&host.rollback("flaky").unwrap()).1, "2.0.0");
}

#[test]
fn a_rollback_that_fails_changes_nothing_and_can_be_tried_again() {
    let (host, files) = (host(), directory());
    let obstacle = files.path().join("obstacle");
    let refuses = format!("REFUSES=\"{}\"", obstacle.display());
    let plugin = host.load(flaky_with(&["BUILD=1", &refuses])).unwrap();
    host.upgrade("flaky", flaky(2, 0)).unwrap();
    fs::write(&obstacle, "").unwrap();
    for _ in 0..3 {
        let said = refused(host.rollback("flaky"), "native.init");
        assert!(said.contains("fixture.refused"), "{said}");
        assert_eq!((build_of(&plugin), plugin.generation()), (2, Some(2)));
        assert_eq!(host.census().retained, 0);
    }
    fs::remove_file(&obstacle).unwrap();
    host.rollback("flaky").unwrap();
    assert_eq!(build_of(&plugin), 1);
}

isolated! {
    /// One image is kept for each plugin, however often its build changes.
    fn a_thousand_ways_back_and_forth_leave_nothing_behind() {
        let host = host();
        let plugin = host.load(flaky(1, 0)).unwrap();
        let builds = [flaky(1, 0), flaky(2, 0)];
        let change = |round: usize| {
            let changed = match round % 3 {
                0 => host.upgrade("flaky", &builds[round % 2]),
                _ => host.rollback("flaky"),
            };
            assert_eq!(changed.unwrap().retired, Unloaded::Unmapped);
            build_of(&plugin);
        };
        let baseline = Baseline::after(&host, || (0..30).for_each(change));
        let resident = || {
            let statm = fs::read_to_string("/proc/self/statm").unwrap();
            let pages = statm.split(' ').nth(1).map(str::parse::<usize>);
            pages.unwrap().unwrap() * 4096
        };
        let before = resident();
        (0..1000).for_each(change);
        baseline.check(&host);
        let grown = resident().saturating_sub(before);
        assert!(grown < 8 << 20, "{grown} bytes");
        // Without the build that answers there is none before it.
        let _ = host.unload("flaky").unwrap();
        let descriptors = |census: plg_host::Census| census.descriptors.unwrap();
        let without = descriptors(host.census());
        host.load(&builds[0]).unwrap();
        assert_eq!(descriptors(host.census()), without + 1);
        host.upgrade("flaky", &builds[1]).unwrap();
        assert_eq!(descriptors(host.census()), without + 2);
        let _ = host.unload("flaky").unwrap();
        assert_eq!(descriptors(host.census()), without);
    }
}

#[test]
fn no_call_is_lost_on_the_way_back_and_forth() {
    let host = host();
    let plugin = host.load(flaky(1, 0)).unwrap();
    host.upgrade("flaky", flaky(2, 0)).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let end = Over(&over);
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    assert!(matches!(work(&plugin), Ok(Some(1 | 2))));
                }
            });
        }
        for round in 0..200 {
            let back = host.rollback("flaky").unwrap();
            assert_eq!(back.retired, Unloaded::Unmapped);
            assert_eq!(build_of(&plugin), 1 + round % 2);
        }
        drop(end);
    });
    assert_eq!(host.census().retained, 0);
}

/// Row 100.
#[test]
fn a_build_that_panics_on_half_of_its_calls_goes_and_the_one_before_comes_back() {
    let host = on_trial(strict());
    let mut events = host.events();
    let plugin = host.load(flaky(1, 0)).unwrap();
    let (over, counts) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; 3]);
    let [sent, answered, panicked] = &counts;
    let upgraded = thread::scope(|scope| {
        let end = Over(&over);
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    sent.fetch_add(1, Ordering::Relaxed);
                    match work(&plugin) {
                        Ok(_) => answered.fetch_add(1, Ordering::Relaxed),
                        Err(error) => {
                            assert_eq!(error.code(), "call.panicked");
                            panicked.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            });
        }
        let upgraded = host.upgrade("flaky", flaky(2, 2)).unwrap();
        wait_until("the old build", || plugin.generation() == Some(3));
        drop(end);
        upgraded
    });
    assert_eq!(upgraded.generation, 2);
    assert_eq!(build_of(&plugin), 1);
    // Every call had its answer, and those of the flaky build alone were panics.
    let [sent, answered, panicked] = counts.map(AtomicU64::into_inner);
    assert_eq!(sent, answered + panicked);
    assert!(panicked >= 3);
    let label = |label: &str| {
        let labels = plugin.snapshot().labels;
        let counted = labels.into_iter().find(|counted| counted.label == label);
        counted.map(|label| (label.calls, label.failures))
    };
    // The fixture does not say which labels it has, so they are counted together.
    assert_eq!(label("*"), Some((sent + 1, panicked)));

    let notices = returned(&host, &mut events);
    assert_eq!(notices.len(), 1, "{notices:?}");
    let notice = &notices[0];
    assert_eq!((notice.step, notice.phase), (Step::Notice, Phase::Done));
    assert_eq!(notice.generation, Some(2));
    assert!(notice.digest.is_some());
    let said = &notice.message;
    assert!(said.contains("3 panics within 100s"), "{said}");
    assert!(said.contains("alone for 60s"), "{said}");
    wait_until("the flaky build to go", || {
        host.sweep();
        host.census().retained == 0
    });
}

#[test]
fn a_build_that_came_back_and_fails_as_well_stays() {
    let host = on_trial(strict());
    let mut events = host.events();
    let plugin = host.load(flaky(1, 1)).unwrap();
    host.upgrade("flaky", flaky(2, 1)).unwrap();
    wait_until("the old build", || {
        assert!(work(&plugin).is_err());
        plugin.generation() == Some(3)
    });
    for _ in 0..50 {
        refused(work(&plugin), "call.panicked");
    }
    assert_eq!(returned(&host, &mut events).len(), 1);
    assert_eq!((plugin.generation(), build_of(&plugin)), (Some(3), 1));
    // Whoever asks for the other one gets it, and it is not on trial then.
    host.rollback("flaky").unwrap();
    for _ in 0..50 {
        refused(work(&plugin), "call.panicked");
    }
    assert_eq!(returned(&host, &mut events).len(), 0);
    assert_eq!((plugin.generation(), build_of(&plugin)), (Some(4), 2));
}

/// A build that fails again is left alone for twice as long, and an upgrade to it works at once.
#[test]
fn a_build_that_fails_again_is_left_alone_for_longer() {
    let host = on_trial(ReturnPolicy {
        back_off: Duration::from_secs(7),
        ..strict()
    });
    let mut events = host.events();
    let plugin = host.load(flaky(1, 0)).unwrap();
    for back_off in ["7s", "14s", "28s"] {
        host.upgrade("flaky", flaky(2, 1)).unwrap();
        wait_until("the old build", || work(&plugin).is_ok());
        let notices = returned(&host, &mut events);
        assert_eq!(notices.len(), 1, "{notices:?}");
        let said = &notices[0].message;
        assert!(said.ends_with(&format!("alone for {back_off}")), "{said}");
        let _ = host.unload("witness").unwrap();
    }
}

#[test]
fn errors_count_where_the_policy_says_so() {
    let errors = |build: &str| flaky_with(&[build, "FAILS=1", "STATUS=PLG_FAILED"]);
    let fails = |host: &Host| {
        let plugin = host.load(flaky(1, 0)).unwrap();
        host.upgrade("flaky", errors("BUILD=2")).unwrap();
        for _ in 0..4 {
            refused(work(&plugin), "call.failed");
        }
        plugin
    };
    let host = on_trial(strict());
    let mut events = host.events();
    let plugin = fails(&host);
    assert_eq!(returned(&host, &mut events).len(), 0);
    assert_eq!(plugin.generation(), Some(2));

    let host = on_trial(ReturnPolicy {
        errors: Some(4),
        ..strict()
    });
    let mut events = host.events();
    let plugin = fails(&host);
    let notices = returned(&host, &mut events);
    assert_eq!(notices.len(), 1);
    assert!(notices[0].message.contains("4 errors within"));
    assert_eq!((plugin.generation(), build_of(&plugin)), (Some(3), 1));
}

/// What is not on trial may fail as often as it likes.
#[test]
fn a_first_load_and_a_build_whose_trial_is_over_stay() {
    let panic_often = |plugin: &Handle| {
        for _ in 0..20 {
            refused(work(plugin), "call.panicked");
        }
    };
    let host = on_trial(strict());
    let mut events = host.events();
    let plugin = host.load(flaky(1, 1)).unwrap();
    panic_often(&plugin);
    assert_eq!(returned(&host, &mut events).len(), 0);
    assert_eq!(plugin.generation(), Some(1));

    // Another build was asked for before the failing one could go.
    let host = on_trial(strict());
    let mut events = host.events();
    let plugin = host.load(flaky(1, 0)).unwrap();
    host.upgrade("flaky", flaky(2, 1)).unwrap();
    let failing = plugin.lease().unwrap();
    host.upgrade("flaky", flaky(3, 0)).unwrap();
    for _ in 0..20 {
        let late = failing.call("work", &mut Context::new());
        refused(late, "call.panicked");
    }
    drop(failing);
    assert_eq!(returned(&host, &mut events).len(), 0);
    assert_eq!((plugin.generation(), build_of(&plugin)), (Some(3), 3));

    let host = on_trial(ReturnPolicy {
        trial: Duration::ZERO,
        ..strict()
    });
    let plugin = host.load(flaky(1, 0)).unwrap();
    host.upgrade("flaky", flaky(2, 1)).unwrap();
    panic_often(&plugin);
    assert_eq!(plugin.generation(), Some(2));

    let host = Host::builder().return_policy(None).build().unwrap();
    let plugin = host.load(flaky(1, 0)).unwrap();
    host.upgrade("flaky", flaky(2, 1)).unwrap();
    panic_often(&plugin);
    assert_eq!(plugin.generation(), Some(2));
}

#[test]
fn a_host_that_is_dropped_while_a_build_comes_back_ends() {
    let build: [&Path; 2] = [&flaky(1, 0), &flaky(2, 1)];
    for round in 0..20 {
        let host = on_trial(ReturnPolicy {
            panics: Some(1),
            ..strict()
        });
        let plugin = host.load(build[0]).unwrap();
        host.upgrade("flaky", build[1]).unwrap();
        refused(work(&plugin), "call.panicked");
        if round % 2 == 0 {
            wait_until("the old build", || plugin.generation() != Some(2));
        }
        drop(host);
        assert_eq!(plugin.generation(), None);
    }
}

/// Panics on every line of the host's own thread.
struct Spiteful;

impl tracing::Subscriber for Spiteful {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        let own = thread::current().name() == Some("plg-keeper");
        assert!(!own, "deliberate panic");
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

isolated! {
    /// A build that cannot come back is left out, and who panics at that keeps no other from coming back.
    fn what_brings_builds_back_outlives_a_panic() {
        tracing::subscriber::set_global_default(Spiteful).unwrap();
        let (host, files) = (on_trial(strict()), directory());
        let mut events = host.events();
        let obstacle = files.path().join("obstacle");
        let refuses = format!("REFUSES=\"{}\"", obstacle.display());
        let plugin = host.load(flaky_with(&["BUILD=1", &refuses])).unwrap();
        host.upgrade("flaky", flaky(2, 1)).unwrap();
        fs::write(&obstacle, "").unwrap();
        for _ in 0..3 {
            refused(work(&plugin), "call.panicked");
        }
        assert_eq!(returned(&host, &mut events).len(), 0);
        assert_eq!((plugin.generation(), build_of(&plugin)), (Some(2), 2));
        // It can still be asked for.
        fs::remove_file(&obstacle).unwrap();
        host.rollback("flaky").unwrap();
        assert_eq!(build_of(&plugin), 1);
    }
}
