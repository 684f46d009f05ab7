//! From a bundle to the store to the host: what is installed is what is loaded, to the last bit.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::SystemTime;

use plg_host::store::{Bundle, InstallOptions, Options, Store, TrustAll};
use plg_host::trust::{Level, Trust, TrustedKey};
use plg_host::{Error, Host, Phase, Step, Unloaded};
use plg_packaging::Text;
use plg_tests::hostile;
use tempfile::TempDir;

use crate::bundle_load::{bundle, signed};
use crate::support::plugins::{digest, named, number};
use crate::support::signed::key;
use crate::support::wait_until;

struct Place {
    directory: TempDir,
    host: Host,
}

impl Place {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let host = host(directory.path());
        Self { directory, host }
    }

    /// Build after build of the same plugin; the version tells them apart as well.
    fn bundle(&self, build: u32) -> PathBuf {
        bundle(self.directory.path(), build, "1.0.0")
    }

    fn install(&self, build: u32) {
        let update = InstallOptions {
            update: true,
            ..InstallOptions::default()
        };
        self.host.install_with(self.bundle(build), &update).unwrap();
    }

    fn library(&self) -> PathBuf {
        let build = self
            .host
            .store()
            .unwrap()
            .build(&"loaded".parse().unwrap())
            .unwrap();
        build.library.unwrap().0
    }
}

fn host(directory: &Path) -> Host {
    Host::builder()
        .home(directory.join("home"))
        .build()
        .unwrap()
}

fn spoil(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // A new file, so that what is mapped is not touched.
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_is_installed_is_loaded_and_upgraded() {
    let place = Place::new();
    let host = &place.host;
    assert_eq!(
        host.load_installed("loaded").unwrap_err().code(),
        "store.not_installed"
    );
    place.install(1);
    // To install is not to load.
    assert_eq!(
        host.plugin("loaded").unwrap_err().code(),
        "plugin.not_found"
    );
    let loaded = host.load_installed("loaded").unwrap();
    assert_eq!(number(&loaded, "build"), 1);
    let current = loaded.snapshot().current.unwrap();
    assert_eq!(current.digest, Some(digest(&named("loaded", 1))));

    place.install(2);
    assert_eq!(number(&loaded, "build"), 1);
    host.upgrade_installed("loaded").unwrap();
    assert_eq!(number(&loaded, "build"), 2);
    host.store().unwrap().undo(None).unwrap();
    host.upgrade_installed("loaded").unwrap();
    assert_eq!(number(&loaded, "build"), 1);
    assert_eq!(
        host.load_installed("../x").unwrap_err().code(),
        "plugin.not_found"
    );
}

#[test]
fn every_installed_plugin_is_loaded_with_the_others() {
    let place = Place::new();
    place.install(1);
    let host = host(place.directory.path());
    let report = host.load_all().unwrap();
    assert_eq!(report.failed.len(), 0);
    assert_eq!(number(&report.loaded[0], "build"), 1);

    let filtered = Host::builder()
        .home(place.directory.path().join("home"))
        .filter(|name| name != "loaded")
        .build()
        .unwrap();
    assert!(filtered.load_all().unwrap().loaded.is_empty());
}

#[test]
fn a_host_without_a_home_says_so() {
    let directory = TempDir::new().unwrap();
    let host = Host::builder().build().unwrap();
    let mut events = host.events();
    let bundle = bundle(directory.path(), 1, "1.0.0");
    assert_eq!(host.install(bundle).unwrap_err().code(), "host.no_home");
    assert_eq!(
        host.load_installed("loaded").unwrap_err().code(),
        "host.no_home"
    );
    assert!(host.store().is_err());
    assert_eq!(events.next().unwrap().code, Some("host.no_home"));
}

/// P6: one event for one refusal, with its code.
#[test]
fn installs_are_told() {
    let place = Place::new();
    let mut events = place
        .host
        .events()
        .filter(|event| event.phase != Phase::Before);
    let path = place.bundle(1);
    place.host.install(&path).unwrap();
    let event = events.next().unwrap();
    assert_eq!((event.step, event.phase), (Step::Install, Phase::Done));

    fs::write(&path, b"no bundle").unwrap();
    let error = place.host.install(&path).unwrap_err();
    assert_eq!(error.code(), "bundle.gzip");
    let event = events.next().unwrap();
    assert_eq!(
        (event.step, event.phase, event.code),
        (Step::Install, Phase::Failed, Some("bundle.gzip"))
    );
    // The next thing that happens is the next that is told.
    place.host.load_all().unwrap();
    assert_ne!(events.next().unwrap().step, Step::Install);
}

/// Row 183.
#[test]
fn a_library_that_was_changed_is_not_loaded_and_stays_out() {
    let place = Place::new();
    place.install(1);
    let library = place.library();
    spoil(&library);
    let changed = digest(&library);
    let error = place.host.load_installed("loaded").unwrap_err();
    assert_eq!(error.code(), "store.tampered");
    assert!(place.host.quarantine().contains(&changed).is_some());
    // By its own path it is no better.
    assert_eq!(
        place.host.load(&library).unwrap_err().code(),
        "native.quarantined"
    );
    // All others of a set go on.
    let report = place.host.load_all().unwrap();
    let codes: Vec<_> = report.failed.iter().map(Error::code).collect();
    assert_eq!(codes, ["store.tampered"]);
}

/// Row 183: the manifest decides what may be called, so it is looked at as well.
#[test]
fn a_manifest_that_was_changed_is_not_loaded() {
    let place = Place::new();
    place.install(1);
    let library = place.library();
    let build = library.ancestors().nth(3).unwrap();
    let manifest = build.join("plugin.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("1.0.0", "1.0.1")).unwrap();
    let error = place.host.load_installed("loaded").unwrap_err();
    assert_eq!(error.code(), "store.tampered");
}

#[test]
fn an_upgrade_to_a_changed_build_leaves_the_old_one_answering() {
    let place = Place::new();
    place.install(1);
    let loaded = place.host.load_installed("loaded").unwrap();
    place.install(2);
    spoil(&place.library());
    let error = place.host.upgrade_installed("loaded").unwrap_err();
    assert_eq!(error.code(), "store.tampered");
    assert_eq!(number(&loaded, "build"), 1);
}

/// Row 201: nothing that a host has loaded is collected, and everything else is.
#[test]
fn what_is_loaded_is_not_collected() {
    let place = Place::new();
    place.install(1);
    let loaded = place.host.load_installed("loaded").unwrap();
    let builds = place.directory.path().join("home/builds");
    let count = || fs::read_dir(&builds).unwrap().count();
    place.install(2);
    let store = Store::open(place.directory.path().join("home"), Options::new()).unwrap();
    store.gc(0).unwrap();
    assert_eq!(count(), 2);
    assert_eq!(number(&loaded, "build"), 1);

    let unloaded = place.host.unload("loaded").unwrap();
    assert_eq!(unloaded, Unloaded::Unmapped);
    // The build before may come back as long as the host has it.
    wait_until("the old build to be collected", || {
        store.gc(0).unwrap();
        count() == 1
    });
    let left = place.host.load_installed("loaded").unwrap();
    assert_eq!(number(&left, "build"), 2);
}

#[test]
fn a_store_that_disagrees_with_its_lock_loads_nothing() {
    let place = Place::new();
    place.install(1);
    let store = place.host.store().unwrap();
    let lock = store.lock_file();
    let text = fs::read_to_string(&lock).unwrap();
    fs::write(&lock, text.replace("1.0.0", "1.0.1")).unwrap();
    let report = place.host.load_all().unwrap();
    let codes: Vec<_> = report.failed.iter().map(Error::code).collect();
    assert_eq!(
        (report.loaded.len(), &codes[..]),
        (0, &["lock.mismatch"][..])
    );
    let bundles = vec![Bundle::open(place.bundle(2)).unwrap()];
    let refused = store.install(bundles, &InstallOptions::default(), &TrustAll);
    assert_eq!(refused.unwrap_err().code(), "lock.mismatch");
    store.restore().unwrap();
    assert_eq!(
        number(&place.host.load_installed("loaded").unwrap(), "build"),
        1
    );
}

/// Row 174: to revoke a key is to load nothing more that it signed. What is loaded goes on.
#[test]
fn what_a_revoked_key_signed_is_not_loaded() {
    let place = Place::new();
    let trust = Trust::open(&place.directory.path().join("home/trust")).unwrap();
    let maker = key(7);
    let path = signed(place.directory.path(), 1, &maker);
    assert_eq!(
        place.host.install(&path).unwrap_err().code(),
        "sig.untrusted"
    );
    let now = SystemTime::now();
    // Trusted, but not to have its plugins in this process.
    let mut trusted = TrustedKey::new(maker.public_key(), now);
    let _ = trust.add(trusted.clone()).unwrap();
    place.host.install(&path).unwrap();
    let error = place.host.load_installed("loaded").unwrap_err();
    assert_eq!(error.code(), "sig.untrusted");
    trusted.levels = vec![Level::InProcess];
    let _ = trust.add(trusted).unwrap();
    let loaded = place.host.load_installed("loaded").unwrap();

    // What was signed once is not replaced by what nobody signed.
    let unsigned = place.bundle(2);
    let update = InstallOptions {
        update: true,
        ..InstallOptions::default()
    };
    let error = place.host.install_with(unsigned, &update).unwrap_err();
    assert_eq!(error.code(), "sig.missing");

    trust
        .revoke(key(7).public_key().id(), Text::new("stolen").unwrap(), now)
        .unwrap();
    assert_eq!(number(&loaded, "build"), 1);
    let other = host(place.directory.path());
    assert_eq!(
        other.load_installed("loaded").unwrap_err().code(),
        "sig.untrusted"
    );
}

/// P5 and P6: whatever is refused, one event says so with its code, and what is loaded goes on answering.
#[test]
fn each_refusal_is_one_event_and_disturbs_nobody() {
    let place = Place::new();
    place.install(1);
    let loaded = place.host.load_installed("loaded").unwrap();
    let mut seen = BTreeSet::new();
    let cases = hostile::cases().into_iter();
    // One of each kind; the store meets all of them.
    let cases: Vec<_> = cases
        .filter(|case| seen.insert((case.row, case.code)))
        .collect();
    assert!(cases.len() > 30, "{}", cases.len());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let mut calls = 0_u64;
            while !done.load(Ordering::Relaxed) {
                assert_eq!(number(&loaded, "build"), 1);
                calls += 1;
            }
            calls
        });
        // Its own caller must not be left behind by a test that fails.
        let refuse_all = || {
            let path = place.directory.path().join("hostile.plg");
            for case in &cases {
                fs::write(&path, &case.bytes).unwrap();
                let mut events = place
                    .host
                    .events()
                    .filter(|event| event.phase != Phase::Before);
                let error = place.host.install(&path).unwrap_err();
                assert_eq!(error.code(), case.code, "{}: {error}", case.name);
                let event = events.next().unwrap();
                assert_eq!(
                    (event.step, event.code),
                    (Step::Install, Some(case.code)),
                    "{}",
                    case.name
                );
                // The next thing that happens is the next that is told.
                assert!(place.host.load(Path::new("/nonexistent.so")).is_err());
                assert_eq!(events.next().unwrap().step, Step::Load, "{}", case.name);
            }
        };
        let outcome = panic::catch_unwind(AssertUnwindSafe(refuse_all));
        done.store(true, Ordering::Relaxed);
        assert!(caller.join().unwrap() > 0);
        if let Err(failure) = outcome {
            panic::resume_unwind(failure);
        }
    });
}
