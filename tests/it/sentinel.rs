//! What a plugin changes about the process, row 90: it cannot be prevented, and is seen.

use std::fs;
use std::hint::black_box;
use std::io::{stderr, stdin, stdout};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use plg_host::sentinel::{Change, Sentinel, What};
use plg_host::{Context, Handle, Host, Value};
use plg_tests::isolated;
use rustix::io::dup;

use crate::support::plugins::{Baseline, host, loaded, with_header};

const USR1: i32 = 10;
const PIPE: i32 = 13;

isolated! {
    fn each_thing_that_a_plugin_changes_is_seen() {
        let host = host();
        let meddler = meddler(&host);
        meddle(&meddler, "umask", 0o022);
        meddle(&meddler, "directory", "/tmp");
        let open_files = fs::read_to_string("/proc/self/limits").unwrap();
        assert!(!open_files.contains(" 123 "));
        let handler = What::SignalHandler(USR1);
        let cases: [(&str, Value, What, &str, &str); 14] = [
            ("directory", "/usr".into(), What::WorkingDirectory, "`/tmp`", "`/usr`"),
            ("umask", 0o077.into(), What::Umask, "0022", "0077"),
            ("setenv", "one".into(), What::Environment, " variables", ", added `PLG_MEDDLED`"),
            ("setenv", "two".into(), What::Environment, " variables", ", changed `PLG_MEDDLED`"),
            ("unsetenv", Value::Null, What::Environment, " variables", ", removed `PLG_MEDDLED`"),
            ("handle", USR1.into(), handler, "the default", "a handler at 0x"),
            ("flags", USR1.into(), handler, "with flags 0x10000000", "with flags 0x8000000"),
            // Rust ignores it from the start.
            ("default", PIPE.into(), What::SignalHandler(PIPE), "nothing", "the default"),
            ("locale", "C.UTF-8".into(), What::Locale, "`C`", "`C.UTF-8`"),
            ("thread.locale", "C.UTF-8".into(), What::ThreadLocale, "of the process", "its own"),
            ("limit", 123.into(), What::ResourceLimit("nofile"), " of ", "123 of "),
            ("rounding", Value::Null, What::FloatingPoint, "", ""),
            ("stack", Value::Null, What::AlternateStack, " bytes at 0x", "65536 bytes at 0x"),
            ("mask", USR1.into(), What::SignalMask, "0x0000000000000000", "0x0000000000000200"),
        ];
        for (label, value, what, before, after) in cases {
            let changes = changes_of(|| meddle(&meddler, label, value));
            assert_one(&changes, what, before, after);
        }
        let changes = changes_of(|| meddle(&meddler, "nothing", Value::Null));
        assert_eq!(changes, []);
    }
}

isolated! {
    fn a_standard_descriptor_that_is_closed_or_replaced_is_seen() {
        let host = host();
        let meddler = meddler(&host);
        for (number, name) in [(0, "standard input"), (1, "standard output"), (2, "standard error")] {
            // What is printed below needs them.
            let kept = [dup(stdin()).unwrap(), dup(stdout()).unwrap(), dup(stderr()).unwrap()];
            let spare = format!("/proc/self/fd/{}", kept[number as usize].as_raw_fd());
            let closed = changes_of(|| meddle(&meddler, "close", number));
            let opened = changes_of(|| call(&meddler, "replace", number, "/dev/zero"));
            let same = changes_of(|| call(&meddler, "replace", number, "/dev/zero"));
            call(&meddler, "replace", number, &spare);
            assert_one(&closed, What::Descriptor(number), "`", "closed");
            assert_one(&opened, What::Descriptor(number), "closed", "`/dev/zero`");
            assert!(opened[0].to_string().starts_with(name), "{}", opened[0]);
            assert_eq!(same, []);
        }
    }
}

isolated! {
    /// Code runs while a library is loaded, before anybody calls it.
    fn what_a_constructor_changes_is_seen_after_the_load() {
        let host = host();
        let library = loaded(&["CONSTRUCTOR=setenv(\"PLG_MEDDLED\", \"secret\", 1)"]);
        let changes = changes_of(|| drop(host.load(&library).unwrap()));
        assert_one(&changes, What::Environment, "", "added `PLG_MEDDLED`");
    }
}

isolated! {
    fn values_of_variables_are_told_to_nobody() {
        let host = host();
        let meddler = meddler(&host);
        let first = Sentinel::take();
        meddle(&meddler, "setenv", "open sesame");
        let second = Sentinel::take();
        meddle(&meddler, "setenv", "tell nobody");
        let third = Sentinel::take();
        let changes = [first.changes(&second), second.changes(&third)].concat();
        assert_eq!(changes.len(), 2);
        let told = format!("{first:?} {second:?} {third:?} {changes:?} {}", changes[0]);
        for secret in ["sesame", "nobody"] {
            let bytes: Vec<_> = secret.bytes().map(|byte| byte.to_string()).collect();
            assert!(!told.contains(secret));
            assert!(!told.contains(&bytes.join(", ")));
        }
        // Nor that of an entry which is all value.
        let changes = changes_of(|| meddle(&meddler, "nameless", Value::Null));
        assert_one(&changes, What::Environment, "", "added one without a name");
    }
}

isolated! {
    fn a_report_on_many_variables_is_short() {
        let host = host();
        let meddler = meddler(&host);
        let changes = changes_of(|| meddle(&meddler, "many", Value::Null));
        assert_one(&changes, What::Environment, "", "`PLG_MANY_15` and 4 more");
        let changes = changes_of(|| meddle(&meddler, "clearenv", Value::Null));
        assert_one(&changes, What::Environment, "", "0 variables, removed ");
    }
}

isolated! {
    /// An entry may point to memory of a plugin that was unmapped since: who looks for a variable that
    /// is not there crashes on it.
    fn a_variable_whose_memory_is_gone_is_told_and_harms_nobody() {
        let host = host();
        let meddler = meddler(&host);
        let changes = changes_of(|| meddle(&meddler, "dangle", Value::Null));
        assert_one(&changes, What::Environment, "", " and 1 whose memory is gone");
    }
}

isolated! {
    /// C code changes the environment without asking anybody. Whoever walks it meanwhile reads memory
    /// that is gone.
    fn the_environment_may_change_while_it_is_looked_at() {
        let host = host();
        let meddler = meddler(&host);
        meddle(&meddler, "churn", 1);
        let before = Sentinel::take();
        let done = AtomicBool::new(false);
        let mut seen = 0;
        thread::scope(|scope| {
            scope.spawn(|| {
                meddle(&meddler, "churn", 2000);
                done.store(true, Ordering::SeqCst);
            });
            while !done.load(Ordering::SeqCst) {
                let changes = before.changes(&Sentinel::take());
                assert!(changes.iter().all(|change| change.what == What::Environment));
                seen += 1;
            }
        });
        assert!(seen > 10, "only {seen} looks");
        assert_eq!(before.changes(&Sentinel::take()), []);
    }
}

isolated! {
    /// The umask has no call that only asks; a file that is made meanwhile would get the wrong mode.
    fn taking_one_changes_nothing() {
        let host = host();
        let meddler = meddler(&host);
        meddle(&meddler, "umask", 0o027);
        let directory = tempfile::tempdir().unwrap();
        let first = Sentinel::take();
        let before = Baseline::after(&host, || drop(Sentinel::take()));
        let done = AtomicBool::new(false);
        let mut changes = Vec::new();
        let modes = thread::scope(|scope| {
            let files = scope.spawn(|| {
                let mut modes = Vec::new();
                while !done.load(Ordering::SeqCst) {
                    modes.push(mode_of_new_file(directory.path()));
                }
                modes
            });
            for _ in 0..2000 {
                // A calculation that is not exact leaves a flag behind in the processor.
                black_box(black_box(1.0_f64) / black_box(3.0));
                changes.extend(first.changes(&Sentinel::take()));
            }
            done.store(true, Ordering::SeqCst);
            files.join().unwrap()
        });
        assert_eq!(changes, []);
        assert!(modes.iter().all(|mode| *mode == 0o640), "{modes:?}");
        before.check(&host);
    }
}

isolated! {
    /// What only others did to the names is no change of the process.
    fn a_renamed_directory_or_log_is_no_change() {
        let host = host();
        let meddler = meddler(&host);
        let directory = tempfile::tempdir().unwrap();
        let (here, there) = (directory.path().join("here"), directory.path().join("there"));
        fs::create_dir(&here).unwrap();
        fs::write(here.join("log"), "").unwrap();
        let error = dup(stderr()).unwrap();
        call(&meddler, "replace", 2, here.join("log").to_str().unwrap());
        meddle(&meddler, "directory", here.to_str().unwrap());
        let changes = changes_of(|| {
            fs::rename(here.join("log"), here.join("log.1")).unwrap();
            fs::rename(&here, &there).unwrap();
        });
        meddle(&meddler, "directory", "/");
        call(&meddler, "replace", 2, &format!("/proc/self/fd/{}", error.as_raw_fd()));
        assert_eq!(changes, []);
    }
}

/// Each has a signal stack of its own.
#[test]
fn what_belongs_to_threads_is_compared_on_one_thread_alone() {
    let here = Sentinel::take();
    let there = thread::spawn(Sentinel::take).join().unwrap();
    let ours = |change: &Change| {
        matches!(
            change.what,
            What::AlternateStack | What::SignalMask | What::FloatingPoint | What::ThreadLocale
        )
    };
    assert!(!here.changes(&there).iter().any(ours));
}

fn meddler(host: &Host) -> Handle {
    let library = with_header("meddler.c", &["-lm"], &[]);
    host.load(library).expect("the fixture loads")
}

fn meddle(meddler: &Handle, label: &str, value: impl Into<Value>) {
    let value = value.into();
    let key = if value.as_i64().is_some() {
        "number"
    } else {
        "text"
    };
    let mut ctx = Context::new().with(key, value);
    meddler.call(label, &mut ctx).expect(label);
}

fn call(meddler: &Handle, label: &str, number: i32, text: &str) {
    let mut ctx = Context::new().with("number", number).with("text", text);
    meddler.call(label, &mut ctx).expect(label);
}

fn changes_of(meddle: impl FnOnce()) -> Vec<Change> {
    let before = Sentinel::take();
    meddle();
    before.changes(&Sentinel::take())
}

#[track_caller]
fn assert_one(changes: &[Change], what: What, before: &str, after: &str) {
    let [change] = changes else {
        panic!("expected one change, of {what}: {changes:?}");
    };
    assert_eq!(change.what, what);
    assert!(change.before.contains(before), "{change}");
    assert!(change.after.contains(after), "{change}");
    assert_eq!(change.code(), "host.state_changed");
    assert!(change.to_string().contains(" changed from "), "{change}");
}

fn mode_of_new_file(directory: &Path) -> u32 {
    let path = directory.join("file");
    fs::write(&path, "").unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    fs::remove_file(&path).unwrap();
    mode & 0o777
}
