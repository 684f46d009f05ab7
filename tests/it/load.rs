//! What the host maps, and that it is what was checked. The tests of what it must not map stand in
//! `refuse`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use plg_host::{Handle, Host, Limits, Unloaded};
use plg_tests::isolated;

use crate::support::plugins::{
    Baseline, copy, digest, host, loaded, named, number, refused, with_header,
};
use crate::support::{Variant, library, stamped};

isolated! {
    /// Nothing of a plugin stays in the process, however often it comes and goes.
    fn loading_and_unloading_leaves_nothing_behind() {
        let host = host();
        let library = loaded(&[]);
        let cycle = || {
            let plugin = host.load(&library).unwrap();
            assert_eq!(number(&plugin, "build"), 1);
            assert_eq!(host.unload("loaded").unwrap(), Unloaded::Unmapped);
        };
        let before = Baseline::after(&host, cycle);
        for _ in 0..50 {
            cycle();
        }
        before.check_mappings(&host);
    }
}

#[test]
fn a_loaded_plugin_is_loaded_once_and_other_bytes_of_its_name_are_refused() {
    let host = host();
    let first = host.load(named("loaded", 1)).unwrap();
    let again = host.load(named("loaded", 1)).unwrap();
    assert_eq!(
        (number(&first, "count"), number(&again, "count")),
        (1, 2),
        "one plugin"
    );
    refused(host.load(named("loaded", 2)), "plugin.loaded");
    assert_eq!(number(&first, "build"), 1);
}

/// A pin holds for what is loaded already, too.
#[test]
fn a_pin_is_compared_with_the_plugin_that_is_loaded() {
    let host = host();
    let (one, two) = (named("loaded", 1), named("loaded", 2));
    host.load(&one).unwrap();
    refused(host.load_pinned(&one, digest(&two)), "native.hash");
    let plugin = host.load_pinned(&one, digest(&one)).unwrap();
    assert_eq!(number(&plugin, "build"), 1);
}

/// Row 58.
#[test]
fn a_file_swapped_at_any_moment_never_runs_unchecked() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("evil-ran");
    let good = loaded(&["BUILD=1"]);
    let evil = loaded(&[
        "BUILD=666",
        &format!("CONSTRUCTOR=mark(\"{}\")", mark.display()),
    ]);
    let path = directory.path().join("plugin.so");
    fs::copy(&good, &path).unwrap();
    let expected = digest(&good);
    let enough = AtomicBool::new(false);
    let swaps = AtomicUsize::new(0);
    let mut loads = 0;
    let mut refusals = BTreeSet::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let bytes = [fs::read(&good).unwrap(), fs::read(&evil).unwrap()];
            let spare = directory.path().join("spare");
            while !enough.load(Ordering::Relaxed) {
                let swap = swaps.fetch_add(1, Ordering::Relaxed);
                let bytes = &bytes[swap % 2];
                if swap.is_multiple_of(5) {
                    // In place, so that a reader may see some of each.
                    fs::write(&path, bytes).unwrap();
                } else {
                    fs::write(&spare, bytes).unwrap();
                    fs::rename(&spare, &path).unwrap();
                }
            }
        });
        // Also when an assertion fails, or the other thread would never end.
        let _done = Done(&enough);
        let host = host();
        while swaps.load(Ordering::Relaxed) < 5_000 || loads < 20 {
            match host.load_pinned(&path, expected) {
                Ok(plugin) => {
                    assert_eq!(number(&plugin, "build"), 1);
                    assert_eq!(host.unload("loaded").unwrap(), Unloaded::Unmapped);
                    loads += 1;
                }
                Err(error) => {
                    refusals.insert(error.code());
                }
            }
        }
    });
    assert!(refusals.contains("native.hash"), "{refusals:?}");
    assert!(!mark.exists(), "the constructor of the other file ran");
}

/// Row 59.
#[test]
fn the_file_of_a_loaded_plugin_may_change_freely() {
    let directory = tempfile::tempdir().unwrap();
    let path = stamped(directory.path(), Variant::Debug, 7);
    let host = host();
    let plugin = host.load(&path).unwrap();
    assert_eq!(number(&plugin, "build"), 7);
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(4096).unwrap();
    assert_eq!(number(&plugin, "build"), 7);
    // Pages that no call has touched before must be there as well.
    assert_eq!(number(&plugin, "count"), 1);
    (&file).write_all(&[0xcc; 1 << 20]).unwrap();
    assert_eq!(number(&plugin, "count"), 2);
    file.set_len(0).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(number(&plugin, "count"), 3);
    assert_eq!(host.unload("fixture-good").unwrap(), Unloaded::Unmapped);
}

/// Row 60.
#[test]
fn a_build_renamed_over_the_path_of_the_loaded_one_is_the_one_that_answers() {
    let directory = tempfile::tempdir().unwrap();
    let path = copy(&named("loaded", 1), directory.path(), "plugin.so");
    let host = host();
    let plugin = host.load(&path).unwrap();
    for build in 2..6 {
        let next = copy(&named("loaded", build), directory.path(), "next.so");
        fs::rename(next, &path).unwrap();
        let upgraded = host.upgrade("loaded", &path).unwrap();
        assert_eq!(upgraded.retired, Unloaded::Unmapped);
        assert_eq!(number(&plugin, "build"), i64::from(build));
        assert_eq!(
            number(&plugin, "count"),
            1,
            "its statics are those of a new load"
        );
    }
}

/// Row 61.
#[test]
fn one_file_loaded_twice_shares_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = copy(&loaded(&[]), directory.path(), "plugin.so");
    let link = directory.path().join("same-inode.so");
    fs::hard_link(&path, &link).unwrap();
    let hosts = [host(), host(), host()];
    let plugins: Vec<Handle> = hosts
        .iter()
        .zip([&path, &path, &link])
        .map(|(host, path)| host.load(path).unwrap())
        .collect();
    for expected in 1..4 {
        for plugin in &plugins {
            assert_eq!(number(plugin, "count"), expected);
        }
    }
    assert_eq!(hosts[0].unload("loaded").unwrap(), Unloaded::Unmapped);
    assert_eq!(number(&plugins[1], "count"), 4);
    hosts[0].load(&link).unwrap();
    assert_eq!(number(&plugins[0], "count"), 1, "statics start fresh");
}

isolated! {
    /// Row 62: descriptors get the lowest free number, so each image here has that of the one before.
    fn an_image_whose_descriptor_has_an_old_number_is_not_the_old_image() {
        let host = host();
        for build in [1, 2, 3, 2, 1] {
            let plugin = host.load(named("loaded", build)).unwrap();
            assert_eq!(number(&plugin, "build"), i64::from(build));
            assert_eq!(host.unload("loaded").unwrap(), Unloaded::Unmapped);
        }
        // One that stays mapped keeps its number.
        let pinned = with_header("loaded.c", &["-Wl,-z,nodelete"], &["NAME=\"pinned\""]);
        host.load(pinned).unwrap();
        assert!(matches!(host.unload("pinned").unwrap(), Unloaded::Retained { .. }));
        for build in [4, 5] {
            let plugin = host.load(named("loaded", build)).unwrap();
            assert_eq!(number(&plugin, "build"), i64::from(build));
            assert_eq!(host.unload("loaded").unwrap(), Unloaded::Unmapped);
        }
    }
}

isolated! {
    /// Row 62: neither is one that was refused after it was mapped and that nothing can unmap.
    fn a_pinned_image_that_was_refused_keeps_its_number_too() {
        let host = host();
        for defines in ["NULL_TABLE", "LABEL_BLANK"] {
            let pinned = with_header("descriptor.c", &["-Wl,-z,nodelete"], &[defines]);
            refused(host.load(pinned), "native.init");
            let plugin = host.load(named("loaded", 2)).unwrap();
            assert_eq!((plugin.name(), number(&plugin, "build")), ("loaded", 2));
            assert_eq!(host.unload("loaded").unwrap(), Unloaded::Unmapped);
        }
    }
}

/// Row 65.
#[test]
fn debug_and_release_builds_work_side_by_side_in_either_order() {
    let directory = tempfile::tempdir().unwrap();
    let host = host();
    for (build, variant) in [
        (1, Variant::Release),
        (2, Variant::Debug),
        (3, Variant::Release),
    ] {
        let path = stamped(directory.path(), variant, build);
        match host.plugin("fixture-good") {
            Ok(_) => assert_eq!(
                host.upgrade("fixture-good", path).unwrap().retired,
                Unloaded::Unmapped
            ),
            Err(_) => drop(host.load(path).unwrap()),
        }
        let plugin = host.plugin("fixture-good").unwrap();
        assert_eq!(number(&plugin, "build"), build as i64);
    }
}

/// Row 66.
#[test]
fn version_two_after_version_one_is_version_two() {
    let version = |version: &str, build: u32| {
        loaded(&[&format!("VERSION=\"{version}\""), &format!("BUILD={build}")])
    };
    let host = host();
    let plugin = host.load(version("1.0.0", 1)).unwrap();
    assert_eq!(number(&plugin, "build"), 1);
    assert_eq!(host.unload("loaded").unwrap(), Unloaded::Unmapped);
    refused(
        plugin.call("build", &mut plg_host::Context::new()),
        "plugin.unloaded",
    );
    host.load(version("2.0.0", 2)).unwrap();
    assert_eq!(
        number(&plugin, "build"),
        2,
        "an old handle finds the new load"
    );
    let upgraded = host.upgrade("loaded", version("3.0.0", 3)).unwrap();
    assert_eq!((upgraded.from.major, upgraded.to.major), (2, 3));
    assert_eq!(number(&plugin, "build"), 3);
    refused(
        host.upgrade("loaded", version("1.0.0", 1)),
        "upgrade.rollback_denied",
    );
    assert_eq!(number(&plugin, "build"), 3);
}

/// Row 67.
#[test]
fn plugins_with_equal_symbols_use_their_own() {
    let host = host();
    let plugins =
        [11, 22, 33].map(|build| host.load(named(&format!("twin-{build}"), build)).unwrap());
    for _ in 0..2 {
        for (plugin, build) in plugins.iter().zip([11, 22, 33]) {
            assert_eq!(number(plugin, "helper"), build);
        }
    }
}

/// Row 70.
#[test]
fn a_plugin_that_many_threads_load_at_once_is_loaded_once() {
    const THREADS: usize = 64;
    let directory = tempfile::tempdir().unwrap();
    let starts = directory.path().join("starts");
    let path = loaded(&[
        &format!("INIT_MARK=\"{}\"", starts.display()),
        "INIT_SLOW=50000",
    ]);
    let host = host();
    let together = Barrier::new(THREADS);
    let counts: BTreeSet<i64> = thread::scope(|scope| {
        let load = || {
            together.wait();
            number(&host.load(&path).unwrap(), "count")
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(load)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(fs::read(&starts).unwrap(), b"x", "`init` ran once");
    assert_eq!(
        counts,
        (1..=THREADS as i64).collect(),
        "one static counts for all"
    );
    assert_eq!(host.census().generations, 1);
}

/// Row 71.
#[test]
fn no_more_images_are_mapped_than_the_limit_allows() {
    let limits = Limits {
        plugins: 4,
        ..Limits::default()
    };
    let host = Host::builder().limits(limits).build().unwrap();
    let lasting = loaded(&["NAME=\"lasting\"", "FLAGS=0"]);
    host.load(lasting).unwrap();
    for number in 1..4 {
        host.load(named(&format!("few-{number}"), number)).unwrap();
    }
    let text = refused(host.load(named("few-4", 4)), "native.too_many");
    assert!(
        text.contains("4 images") && text.contains("limit is 4"),
        "{text}"
    );
    // An upgrade stands beside the old build for a moment.
    refused(host.upgrade("few-1", named("few-1", 5)), "native.too_many");
    assert_eq!(number(&host.plugin("few-1").unwrap(), "build"), 1);
    // What was unloaded and stays mapped still counts.
    assert!(matches!(
        host.unload("lasting").unwrap(),
        Unloaded::Retained { .. }
    ));
    refused(host.load(named("few-4", 4)), "native.too_many");
    assert_eq!(host.unload("few-2").unwrap(), Unloaded::Unmapped);
    assert_eq!(number(&host.load(named("few-4", 4)).unwrap(), "build"), 4);
}

/// Row 71.
#[test]
fn the_limit_holds_for_threads_that_load_at_once() {
    const THREADS: u32 = 12;
    let limits = Limits {
        plugins: 4,
        ..Limits::default()
    };
    let libraries: Vec<PathBuf> = (0..THREADS)
        .map(|number| named(&format!("crowd-{number}"), number))
        .collect();
    for _ in 0..10 {
        let host = Host::builder().limits(limits.clone()).build().unwrap();
        let together = Barrier::new(libraries.len());
        thread::scope(|scope| {
            for library in &libraries {
                let (host, together) = (&host, &together);
                scope.spawn(move || {
                    together.wait();
                    if let Err(error) = host.load(library) {
                        assert_eq!(error.code(), "native.too_many");
                    }
                });
            }
        });
        assert_eq!(host.census().generations, 4);
    }
}

isolated! {
    /// For systems that do not let files in memory be mapped as code.
    fn images_can_stand_in_a_private_directory() {
        let parent = tempfile::tempdir().unwrap();
        let host = Host::builder().image_directory(parent.path()).build().unwrap();
        let private = only_child(parent.path());
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&private), 0o700);
        let images = || fs::read_dir(&private).unwrap().count();
        let before = Baseline::after(&host, || {
            host.load(named("loaded", 1)).unwrap();
            assert_eq!(host.unload("loaded").unwrap(), Unloaded::Unmapped);
        });
        assert_eq!(images(), 0);

        let plugin = host.load(named("loaded", 1)).unwrap();
        let first = only_child(&private);
        assert_eq!(mode(&first), 0o400);
        assert_eq!(host.census().image_mappings, Some(maps(&first)));
        assert_eq!(number(&plugin, "count"), 1);
        let upgraded = host.upgrade("loaded", named("loaded", 2)).unwrap();
        assert_eq!(upgraded.retired, Unloaded::Unmapped);
        assert_eq!((number(&plugin, "build"), number(&plugin, "count")), (2, 1));
        let second = only_child(&private);
        assert_ne!(first, second, "a name is never used again");
        refused(
            host.upgrade("loaded", with_header("descriptor.c", &[], &["NULL_TABLE"])),
            "upgrade.other_plugin",
        );
        refused(host.load(with_header("descriptor.c", &[], &["NULL_TABLE"])), "native.init");
        assert_eq!(images(), 1);
        assert_eq!(host.unload("loaded").unwrap(), Unloaded::Unmapped);
        assert_eq!((images(), maps(&private)), (0, 0));
        before.check(&host);

        host.load(named("loaded", 3)).unwrap();
        drop(host);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0, "the host took all of it away");
    }
}

#[test]
fn a_directory_for_images_that_cannot_be_made_fails_the_host() {
    let missing = Path::new("/nonexistent/plg-images");
    refused(
        Host::builder().image_directory(missing).build(),
        "host.images",
    );
}

/// The Rust fixture, which has threads, thread-locals and keys of its own, goes as well.
#[test]
fn a_plugin_of_std_goes_for_good() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::builder()
        .image_directory(directory.path())
        .build()
        .unwrap();
    let plugin = host.load(library("fixture-good", Variant::Debug)).unwrap();
    assert_eq!(number(&plugin, "count"), 1);
    plugin
        .call("thread", &mut plg_host::Context::new())
        .unwrap();
    assert_eq!(host.unload("fixture-good").unwrap(), Unloaded::Unmapped);
    assert_eq!(maps(directory.path()), 0);
}

/// Mappings of files below a directory, or of one file.
fn maps(path: &Path) -> usize {
    let path = path.to_str().expect("the path is text");
    let maps = fs::read_to_string("/proc/self/maps").expect("a process may read its maps");
    maps.lines().filter(|line| line.contains(path)).count()
}

fn only_child(directory: &Path) -> PathBuf {
    let mut children = fs::read_dir(directory).expect("the directory is there");
    let child = children.next().and_then(Result::ok);
    let child = child.expect("the directory has an entry").path();
    assert!(
        children.next().is_none(),
        "one entry in {}",
        directory.display()
    );
    child
}

/// Says that it is over when it is dropped.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
