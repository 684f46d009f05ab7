//! Replacing and unloading plugins while they are called: what answers at each moment, and what becomes
//! of the code that was replaced.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use plg_host::{
    Cancel, Context, Error, Handle, Host, Limits, Reason, Unloaded, UpgradeOptions, Value,
};
use plg_tests::{child, isolated};
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::subscriber::DefaultGuard;

use crate::support::plugins::{host, loaded, named, number, refused, with_header};
use crate::support::{Variant, stamped, stamped_bytes, wait_until};

const GOOD: &str = "fixture-good";

/// The fixture in as many builds as a test wants, in a directory of the test's own.
struct Builds(tempfile::TempDir);

impl Builds {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory can be made"))
    }

    fn build(&self, number: u64) -> PathBuf {
        self.of(Variant::Debug, number)
    }

    fn of(&self, variant: Variant, number: u64) -> PathBuf {
        stamped(self.0.path(), variant, number)
    }

    /// A directory with build `number` and a manifest of this version.
    fn versioned(&self, version: &str, number: u64) -> PathBuf {
        let directory = self.0.path().join(format!("v{version}-{number}"));
        fs::create_dir(&directory).expect("a directory can be made");
        let manifest = format!(r#"{{"name":"{GOOD}","version":"{version}"}}"#);
        fs::write(directory.join("plugin.json"), manifest).expect("a manifest can be written");
        let bytes = stamped_bytes(Variant::Debug, number);
        let library = directory.join("libfixture_good.so");
        fs::write(library, bytes).expect("a library can be written");
        directory
    }
}

fn build_of(good: &Handle) -> i64 {
    number(good, "build")
}

/// A host that gives up soon, for tests in which something never ends.
fn hasty() -> Host {
    let limits = Limits {
        drain: Duration::from_millis(20),
        stop: Duration::from_millis(50),
        ..Limits::default()
    };
    let host = Host::builder().limits(limits).build();
    host.expect("a host can be made")
}

/// A host that waits longer than any test should take.
fn patient() -> Host {
    let limits = Limits {
        drain: Duration::from_secs(100),
        stop: Duration::from_secs(100),
        ..Limits::default()
    };
    let host = Host::builder().limits(limits).build();
    host.expect("a host can be made")
}

/// What no test takes unless something waits that should not.
const LONG: Duration = Duration::from_secs(50);

/// What was kept goes, once threads that are on their way out elsewhere in this process are gone.
fn goes(host: &Host) {
    wait_until("what was kept to be unmapped", || {
        host.sweep();
        host.census().retained == 0
    });
}

/// A call that naps until it is woken, on a thread of its own.
struct Napper {
    cancel: Cancel,
    thread: thread::JoinHandle<Option<Value>>,
}

impl Napper {
    /// Returns once the call is inside the plugin.
    fn start(good: &Handle) -> Self {
        let (cancel, good) = (Cancel::new(), good.clone());
        let before = calls(&good, "nap");
        let (napping, given) = (good.clone(), cancel.clone());
        let thread = thread::spawn(move || {
            let ctx = Context::new().cancelled_by(&given);
            let mut ctx = ctx.with("ms", 600_000).with("gentle", true);
            napping.call("nap", &mut ctx).expect("it wakes gently");
            ctx.remove("build")
        });
        // It is counted after it has entered.
        wait_until("the nap to begin", || calls(&good, "nap") > before);
        Self { cancel, thread }
    }

    /// Ends the call, which answers with the build that it ran in.
    fn wake(self) -> Option<Value> {
        self.cancel.cancel();
        self.thread.join().expect("the caller ends well")
    }
}

fn calls(good: &Handle, label: &str) -> u64 {
    let labels = good.snapshot().labels;
    let labels = labels.iter().filter(|counted| counted.label == label);
    labels.map(|label| label.calls).sum()
}

/// Row 97.
#[test]
fn new_calls_run_in_the_new_build_while_old_ones_end_in_the_old_one() {
    let (host, builds) = (patient(), Builds::new());
    let good = host.load(builds.build(1)).unwrap();
    let nappers: Vec<_> = (0..4).map(|_| Napper::start(&good)).collect();
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| host.upgrade(GOOD, builds.build(2)).unwrap());
        wait_until("the new build", || good.generation() == Some(2));
        assert_eq!(build_of(&good), 2);
        for napper in nappers {
            assert!(!upgrade.is_finished());
            assert_eq!(build_of(&good), 2);
            assert_eq!(napper.wake(), Some(Value::from(1)));
        }
        assert_eq!(upgrade.join().unwrap().retired, Unloaded::Unmapped);
    });
}

/// Row 97.
#[test]
fn what_is_not_drained_in_time_is_kept_whole_and_unmapped_later() {
    let (host, builds) = (hasty(), Builds::new());
    let good = host.load(builds.build(1)).unwrap();
    let napper = Napper::start(&good);
    let kept = |calls| Unloaded::Retained {
        reason: Reason::Calls(calls),
    };
    let upgraded = host.upgrade(GOOD, builds.build(2)).unwrap();
    assert_eq!(upgraded.retired, kept(1));
    assert_eq!(build_of(&good), 2);

    let swept = host.sweep();
    assert_eq!(swept.len(), 1);
    assert_eq!((swept[0].0.as_str(), swept[0].1), (GOOD, 1));
    assert_eq!(swept[0].2, kept(1));
    let snapshot = good.snapshot();
    assert_eq!(snapshot.retained.len(), 1);
    assert_eq!(snapshot.retained[0].generation, 1);
    assert_eq!(snapshot.retained[0].reason, Reason::Calls(1));
    assert!(snapshot.retained[0].mapped_bytes > 0);

    assert_eq!(napper.wake(), Some(Value::from(1)));
    goes(&host);
    assert_eq!(host.sweep(), []);
    assert_eq!(good.snapshot().retained, []);
}

/// Row 97: the call that outlives an unload's patience still ends in its own build.
#[test]
fn a_call_in_a_kept_build_ends_as_if_nothing_had_happened() {
    let (host, builds) = (hasty(), Builds::new());
    let good = host.load(builds.build(1)).unwrap();
    let napper = Napper::start(&good);
    let unloaded = host.unload(GOOD).unwrap();
    let reason = Reason::Calls(1);
    assert_eq!(unloaded, Unloaded::Retained { reason });
    let refusal = good.call("build", &mut Context::new());
    refused(refusal, "plugin.unloaded");
    // Another build may answer by then.
    host.load(builds.build(2)).unwrap();
    assert_eq!(build_of(&good), 2);
    assert_eq!(napper.wake(), Some(Value::from(1)));
    goes(&host);
    assert_eq!(build_of(&good), 2);
}

/// Row 99: one fixture per stage, and the old build answers throughout.
#[test]
fn an_upgrade_that_fails_at_any_stage_leaves_the_old_build_answering() {
    let (host, builds) = (host(), Builds::new());
    let good = host.load(builds.build(1)).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = builds.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let whole = stamped_bytes(Variant::Debug, 2);
    let mut foreign = whole.clone();
    let note = foreign
        .windows(8)
        .position(|window| window == b"plgnote1")
        .unwrap();
    // The fingerprint stands after magic, size and flags.
    foreign[note + 16] ^= 1;
    let attempts = [
        (builds.0.path().join("missing.so"), "io.not_found"),
        (write("empty.so", b""), "native.format"),
        (write("text.so", b"this is no library"), "native.format"),
        (
            write("half.so", &whole[..whole.len() / 2]),
            "native.corrupt",
        ),
        (write("foreign.so", &foreign), "abi.mismatch"),
        (builds.build(666), "native.init"),
        (builds.build(667), "native.init"),
        (named("other", 1), "upgrade.other_plugin"),
        (
            write("old.so", &stamped_bytes(Variant::Abort, 3)),
            "native.panic_abort",
        ),
    ];
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let caller = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                assert_eq!(build_of(&good), 1);
            }
        });
        for (path, code) in attempts {
            let said = refused(host.upgrade(GOOD, &path), code);
            assert_eq!(build_of(&good), 1, "{said}");
            assert_eq!(good.generation(), Some(1), "{said}");
            assert_eq!(host.census().retained, 0, "{said}");
            assert_eq!(host.census().generations, 1, "{said}");
        }
        over.store(true, Ordering::Relaxed);
        caller.join().unwrap();
    });
    let upgraded = host.upgrade(GOOD, builds.build(2)).unwrap();
    assert_eq!(upgraded.retired, Unloaded::Unmapped);
    assert_eq!(build_of(&good), 2);
}

/// Row 99: what `init` said and how it panicked is in the error.
#[test]
fn a_refusal_to_start_is_passed_on_in_the_plugins_words() {
    let (host, builds) = (host(), Builds::new());
    host.load(builds.build(1)).unwrap();
    let said = refused(host.upgrade(GOOD, builds.build(666)), "native.init");
    assert!(said.contains("build 666 never starts"), "{said}");
    assert!(said.contains("fixture.refused"), "{said}");
    let said = refused(host.upgrade(GOOD, builds.build(667)), "native.init");
    assert!(said.contains("build 667 panics in init"), "{said}");
}

/// Row 101: a thread that lives on had a thread-local with a destructor in the old build.
#[test]
fn a_thread_local_of_a_living_thread_does_not_pin_a_build_with_hooks() {
    let (host, builds) = (host(), Builds::new());
    let good = host.load(builds.build(1)).unwrap();
    let (called, over) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(build_of(&good), 1);
            called.store(true, Ordering::Release);
            wait_until("the end", || over.load(Ordering::Acquire));
        });
        wait_until("the call", || called.load(Ordering::Acquire));
        let upgraded = host.upgrade(GOOD, builds.build(2)).unwrap();
        assert_eq!(upgraded.retired, Unloaded::Unmapped);
        assert_eq!(host.unload(GOOD).unwrap(), Unloaded::Unmapped);
        over.store(true, Ordering::Release);
    });
}

isolated! {
    /// Row 101: without hooks the same build is kept, and the thread ends in code that is whole.
    fn a_build_without_hooks_is_kept() {
        let (host, builds) = (host(), Builds::new());
        let good = host.load(builds.of(Variant::NoHooks, 1)).unwrap();
        thread::scope(|scope| {
            let caller = scope.spawn(|| {
                assert_eq!(build_of(&good), 1);
                let upgraded = host.upgrade(GOOD, builds.of(Variant::NoHooks, 2)).unwrap();
                let reason = Reason::NoHooks;
                assert_eq!(upgraded.retired, Unloaded::Retained { reason });
                assert_eq!(build_of(&good), 2);
            });
            caller.join().unwrap();
        });
        let reason = Reason::NoHooks;
        assert_eq!(host.sweep()[0].2, Unloaded::Retained { reason });
        assert_eq!(build_of(&good), 2);
    }
}

/// Row 102.
#[test]
fn a_plugin_that_ends_its_thread_is_unmapped() {
    let (host, builds) = (host(), Builds::new());
    let good = host.load(builds.build(1)).unwrap();
    for build in 2..6 {
        good.call("thread", &mut Context::new()).unwrap();
        let upgraded = host.upgrade(GOOD, builds.build(build)).unwrap();
        assert_eq!(upgraded.retired, Unloaded::Unmapped);
    }
}

isolated! {
    /// Row 102.
    fn a_plugin_that_leaves_its_thread_running_is_kept() {
        let (host, builds) = (hasty(), Builds::new());
        let good = host.load(builds.build(668)).unwrap();
        good.call("thread", &mut Context::new()).unwrap();
        let kept = Unloaded::Retained { reason: Reason::Threads(1) };
        assert_eq!(host.upgrade(GOOD, builds.build(1)).unwrap().retired, kept);
        assert_eq!(host.sweep()[0].2, kept);
        assert_eq!(build_of(&good), 1);
        let upgraded = host.upgrade(GOOD, builds.build(2)).unwrap();
        assert_eq!(upgraded.retired, Unloaded::Unmapped);
        assert_eq!(host.census().retained, 1);
        assert_eq!(build_of(&good), 2);
    }
}

/// What is kept for good must not make every later upgrade wait for it again.
#[test]
fn kept_builds_do_not_slow_later_upgrades_down() {
    let test = concat!(
        module_path!(),
        "::kept_builds_do_not_slow_later_upgrades_down"
    );
    let ended = child::run(test, &[], || {
        let builds = Builds::new();
        let limits = Limits {
            stop: Duration::from_secs(1),
            ..Limits::default()
        };
        let host = Host::builder().limits(limits).build().unwrap();
        let good = host.load(builds.build(668)).unwrap();
        for _ in 0..3 {
            good.call("thread", &mut Context::new()).unwrap();
            let upgraded = host.upgrade(GOOD, builds.build(668)).unwrap();
            let reason = Reason::Threads(1);
            assert_eq!(upgraded.retired, Unloaded::Retained { reason });
        }
        let start = Instant::now();
        assert_eq!(host.sweep().len(), 3);
        let took = start.elapsed();
        assert!(
            took < Duration::from_millis(2_500),
            "the sweep took {took:?}"
        );
    });
    assert!(ended.status.success(), "{}\n{}", ended.status, ended.output);
}

isolated! {
    /// Row 103: a raw thread of a plugin that does not track it.
    fn a_raw_thread_keeps_its_plugin_whole() {
        let host = host();
        let threads = host.load(with_header("threads.c", &[], &[])).unwrap();
        threads.call("start.thread", &mut Context::new()).unwrap();
        let runs = || number(&threads, "runs");
        wait_until("the thread to run", || runs() > 0);
        let lease = threads.lease().unwrap();
        let kept = |reason| Unloaded::Retained { reason };
        assert_eq!(host.unload("threads").unwrap(), kept(Reason::Leases(1)));
        drop(lease);
        assert_eq!(host.sweep()[0].2, kept(Reason::NoHooks));
        assert_eq!(host.shutdown().unwrap(), []);
        // The thread runs on in code that is whole; a crash would end this process.
        thread::sleep(Duration::from_millis(50));
        assert_eq!(host.census().retained, 1);
    }
}

/// Row 103, must fail: the same thread in a plugin that claims to track what it starts.
#[test]
fn a_raw_thread_of_a_plugin_that_lies_about_its_hooks_crashes_the_process() {
    use std::os::unix::process::ExitStatusExt;

    let test = concat!(
        module_path!(),
        "::a_raw_thread_of_a_plugin_that_lies_about_its_hooks_crashes_the_process"
    );
    let liar = with_header("threads.c", &[], &["FLAGS=PLG_FLAG_UNLOAD_HOOKS"]);
    let ended = child::run(test, &[], || {
        let host = host();
        let threads = host.load(&liar).unwrap();
        threads.call("start.thread", &mut Context::new()).unwrap();
        println!("unloaded: {:?}", host.unload("threads"));
        wait_until("the crash", || false);
    });
    let signal = ended.status.signal();
    assert_eq!(signal, Some(libc::SIGSEGV), "{}", ended.output);
    // It may crash before it can say so.
    assert!(!ended.output.contains("Retained"), "{}", ended.output);
}

/// Row 105: plugins call each other through the host while both are upgraded.
#[test]
fn plugins_that_call_each_other_are_upgraded_meanwhile() {
    let (host, builds) = (host(), Builds::new());
    let good = host.load(builds.of(Variant::Release, 1)).unwrap();
    let others = [named("other", 1), named("other", 2)];
    host.load(&others[0]).unwrap();
    let over = AtomicBool::new(false);
    let forwarded = AtomicU64::new(0);
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let ctx = Context::new().with("plugin", "other");
                    let mut ctx = ctx.with("label", "build");
                    good.call("forward", &mut ctx).unwrap();
                    let outcome = ctx.get("outcome").and_then(Value::as_map).unwrap();
                    assert!(matches!(outcome["build"], Value::I64(1 | 2)));
                    forwarded.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..200 {
            let upgraded = if round % 2 == 0 {
                host.upgrade(GOOD, builds.of(Variant::Release, round + 2))
            } else {
                host.upgrade("other", &others[(round / 2 % 2) as usize])
            };
            assert_eq!(upgraded.unwrap().retired, Unloaded::Unmapped);
            assert!(start.elapsed() < LONG, "round {round}");
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(forwarded.into_inner() > 200);
}

/// Does `change` from inside a call to the plugin, on the thread of the call.
fn from_inside<T: Send + 'static>(
    good: &Handle,
    change: impl Fn() -> T + Send + Sync + 'static,
) -> T {
    let outcome = Arc::new(Mutex::new(None));
    let kept = outcome.clone();
    let ctx = Context::new().on_progress(move |progress| {
        if progress.done == 1 {
            *kept.lock().expect("nobody panics inside") = Some(change());
        }
    });
    let mut ctx = ctx;
    good.call("progress", &mut ctx).expect("the call goes on");
    let outcome = outcome.lock().expect("nobody panics inside").take();
    outcome.expect("progress was reported")
}

/// Row 106.
#[test]
fn a_plugin_can_be_replaced_from_inside_a_call_to_itself() {
    let (host, builds) = (Arc::new(patient()), Builds::new());
    let good = host.load(builds.build(1)).unwrap();
    let next = builds.build(2);
    let start = Instant::now();
    let upgraded = from_inside(&good, {
        let (host, good) = (host.clone(), good.clone());
        move || {
            let upgraded = host.upgrade(GOOD, &next).unwrap();
            // A call from inside the old build's call runs in the new one.
            assert_eq!(build_of(&good), 2);
            upgraded
        }
    });
    // It does not wait for the call that it is part of.
    assert!(start.elapsed() < LONG);
    let reason = Reason::Calls(1);
    assert_eq!(upgraded.retired, Unloaded::Retained { reason });
    assert_eq!(build_of(&good), 2);
    goes(&host);
}

/// Row 106.
#[test]
fn a_plugin_can_be_unloaded_from_inside_a_call_to_itself() {
    let (host, builds) = (Arc::new(patient()), Builds::new());
    let good = host.load(builds.build(1)).unwrap();
    let start = Instant::now();
    let unloaded = from_inside(&good, {
        let host = host.clone();
        move || host.unload(GOOD).unwrap()
    });
    assert!(start.elapsed() < LONG);
    let reason = Reason::Calls(1);
    assert_eq!(unloaded, Unloaded::Retained { reason });
    refused(good.call("build", &mut Context::new()), "plugin.unloaded");
    goes(&host);
    // The call that was inside has left the gate open for the next build.
    host.load(builds.build(2)).unwrap();
    assert_eq!(build_of(&good), 2);
}

/// Row 106: an upgrade from inside a call, while another thread upgrades and waits for that call.
#[test]
fn an_upgrade_from_inside_a_call_that_another_upgrade_waits_for_ends() {
    let limits = Limits {
        drain: Duration::from_millis(300),
        ..Limits::default()
    };
    let host = Arc::new(Host::builder().limits(limits).build().unwrap());
    let builds = Builds::new();
    let good = host.load(builds.build(1)).unwrap();
    let (second, third) = (builds.build(2), builds.build(3));
    let start = Instant::now();
    let (outer, inner) = from_inside(&good, {
        let (host, good) = (host.clone(), good.clone());
        move || {
            thread::scope(|scope| {
                let outer = scope.spawn(|| host.upgrade(GOOD, &second).unwrap());
                wait_until("the other upgrade", || good.generation() == Some(2));
                let inner = host.upgrade(GOOD, &third).unwrap();
                (outer.join().unwrap(), inner)
            })
        }
    });
    assert!(start.elapsed() < LONG);
    let reason = Reason::Calls(1);
    assert_eq!(outer.retired, Unloaded::Retained { reason });
    // Nobody ever called build 2, though the calling thread is inside an older one.
    assert_eq!(inner.generation, 3);
    assert_eq!(build_of(&good), 3);
    goes(&host);
}

/// Runs a function on every line that a plugin logs, on the thread that logs it.
struct Listener<F>(F);

/// The message of an event.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl<F: Fn(&str) + Send + Sync + 'static> tracing::Subscriber for Listener<F> {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "plg::plugin"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        (self.0)(&message.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

isolated! {
    /// Row 106: from what listens to the log, during a call and during `init`.
    fn a_plugin_can_be_changed_by_who_listens_to_its_log_and_not_while_it_starts() {
        let (host, builds) = (Arc::new(host()), Builds::new());
        let [first, second, third] = [1, 2, 3].map(|number| builds.build(number));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let listener = Listener({
            let (host, seen) = (host.clone(), seen.clone());
            move |line: &str| {
                let outcome = match line {
                    "upgrade" => match host.upgrade(GOOD, &third) {
                        Ok(upgraded) => format!("{:?}", upgraded.retired),
                        Err(error) => error.code().to_owned(),
                    },
                    "build 1 is ready" => host.unload(GOOD).unwrap_err().code().to_owned(),
                    "build 2 is ready" => {
                        host.upgrade(GOOD, &third).unwrap_err().code().to_owned()
                    }
                    _ => return,
                };
                seen.lock().unwrap().push(outcome);
            }
        });
        let _guard = tracing::subscriber::set_default(listener);
        let good = host.load(&first).unwrap();
        let upgraded = host.upgrade(GOOD, &second).unwrap();
        assert_eq!(upgraded.retired, Unloaded::Unmapped);
        let mut ctx = Context::new().with("line", "upgrade");
        good.call("log", &mut ctx).unwrap();
        assert_eq!(build_of(&good), 3);
        let expected = ["plugin.busy", "plugin.busy", "Retained { reason: Calls(1) }"];
        assert_eq!(*seen.lock().unwrap(), expected);
        goes(&host);
    }
}

/// Sees whether two builds ever start at once.
fn one_at_a_time(starting: &Arc<AtomicU64>, overlaps: &Arc<AtomicU64>) -> DefaultGuard {
    let (starting, overlaps) = (starting.clone(), overlaps.clone());
    tracing::subscriber::set_default(Listener(move |line: &str| {
        if line.ends_with("is ready") {
            overlaps.fetch_add(starting.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
            // Long enough for another one to come in between.
            thread::sleep(Duration::from_millis(2));
            starting.fetch_sub(1, Ordering::SeqCst);
        }
    }))
}

/// Row 107.
#[test]
fn upgrades_at_once_happen_one_after_the_other() {
    let (host, builds) = (host(), Builds::new());
    let good = host.load(builds.of(Variant::Release, 1)).unwrap();
    let winners = Mutex::new(Vec::new());
    let (starting, overlaps) = (Arc::default(), Arc::default());
    thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (host, builds, winners) = (&host, &builds, &winners);
            let (starting, overlaps) = (&starting, &overlaps);
            scope.spawn(move || {
                let _guard = one_at_a_time(starting, overlaps);
                for round in 0..5 {
                    let build = 100 + thread * 10 + round;
                    let path = builds.of(Variant::Release, build);
                    let upgraded = host.upgrade(GOOD, path).unwrap();
                    assert_eq!(upgraded.retired, Unloaded::Unmapped);
                    winners.lock().unwrap().push((upgraded.generation, build));
                }
            });
        }
    });
    assert_eq!(overlaps.load(Ordering::SeqCst), 0);
    let mut winners = winners.into_inner().unwrap();
    winners.sort_unstable();
    let generations: Vec<u64> = winners.iter().map(|(generation, _)| *generation).collect();
    assert_eq!(generations, (2..=41).collect::<Vec<_>>());
    assert_eq!(good.generation(), Some(41));
    assert_eq!(build_of(&good), winners[39].1.cast_signed());
    assert_eq!(host.census().retained, 0);
}

/// Row 107.
#[test]
fn upgrade_unload_and_load_at_once_leave_one_consistent_state() {
    let (host, builds) = (host(), Builds::new());
    let good = host.load(builds.of(Variant::Release, 1)).unwrap();
    let generations = Mutex::new(BTreeSet::new());
    let paths: Vec<_> = (1..=4).map(|n| builds.of(Variant::Release, n)).collect();
    let code = |error: &Error| error.code();
    thread::scope(|scope| {
        for thread in 0..6_usize {
            let (host, good, generations, paths) = (&host, &good, &generations, &paths);
            scope.spawn(move || {
                for round in 0..20_usize {
                    let path = &paths[(thread + round) % paths.len()];
                    match thread % 3 {
                        0 => match host.upgrade(GOOD, path) {
                            Ok(upgraded) => {
                                let mut generations = generations.lock().unwrap();
                                assert!(generations.insert(upgraded.generation));
                            }
                            Err(error) => assert_eq!(code(&error), "plugin.unloaded"),
                        },
                        1 => match host.unload(GOOD) {
                            Ok(unloaded) => assert_eq!(unloaded, Unloaded::Unmapped),
                            Err(error) => assert_eq!(code(&error), "plugin.unloaded"),
                        },
                        _ => match host.load(path) {
                            Ok(_) => {}
                            Err(error) => assert_eq!(code(&error), "plugin.loaded"),
                        },
                    }
                    match good.call("build", &mut Context::new()) {
                        Ok(()) => {}
                        Err(error) => assert_eq!(code(&error), "plugin.unloaded"),
                    }
                }
            });
        }
    });
    // Whatever came last, the plugin is loaded or not, and either can be changed.
    let census = host.census();
    assert_eq!(census.retained, 0);
    assert_eq!(census.generations, usize::from(good.generation().is_some()));
    let newest = generations.into_inner().unwrap().last().copied();
    if good.generation().is_some() {
        assert_eq!(host.unload(GOOD).unwrap(), Unloaded::Unmapped);
    }
    host.load(&paths[0]).unwrap();
    assert!(good.generation() > newest);
    assert_eq!(build_of(&good), 1);
}

/// Row 109.
#[test]
fn an_older_version_needs_to_be_asked_for() {
    let host = host();
    let version = |version: &str| loaded(&[&format!("VERSION=\"{version}\"")]);
    let plugin = host.load(version("1.2.0")).unwrap();
    let denied = |to: &str| {
        let said = refused(
            host.upgrade("loaded", version(to)),
            "upgrade.rollback_denied",
        );
        assert!(said.contains(to) && said.contains("1.2.0"), "{said}");
        assert_eq!(plugin.generation(), Some(1));
    };
    denied("1.1.9");
    denied("1.2.0-rc.1");
    denied("0.9.0");

    let to = |version: PathBuf| host.upgrade("loaded", version).unwrap().to.to_string();
    assert_eq!(to(version("1.2.0")), "1.2.0");
    assert_eq!(to(version("1.2.0+b")), "1.2.0+b");
    // What stands behind the plus sign says nothing about which is newer.
    assert_eq!(to(version("1.2.0+a")), "1.2.0+a");
    assert_eq!(to(version("1.10.0")), "1.10.0");

    let options = UpgradeOptions {
        allow_downgrade: true,
    };
    let upgraded = host.upgrade_with("loaded", version("1.1.9"), options);
    let upgraded = upgraded.unwrap();
    assert_eq!(upgraded.from.to_string(), "1.10.0");
    assert_eq!(upgraded.to.to_string(), "1.1.9");
    assert_eq!(upgraded.retired, Unloaded::Unmapped);
    assert_eq!(plugin.manifest().unwrap().version.to_string(), "1.1.9");
}

/// Row 109: the version is the manifest's, where a directory has one.
#[test]
fn the_manifest_beside_the_library_says_which_version_it_is() {
    let (host, builds) = (host(), Builds::new());
    let good = host.load(builds.versioned("2.0.0", 1)).unwrap();
    let older = host.upgrade(GOOD, builds.versioned("1.9.9", 2));
    refused(older, "upgrade.rollback_denied");
    // The bare library says 1.0.0 of itself.
    refused(
        host.upgrade(GOOD, builds.build(3)),
        "upgrade.rollback_denied",
    );
    assert_eq!(build_of(&good), 1);
    let upgraded = host.upgrade(GOOD, builds.versioned("2.0.1", 4)).unwrap();
    assert_eq!(upgraded.to.to_string(), "2.0.1");
    assert_eq!(build_of(&good), 4);
}

/// Row 104.
#[test]
fn a_lease_keeps_its_build_and_not_the_next_one_from_answering() {
    let (host, builds) = (patient(), Builds::new());
    let good = host.load(builds.build(1)).unwrap();
    let leases = [good.lease().unwrap(), good.lease().unwrap()];
    assert_eq!(good.snapshot().current.unwrap().leases, 2);
    let start = Instant::now();
    let upgraded = host.upgrade(GOOD, builds.build(2)).unwrap();
    // A lease may be held for long, so nobody waits for it.
    assert!(start.elapsed() < LONG);
    let kept = |reason| Unloaded::Retained { reason };
    assert_eq!(upgraded.retired, kept(Reason::Leases(2)));
    assert_eq!(build_of(&good), 2);

    let [first, second] = leases;
    let mut ctx = Context::new();
    first.call("build", &mut ctx).unwrap();
    assert_eq!(ctx.get("build"), Some(&Value::from(1)));
    assert_eq!((first.generation(), second.generation()), (1, 1));
    let unknown = first.call("no.such.label", &mut ctx);
    refused(unknown, "call.no_route");
    drop(first);
    assert_eq!(host.sweep()[0].2, kept(Reason::Leases(1)));
    // It is callable even when the plugin is not loaded any more.
    assert_eq!(host.unload(GOOD).unwrap(), Unloaded::Unmapped);
    second.call("build", &mut ctx).unwrap();
    assert_eq!(ctx.get("build"), Some(&Value::from(1)));
    refused(good.lease(), "plugin.unloaded");
    drop(second);
    goes(&host);
    assert_eq!(host.census().retained, 0);
}

/// Row 101.
#[test]
fn too_many_kept_builds_ask_for_a_restart() {
    let limits = Limits {
        retained: 2,
        ..Limits::default()
    };
    let host = Host::builder().limits(limits).build().unwrap();
    let builds = Builds::new();
    let good = host.load(builds.build(1)).unwrap();
    let mut leases = Vec::new();
    for build in 2..4 {
        leases.push(good.lease().unwrap());
        host.upgrade(GOOD, builds.build(build)).unwrap();
    }
    let said = refused(host.upgrade(GOOD, builds.build(4)), "upgrade.needs_restart");
    assert!(said.contains("2 retained") && said.contains("restart"));
    assert_eq!(build_of(&good), 3);
    // Once one of them can go, the next upgrade lets it go and works.
    leases.pop();
    wait_until("the next upgrade", || {
        host.upgrade(GOOD, builds.build(4)).is_ok()
    });
    assert_eq!(build_of(&good), 4);
    assert_eq!(host.census().retained, 1);
}

#[test]
fn a_shutdown_says_what_became_of_everything_and_ends_the_host() {
    let (host, builds) = (host(), Builds::new());
    let good = host.load(builds.build(1)).unwrap();
    let other = host.load(named("other", 1)).unwrap();
    let lease = other.lease().unwrap();
    let unloaded = host.shutdown().unwrap();
    let mut report: Vec<_> = unloaded
        .iter()
        .map(|(name, unloaded)| (name.as_str(), *unloaded))
        .collect();
    report.sort_by_key(|(name, _)| *name);
    let reason = Reason::Leases(1);
    let expected = [
        (GOOD, Unloaded::Unmapped),
        ("other", Unloaded::Retained { reason }),
    ];
    assert_eq!(report, expected);
    refused(good.call("build", &mut Context::new()), "plugin.unloaded");
    refused(host.load(builds.build(2)), "host.closed");
    refused(host.upgrade(GOOD, builds.build(2)), "host.closed");
    refused(host.load_all(), "host.closed");
    refused(host.shutdown(), "host.closed");
    drop(lease);
    goes(&host);
}

isolated! {
    /// Handles and leases outlive their host.
    fn dropping_a_host_unloads_everything() {
        let (witness, builds) = (host(), Builds::new());
        let dropped = host();
        let good = dropped.load(builds.build(1)).unwrap();
        let label = good.label("build").unwrap();
        assert_eq!(build_of(&good), 1);
        assert!(witness.census().image_mappings > Some(0));
        drop(dropped);
        assert_eq!(witness.census().image_mappings, Some(0));
        refused(good.call("build", &mut Context::new()), "plugin.unloaded");
        refused(label.call(&mut Context::new()), "plugin.unloaded");
        assert_eq!(good.generation(), None);

        // A lease is a promise that outlives even this; what it holds stays for good then.
        let dropped = host();
        let good = dropped.load(builds.build(2)).unwrap();
        let lease = good.lease().unwrap();
        drop((dropped, good));
        let mut ctx = Context::new();
        lease.call("build", &mut ctx).unwrap();
        assert_eq!(ctx.get("build"), Some(&Value::from(2)));
    }
}

#[test]
fn handles_find_the_plugin_that_was_loaded_again() {
    let (host, builds) = (host(), Builds::new());
    let good = host.load(builds.build(1)).unwrap();
    let label = good.label("build").unwrap();
    assert_eq!(host.unload(GOOD).unwrap(), Unloaded::Unmapped);
    refused(label.call(&mut Context::new()), "plugin.unloaded");
    refused(host.unload(GOOD), "plugin.unloaded");
    refused(host.upgrade(GOOD, builds.build(2)), "plugin.unloaded");
    assert_eq!((good.generation(), good.manifest()), (None, None));
    let again = host.load(builds.build(2)).unwrap();
    for handle in [&good, &again, &host.plugin(GOOD).unwrap()] {
        assert_eq!(build_of(handle), 2);
        assert_eq!(handle.generation(), Some(2));
    }
    let mut ctx = Context::new();
    label.call(&mut ctx).unwrap();
    assert_eq!(ctx.get("build"), Some(&Value::from(2)));
}

/// The bytes of a build are its own: another directory, another name, the same plugin.
#[test]
fn an_upgrade_to_the_bytes_that_answer_is_a_new_generation() {
    let (host, builds) = (host(), Builds::new());
    let good = host.load(builds.build(1)).unwrap();
    good.call("count", &mut Context::new()).unwrap();
    let again: &Path = &builds.build(1);
    let upgraded = host.upgrade(GOOD, again).unwrap();
    assert_eq!(
        (upgraded.generation, upgraded.retired),
        (2, Unloaded::Unmapped)
    );
    let mut ctx = Context::new();
    good.call("count", &mut ctx).unwrap();
    assert_eq!(ctx.get("count"), Some(&Value::from(1)));
}
