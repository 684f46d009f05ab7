//! The state directory: who may have it, and what a host keeps there.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use plg_host::{Error, Host};
use plg_tests::isolated;

use crate::support::plugins::{loaded, refused};
use crate::support::{Variant, program};

#[test]
fn a_state_directory_is_made_for_this_user_alone() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("var/state");
    let host = with_state(&directory).unwrap();
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(host.history().entries(), []);
    assert!(host.quarantine().is_empty());
    // Another host may have the same one.
    let _second = with_state(&directory).unwrap();
}

#[test]
fn a_state_directory_that_cannot_be_is_an_error() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below"), "/proc/none".into()] {
        let text = refused(with_state(&path), "host.state");
        assert!(text.contains(path.to_str().unwrap()), "{text}");
    }
}

/// Whoever can write there could clear the quarantine.
#[test]
fn a_state_directory_that_others_can_change_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let (shared, below) = (
        parent.path().join("shared"),
        parent.path().join("shared/own"),
    );
    fs::create_dir_all(&below).unwrap();
    // Everybody, everybody but not each other's files, the group.
    for mode in [0o777, 0o1777, 0o770] {
        fs::set_permissions(&shared, Permissions::from_mode(mode)).unwrap();
        refused(with_state(&shared), "dir.unsafe");
        let risky = Host::builder().allow_unsafe_directories(true);
        risky.state_dir(&shared).build().unwrap();
    }
    fs::set_permissions(&shared, Permissions::from_mode(0o777)).unwrap();
    refused(with_state(&below), "dir.unsafe");
    fs::set_permissions(&shared, Permissions::from_mode(0o755)).unwrap();
    with_state(&below).unwrap();
}

isolated! {
    /// A plugin may change the working directory.
    fn a_relative_state_directory_stays_where_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::env::set_current_dir(directory.path()).unwrap();
        let host = probing(Path::new("state"));
        std::env::set_current_dir(elsewhere.path()).unwrap();
        refused(host.load(crashing()), "native.probe_crashed");
        assert!(directory.path().join("state/quarantine.json").exists());
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }
}

/// What crashed a probe is not tried again by the next host, nor by another one that runs.
#[test]
fn a_quarantine_outlives_the_host() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let other = with_state(&state).unwrap();
    let library = crashing();
    let first = probing(&state);
    refused(first.load(&library), "native.probe_crashed");
    drop(first);
    // Without a probe, mapping it would end this process.
    let text = refused(other.load(&library), "native.quarantined");
    assert!(text.contains("its probe was killed by signal 6"), "{text}");
    let next = probing(&state);
    refused(next.load(&library), "native.quarantined");
    let [(digest, entry)] = &*next.quarantine().list() else {
        panic!("{:?}", next.quarantine().list());
    };
    assert_eq!(entry.version.to_string(), "1.0.0");
    assert!(other.quarantine().remove(digest));
    refused(next.load(&library), "native.probe_crashed");
}

fn with_state(directory: &Path) -> Result<Host, Error> {
    Host::builder().state_dir(directory).build()
}

fn probing(state: &Path) -> Host {
    let prober = program("fixture-host", Variant::Debug);
    let builder = Host::builder().state_dir(state).probe_with(prober);
    builder.build().expect("a host can be set up")
}

fn crashing() -> std::path::PathBuf {
    loaded(&["CONSTRUCTOR=abort()"])
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
