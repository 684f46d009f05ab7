//! Plugin directories that are followed: what is added, changed and removed while the host runs.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use plg_host::{
    Builder, Context, Digest, Event, Events, Host, Phase, PluginSnapshot, ReturnPolicy, Step,
    Watch, WatchOptions,
};
use plg_tests::isolated;
use tempfile::TempDir;

use crate::support::plugins::{copy, digest, loaded, named, number, plugin_directory};
use crate::support::{Variant, program, stamped, wait_until};

const GOOD: &str = "fixture-good";

/// A plugin directory, and a host that watches it.
pub(crate) struct Watched {
    pub(crate) directory: TempDir,
    pub(crate) host: Host,
    pub(crate) events: Events,
    pub(crate) seen: Vec<Event>,
    pub(crate) watch: Option<Watch>,
}

/// Short, so that tests are.
pub(crate) fn options() -> WatchOptions {
    WatchOptions {
        settle: Duration::from_millis(20),
        rescan: Some(Duration::from_millis(500)),
        ..WatchOptions::default()
    }
}

impl Watched {
    pub(crate) fn new() -> Self {
        Self::with(options(), |builder| builder)
    }

    /// Follows its directory from now on.
    pub(crate) fn with(options: WatchOptions, set_up: impl FnOnce(Builder) -> Builder) -> Self {
        let mut watched = Self::unwatched(set_up);
        watched.watch = Some(watched.host.watch(options).expect("a watch can begin"));
        watched
    }

    pub(crate) fn unwatched(set_up: impl FnOnce(Builder) -> Builder) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let builder = Host::builder().plugin_dir(directory.path().join("plugins"));
        fs::create_dir(directory.path().join("plugins")).expect("a directory can be made");
        let host = set_up(builder).build().expect("a host can be made");
        let events = host.events();
        Self {
            directory,
            host,
            events,
            seen: Vec::new(),
            watch: None,
        }
    }

    pub(crate) fn plugins(&self) -> PathBuf {
        self.directory.path().join("plugins")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.plugins().join(name)
    }

    /// Puts a library there as whole as it ever is: under another name first.
    pub(crate) fn put(&self, library: &Path, name: &str) -> PathBuf {
        let (partial, path) = (self.path(".partial"), self.path(name));
        fs::copy(library, &partial).expect("a fixture can be copied");
        fs::rename(&partial, &path).expect("a file can be renamed");
        path
    }

    pub(crate) fn snapshot(&self, plugin: &str) -> Option<PluginSnapshot> {
        let all = self.host.snapshots();
        all.into_iter().find(|one| one.name.as_str() == plugin)
    }

    pub(crate) fn serving(&self, plugin: &str) -> Option<Digest> {
        self.snapshot(plugin)?.current?.digest
    }

    pub(crate) fn generation(&self, plugin: &str) -> u64 {
        let current = self.snapshot(plugin).and_then(|snapshot| snapshot.current);
        current.expect("it is loaded").number
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, plugin: &str, library: &Path) {
        let wanted = digest(library);
        wait_until(&format!("`{plugin}` to be that build"), || {
            self.serving(plugin) == Some(wanted)
        });
    }

    #[track_caller]
    pub(crate) fn wait_until_gone(&self, plugin: &str) {
        wait_until(&format!("`{plugin}` to be unloaded"), || {
            self.serving(plugin).is_none()
        });
    }

    /// Waits for that many more looks, each of which begins after this was asked for.
    #[track_caller]
    pub(crate) fn wait_for_looks(&self, more: u64) {
        let watch = self.watch.as_ref().expect("it is watched");
        for _ in 0..=more {
            let before = watch.looks();
            watch.rescan_now();
            wait_until("another look", || watch.looks() > before);
        }
    }

    /// Waits for longer than anything is only waited with, and looks again.
    #[track_caller]
    pub(crate) fn wait_for_rest(&self) {
        let start = Instant::now();
        wait_until("everything to rest", || {
            start.elapsed() > options().settle * 20
        });
        self.wait_for_looks(2);
    }

    /// Everything that happened so far.
    pub(crate) fn seen(&mut self) -> &[Event] {
        while let Some(event) = self.events.try_next() {
            self.seen.push(event);
        }
        &self.seen
    }

    /// How often something with this code happened so far.
    pub(crate) fn count(&mut self, code: &str) -> usize {
        let seen = self.seen().iter();
        seen.filter(|event| event.code == Some(code)).count()
    }

    #[track_caller]
    pub(crate) fn wait_for_code(&mut self, code: &str) -> Event {
        wait_until(&format!("`{code}`"), || self.count(code) > 0);
        let mut seen = self.seen().iter();
        let event = seen.find(|event| event.code == Some(code));
        event.expect("it was counted").clone()
    }

    /// Failures so far, in words.
    pub(crate) fn failures(&mut self) -> Vec<String> {
        let failed = |event: &&Event| event.phase == Phase::Failed;
        let seen = self.seen().iter();
        seen.filter(failed).map(ToString::to_string).collect()
    }
}

/// Writes a file piece by piece, with a pause after each.
pub(crate) fn write_slowly(path: &Path, bytes: &[u8], pieces: usize, pause: Duration) {
    let mut file = File::create(path).expect("a file can be made");
    for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
        file.write_all(piece).expect("a file can be written");
        thread::sleep(pause);
    }
}

#[test]
fn what_is_there_is_loaded_and_what_is_added_as_well() {
    let mut watched = Watched::unwatched(|builder| builder);
    let first = watched.put(&named("first", 1), "first.so");
    let (directory, library) = plugin_directory(&watched.plugins(), &loaded(&["BUILD=2"]));
    watched.watch = Some(watched.host.watch(options()).unwrap());
    watched.wait_for("first", &first);
    watched.wait_for("loaded", &library);
    let second = watched.put(&named("second", 3), "anything.so");
    watched.wait_for("second", &second);
    assert_eq!(number(&watched.host.plugin("second").unwrap(), "build"), 3);
    let found = watched.snapshot("loaded").unwrap().current.unwrap();
    assert_eq!(found.origin, directory.join("libloaded.so"));
    assert_eq!(watched.failures(), [""; 0]);
}

/// A loaded plugin is not loaded again from the same bytes, whatever its file's times say.
#[test]
fn the_same_bytes_are_no_change() {
    let mut watched = Watched::unwatched(|builder| builder);
    let library = named("loaded", 1);
    let path = watched.put(&library, "loaded.so");
    let loaded = watched.host.load(&path).unwrap();
    watched.watch = Some(watched.host.watch(options()).unwrap());
    watched.wait_for_rest();
    File::open(&path)
        .unwrap()
        .set_modified(std::time::SystemTime::now())
        .unwrap();
    watched.wait_for_rest();
    watched.put(&library, "loaded.so");
    watched.wait_for_rest();
    assert_eq!(number(&loaded, "build"), 1);
    assert_eq!(watched.generation("loaded"), 1);
    assert_eq!(watched.failures(), [""; 0]);
}

/// Every way in which people replace files.
#[test]
fn a_replaced_library_replaces_the_build() {
    let watched = Watched::new();
    let builds: Vec<PathBuf> = (1..=5).map(|build| named("loaded", build)).collect();
    let path = watched.put(&builds[0], "loaded.so");
    watched.wait_for("loaded", &builds[0]);
    let loaded = watched.host.plugin("loaded").unwrap();
    assert_eq!(number(&loaded, "build"), 1);
    // Renamed over it.
    watched.put(&builds[1], "loaded.so");
    watched.wait_for("loaded", &builds[1]);
    assert_eq!(number(&loaded, "build"), 2);
    // Written over it.
    fs::write(&path, fs::read(&builds[2]).unwrap()).unwrap();
    watched.wait_for("loaded", &builds[2]);
    assert_eq!(number(&loaded, "build"), 3);
    // Slowly.
    let bytes = fs::read(&builds[3]).unwrap();
    write_slowly(&path, &bytes, 16, Duration::from_millis(10));
    watched.wait_for("loaded", &builds[3]);
    assert_eq!(number(&loaded, "build"), 4);
    // Removed and copied.
    fs::remove_file(&path).unwrap();
    fs::copy(&builds[4], &path).unwrap();
    watched.wait_for("loaded", &builds[4]);
    assert_eq!(number(&loaded, "build"), 5);
}

/// A directory's library and its manifest may change one without the other.
#[test]
fn a_directory_is_followed_in_both_of_its_files() {
    let mut watched = Watched::new();
    let builds = [loaded(&["BUILD=1"]), loaded(&["BUILD=2"])];
    let (directory, library) = plugin_directory(&watched.plugins(), &builds[0]);
    watched.wait_for("loaded", &builds[0]);
    fs::copy(&builds[1], &library).unwrap();
    watched.wait_for("loaded", &builds[1]);
    let generation = watched.generation("loaded");

    let manifest = |version: &str| format!(r#"{{"name":"loaded","version":"{version}"}}"#);
    fs::write(directory.join("plugin.json"), manifest("1.1.0")).unwrap();
    let version = |watched: &Watched| {
        let current = watched.snapshot("loaded").unwrap().current.unwrap();
        current.version.to_string()
    };
    wait_until("the new version", || version(&watched) == "1.1.0");
    assert_eq!(watched.serving("loaded"), Some(digest(&builds[1])));
    assert_eq!(watched.generation("loaded"), generation + 1);

    // Only white space differs.
    fs::write(directory.join("plugin.json"), manifest("1.1.0") + "\n\n").unwrap();
    watched.wait_for_rest();
    assert_eq!(watched.generation("loaded"), generation + 1);
    // Half a manifest is one that is being written.
    fs::write(directory.join("plugin.json"), r#"{"name":"loa"#).unwrap();
    watched.wait_for_looks(1);
    fs::write(directory.join("plugin.json"), manifest("0.9.0")).unwrap();
    wait_until("the older version", || version(&watched) == "0.9.0");
    assert_eq!(watched.failures(), [""; 0]);
}

#[test]
fn an_older_version_is_refused_where_that_is_asked_for() {
    let only_up = WatchOptions {
        allow_downgrade: false,
        ..options()
    };
    let mut watched = Watched::with(only_up, |builder| builder);
    let newer = loaded(&["VERSION=\"2.0.0\""]);
    let path = watched.put(&newer, "loaded.so");
    watched.wait_for("loaded", &newer);
    fs::copy(loaded(&["VERSION=\"1.0.0\""]), &path).unwrap();
    watched.wait_for_code("upgrade.rollback_denied");
    watched.wait_for_rest();
    assert_eq!(watched.count("upgrade.rollback_denied"), 1);
    assert_eq!(watched.serving("loaded"), Some(digest(&newer)));
}

#[test]
fn what_is_removed_is_unloaded() {
    let mut watched = Watched::new();
    let alone = watched.put(&named("alone", 1), "alone.so");
    let (directory, library) = plugin_directory(&watched.plugins(), &loaded(&[]));
    watched.wait_for("alone", &alone);
    watched.wait_for("loaded", &library);
    fs::remove_file(&alone).unwrap();
    watched.wait_until_gone("alone");
    // The manifest is what says that there is a plugin; without its library that only cannot be loaded.
    fs::remove_file(&library).unwrap();
    watched.wait_for_code("dir.no_library");
    assert!(watched.serving("loaded").is_some());
    fs::remove_dir_all(&directory).unwrap();
    watched.wait_until_gone("loaded");
    assert_eq!(watched.count("dir.no_library"), 1);

    let (_, library) = plugin_directory(&watched.plugins(), &loaded(&["BUILD=7"]));
    watched.wait_for("loaded", &library);
}

#[test]
fn what_is_removed_stays_loaded_where_that_is_asked_for() {
    let keep = WatchOptions {
        unload_removed: false,
        ..options()
    };
    let watched = Watched::with(keep, |builder| builder);
    let path = watched.put(&named("loaded", 1), "loaded.so");
    watched.wait_for("loaded", &path);
    fs::remove_file(&path).unwrap();
    watched.wait_for_rest();
    assert_eq!(number(&watched.host.plugin("loaded").unwrap(), "build"), 1);
    let again = watched.put(&named("loaded", 2), "loaded.so");
    watched.wait_for("loaded", &again);
}

/// A plugin that only changes its file's name goes on answering.
#[test]
fn a_plugin_that_moves_is_not_unloaded() {
    let mut watched = Watched::new();
    let path = watched.put(&named("loaded", 1), "one.so");
    watched.wait_for("loaded", &path);
    fs::rename(&path, watched.path("two.so")).unwrap();
    watched.wait_for_rest();
    assert_eq!(watched.generation("loaded"), 1);

    // The same plugin twice: the one that came first counts, until it goes.
    let newer = watched.put(&named("loaded", 2), "three.so");
    let refused = watched.wait_for_code("plugin.loaded");
    assert_eq!(refused.path, Some(newer.canonicalize().unwrap()));
    fs::remove_file(watched.path("two.so")).unwrap();
    watched.wait_for("loaded", &newer);
    assert_eq!(watched.generation("loaded"), 2);
    let unloaded = |event: &&Event| event.step == Step::Unload;
    assert_eq!(watched.seen().iter().filter(unloaded).count(), 0);
    assert_eq!(watched.count("plugin.loaded"), 1);
}

/// The same directory by two ways, or the same file twice, is one plugin.
#[test]
fn the_same_file_by_two_ways_is_one_plugin() {
    let mut watched = Watched::unwatched(|builder| builder);
    let link = watched.directory.path().join("link");
    symlink("plugins", &link).unwrap();
    let builder = Host::builder().plugin_dir(watched.plugins());
    watched.host = builder.plugin_dir(link).build().unwrap();
    watched.events = watched.host.events();
    watched.watch = Some(watched.host.watch(options()).unwrap());
    for build in 1..4 {
        watched.put(&named("loaded", build), "one.so");
        watched.wait_for("loaded", &named("loaded", build));
        watched.wait_for_rest();
        assert_eq!(watched.generation("loaded"), u64::from(build));
    }
    let copy = watched.put(&named("loaded", 3), "two.so");
    watched.wait_for_rest();
    watched.put(&named("loaded", 4), "one.so");
    watched.wait_for("loaded", &named("loaded", 4));
    fs::remove_file(watched.path("one.so")).unwrap();
    watched.wait_for("loaded", &copy);
    fs::remove_file(copy).unwrap();
    watched.wait_until_gone("loaded");
    assert_eq!(watched.failures(), [""; 0]);
}

/// Its own reading and the time are no reason to look.
#[test]
fn nothing_is_done_while_nothing_happens() {
    let rescan = None;
    let watched = Watched::with(
        WatchOptions {
            rescan,
            ..options()
        },
        |builder| builder,
    );
    let (_, library) = plugin_directory(&watched.plugins(), &loaded(&[]));
    watched.wait_for("loaded", &library);
    watched.wait_for_rest();
    let looks = || watched.watch.as_ref().map(Watch::looks);
    let (before, start) = (looks(), Instant::now());
    fs::read(&library).unwrap();
    wait_until("time to pass", || start.elapsed() > Duration::from_secs(1));
    assert_eq!(looks(), before);
}

/// A file that becomes another plugin is the end of the one and the beginning of the other.
#[test]
fn a_file_can_become_another_plugin() {
    let watched = Watched::new();
    let path = watched.put(&named("first", 1), "any.so");
    watched.wait_for("first", &path);
    watched.put(&named("second", 1), "any.so");
    watched.wait_for("second", &named("second", 1));
    watched.wait_until_gone("first");
}

/// Libraries and whole directories are switched with a link.
#[test]
fn links_that_are_turned_are_followed() {
    let outer = tempfile::tempdir().unwrap();
    let release = |name: &str, build: u32| {
        let base = outer.path().join(name);
        let plugin = base.join("loaded");
        fs::create_dir_all(plugin.join("build-1")).unwrap();
        fs::create_dir(plugin.join("build-2")).unwrap();
        let source = r#""source":{"mode":"local_so","path":"current/any.so"}"#;
        let manifest = format!(r#"{{"name":"loaded","version":"1.0.0",{source}}}"#);
        fs::write(plugin.join("plugin.json"), manifest).unwrap();
        copy(&named("loaded", build), &plugin.join("build-1"), "any.so");
        copy(
            &named("loaded", build + 1),
            &plugin.join("build-2"),
            "any.so",
        );
        symlink("build-1", plugin.join("current")).unwrap();
        base
    };
    let turn = |link: &Path, target: &str| {
        let new = link.with_extension("new");
        symlink(target, &new).unwrap();
        fs::rename(&new, link).unwrap();
    };
    let first = release("first", 1);
    release("second", 11);
    copy(&named("removed", 1), &first, "removed.so");
    let link = outer.path().join("plugins");
    symlink("first", &link).unwrap();
    let host = Host::builder().plugin_dir(&link).build().unwrap();
    let _watch = host.watch(options()).unwrap();
    let build_is = |build: i64| {
        wait_until(&format!("build {build}"), || {
            host.snapshots().iter().any(|one| one.current.is_some())
                && host
                    .plugin("loaded")
                    .is_ok_and(|loaded| number(&loaded, "build") == build)
        });
    };
    build_is(1);
    turn(&first.join("loaded/current"), "build-2");
    build_is(2);
    turn(&link, "second");
    build_is(11);
    // Turning the link is the operator's doing: what the other directory lacks is not wanted any more.
    wait_until("the other plugin to be unloaded", || {
        host.snapshots()
            .iter()
            .all(|one| one.name.as_str() != "removed")
    });
}

#[test]
fn the_filter_applies_and_may_panic() {
    let panics = AtomicBool::new(true);
    let mut watched = Watched::with(options(), |builder| {
        builder.filter(move |name| {
            let first = name == "first" && panics.swap(false, Ordering::SeqCst);
            assert!(!first, "the filter's own mistake");
            name != "other"
        })
    });
    let first = watched.put(&named("first", 1), "first.so");
    let told = watched.wait_for_code("host.panicked");
    assert!(told.message.contains("the filter's own mistake"), "{told}");
    let second = watched.put(&named("second", 1), "second.so");
    watched.put(&named("other", 1), "other.so");
    watched.wait_for("second", &second);
    watched.wait_for_rest();
    assert!(watched.serving("other").is_none());
    // It is looked at again when it changes.
    fs::copy(named("first", 2), &first).unwrap();
    watched.wait_for("first", &named("first", 2));
}

/// A build that does not start is tried once, however often its file is touched.
#[test]
fn a_build_that_fails_is_told_once_and_tried_once() {
    let mut watched = Watched::new();
    let good = named("loaded", 1);
    let path = watched.put(&good, "loaded.so");
    watched.wait_for("loaded", &good);
    let mark = watched.directory.path().join("tried");
    let bad = loaded(&["INIT_REFUSE", &format!("INIT_MARK=\"{}\"", mark.display())]);
    watched.put(&bad, "loaded.so");
    let failed = watched.wait_for_code("native.init");
    assert_eq!(failed.step, Step::Upgrade);
    watched.wait_for_rest();
    fs::copy(&bad, &path).unwrap();
    watched.wait_for_rest();
    assert_eq!(fs::read(&mark).unwrap(), b"x");
    assert_eq!(watched.count("native.init"), 1);
    assert_eq!(watched.serving("loaded"), Some(digest(&good)));
    let next = watched.put(&named("loaded", 2), "loaded.so");
    watched.wait_for("loaded", &next);
}

/// What the preflight refuses is told when it has rested for longer, once for each build.
#[test]
fn a_file_that_stays_broken_is_told_once() {
    let mut watched = Watched::new();
    let whole = fs::read(named("loaded", 1)).unwrap();
    let path = watched.path("loaded.so");
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    watched.wait_for_code("native.corrupt");
    watched.wait_for_rest();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    watched.wait_for_rest();
    assert_eq!(watched.count("native.corrupt"), 1);
    fs::write(&path, &whole).unwrap();
    watched.wait_for("loaded", &path);
}

isolated! {
    /// A build that crashed its probe is tried again when somebody lets it out of the quarantine.
    fn a_cleared_quarantine_is_noticed() {
        let prober = program("fixture-host", Variant::Debug);
        let mut watched = Watched::with(options(), |builder| builder.probe_with(prober));
        let crash = watched.directory.path().join("crash");
        let constructor = format!("CONSTRUCTOR=if (access(\"{}\", F_OK) == 0) abort()", crash.display());
        let library = loaded(&[&constructor]);
        fs::write(&crash, "").unwrap();
        watched.put(&library, "loaded.so");
        watched.wait_for_code("native.probe_crashed");
        fs::remove_file(&crash).unwrap();
        watched.wait_for_rest();
        assert_eq!(watched.failures().len(), 1);
        assert!(watched.serving("loaded").is_none());
        assert!(watched.host.quarantine().remove(&digest(&library)));
        watched.wait_for("loaded", &library);
    }
}

/// What the app does by itself stays as the app left it, until the file changes.
#[test]
fn what_is_changed_by_other_means_stays() {
    let watched = Watched::new();
    let first = named("loaded", 1);
    watched.put(&first, "loaded.so");
    watched.wait_for("loaded", &first);
    let elsewhere = named("loaded", 9);
    watched.host.upgrade("loaded", &elsewhere).unwrap();
    watched.wait_for_rest();
    watched.wait_for("loaded", &elsewhere);
    watched.host.rollback("loaded").unwrap();
    watched.wait_for_rest();
    watched.wait_for("loaded", &first);
    let _ = watched.host.unload("loaded").unwrap();
    watched.wait_for_rest();
    assert!(watched.serving("loaded").is_none());
    let path = watched.put(&named("loaded", 2), "loaded.so");
    watched.wait_for("loaded", &named("loaded", 2));
    // What the app took from elsewhere does not go with a file that it is not from.
    watched.host.upgrade("loaded", &elsewhere).unwrap();
    fs::remove_file(path).unwrap();
    watched.wait_for_rest();
    watched.wait_for("loaded", &elsewhere);
}

/// A build that fails on trial is taken back, and tried again when its time has come.
#[test]
fn a_build_that_failed_on_trial_is_left_alone_for_a_while() {
    let back_off = Duration::from_secs(2);
    let policy = ReturnPolicy {
        errors: Some(1),
        back_off,
        ..ReturnPolicy::default()
    };
    let mut watched = Watched::with(options(), |builder| builder.return_policy(Some(policy)));
    let outside = tempfile::tempdir().unwrap();
    let builds = [1, 2].map(|number| stamped(outside.path(), Variant::Debug, number));
    watched.put(&builds[0], "good.so");
    watched.wait_for(GOOD, &builds[0]);
    watched.put(&builds[1], "good.so");
    watched.wait_for(GOOD, &builds[1]);
    let good = watched.host.plugin(GOOD).unwrap();
    // It lacks an argument.
    good.call("bench.name", &mut Context::new()).unwrap_err();
    let returned = watched.wait_for_code("upgrade.returned");
    // Nor is the same build under a newer date another one.
    watched.put(&builds[1], "good.so");
    let again = |event: &Event| {
        (event.step, event.phase) == (Step::Upgrade, Phase::Done) && event.at > returned.at
    };
    wait_until("another try", || watched.seen().iter().any(again));
    watched.wait_for(GOOD, &builds[1]);
    let again = watched.seen().iter().find(|event| again(event)).unwrap();
    let after = again.at.duration_since(returned.at).unwrap();
    assert!(after + Duration::from_millis(100) >= back_off, "{after:?}");
}

#[test]
fn two_watches_and_an_app_that_upgrades_agree() {
    let mut watched = Watched::new();
    let second = watched.host.watch(options()).unwrap();
    watched.put(&named("loaded", 1), "loaded.so");
    watched.wait_for("loaded", &named("loaded", 1));
    for build in 2..12 {
        let library = named("loaded", build);
        watched.put(&library, "loaded.so");
        // The app is told of the new file by other means.
        let upgraded = watched.host.upgrade("loaded", &library);
        upgraded.expect("the app can upgrade as well");
        watched.wait_for("loaded", &library);
    }
    drop(second);
    watched.wait_for_rest();
    watched.wait_for("loaded", &named("loaded", 11));
    assert_eq!(watched.failures(), [""; 0]);
}

isolated! {
    /// Dropping the watch ends its thread, and a shutdown ends the watch.
    fn the_watch_ends_with_its_guard_and_with_its_host() {
        let watched = Watched::unwatched(|builder| builder);
        let path = watched.put(&named("loaded", 1), "loaded.so");
        let threads = || watched.host.census().threads;
        let descriptors = || watched.host.census().descriptors;
        watched.host.load(&path).unwrap();
        let before = (threads(), descriptors());
        for _ in 0..20 {
            let watch = watched.host.watch(options()).unwrap();
            wait_until("a look", || watch.looks() > 0);
            drop(watch);
        }
        wait_until("the threads to be gone", || (threads(), descriptors()) == before);

        let watch = watched.host.watch(options()).unwrap();
        wait_until("a look", || watch.looks() > 0);
        watched.host.shutdown().unwrap();
        watched.put(&named("loaded", 2), "loaded.so");
        watch.rescan_now();
        drop(watch);
        assert!(watched.serving("loaded").is_none());
        let closed = watched.host.watch(options()).unwrap_err();
        assert_eq!(closed.code(), "host.closed");
    }
}

/// Who drops the watch knows that it does nothing any more.
#[test]
fn the_end_of_a_watch_waits_for_what_it_is_doing() {
    let [entered, ending, left] = [(); 3].map(|()| Arc::new(AtomicBool::new(false)));
    let mut watched = Watched::with(options(), |builder| {
        let (entered, ending, left) = (entered.clone(), ending.clone(), left.clone());
        builder.filter(move |_| {
            entered.store(true, Ordering::SeqCst);
            wait_until("the end", || ending.load(Ordering::SeqCst));
            thread::sleep(Duration::from_millis(50));
            left.store(true, Ordering::SeqCst);
            true
        })
    });
    watched.put(&named("loaded", 1), "loaded.so");
    wait_until("the filter", || entered.load(Ordering::SeqCst));
    ending.store(true, Ordering::SeqCst);
    drop(watched.watch.take());
    assert!(left.load(Ordering::SeqCst));
    assert!(watched.serving("loaded").is_none());
}

/// Hosts end while watches load, at every moment of it.
#[test]
fn a_host_can_be_dropped_at_any_moment() {
    for round in 0..20_u64 {
        let watched = Watched::new();
        for build in 1..4 {
            watched.put(
                &named(&format!("plugin-{build}"), build),
                &format!("{build}.so"),
            );
        }
        thread::sleep(Duration::from_millis(round * 3));
        let Watched { host, watch, .. } = watched;
        drop(host);
        drop(watch);
    }
}
