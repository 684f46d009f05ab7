//! Digests that are not loaded: shared by hosts, kept over their end, and never lost to a bad file.

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use plg_host::quarantine::{Cause, Entry, Quarantine, QuarantineError};
use plg_host::{Digest, PluginName};
use plg_tests::{child, isolated};
use rustix::fs::{CWD, Mode, mknodat};
use rustix::process::{
    Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit, umask,
};
use serde_json::{Value, json};

use crate::support::process::mount_small_disk;

/// Where the children of a test write.
const DIRECTORY: &str = "PLG_TEST_QUARANTINE";

#[test]
fn what_is_added_stays_until_it_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    for quarantine in [
        Quarantine::in_memory(),
        Quarantine::open(directory.path()).unwrap(),
    ] {
        assert!(quarantine.is_empty());
        assert_eq!(quarantine.contains(&digest(1)), None);
        quarantine.add(digest(1), entry("it crashed"));
        quarantine.add(digest(2), entry("it hung"));
        quarantine.add(digest(1), entry("it crashed again"));
        let reason = quarantine.contains(&digest(1)).unwrap().reason;
        assert_eq!(reason, "it crashed again");
        assert_eq!(quarantine.list().len(), 2);
        assert!(!quarantine.is_empty());
        assert!(quarantine.remove(&digest(2)));
        assert!(!quarantine.remove(&digest(2)));
        quarantine.add(digest(3), entry("it crashed"));
        assert_eq!((quarantine.clear(), quarantine.clear()), (2, 0));
        assert!(quarantine.list().is_empty());
        quarantine.add(digest(4), entry("it crashed"));
        assert!(quarantine.problems().is_empty());
    }
    let next = Quarantine::open(directory.path()).unwrap();
    let [(found, _)] = next.list()[..] else {
        panic!("{:?}", next.list());
    };
    assert_eq!(found, digest(4));
}

/// An operator reads it, and may write it.
#[test]
fn the_file_says_all_there_is_to_know() {
    let directory = tempfile::tempdir().unwrap();
    let added = Quarantine::open(directory.path()).unwrap();
    let entry = entry("it crashed");
    added.add(digest(1), entry.clone());
    let file = directory.path().join("quarantine.json");
    let json: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let since = &json["entries"][0]["since"];
    let expected = json!({
        "format": 1,
        "entries": [{
            "digest": digest(1).to_string(),
            "plugin": "hello",
            "version": "1.0.0",
            "reason": "it crashed",
            "cause": "other",
            "since": since,
        }],
    });
    assert_eq!(json, expected);
    assert!(since.as_str().unwrap().ends_with('Z'));
    let read = Quarantine::open(directory.path()).unwrap();
    assert_eq!(read.list(), [(digest(1), entry)]);
}

#[test]
fn hosts_see_at_once_what_others_did() {
    let directory = tempfile::tempdir().unwrap();
    let [one, other] = [(); 2].map(|()| Quarantine::open(directory.path()).unwrap());
    for round in 0..100 {
        one.add(digest(round), entry("it crashed"));
        assert!(other.contains(&digest(round)).is_some());
        if round % 2 == 0 {
            assert!(other.remove(&digest(round)));
            assert_eq!(one.contains(&digest(round)), None);
        }
    }
    assert_eq!(one.list().len(), 50);
    assert_eq!(other.clear(), 50);
    assert!(one.is_empty());
}

#[test]
fn two_processes_lose_nothing_of_each_other() {
    const EACH: u64 = 40;
    let test = concat!(module_path!(), "::two_processes_lose_nothing_of_each_other");
    if let Ok(directory) = env::var(DIRECTORY) {
        child::run(test, &[], || {
            let quarantine = Quarantine::open(directory).unwrap();
            let own = u64::from(std::process::id()) << 32;
            for number in 0..EACH {
                quarantine.add(digest(own + number), entry("it crashed"));
                assert!(quarantine.problems().is_empty());
            }
            for number in 0..EACH / 2 {
                assert!(quarantine.remove(&digest(own + number)));
            }
        });
    }
    let directory = tempfile::tempdir().unwrap();
    let variables = [(DIRECTORY, directory.path().to_str().unwrap())];
    thread::scope(|scope| {
        let run = || child::run(test, &variables, || unreachable!());
        for child in [scope.spawn(run), scope.spawn(run)] {
            let ended = child.join().unwrap();
            assert!(ended.status.success(), "{}", ended.output);
        }
    });
    let quarantine = Quarantine::open(directory.path()).unwrap();
    assert_eq!(quarantine.list().len() as u64, EACH);
}

#[test]
fn a_host_that_is_killed_leaves_the_old_file_or_the_new_one() {
    let test = concat!(
        module_path!(),
        "::a_host_that_is_killed_leaves_the_old_file_or_the_new_one"
    );
    let adding = || {
        let until: usize = env::var("PLG_TEST_UNTIL").unwrap().parse().unwrap();
        let quarantine = Quarantine::open(env::var(DIRECTORY).unwrap()).unwrap();
        let own = u64::from(std::process::id()) << 32;
        let count = Arc::new(AtomicUsize::new(0));
        let seen = count.clone();
        thread::spawn(move || {
            while seen.load(Ordering::SeqCst) < until {}
            kill_process(getpid(), Signal::KILL).unwrap();
        });
        for number in 0.. {
            quarantine.add(digest(own + number), entry("it crashed"));
            println!("added {}", own + number);
            count.fetch_add(1, Ordering::SeqCst);
        }
    };
    if env::var(DIRECTORY).is_ok() {
        child::run(test, &[], adding);
    }
    let directory = tempfile::tempdir().unwrap();
    let mut added = Vec::new();
    for round in 0..10 {
        let until = (1 + round * 3).to_string();
        let variables = [
            (DIRECTORY, directory.path().to_str().unwrap()),
            ("PLG_TEST_UNTIL", &until),
        ];
        let ended = child::run(test, &variables, || unreachable!());
        assert!(!ended.status.success(), "{}", ended.output);
        let numbers = ended
            .output
            .lines()
            .filter_map(|line| line.strip_prefix("added "));
        added.extend(numbers.map(|number| number.parse::<u64>().unwrap()));
        let quarantine = Quarantine::open(directory.path()).unwrap();
        assert!(
            quarantine.problems().is_empty(),
            "{:?}",
            quarantine.problems()
        );
    }
    assert!(added.len() > 100, "only {}", added.len());
    let quarantine = Quarantine::open(directory.path()).unwrap();
    assert!(
        added
            .iter()
            .all(|number| quarantine.contains(&digest(*number)).is_some())
    );
    // What was being written is not left lying about.
    quarantine.add(digest(0), entry("it crashed"));
    assert_eq!(
        names(directory.path()),
        ["quarantine.json", "quarantine.lock"]
    );
}

/// Cut off somewhere, or something else altogether.
#[test]
fn a_damaged_file_is_set_aside_whole() {
    let directory = tempfile::tempdir().unwrap();
    let first = Quarantine::open(directory.path()).unwrap();
    first.add(digest(1), entry("it crashed"));
    first.add(digest(2), entry("it hung"));
    let whole = fs::read(directory.path().join("quarantine.json")).unwrap();
    // Without the end of its last line alone it is whole.
    let mut damaged: Vec<Vec<u8>> = (0..whole.len() - 1)
        .rev()
        .step_by(9)
        .map(|end| whole[..end].to_vec())
        .collect();
    damaged.extend([
        vec![0; 4096],
        vec![0xff; 10],
        b"[]".to_vec(),
        b"{}".to_vec(),
        br#"{"format":"1","entries":[]}"#.to_vec(),
        br#"{"format":0,"entries":[]}"#.to_vec(),
        br#"{"format":1,"entries":{}}"#.to_vec(),
        "[".repeat(100_000).into_bytes(),
    ]);
    for bytes in damaged {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("quarantine.json");
        fs::write(&file, &bytes).unwrap();
        let quarantine = Quarantine::open(directory.path()).unwrap();
        assert!(quarantine.is_empty(), "{shown}");
        let [problem] = &*quarantine.problems() else {
            panic!("{shown}: {:?}", quarantine.problems());
        };
        assert_eq!(problem.code(), "quarantine.unreadable");
        let text = problem.to_string();
        assert!(text.contains("it was set aside as"), "{text}");
        assert!(text.contains("quarantine.unreadable-1.json"), "{text}");
        let aside = directory.path().join("quarantine.unreadable-1.json");
        assert_eq!(fs::read(aside).unwrap(), bytes, "{shown}");
        // From now on it is a file like any other, and what happened stays known to this host.
        quarantine.add(digest(3), entry("it crashed"));
        let next = Quarantine::open(directory.path()).unwrap();
        assert_eq!((next.list().len(), next.problems().len()), (1, 0));
        assert_eq!(quarantine.problems().len(), 1);
        assert_eq!(names(directory.path()).len(), 3, "{shown}");
    }
}

#[test]
fn what_can_be_read_of_a_damaged_file_stays_in_force() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("quarantine.json");
    let one = Quarantine::open(directory.path()).unwrap();
    let other = Quarantine::open(directory.path()).unwrap();
    for number in 1..=3 {
        one.add(digest(number), entry("it crashed"));
    }
    for round in 1..=2 {
        let mut json: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let damaged = digest(round).to_string();
        for entry in json["entries"].as_array_mut().unwrap() {
            if entry["digest"] == *damaged {
                entry["version"] = "one".into();
            }
        }
        fs::write(&file, json.to_string()).unwrap();
        // Whoever sees it first repairs it, and all go on.
        let left = 3 - round as usize;
        assert_eq!((one.list().len(), other.list().len()), (left, left));
        let text = one.problems()[0].to_string();
        assert!(
            text.contains("while parsing major version number"),
            "{text}"
        );
        let aside = directory
            .path()
            .join(format!("quarantine.unreadable-{round}.json"));
        assert!(fs::read_to_string(aside).unwrap().contains(&damaged));
    }
    assert!(one.contains(&digest(3)).is_some());
}

/// An older host neither understands it nor may it lose it.
#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("quarantine.json");
    let newer = r#"{"format":2,"rules":["new"]}"#;
    fs::write(&file, newer).unwrap();
    let quarantine = Quarantine::open(directory.path()).unwrap();
    quarantine.add(digest(1), entry("it crashed"));
    assert!(quarantine.contains(&digest(1)).is_some());
    let codes: Vec<_> = quarantine
        .problems()
        .iter()
        .map(|problem| problem.code())
        .collect();
    assert_eq!(codes, ["quarantine.unreadable", "quarantine.unwritable"]);
    let text = quarantine.problems()[0].to_string();
    assert!(text.contains("the format 2, of a newer version"), "{text}");
    assert!(text.contains("it is left as it is"), "{text}");
    assert_eq!(fs::read_to_string(&file).unwrap(), newer);
    // Once it is gone, what is pending is written with the next change.
    fs::remove_file(&file).unwrap();
    assert_eq!(quarantine.list().len(), 1);
    quarantine.add(digest(2), entry("it crashed"));
    assert!(quarantine.problems().is_empty());
    assert_eq!(Quarantine::open(directory.path()).unwrap().list().len(), 2);
}

#[test]
fn only_a_regular_file_is_read_and_replaced() {
    let elsewhere = tempfile::tempdir().unwrap();
    let target = Quarantine::open(elsewhere.path()).unwrap();
    target.add(digest(9), entry("it crashed"));
    let target = elsewhere.path().join("quarantine.json");
    let before = fs::read(&target).unwrap();
    for what in ["link", "fifo", "directory", "large"] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("quarantine.json");
        match what {
            "link" => symlink(&target, &file).unwrap(),
            "fifo" => mknodat(CWD, &file, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap(),
            "directory" => fs::create_dir(&file).unwrap(),
            _ => File::create(&file).unwrap().set_len(1 << 40).unwrap(),
        }
        let kind = fs::symlink_metadata(&file).unwrap().file_type();
        let quarantine = Quarantine::open(directory.path()).unwrap();
        assert_eq!(
            quarantine.problems()[0].code(),
            "quarantine.unreadable",
            "{what}"
        );
        quarantine.add(digest(1), entry("it crashed"));
        assert!(quarantine.contains(&digest(1)).is_some(), "{what}");
        assert_eq!(quarantine.list().len(), 1, "{what}");
        assert_eq!(
            fs::symlink_metadata(&file).unwrap().file_type(),
            kind,
            "{what}"
        );
    }
    // Nor is anything written through what stands where the new file is to be made.
    let directory = tempfile::tempdir().unwrap();
    symlink(&target, directory.path().join("quarantine.json.new")).unwrap();
    let quarantine = Quarantine::open(directory.path()).unwrap();
    quarantine.add(digest(1), entry("it crashed"));
    assert_eq!(quarantine.problems()[0].code(), "quarantine.unwritable");
    assert_eq!(fs::read(&target).unwrap(), before);
}

isolated! {
    /// The system answers a write over that limit with a signal that ends the process.
    fn what_cannot_be_written_holds_for_this_host() {
        let directory = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::open(directory.path()).unwrap();
        quarantine.add(digest(1), entry("it crashed"));
        let unlimited = getrlimit(Resource::Fsize);
        setrlimit(Resource::Fsize, Rlimit { current: Some(400), ..unlimited }).unwrap();
        check_without_room(&quarantine, directory.path());
        setrlimit(Resource::Fsize, unlimited).unwrap();
        check_with_room_again(&quarantine, directory.path());
    }
}

isolated! {
    fn a_full_disk_keeps_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        // Where the system does not allow it, the test with the limit has to do.
        if mount_small_disk(directory.path(), "size=32k") {
            let quarantine = Quarantine::open(directory.path()).unwrap();
            quarantine.add(digest(1), entry("it crashed"));
            let ballast = directory.path().join("ballast");
            assert!(fs::write(&ballast, [0; 64 << 10]).is_err());
            check_without_room(&quarantine, directory.path());
            // Damage on top of it: what can be read is in force although nothing can be repaired.
            let file = directory.path().join("quarantine.json");
            let whole = fs::read_to_string(&file).unwrap();
            fs::write(&file, whole.replace("\"entries\": [", "\"entries\": [7,")).unwrap();
            for _ in 0..3 {
                let next = Quarantine::open(directory.path()).unwrap();
                assert!(next.contains(&digest(1)).is_some());
                assert_eq!(next.problems().len(), 2, "{:?}", next.problems());
            }
            fs::remove_file(&ballast).unwrap();
            check_with_room_again(&quarantine, directory.path());
            let names = names(directory.path());
            assert_eq!(names, ["quarantine.json", "quarantine.lock", "quarantine.unreadable-1.json"]);
        } else {
            println!("skipped: this system mounts nothing for tests");
        }
    }
}

isolated! {
    /// There are no names left but for the new file, which a process that was killed left behind.
    fn a_damaged_file_that_cannot_be_set_aside_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        if mount_small_disk(directory.path(), "size=64k,nr_inodes=4") {
            for name in ["quarantine.json", "quarantine.json.new", "quarantine.lock"] {
                fs::write(directory.path().join(name), "damaged").unwrap();
            }
            let quarantine = Quarantine::open(directory.path()).unwrap();
            quarantine.add(digest(1), entry("it crashed"));
            assert!(quarantine.contains(&digest(1)).is_some());
            let codes: Vec<_> = quarantine.problems().iter().map(|problem| problem.code()).collect();
            assert_eq!(codes, ["quarantine.unreadable", "quarantine.unwritable"]);
            let file = directory.path().join("quarantine.json");
            assert_eq!(fs::read(file).unwrap(), b"damaged");
        } else {
            println!("skipped: this system mounts nothing for tests");
        }
    }
}

fn check_without_room(quarantine: &Quarantine, directory: &Path) {
    let file = directory.join("quarantine.json");
    let before = fs::read(&file).unwrap();
    quarantine.add(digest(2), entry(&"it crashed ".repeat(80)));
    quarantine.add(digest(3), entry(&"it crashed ".repeat(80)));
    assert!(quarantine.remove(&digest(3)));
    let [problem] = &*quarantine.problems() else {
        panic!("{:?}", quarantine.problems());
    };
    assert_eq!(problem.code(), "quarantine.unwritable");
    assert!(problem.to_string().contains("quarantine.json"), "{problem}");
    assert_eq!(fs::read(&file).unwrap(), before);
    let known = |number| quarantine.contains(&digest(number)).is_some();
    assert_eq!([1, 2, 3].map(known), [true, true, false]);
    let other = Quarantine::open(directory).unwrap();
    assert_eq!(other.list().len(), 1);
    assert!(!directory.join("quarantine.json.new").exists());
}

fn check_with_room_again(quarantine: &Quarantine, directory: &Path) {
    quarantine.add(digest(4), entry("it crashed"));
    let unwritable = |problem: &Arc<QuarantineError>| problem.code() == "quarantine.unwritable";
    assert!(!quarantine.problems().iter().any(unwritable));
    let other = Quarantine::open(directory).unwrap();
    let known = |number| other.contains(&digest(number)).is_some();
    assert_eq!([1, 2, 3, 4].map(known), [true, true, false, true]);
}

#[test]
fn a_lock_that_is_never_given_back_holds_up_one_change() {
    let directory = tempfile::tempdir().unwrap();
    let lock = File::create(directory.path().join("quarantine.lock")).unwrap();
    lock.lock().unwrap();
    let quarantine = Quarantine::open(directory.path()).unwrap();
    // Loads only look, which needs no lock.
    assert!(quarantine.is_empty() && quarantine.problems().is_empty());
    let start = Instant::now();
    for number in 0..100 {
        quarantine.add(digest(number), entry("it crashed"));
    }
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(quarantine.problems()[0].code(), "quarantine.unwritable");
    assert_eq!(quarantine.list().len(), 100);
    lock.unlock().unwrap();
    quarantine.add(digest(100), entry("it crashed"));
    assert!(quarantine.problems().is_empty());
    assert_eq!(
        Quarantine::open(directory.path()).unwrap().list().len(),
        101
    );
}

#[test]
fn it_does_not_grow_without_end() {
    let quarantine = Quarantine::in_memory();
    let start = SystemTime::UNIX_EPOCH;
    for number in 0..10_010 {
        let mut entry = entry("it crashed");
        entry.since = start + Duration::from_secs(number);
        quarantine.add(digest(number), entry);
    }
    assert_eq!(quarantine.list().len(), 10_000);
    let known = |number| quarantine.contains(&digest(number)).is_some();
    assert_eq!([0, 9, 10, 10_009].map(known), [false, false, true, true]);
    quarantine.add(digest(0), entry(&"ü".repeat(1000)));
    assert_eq!(
        quarantine.contains(&digest(0)).unwrap().reason,
        "ü".repeat(512)
    );
}

#[test]
fn a_directory_that_cannot_be_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Quarantine::open(&file).unwrap_err();
    assert_eq!(error.code(), "io.failed");
    assert!(error.to_string().contains("file"), "{error}");
}

isolated! {
    /// Whatever a plugin did to the umask.
    fn files_are_private() {
        for mask in [0, 0o777] {
            let directory = tempfile::tempdir().unwrap();
            let quarantine = Quarantine::open(directory.path()).unwrap();
            umask(Mode::from_raw_mode(mask));
            quarantine.add(digest(1), entry("it crashed"));
            umask(Mode::from_raw_mode(0o022));
            assert!(quarantine.problems().is_empty());
            for entry in fs::read_dir(directory.path()).unwrap() {
                let file = entry.unwrap();
                let mode = file.metadata().unwrap().permissions().mode() & 0o777;
                assert_eq!(mode, 0o600, "{:?}", file.path());
            }
        }
    }
}

fn entry(reason: &str) -> Entry {
    Entry {
        cause: Cause::Other,
        plugin: PluginName::new("hello").unwrap(),
        version: semver::Version::new(1, 0, 0),
        reason: reason.to_owned(),
        since: SystemTime::now(),
    }
}

fn digest(number: u64) -> Digest {
    Digest::of(&number.to_ne_bytes())
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
