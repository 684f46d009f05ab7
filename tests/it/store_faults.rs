//! The store under kills and faults: whatever happens between any two steps, what is in force afterwards is what
//! was before or what was to be.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use plg_host::store::{
    Answer, Bundle, Changed, InstallOptions, Options, Step, Store, StoreError, TrustAll,
};
use plg_tests::{child, isolated};
use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};

use crate::support::bundles::{Sample, install, install_with, installed, name, open};
use crate::support::plugins::{self, named, number};
use crate::support::process::mount_small_disk;
use crate::support::untouched::Untouched;
use crate::support::wait_until;

/// Where the children of a test find the store.
const HOME: &str = "PLG_TEST_STORE";
/// What they do there.
const OPERATION: &str = "PLG_TEST_OPERATION";
/// At which step they end.
const STEP: &str = "PLG_TEST_STEP";

/// What is done to a store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Operation {
    /// Into a store that is not there yet.
    First,
    Install,
    Upgrade,
    /// Of a build that is damaged.
    Mend,
    Undo,
    Remove,
    Collect,
}

const OPERATIONS: [Operation; 7] = [
    Operation::First,
    Operation::Install,
    Operation::Upgrade,
    Operation::Mend,
    Operation::Undo,
    Operation::Remove,
    Operation::Collect,
];

impl Operation {
    /// Makes a store that this can be done to.
    fn prepare(self, home: &Path) {
        let store = open(home);
        if self == Self::First {
            return;
        }
        install(&store, &Sample::new("hello", "0.9.0")).unwrap();
        install(
            &store,
            &Sample::new("hello", "1.0.0").member("assets/a.txt", "a"),
        )
        .unwrap();
        install(&store, &Sample::new("other", "1.0.0")).unwrap();
        if self == Self::Mend {
            let build = store.build(&name("hello")).unwrap();
            fs::write(build.directory.join("assets/a.txt"), "b").unwrap();
        }
    }

    fn run(self, store: &Store, sample: impl Fn(&str, &str) -> Sample) -> Result<(), StoreError> {
        match self {
            Self::First | Self::Install => install(store, &sample("new", "1.0.0")).map(drop),
            Self::Upgrade => install(store, &sample("hello", "1.1.0")).map(drop),
            Self::Mend => install(
                store,
                &Sample::new("hello", "1.0.0").member("assets/a.txt", "a"),
            )
            .map(drop),
            Self::Undo => store.undo(None).map(drop),
            Self::Remove => store.remove(&[name("hello")], false).map(drop),
            Self::Collect => store.gc(0).map(drop),
        }
    }

    /// What is installed before and after.
    fn states(self) -> (&'static [&'static str], &'static [&'static str]) {
        const BOTH: &[&str] = &["hello 1.0.0", "other 1.0.0"];
        match self {
            Self::First => (&[], &["new 1.0.0"]),
            Self::Install => (BOTH, &["hello 1.0.0", "new 1.0.0", "other 1.0.0"]),
            Self::Upgrade => (BOTH, &["hello 1.1.0", "other 1.0.0"]),
            Self::Mend | Self::Collect => (BOTH, BOTH),
            Self::Undo => (BOTH, &["hello 1.0.0"]),
            Self::Remove => (BOTH, &["other 1.0.0"]),
        }
    }
}

/// A directory in memory where there is one: bringing bytes to a disk takes most of the time, and what a process
/// that is killed leaves is the same.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

#[test]
fn a_process_that_is_killed_at_any_step_leaves_what_was_or_what_was_to_be() {
    let test = concat!(
        module_path!(),
        "::a_process_that_is_killed_at_any_step_leaves_what_was_or_what_was_to_be"
    );
    if let Ok(home) = env::var(HOME) {
        child::run(test, &[], || run_and_die(Path::new(&home)));
    }
    let mut seen = BTreeSet::new();
    let next = AtomicUsize::new(0);
    let mut kills = Vec::new();
    for operation in OPERATIONS {
        let steps = steps_of(operation, small);
        seen.extend(steps.iter().copied());
        kills.extend((0..steps.len()).map(|at| (operation, at, steps[at])));
    }
    assert!(kills.len() > 150, "only {}", kills.len());
    let work = || {
        while let Some((operation, at, step)) = kills.get(next.fetch_add(1, Ordering::SeqCst)) {
            let scratch = scratch();
            let home = scratch.path().join("plg");
            operation.prepare(&home);
            let variables = [
                (HOME, home.to_str().unwrap()),
                (OPERATION, &format!("{operation:?}")),
                (STEP, &at.to_string()),
            ];
            let ended = child::run(test, &variables, || unreachable!());
            assert!(
                !ended.status.success(),
                "{operation:?} at {step}: {}",
                ended.output
            );
            assert!(
                ended.output.contains(&format!("dies at {step}")),
                "{}",
                ended.output
            );
            check_after_kill(*operation, &home, &format!("{operation:?} at {step}"));
        }
    };
    thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    // Reading a build is no change, and the others were all met.
    seen.extend([Step::Lease]);
    let missed: Vec<_> = Step::ALL
        .iter()
        .filter(|step| !seen.contains(step))
        .collect();
    assert_eq!(
        missed,
        [&Step::Sweep, &Step::SetSweep],
        "these are of a second process"
    );
}

/// What a second process does after one was killed is a change as well, and it may be killed in turn.
#[test]
fn a_process_that_is_killed_while_it_sweeps_leaves_the_same() {
    let test = concat!(
        module_path!(),
        "::a_process_that_is_killed_while_it_sweeps_leaves_the_same"
    );
    if let Ok(home) = env::var(HOME) {
        child::run(test, &[], || run_and_die(Path::new(&home)));
    }
    let operation = Operation::Upgrade;
    let steps = steps_of(operation, small);
    for first in [Step::Rename, Step::SetFsync, Step::LockRename] {
        let at = steps.iter().position(|step| *step == first).unwrap();
        for second in 0..12 {
            let scratch = scratch();
            let home = scratch.path().join("plg");
            operation.prepare(&home);
            for at in [at, second] {
                let variables = [
                    (HOME, home.to_str().unwrap()),
                    (OPERATION, "Upgrade"),
                    (STEP, &at.to_string()),
                ];
                let ended = child::run(test, &variables, || unreachable!());
                let is_killed = ended.output.contains("dies at");
                assert!(is_killed || ended.status.success(), "{}", ended.output);
            }
            check_after_kill(operation, &home, &format!("{first}, then at step {second}"));
        }
    }
}

/// In a child: does what it is told and ends at the step it is told.
fn run_and_die(home: &Path) {
    let operation = env::var(OPERATION).unwrap();
    let operation = OPERATIONS
        .into_iter()
        .find(|known| format!("{known:?}") == operation)
        .unwrap();
    let at: usize = env::var(STEP).unwrap().parse().unwrap();
    let count = AtomicUsize::new(0);
    let options = Options::new().on_step(move |step, _| {
        if count.fetch_add(1, Ordering::SeqCst) == at {
            say(&format!("dies at {step}"));
            kill_process(getpid(), Signal::KILL).unwrap();
        }
        Answer::Proceed
    });
    let store = Store::open(home, options).unwrap();
    operation.run(&store, small).unwrap();
}

#[expect(clippy::print_stdout, reason = "it is how a child talks to its test")]
fn say(text: &str) {
    println!("{text}");
}

fn small(plugin: &str, version: &str) -> Sample {
    Sample::new(plugin, version).member("assets/deep/a.txt", "a")
}

/// The steps of an operation, one after the other.
fn steps_of(operation: Operation, sample: impl Fn(&str, &str) -> Sample) -> Vec<Step> {
    let scratch = scratch();
    let home = scratch.path().join("plg");
    operation.prepare(&home);
    let (tell, told) = std::sync::mpsc::channel();
    let options = Options::new().on_step(move |step, _| {
        tell.send(step).unwrap();
        Answer::Proceed
    });
    let store = Store::open(&home, options).unwrap();
    operation.run(&store, sample).unwrap();
    drop(store);
    told.iter().collect()
}

#[track_caller]
fn check_after_kill(operation: Operation, home: &Path, what: &str) {
    let (old, new) = operation.states();
    let store = open(home);
    let now = installed(&store);
    assert!(now == old || now == new, "{what}: {now:?}");
    check_builds(operation, &store, what);
    // The next command sweeps what was left, and can do the same again.
    if now == new && operation != Operation::Undo {
        store.gc(100).unwrap();
    }
    if now == old
        || matches!(
            operation,
            Operation::First | Operation::Install | Operation::Upgrade
        )
    {
        let outcome = operation.run(&store, small);
        outcome.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    } else {
        store.gc(100).unwrap();
    }
    assert_eq!(installed(&store), new, "{what}");
    assert_eq!(
        fs::read_dir(home.join("staging")).unwrap().count(),
        0,
        "{what}"
    );
    for plugin in &store.current().unwrap().plugins {
        store.build(&plugin.name).unwrap().check_library().unwrap();
    }
    let numbers: Vec<u64> = store.sets().unwrap().iter().map(|set| set.number).collect();
    let files = fs::read_dir(home.join("sets")).unwrap().count();
    assert_eq!(
        numbers.len(),
        files,
        "{what}: a set that is not in force is left"
    );
}

/// Everything in force can be loaded.
#[track_caller]
fn check_builds(operation: Operation, store: &Store, what: &str) {
    for plugin in &store.current().unwrap().plugins {
        let is_damaged = operation == Operation::Mend && plugin.name == name("hello");
        let whole = store
            .build(&plugin.name)
            .and_then(|build| build.check_library());
        assert!(whole.is_ok() || is_damaged, "{what}: {whole:?}");
    }
}

/// A fault of the disk.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// One step fails with this error.
    Once(Errno),
    /// A write is short, and the next fails with this error.
    Torn(Errno),
    /// This and every later step fails that needs room.
    Full(Errno),
    /// Nothing works any more.
    Dead,
}

const FAULTS: [Fault; 5] = [
    Fault::Once(Errno::DQUOT),
    Fault::Once(Errno::IO),
    Fault::Torn(Errno::NOSPC),
    Fault::Full(Errno::NOSPC),
    Fault::Dead,
];

impl Fault {
    /// What becomes of the step of this number, counted from the one with the fault.
    fn answer(self, step: Step, after: usize) -> Answer {
        let fail = |error: Errno| Answer::Fail(error.into());
        let frees = matches!(
            step,
            Step::Discard | Step::Sweep | Step::GcRemove | Step::SetSweep
        );
        match (self, after) {
            (Self::Once(error), 0) => fail(error),
            (Self::Torn(_), 0) => Answer::Short(3),
            (Self::Torn(error), 1) => fail(error),
            (Self::Full(error), _) if !frees => fail(error),
            (Self::Dead, _) => fail(Errno::IO),
            _ => Answer::Proceed,
        }
    }
}

fn faulty(home: &Path, at: usize, fault: Fault) -> Store {
    let count = AtomicUsize::new(0);
    let options = Options::new().on_step(move |step, _| {
        match count.fetch_add(1, Ordering::SeqCst).checked_sub(at) {
            Some(after) => fault.answer(step, after),
            None => Answer::Proceed,
        }
    });
    Store::open(home, options).unwrap()
}

/// Row 33, for every step of an install of twenty files and of all that can be done to a store.
#[test]
fn a_fault_at_any_step_leaves_everything_as_it_was() {
    let operations = [
        Operation::Install,
        Operation::Upgrade,
        Operation::Undo,
        Operation::Remove,
    ];
    for operation in operations {
        let sample = match operation {
            Operation::Install => Sample::twenty_files,
            _ => small,
        };
        let steps = steps_of(operation, sample);
        let is_large = operation == Operation::Install;
        assert!(!is_large || steps.len() > 80, "only {}", steps.len());
        let scratch = scratch();
        let home = scratch.path().join("plg");
        operation.prepare(&home);
        for (at, step) in steps.iter().enumerate() {
            for fault in FAULTS {
                let what = format!("{operation:?} with {fault:?} at {step}");
                let is_write = step.as_str().ends_with(".write");
                if matches!(fault, Fault::Torn(_)) && !is_write {
                    continue;
                }
                let untouched = Untouched::below(scratch.path());
                let outcome = operation.run(&faulty(&home, at, fault), sample);
                match outcome {
                    Err(error)
                        if matches!(fault, Fault::Dead) || error.code() == "store.unsettled" =>
                    {
                        check_dead(operation, &home, &error, &what)
                    }
                    Err(error) => {
                        assert!(error.code().starts_with("io."), "{what}: {error:?}");
                        untouched.check(&what);
                    }
                    // What is only tidied up is no reason to fail.
                    Ok(()) => {
                        let is_harmless =
                            matches!(step, Step::Discard) || matches!(fault, Fault::Torn(_));
                        assert!(is_harmless, "{what}: nobody noticed");
                    }
                }
                if installed(&open(&home)) != operation.states().0 {
                    fs::remove_dir_all(&home).unwrap();
                    operation.prepare(&home);
                }
            }
        }
        operation.run(&open(&home), sample).unwrap();
        assert_eq!(
            installed(&open(&home)),
            operation.states().1,
            "a retry works"
        );
    }
}

/// Nothing can be tidied up on such a disk; when it is back, everything is old or new.
#[track_caller]
fn check_dead(operation: Operation, home: &Path, error: &StoreError, what: &str) {
    let store = open(home);
    let (old, new) = operation.states();
    let now = installed(&store);
    let expected = if error.code() == "store.unsettled" {
        new
    } else {
        old
    };
    assert_eq!(now, expected, "{what}: {error:?}");
    check_builds(operation, &store, what);
    store.gc(100).unwrap();
    assert_eq!(
        fs::read_dir(home.join("staging")).unwrap().count(),
        0,
        "{what}"
    );
    assert_eq!(installed(&store), now, "{what}");
}

#[test]
fn a_fault_in_a_collection_loses_nothing_that_is_needed() {
    let steps = steps_of(Operation::Collect, small);
    for (at, step) in steps.iter().enumerate() {
        for fault in FAULTS {
            let scratch = scratch();
            let home = scratch.path().join("plg");
            Operation::Collect.prepare(&home);
            let what = format!("{fault:?} at {step}");
            match faulty(&home, at, fault).gc(0) {
                Err(error) => assert!(error.code().starts_with("io."), "{what}: {error:?}"),
                Ok(_) => assert!(matches!(fault, Fault::Torn(_) | Fault::Full(_)), "{what}"),
            }
            let store = open(&home);
            check_builds(Operation::Collect, &store, &what);
            // No set is left whose builds are gone.
            for set in store.sets().unwrap() {
                store
                    .plan_undo(Some(set.number))
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
            }
            store.gc(0).unwrap();
            assert_eq!(
                fs::read_dir(home.join("builds")).unwrap().count(),
                2,
                "{what}"
            );
            assert_eq!(installed(&store), Operation::Collect.states().1);
        }
    }
}

/// Short writes are what a system may do at any time, and no error.
#[test]
fn an_install_in_small_pieces_is_an_install() {
    let scratch = scratch();
    let options = Options::new().on_step(|_, _| Answer::Short(7));
    let store = Store::open(scratch.path().join("plg"), options).unwrap();
    install(&store, &small("hello", "1.0.0")).unwrap();
    store
        .build(&name("hello"))
        .unwrap()
        .check_library()
        .unwrap();
    let nothing = Options::new().on_step(|_, _| Answer::Short(0));
    let store = Store::open(scratch.path().join("plg"), nothing).unwrap();
    let error = install(&store, &small("hello", "1.1.0")).unwrap_err();
    assert_eq!(error.code(), "io.failed");
    assert_eq!(installed(&store), ["hello 1.0.0"]);
}

isolated! {
    fn a_disk_that_is_really_full_is_no_harm() {
        let scratch = scratch();
        let sample = |plugin: &str, version: &str| {
            let noise = (0_u32..60_000).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes());
            Sample::twenty_files(plugin, version).member("assets/noise.bin", noise.collect::<Vec<_>>())
        };
        let (mut full, mut done) = (0, 0);
        for kilobytes in [96, 128, 192, 256, 320, 384, 512, 768, 1024] {
            let disk = scratch.path().join(kilobytes.to_string());
            fs::create_dir(&disk).unwrap();
            if !mount_small_disk(&disk, &format!("size={kilobytes}k,mode=700")) {
                println!("skipped: this system mounts nothing for tests");
                return;
            }
            let home = disk.join("plg");
            install(&open(&home), &Sample::new("hello", "1.0.0")).unwrap();
            let untouched = Untouched::below(&disk).with_process();
            match install(&open(&home), &sample("new", "1.0.0")) {
                Ok(_) => done += 1,
                Err(error) => {
                    assert_eq!(error.code(), "io.failed", "{error:?}");
                    untouched.check(&format!("{kilobytes} KiB"));
                    full += 1;
                }
            }
            // And with no room for anything at all.
            let _ = fs::write(disk.join("ballast"), vec![0; 2 << 20]);
            let untouched = Untouched::below(&disk).with_process();
            let error = install(&open(&home), &sample("more", "1.0.0")).unwrap_err();
            assert_eq!(error.code(), "io.failed", "{error:?}");
            assert_eq!(open(&home).undo(None).unwrap_err().code(), "io.failed");
            untouched.check("no room at all");
            fs::remove_file(disk.join("ballast")).unwrap();
            install(&open(&home), &Sample::new("hello", "1.1.0")).unwrap();
        }
        assert!(full > 0 && done > 0, "{full} full, {done} done");
    }
}

/// Row 170.
#[test]
fn processes_that_install_the_same_bundle_share_the_work() {
    let test = concat!(
        module_path!(),
        "::processes_that_install_the_same_bundle_share_the_work"
    );
    if let Ok(home) = env::var(HOME) {
        child::run(test, &[], || {
            let options = Options::new().on_step(|step, _| {
                if step == Step::Rename {
                    println!("unpacked");
                }
                Answer::Proceed
            });
            let store = Store::open(home, options).unwrap();
            install(&store, &Sample::twenty_files("hello", "1.0.0")).unwrap();
            assert_eq!(installed(&store), ["hello 1.0.0"]);
            println!("installed");
        });
    }
    let scratch = scratch();
    let home = scratch.path().join("plg");
    let variables = [(HOME, home.to_str().unwrap())];
    let run = || child::run(test, &variables, || unreachable!());
    let outputs = thread::scope(|scope| {
        let children: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        let ended = children.into_iter().map(|child| child.join().unwrap());
        ended.map(|ended| ended.output).collect::<String>()
    });
    assert_eq!(outputs.matches("installed").count(), 4, "{outputs}");
    assert_eq!(outputs.matches("unpacked").count(), 1, "{outputs}");
    assert_eq!(open(&home).sets().unwrap().len(), 1);
}

/// Readers take no lock and see the old set or the new one, whole, whatever writers do.
#[test]
fn who_reads_meanwhile_sees_one_set_or_the_other() {
    let scratch = scratch();
    let home = scratch.path().join("plg");
    let store = open(&home);
    install(&store, &small("hello", "1.0.0")).unwrap();
    let over = AtomicUsize::new(0);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while over.load(Ordering::SeqCst) == 0 {
                let [plugin] = &open(&home).current().unwrap().plugins[..] else {
                    panic!("two plugins were never installed");
                };
                assert_eq!(plugin.name, name("hello"));
                open(&home)
                    .build(&name("hello"))
                    .unwrap()
                    .check_library()
                    .unwrap();
                reads += 1;
            }
            reads
        });
        let _over = Over(&over);
        for round in 1..40 {
            install(&store, &small("hello", &format!("1.{round}.0"))).unwrap();
            if round % 3 == 0 {
                store.undo(None).unwrap();
            }
            store.gc(1).unwrap();
        }
        drop(_over);
        assert!(reader.join().unwrap() > 0);
    });
}

struct Over<'a>(&'a AtomicUsize);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(1, Ordering::SeqCst);
    }
}

/// A campaign of as many kills as `PLG_CAMPAIGN` says: at any moment, not only between steps.
#[test]
fn random_kills_leave_a_store_that_goes_on() {
    let test = concat!(module_path!(), "::random_kills_leave_a_store_that_goes_on");
    if let Ok(home) = env::var(HOME) {
        child::run(test, &[], || change_until_death(Path::new(&home)));
    }
    let kills: u64 = env::var("PLG_CAMPAIGN").map_or(10, |kills| kills.parse().unwrap());
    let scratch = scratch();
    let home = scratch.path().join("plg");
    for seed in 0..kills {
        let variables = [(HOME, home.to_str().unwrap()), (STEP, &seed.to_string())];
        let ended = child::run(test, &variables, || unreachable!());
        let what = format!("seed {seed}: {}", ended.output);
        assert!(
            ended.output.contains("begins") && !ended.output.contains("panicked"),
            "{what}"
        );
        let store = open(&home);
        let set = store
            .current()
            .unwrap_or_else(|error| panic!("{what}: {error:?}"));
        for plugin in &set.plugins {
            let whole = store
                .build(&plugin.name)
                .and_then(|build| build.check_library());
            assert!(whole.is_ok(), "{what}: {whole:?}");
        }
        for set in store.sets().unwrap() {
            let whole = store.plan_undo(Some(set.number));
            assert!(whole.is_ok(), "{what}: {whole:?}");
        }
        store.gc(20).unwrap();
        assert_eq!(
            fs::read_dir(home.join("staging")).unwrap().count(),
            0,
            "{what}"
        );
    }
}

/// In a child: one change after the other, until a thread of its own ends it.
fn change_until_death(home: &Path) {
    let seed: u64 = env::var(STEP).unwrap().parse().unwrap();
    let state = Cell::new(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let random = |below: u64| {
        let mut next = state.get();
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        state.set(next);
        next % below
    };
    let (steps, spins) = (random(400) as usize, random(400_000));
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    thread::spawn(move || {
        while seen.load(Ordering::SeqCst) < steps {
            thread::yield_now();
        }
        (0..spins).for_each(|_| std::hint::spin_loop());
        kill_process(getpid(), Signal::KILL).unwrap();
    });
    let options = Options::new().on_step(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        Answer::Proceed
    });
    let store = Store::open(home, options).unwrap();
    say("begins");
    let plugins = ["one", "two", "three"];
    let update = InstallOptions {
        update: true,
        downgrade: true,
        ..InstallOptions::default()
    };
    loop {
        let plugin = plugins[random(3) as usize];
        let outcome = match random(6) {
            0 => store.undo(None).map(drop),
            1 => store.remove(&[name(plugin)], false).map(drop),
            2 => store.gc(random(6) as usize).map(drop),
            _ => {
                let sample = small(plugin, &format!("1.{}.0", random(8)));
                install_with(&store, &sample, &update).map(drop)
            }
        };
        let code = outcome.err().map_or("done", |error| error.code());
        assert!(
            ["done", "store.no_set", "store.not_installed"].contains(&code),
            "{code}"
        );
    }
}

/// The error names the step, and what the system said.
#[test]
fn an_error_of_the_disk_says_where() {
    let scratch = scratch();
    let home = scratch.path().join("plg");
    let fail_at = |wanted: Step| {
        let options = Options::new().on_step(move |step, _| {
            if step == wanted {
                return Answer::Fail(io::ErrorKind::PermissionDenied.into());
            }
            Answer::Proceed
        });
        Store::open(&home, options).unwrap()
    };
    let error = install(&fail_at(Step::LockRename), &small("hello", "1.0.0")).unwrap_err();
    assert_eq!(error.code(), "io.denied");
    assert!(error.to_string().contains("(lock.rename)"), "{error}");
    // Once in force, and neither kept nor taken back: that is said.
    install(&open(&home), &small("hello", "1.0.0")).unwrap();
    let settled = Cell::new(false);
    let dead = std::sync::Mutex::new(settled);
    let options = Options::new().on_step(move |step, _| {
        let dead = dead.lock().unwrap();
        dead.set(dead.get() || step == Step::LockSettle);
        if dead.get() {
            return Answer::Fail(io::ErrorKind::StorageFull.into());
        }
        Answer::Proceed
    });
    let store = Store::open(&home, options).unwrap();
    let error = install(&store, &small("hello", "1.1.0")).unwrap_err();
    assert_eq!(error.code(), "store.unsettled");
    assert_eq!(installed(&open(&home)), ["hello 1.1.0"]);
    open(&home)
        .build(&name("hello"))
        .unwrap()
        .check_library()
        .unwrap();
}

/// What a killed process renamed is seen by everybody, and may be gone after a power failure all the same.
#[test]
fn a_build_that_somebody_else_put_there_is_brought_to_the_disk_first() {
    let scratch = scratch();
    let home = scratch.path().join("plg");
    let sample = small("hello", "1.0.0");
    let is_dead = AtomicBool::new(false);
    let options = Options::new().on_step(move |step, _| {
        is_dead.fetch_or(step == Step::Settle, Ordering::Relaxed);
        match is_dead.load(Ordering::Relaxed) {
            true => Answer::Fail(io::ErrorKind::StorageFull.into()),
            false => Answer::Proceed,
        }
    });
    install(&Store::open(&home, options).unwrap(), &sample).unwrap_err();
    assert_eq!(fs::read_dir(home.join("builds")).unwrap().count(), 1);
    let steps = Arc::new(Mutex::new(Vec::new()));
    let made = steps.clone();
    let options = Options::new().on_step(move |step, _| {
        made.lock().unwrap().push(step);
        Answer::Proceed
    });
    install(&Store::open(&home, options).unwrap(), &sample).unwrap();
    let steps = steps.lock().unwrap();
    let place = |step| steps.iter().position(|made| *made == step);
    assert_eq!(place(Step::Rename), None, "it is there already");
    assert!(place(Step::Settle).unwrap() < place(Step::LockRename).unwrap());
}

/// The lock file was put back and that was not brought to the disk: after a power failure it may be the new one.
#[test]
fn a_set_that_may_be_in_force_after_the_power_failed_has_its_builds() {
    let scratch = scratch();
    let home = scratch.path().join("plg");
    install(&open(&home), &small("hello", "1.0.0")).unwrap();
    let aside = scratch.path().join("aside");
    let (lock, copy) = (home.join("plg.lock"), aside.clone());
    let options = Options::new().on_step(move |step, _| {
        if step != Step::LockSettle {
            return Answer::Proceed;
        }
        if !copy.exists() {
            fs::copy(&lock, &copy).unwrap();
        }
        Answer::Fail(io::ErrorKind::StorageFull.into())
    });
    let store = Store::open(&home, options).unwrap();
    install(&store, &small("hello", "1.1.0")).unwrap_err();
    for (version, other) in [("1.0.0", true), ("1.1.0", false)] {
        assert_eq!(installed(&open(&home)), [format!("hello {version}")]);
        let build = open(&home).build(&name("hello")).unwrap();
        build.check_library().unwrap();
        if other {
            fs::rename(&aside, home.join("plg.lock")).unwrap();
        }
    }
}

/// What a bundle is made of may come slowly, or stop to come.
#[test]
fn a_bundle_that_cannot_be_read_to_its_end_changes_nothing() {
    struct Cut<'a>(&'a [u8], usize);

    impl io::Read for Cut<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.1 == 0 {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            let count = buffer.len().min(self.1).min(97);
            let count = io::Read::read(&mut self.0, &mut buffer[..count])?;
            self.1 -= count;
            Ok(count)
        }
    }

    let scratch = scratch();
    let home: PathBuf = scratch.path().join("plg");
    let store = open(&home);
    install(&store, &small("hello", "1.0.0")).unwrap();
    let untouched = Untouched::below(scratch.path());
    let bytes = Sample::twenty_files("hello", "1.1.0").bytes();
    let attempt = |end: usize| -> Result<Changed, StoreError> {
        let bundle = Bundle::new("net.plg", Cut(&bytes, end));
        store.install(vec![bundle], &InstallOptions::default(), &TrustAll)
    };
    for end in (0..bytes.len()).step_by(bytes.len() / 20) {
        let error = attempt(end).unwrap_err();
        assert_eq!(error.code(), "io.failed", "after {end}: {error:?}");
    }
    untouched.check("a connection that breaks");
    attempt(usize::MAX).unwrap();
    assert_eq!(installed(&store), ["hello 1.1.0"]);
}

isolated! {
    /// P1 to P5 and P7, for every bundle that the reader refuses.
    fn no_hostile_bundle_leaves_anything() {
        let scratch = scratch();
        let home = scratch.path().join("plg");
        let store = open(&home);
        let library = fs::read(named("loaded", 7)).unwrap();
        install(&store, &Sample::new("loaded", "1.0.0").library(library)).unwrap();
        let host = plugins::host();
        let build = store.build(&name("loaded")).unwrap();
        let (library, _) = build.library.clone().unwrap();
        let loaded = host.load(library).unwrap();
        let answer = || assert_eq!(number(&loaded, "build"), 7);
        answer();
        let attempt = |bytes: &[u8]| {
            let bundle = Bundle::new("hostile.plg", bytes);
            let options = InstallOptions { update: true, downgrade: true, ..InstallOptions::default() };
            store.install(vec![bundle], &options, &TrustAll)
        };
        let cases = plg_tests::hostile::cases();
        // What stays for good, such as the buffers of the allocator, is there before it is counted.
        let _ = attempt(&cases[0].bytes);
        let over = AtomicUsize::new(0);
        thread::scope(|scope| {
            let caller = scope.spawn(|| {
                let mut calls = 0;
                while over.load(Ordering::SeqCst) == 0 {
                    answer();
                    calls += 1;
                    // Somebody who calls now and then; the rest of the time is the installer's.
                    thread::park_timeout(Duration::from_micros(500));
                }
                calls
            });
            let end = Over(&over);
            wait_until("somebody calls", || host.census().calling_threads > 1);
            for case in &cases {
                let what = format!("row {}: {}", case.row, case.name);
                let untouched = Untouched::below(scratch.path()).with_process();
                let outcome = attempt(&case.bytes);
                assert_eq!(outcome.map_err(|error| error.code()).err(), Some(case.code), "{what}");
                untouched.check(&what);
            }
            drop(end);
            assert!(caller.join().unwrap() > 0);
        });
        assert!(cases.len() > 1000, "only {}", cases.len());
    }
}
