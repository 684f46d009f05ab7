//! What was loaded when, and why: in memory, in a file that several processes write, and read back.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use plg_host::history::{Build, Change, Entry, History, Journal, Revision, Set, Why};
use plg_host::{Digest, PluginName};
use plg_tests::{child, isolated};
use rustix::fs::{CWD, Mode, mknodat};
use rustix::process::{
    Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit, umask,
};
use serde_json::Value;

use crate::support::process::mount_small_disk;

const CHANGES: [Change; 6] = [
    Change::Loaded,
    Change::Upgraded,
    Change::Unloaded,
    Change::RolledBack,
    Change::Started,
    Change::Stopped,
];

const WHYS: [Why; 6] = [
    Why::Asked,
    Why::Watched,
    Why::Automatic,
    Why::Cascade,
    Why::Canary,
    Why::Together,
];

/// Where the children of a test write.
const DIRECTORY: &str = "PLG_TEST_HISTORY";

#[test]
fn every_change_with_every_reason_is_read_back_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    for (at, change) in CHANGES.into_iter().enumerate() {
        for (digit, why) in WHYS.into_iter().enumerate() {
            let from = (at % 2 == 0).then(|| revision("0.9.0-rc.1+build", 7));
            let entry = history.record(change, why, build("hello", digit as u64), from);
            assert_eq!((entry.change, entry.why), (change, why));
        }
    }
    let journal = History::read(directory.path()).unwrap();
    assert_eq!(read(&journal), history.entries());
    assert_eq!(journal.skipped(), 0);
    for (entry, line) in journal.entries().zip(lines(directory.path())) {
        let line: Value = serde_json::from_slice(&line).unwrap();
        let words = (line["change"].as_str(), line["why"].as_str());
        assert_eq!(
            words,
            (Some(entry.change.as_str()), Some(entry.why.as_str()))
        );
        assert_eq!(words.0, Some(&*entry.change.to_string()));
        assert_eq!(words.1, Some(&*entry.why.to_string()));
    }
}

/// Other programs read these lines.
#[test]
fn a_line_says_all_there_is_to_know() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    let before = SystemTime::now();
    let from = Some(revision("1.0.0", 1));
    let entry = history.record(Change::Upgraded, Why::Canary, build("hello", 2), from);
    let line: Value = serde_json::from_slice(&lines(directory.path())[0]).unwrap();
    let at = line["at"].as_str().unwrap();
    assert!(at.ends_with('Z') && at.as_bytes()[10] == b'T', "{at}");
    assert!((before..=SystemTime::now()).contains(&entry.at));
    let expected = serde_json::json!({
        "number": 1,
        "at": at,
        "host": process::id(),
        "run": entry.run,
        "change": "upgraded",
        "why": "canary",
        "plugin": "hello",
        "version": "1.0.2",
        "digest": digest(2).to_string(),
        "generation": 2,
        "origin": "/plugins/hello/libhello.so",
        "from": { "version": "1.0.0", "digest": digest(1).to_string() },
    });
    assert_eq!(line, expected);
    // A path need not be text. In memory it stays what it is.
    let mut odd = build("hello", 3);
    odd.origin = PathBuf::from(OsStr::from_bytes(b"/plugins/\xff.so"));
    let entry = history.record(Change::Loaded, Why::Asked, odd.clone(), None);
    assert_eq!(entry.build.origin, odd.origin);
    let journal = History::read(directory.path()).unwrap();
    let origin = journal.entries().next_back().unwrap().build.origin.clone();
    assert_eq!(origin, Path::new("/plugins/\u{fffd}.so"));
}

#[test]
fn numbers_go_on_from_host_to_host_and_sets_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(&directory);
    assert_eq!(load(&first, "one", 1).number, 1);
    assert_eq!(load(&first, "two", 1).number, 2);
    drop(first);
    // It was killed: nothing says that its plugins are loaded no more.
    let second = open(&directory);
    assert_eq!(second.entries(), []);
    assert_eq!(load(&second, "three", 1).number, 3);
    let third = open(&directory);
    assert_eq!(load(&third, "four", 1).number, 4);
    assert_eq!(load(&second, "five", 1).number, 5);
    assert_eq!(load(&third, "six", 1).number, 6);
    let journal = History::read(directory.path()).unwrap();
    let numbers: Vec<_> = journal.entries().map(|entry| entry.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    for (number, plugins) in [
        (2, "one two"),
        (3, "three"),
        (4, "four"),
        (5, "five three"),
        (6, "four six"),
    ] {
        assert_eq!(names(journal.set_at(number)), plugins, "{number}");
    }
    assert_eq!(names(second.set_at(5)), "five three");
    assert_eq!(second.set_at(4), None, "another host's");
    assert_eq!(journal.set_at(7), None);
    assert_eq!(journal.set_at(0), None);
}

#[test]
fn the_set_of_any_moment_can_be_had_back() {
    let history = History::in_memory();
    let asked =
        |change, plugin, digit| history.record(change, Why::Asked, build(plugin, digit), None);
    asked(Change::Loaded, "one", 1);
    asked(Change::Loaded, "two", 1);
    asked(Change::Upgraded, "one", 2);
    asked(Change::Stopped, "two", 1);
    asked(Change::Unloaded, "two", 1);
    asked(Change::RolledBack, "one", 1);
    let sets = [
        "one 1.0.1",
        "one 1.0.1, two 1.0.1",
        "one 1.0.2, two 1.0.1",
        "one 1.0.2, two 1.0.1",
        "one 1.0.2",
        "one 1.0.1",
    ];
    for (entry, expected) in history.entries().iter().zip(sets) {
        let set = history.set_at(entry.number).unwrap();
        let all: Vec<_> = set
            .iter()
            .map(|(plugin, revision)| format!("{plugin} {}", revision.version))
            .collect();
        assert_eq!(all.join(", "), expected);
        assert_eq!(history.set_at_time(entry.at), Some(set));
    }
    let first = history.entries()[0].at;
    assert_eq!(history.set_at_time(first - Duration::from_nanos(1)), None);
    let future = SystemTime::now() + Duration::from_secs(3600);
    assert_eq!(history.set_at_time(future), history.set_at(6));
    assert_eq!(history.set_at(6).unwrap()["one"].digest, digest(1));
}

/// A process may be killed between any two bytes of a line.
#[test]
fn half_a_line_is_passed_over_and_the_next_one_begins_anew() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    load(&history, "one", 1);
    load(&history, "two", 1);
    let whole = fs::read(directory.path().join("history.jsonl")).unwrap();
    let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for end in second..=whole.len() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("history.jsonl");
        fs::write(&file, &whole[..end]).unwrap();
        // All of it but the end of the line is as good as a line.
        let known = if end + 1 >= whole.len() { 2 } else { 1 };
        let journal = History::read(directory.path()).unwrap();
        assert_eq!(
            (journal.entries().len(), journal.skipped()),
            (known, 0),
            "{end}"
        );
        let entry = load(&open(&directory), "three", 1);
        assert_eq!(entry.number, known as u64 + 1, "{end}");
        let journal = History::read(directory.path()).unwrap();
        let skipped = usize::from(known == 1 && end > second);
        assert_eq!(
            (journal.entries().len(), journal.skipped()),
            (known + 1, skipped),
            "{end}"
        );
        assert_eq!(names(journal.set_at(entry.number)), "three");
        assert!(fs::read(&file).unwrap().starts_with(&whole[..end]), "{end}");
    }
}

#[test]
fn a_host_that_is_killed_loses_no_entry_that_was_recorded() {
    let test = concat!(
        module_path!(),
        "::a_host_that_is_killed_loses_no_entry_that_was_recorded"
    );
    let appending = || {
        let directory = env::var(DIRECTORY).unwrap();
        let until: usize = env::var("PLG_TEST_UNTIL").unwrap().parse().unwrap();
        let history = History::open(directory).unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let seen = count.clone();
        thread::spawn(move || {
            while seen.load(Ordering::SeqCst) < until {}
            kill_process(getpid(), Signal::KILL).unwrap();
        });
        loop {
            println!("recorded {}", load(&history, "one", 1).number);
            count.fetch_add(1, Ordering::SeqCst);
        }
    };
    if env::var(DIRECTORY).is_ok() {
        child::run(test, &[], appending);
    }
    let directory = tempfile::tempdir().unwrap();
    let mut recorded = Vec::new();
    for round in 0..12 {
        let until = (1 + round * 173).to_string();
        let variables = [
            (DIRECTORY, directory.path().to_str().unwrap()),
            ("PLG_TEST_UNTIL", &until),
        ];
        let ended = child::run(test, &variables, || unreachable!());
        assert!(!ended.status.success(), "{}", ended.output);
        let numbers = ended
            .output
            .lines()
            .filter_map(|line| line.strip_prefix("recorded "));
        recorded.extend(numbers.map(|number| number.parse::<u64>().unwrap()));
    }
    assert!(recorded.len() > 10_000, "only {}", recorded.len());
    let journal = History::read(directory.path()).unwrap();
    let numbers: Vec<_> = journal.entries().map(|entry| entry.number).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next));
    let lost: Vec<_> = recorded
        .iter()
        .filter(|number| numbers.binary_search(number).is_err())
        .collect();
    assert_eq!(lost, [&0; 0]);
    let entry = load(&open(&directory), "two", 1);
    assert!(Some(&entry.number) > numbers.last());
}

#[test]
fn two_processes_write_one_file() {
    const EACH: usize = 1000;
    let test = concat!(module_path!(), "::two_processes_write_one_file");
    if let Ok(directory) = env::var(DIRECTORY) {
        child::run(test, &[], || {
            let history = History::open(directory).unwrap();
            for _ in 0..EACH {
                load(&history, "one", 1);
                assert!(history.problem().is_none(), "{:?}", history.problem());
            }
        });
    }
    let directory = tempfile::tempdir().unwrap();
    let variables = [(DIRECTORY, directory.path().to_str().unwrap())];
    thread::scope(|scope| {
        let run = || child::run(test, &variables, || unreachable!());
        let children = [scope.spawn(run), scope.spawn(run)];
        for child in children {
            let ended = child.join().unwrap();
            assert!(ended.status.success(), "{}", ended.output);
        }
    });
    let journal = History::read(directory.path()).unwrap();
    let numbers: Vec<_> = journal.entries().map(|entry| entry.number).collect();
    assert_eq!(numbers, (1..=2 * EACH as u64).collect::<Vec<_>>());
    let entries = read(&journal);
    let of_first = entries.iter().filter(|entry| entry.run == entries[0].run);
    assert_eq!((of_first.count(), journal.skipped()), (EACH, 0));
}

isolated! {
    /// The system answers a write over that limit with a signal that ends the process.
    fn a_limit_on_the_size_of_files_ends_neither_the_host_nor_its_history() {
        let directory = tempfile::tempdir().unwrap();
        let history = open(&directory);
        let unlimited = getrlimit(Resource::Fsize);
        setrlimit(Resource::Fsize, Rlimit { current: Some(2000), ..unlimited }).unwrap();
        fill_until_it_fails(&history, directory.path());
        setrlimit(Resource::Fsize, unlimited).unwrap();
        check_recovery(&history, directory.path());
    }
}

isolated! {
    fn a_full_disk_is_a_warning_and_the_journal_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        // Where the system does not allow it, the test with the limit has to do.
        if mount_small_disk(directory.path(), "size=64k") {
            let warnings = Warnings::default();
            let writer = warnings.clone();
            let log = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
            let _guard = tracing::subscriber::set_default(log);
            let history = open(&directory);
            fill_until_it_fails(&history, directory.path());
            // Not even a byte goes there any more.
            let ballast = directory.path().join("ballast");
            while OpenOptions::new().create(true).append(true).open(&ballast).unwrap().write(&[0; 512]).is_ok() {}
            fill_until_it_fails(&history, directory.path());
            let text = String::from_utf8(warnings.0.lock().unwrap().clone()).unwrap();
            assert_eq!(text.matches("history.unwritable").count(), 1, "{text}");
            assert!(text.contains("No space left on device"), "{text}");
            fs::remove_file(&ballast).unwrap();
            // There must be room for the set, too.
            fs::write(directory.path().join("history.jsonl"), "").unwrap();
            load(&history, "after", 1);
            assert!(history.problem().is_none());
            load(&history, "all", 1);
            let text = String::from_utf8(warnings.0.lock().unwrap().clone()).unwrap();
            assert_eq!(text.matches("history.unwritable").count(), 1, "{text}");
        } else {
            println!("skipped: this system mounts nothing for tests");
        }
    }
}

/// A plugin of another name each time, so that the sets show what was lost.
fn fill_until_it_fails(history: &History, directory: &Path) {
    let before = history.entries().len();
    while history.problem().is_none() {
        load(history, &format!("plugin-{}", history.entries().len()), 1);
    }
    let problem = history.problem().unwrap();
    assert_eq!(problem.code(), "history.unwritable");
    assert!(problem.to_string().contains("history.jsonl"), "{problem}");
    for _ in 0..5 {
        load(history, &format!("plugin-{}", history.entries().len()), 1);
    }
    // Nothing is lost in memory, and what is in the file is whole.
    let entries = history.entries();
    assert!(entries.len() >= before + 5);
    assert!(entries.is_sorted_by(|one, next| one.number + 1 == next.number));
    let last = entries.last().unwrap();
    assert_eq!(history.set_at(last.number).unwrap().len(), entries.len());
    let journal = History::read(directory).unwrap();
    assert_eq!(journal.skipped(), 0);
    assert_eq!(read(&journal), entries[..journal.entries().len()]);
    let file = fs::read(directory.join("history.jsonl")).unwrap();
    assert!(file.is_empty() || file.ends_with(b"\n"));
}

fn check_recovery(history: &History, directory: &Path) {
    let written = History::read(directory).unwrap().entries().len();
    let lost = history.entries().len() - written;
    let entry = load(history, "after", 1);
    assert!(history.problem().is_none());
    assert_eq!(entry.missing, lost as u64);
    let journal = History::read(directory).unwrap();
    assert_eq!(journal.entries().next_back(), Some(&entry));
    // The set is whole again, although the entries that led to it are missing.
    assert_eq!(journal.set_at(entry.number), history.set_at(entry.number));
    assert_eq!(load(history, "all", 1).missing, 0);
}

#[test]
fn a_file_makes_room_and_no_set_is_lost() {
    const FILE: u64 = 4 << 20;
    let directory = tempfile::tempdir().unwrap();
    let quiet = open(&directory);
    load(&quiet, "quiet", 1);
    let busy = open(&directory);
    load(&busy, "first", 1);
    let mut long = build("busy", 1);
    long.origin = PathBuf::from("/".repeat(8 << 10));
    let (newer, older) = (
        directory.path().join("history.jsonl"),
        directory.path().join("history.1.jsonl"),
    );
    let mut last = 0;
    for why in WHYS.into_iter().take(3) {
        let mut length = 0;
        while fs::metadata(&newer).map_or(0, |file| file.len()) >= length {
            length = fs::metadata(&newer).unwrap().len();

            last = busy
                .record(Change::Upgraded, why, long.clone(), None)
                .number;
            assert!(busy.problem().is_none());
        }
        assert!((FILE / 2..=FILE).contains(&fs::metadata(&older).unwrap().len()));
    }
    let journal = History::read(directory.path()).unwrap();
    let numbers: Vec<_> = journal.entries().map(|entry| entry.number).collect();
    assert!(numbers.len() > 400 && numbers[0] > 3, "{}", numbers[0]);
    assert!(numbers.is_sorted_by(|one, next| one + 1 == *next));
    assert_eq!(numbers.last(), Some(&last));
    for number in numbers {
        assert_eq!(names(journal.set_at(number)), "busy first");
    }
    // Who wrote nothing for two files says all that it has.
    let entry = load(&quiet, "quieter", 1);
    assert_eq!(entry.number, last + 1);
    let journal = History::read(directory.path()).unwrap();
    assert_eq!(names(journal.set_at(entry.number)), "quiet quieter");
    // Even when the newer file is gone altogether.
    fs::remove_file(&newer).unwrap();
    let next = open(&directory);
    assert!(load(&next, "next", 1).number > 500);
}

/// The system may give the newer file the number of one that is gone.
#[test]
fn a_file_is_known_by_what_stands_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (ours, theirs) = (open(&directory), open(&elsewhere));
    load(&ours, "one", 1);
    for number in 0..100 {
        load(&theirs, &format!("plugin-{number}"), 1);
    }
    let longer = fs::read(elsewhere.path().join("history.jsonl")).unwrap();
    fs::write(directory.path().join("history.jsonl"), longer).unwrap();
    let entry = load(&ours, "two", 1);
    assert_eq!(entry.number, 101);
    let journal = History::read(directory.path()).unwrap();
    assert_eq!(names(journal.set_at(entry.number)), "one two");
}

#[test]
fn memory_keeps_ten_thousand_entries_and_every_set_among_them() {
    let history = History::in_memory();
    load(&history, "first", 1);
    load(&history, "second", 1);
    for number in 0..10_100 {
        load(&history, "busy", number % 10);
    }
    let entries = history.entries();
    assert_eq!(entries.len(), 10_000);
    assert_eq!(history.set_at(entries[0].number - 1), None);
    for entry in [&entries[0], &entries[1], &entries[9_999]] {
        assert_eq!(names(history.set_at(entry.number)), "busy first second");
    }
    assert!(history.problem().is_none());
}

/// Bytes that nobody of us wrote.
#[test]
fn a_damaged_file_costs_the_damaged_lines() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("history.jsonl");
    let history = open(&directory);
    for number in 0..20 {
        load(&history, &format!("plugin-{number}"), 1);
    }
    let mut lines = lines(directory.path());
    lines[3] = vec![0; 4096];
    lines[5].truncate(40);
    lines[7] = b"{}".to_vec();
    lines[9] = String::from_utf8(lines[9].clone())
        .unwrap()
        .replace("\"loaded\"", "\"melted\"")
        .into();
    lines[11] = vec![0xff; 300 << 10];
    lines[13] = "[".repeat(100_000).into();
    lines.push(b"null".to_vec());
    fs::write(&file, lines.join(&b'\n')).unwrap();
    let journal = History::read(directory.path()).unwrap();
    // The last one has no end yet.
    assert_eq!((journal.entries().len(), journal.skipped()), (14, 6));
    assert_eq!(load(&history, "next", 1).number, 21);
    assert_eq!(load(&open(&directory), "other", 1).number, 22);
    // The whole of it, be it shorter or longer than before.
    for (size, next) in [(200 << 10, 22), (800 << 10, 23)] {
        fs::write(&file, vec![b'x'; size]).unwrap();
        assert_eq!(load(&history, "next", 1).number, next);
        let other = open(&directory);
        assert_eq!(load(&other, "other", 1).number, next + 1);
        let journal = History::read(directory.path()).unwrap();
        assert_eq!((journal.entries().len(), journal.skipped()), (2, 1));
        // This host knows what the file does not.
        assert_eq!(journal.set_at(next).unwrap().len(), 21);
    }
}

#[test]
fn only_a_regular_file_is_written_to() {
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    for what in ["link", "fifo", "directory", "lock"] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("history.jsonl");
        match what {
            "link" => symlink(elsewhere.path(), &file).unwrap(),
            "fifo" => mknodat(CWD, &file, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap(),
            "directory" => fs::create_dir(&file).unwrap(),
            _ => symlink(elsewhere.path(), directory.path().join("history.lock")).unwrap(),
        }
        let history = open(&directory);
        load(&history, "one", 1);
        assert_eq!(
            history.problem().unwrap().code(),
            "history.unwritable",
            "{what}"
        );
        assert_eq!(history.entries().len(), 1);
        assert_eq!(
            History::read(directory.path()).is_ok(),
            what == "lock",
            "{what}"
        );
    }
    assert_eq!(elsewhere.as_file().metadata().unwrap().len(), 0);
}

/// The holder may be a process that was stopped.
#[test]
fn a_lock_that_is_never_given_back_holds_up_one_load() {
    let directory = tempfile::tempdir().unwrap();
    let lock = File::create(directory.path().join("history.lock")).unwrap();
    lock.lock().unwrap();
    let history = open(&directory);
    load(&history, "one", 1);
    let problem = history.problem().unwrap();
    let cause = std::error::Error::source(&*problem).unwrap().to_string();
    assert!(
        cause.contains("another process holds `history.lock`"),
        "{cause}"
    );
    let start = Instant::now();
    for number in 0..100 {
        load(&history, &format!("plugin-{number}"), 1);
    }
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    // Nobody needs it to read.
    assert_eq!(History::read(directory.path()).unwrap().entries().len(), 0);
    lock.unlock().unwrap();
    check_recovery(&history, directory.path());
}

#[test]
fn a_directory_that_is_not_there_is_an_error_for_readers() {
    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join("below");
    let error = History::read(&below).unwrap_err();
    assert_eq!(error.code(), "io.not_found");
    assert!(error.to_string().contains("below"));
    assert!(!below.exists());
    let journal = History::read(directory.path()).unwrap();
    assert_eq!((journal.entries().len(), journal.skipped()), (0, 0));
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(History::open(&file).unwrap_err().code(), "io.failed");
}

isolated! {
    /// Whatever a plugin did to the umask.
    fn files_are_private() {
        for mask in [0, 0o777] {
            let directory = tempfile::tempdir().unwrap();
            let history = open(&directory);
            umask(Mode::from_raw_mode(mask));
            load(&history, "one", 1);
            umask(Mode::from_raw_mode(0o022));
            assert!(history.problem().is_none());
            for entry in fs::read_dir(directory.path()).unwrap() {
                let file = entry.unwrap();
                let mode = file.metadata().unwrap().permissions().mode() & 0o777;
                assert_eq!(mode, 0o600, "{:?}", file.path());
            }
        }
    }
}

/// Where a log goes in a test.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<u8>>>);

impl Write for Warnings {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(directory: &tempfile::TempDir) -> History {
    History::open(directory.path()).unwrap()
}

fn load(history: &History, plugin: &str, digit: u64) -> Entry {
    history.record(Change::Loaded, Why::Asked, build(plugin, digit), None)
}

fn build(plugin: &str, digit: u64) -> Build {
    Build {
        plugin: PluginName::new(plugin).unwrap(),
        version: semver::Version::new(1, 0, digit),
        digest: digest(digit),
        generation: digit,
        origin: format!("/plugins/{plugin}/lib{plugin}.so").into(),
    }
}

fn revision(version: &str, digit: u64) -> Revision {
    Revision {
        version: version.parse().unwrap(),
        digest: digest(digit),
    }
}

fn digest(digit: u64) -> Digest {
    Digest::of(&digit.to_ne_bytes())
}

fn read(journal: &Journal) -> Vec<Entry> {
    journal.entries().cloned().collect()
}

fn names(set: Option<Set>) -> String {
    let set = set.unwrap();
    let names: Vec<_> = set.keys().map(PluginName::as_str).collect();
    names.join(" ")
}

fn lines(directory: &Path) -> Vec<Vec<u8>> {
    let file = fs::read(directory.join("history.jsonl")).unwrap();
    let file = file.strip_suffix(b"\n").unwrap();
    file.split(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}
