//! Calls: how they fail, how they end early, and what is counted and told of them.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use plg_host::{Cancel, Context, Error, Handle, Host, LabelSnapshot, Limits, SAMPLED, Value};
use plg_tests::{child, isolated};

use crate::support::lines::Lines;
use crate::support::plugins::{bad, good, host, loaded, number, refused};
use crate::support::{Variant, library, stamped_bytes, wait_until};

fn fails(plugin: &Handle, label: &str, code: &str) -> String {
    refused(plugin.call(label, &mut Context::new()), code)
}

fn counted(plugin: &Handle, label: &str) -> LabelSnapshot {
    let labels = plugin.snapshot().labels;
    let mut labels = labels.into_iter();
    let found = labels.find(|counted| counted.label == label);
    found.expect("the label is counted")
}

isolated! {
    /// Row 76.
    fn a_plugin_that_panics_again_and_again_goes_on_and_leaves_nothing() {
        let host = host();
        let bad = bad(&host);
        let panic = || {
            let said = fails(&bad, "panic", "call.panicked");
            assert!(said.contains("deliberate panic"), "{said}");
            assert!(said.contains("fixtures/bad/src/lib.rs:"), "{said}");
        };
        (0..100).for_each(|_| panic());
        let before = host.census();
        (0..100_000).for_each(|_| panic());
        bad.call("fine", &mut Context::new()).unwrap();
        assert_eq!(host.census(), before);
        let counts = counted(&bad, "*");
        assert_eq!((counts.calls, counts.failures), (100_101, 100_100));
    }
}

/// Row 78.
#[test]
fn a_panic_of_any_kind_is_caught() {
    let host = host();
    let bad = bad(&host);
    for label in ["panic.payload", "panic.drop", "panic.value"] {
        let said = fails(&bad, label, "call.panicked");
        assert!(said.contains("a payload that is not text at"), "{said}");
        assert!(said.contains("fixtures/bad/src/lib.rs:"), "{said}");
        let mut ctx = Context::new();
        bad.call("fine", &mut ctx).unwrap();
        assert_eq!(ctx.get("fine"), Some(&Value::from(true)));
    }
}

/// A value that the plugin set before it panicked, or failed, is there: the call is not undone.
#[test]
fn a_failure_of_the_plugin_carries_its_code_and_message() {
    let host = host();
    let bad = bad(&host);
    let mut ctx = Context::new();
    let Err(Error::Call(error)) = bad.call("fail", &mut ctx) else {
        panic!("the label fails");
    };
    assert_eq!(error.code(), "call.failed");
    assert_eq!(error.plugin_code(), Some("fixture.failed"));
    assert_eq!(
        error.to_string(),
        "`fail` of `fixture-bad` failed: as it was told (fixture.failed)"
    );
    let said = fails(&bad, "silent", "call.failed");
    assert!(said.contains("`silent` of `fixture-bad`"), "{said}");
}

/// Calls `label` in a child, which prints a line if it gets past the call.
#[expect(
    clippy::print_stdout,
    reason = "it is how the child tells that it got past the call"
)]
fn alone(test: &str, label: &str) -> child::Ended {
    let ended = child::run(test, &[], || {
        let outcome = bad(&host()).call(label, &mut Context::new());
        println!("the host goes on: {outcome:?}");
    });
    assert!(
        !ended.output.contains("the host goes on"),
        "{}",
        ended.output
    );
    ended
}

/// Defines a test that calls a label in a child and expects the child to die of one of these signals.
macro_rules! dies_of {
    ($($(#[$meta:meta])* $name:ident: $label:literal => $($signal:ident)|+;)*) => {
        $($(#[$meta])*
        #[test]
        fn $name() {
            let ended = alone(concat!(module_path!(), "::", stringify!($name)), $label);
            let signal = ended.status.signal();
            assert!(
                matches!(signal, Some($(libc::$signal)|+)),
                "{}\n{}",
                ended.status,
                ended.output
            );
        })*
    };
}

// What no host can prevent in process.
dies_of! {
    /// Row 77: a panic that would leave a C function ends the process there.
    a_panic_in_a_c_function_ends_the_process: "panic.raw" => SIGABRT;
    /// Row 78.
    a_panic_while_panicking_ends_the_process: "panic.twice" => SIGABRT;
    /// Row 79.
    an_abort_ends_the_process: "abort" => SIGABRT;
    /// Row 79.
    a_segmentation_fault_ends_the_process: "segv" => SIGSEGV;
    /// Row 79: the host's std tells an overflow from a wild pointer, on threads that it started.
    a_stack_overflow_ends_the_process: "overflow" => SIGABRT | SIGSEGV;
}

/// Row 80: today the process ends as the plugin says, without a word.
#[test]
fn an_exit_ends_the_process_with_its_status() {
    let test = concat!(module_path!(), "::an_exit_ends_the_process_with_its_status");
    let ended = alone(test, "exit");
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
}

/// Row 88.
#[test]
fn calls_nest_as_deep_as_the_limit() {
    let host = host();
    let good = good(&host);
    let descend = |depth: i64| {
        let ctx = Context::new().with("plugin", "fixture-good");
        let mut ctx = ctx.with("depth", depth);
        good.call("descend", &mut ctx)?;
        Ok(ctx.get("bottom").and_then(Value::as_bool))
    };
    // The first call is the first of 32.
    assert_eq!(descend(31).unwrap(), Some(true));
    for depth in [32, 10_000] {
        let said = refused(descend(depth), "call.depth");
        assert!(said.contains("32"), "{said}");
    }
    assert_eq!(descend(31).unwrap(), Some(true));

    let limits = Limits {
        depth: 3,
        ..Limits::default()
    };
    let shallow = Host::builder().limits(limits).build().unwrap();
    let good = self::good(&shallow);
    let mut ctx = Context::new().with("plugin", "fixture-good");
    ctx.set("depth", 2);
    good.call("descend", &mut ctx).unwrap();
    ctx.set("depth", 3);
    refused(good.call("descend", &mut ctx), "call.depth");
}

/// A build of the fixture under another name of the same length.
fn renamed(directory: &tempfile::TempDir, name: &str) -> PathBuf {
    let mut bytes = stamped_bytes(Variant::Debug, 1);
    let magic = |window: &[u8]| window == b"plgnote1";
    let note = bytes.windows(8).position(magic).expect("there is a note");
    // The name stands after the numbers of the note.
    let place = note + 32;
    assert_eq!(&bytes[place..place + 12], b"fixture-good");
    bytes[place..place + 12].copy_from_slice(name.as_bytes());
    let path = directory.path().join(format!("{name}.so"));
    fs::write(&path, bytes).expect("the copy can be written");
    path
}

/// Row 89.
#[test]
fn plugins_that_call_each_other_from_many_threads_wait_for_nobody() {
    let host = host();
    let directory = tempfile::tempdir().unwrap();
    let good = good(&host);
    host.load(renamed(&directory, "fixture-twin")).unwrap();
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let path = "fixture-twin fixture-good ".repeat(5) + ".";
                    let mut ctx = Context::new().with("path", path);
                    good.call("relay", &mut ctx).unwrap();
                    assert_eq!(ctx.get("steps"), Some(&Value::from(11)));
                }
            });
        }
    });
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(counted(&good, "relay").calls, 64 * 20 * 6);
    let twin = host.plugin("fixture-twin").unwrap();
    assert_eq!(counted(&twin, "relay").calls, 64 * 20 * 5);
}

/// What goes wrong in a nested call is the error of the outer one, unless that does something about it.
#[test]
fn errors_of_nested_calls_keep_their_meaning() {
    let host = host();
    let good = good(&host);
    bad(&host);
    let forward = |plugin: &str, label: &str| {
        let ctx = Context::new().with("plugin", plugin);
        good.call("forward", &mut ctx.with("label", label))
    };
    let said = refused(forward("fixture-bad", "panic"), "call.panicked");
    assert!(said.contains("deliberate panic"), "{said}");
    let said = refused(forward("fixture-bad", "fail"), "call.failed");
    assert!(said.contains("fixture.failed"), "{said}");
    refused(forward("fixture-bad", "no.such"), "call.no_route");
    refused(forward("fixture-good", "no.such"), "call.no_route");
    refused(forward("fixture-bd", "fine"), "plugin.not_found");
    assert_eq!(forward("fixture-bad", "fine").ok(), Some(()));
    let _ = host.unload("fixture-bad").unwrap();
    refused(forward("fixture-bad", "fine"), "plugin.unloaded");
}

/// Row 92.
#[test]
fn labels_that_do_not_exist_have_no_route() {
    let host = host();
    let (good, bad) = (good(&host), bad(&host));
    let huge = "x".repeat(1 << 20);
    let labels = [
        "no.such.label",
        "",
        " ",
        "\0",
        "buil\0d",
        "build\n",
        "BUILD",
        "baubüro",
        "🦀",
        "\u{202e}dliub",
        &huge,
    ];
    for label in labels {
        for plugin in [&good, &bad] {
            let said = fails(plugin, label, "call.no_route");
            assert!(said.len() < 1024, "{} bytes of message", said.len());
        }
        refused(good.label(label), "call.no_route");
        assert_eq!(counted(&good, "build").calls, 0);
    }
    // The plugin that says which labels it has is not even entered.
    assert!(good.snapshot().labels.iter().all(|label| label.calls == 0));
    let said = fails(&good, "biuld", "call.no_route");
    assert!(said.contains("`build`"), "{said}");
}

/// Row 93.
#[test]
fn each_state_of_a_plugin_has_its_own_code() {
    let host = host();
    let mut ctx = Context::new();
    refused(host.plugin("loaded"), "plugin.not_found");
    refused(host.call("loaded", "build", &mut ctx), "plugin.not_found");
    refused(host.unload("loaded"), "plugin.not_found");
    let plugin = host.load(loaded(&[])).unwrap();
    let said = refused(host.plugin("laoded"), "plugin.not_found");
    assert!(said.contains("`loaded`"), "{said}");
    host.call("loaded", "build", &mut ctx).unwrap();
    let _ = host.unload("loaded").unwrap();
    refused(host.call("loaded", "build", &mut ctx), "plugin.unloaded");
    fails(&plugin, "build", "plugin.unloaded");
    // Whether the label exists is a later question.
    fails(&plugin, "no.such.label", "plugin.unloaded");
    host.load(loaded(&[])).unwrap();
    host.call("loaded", "build", &mut ctx).unwrap();
    assert_eq!(number(&plugin, "build"), 1);
    let _ = host.shutdown().unwrap();
    refused(host.call("loaded", "build", &mut ctx), "plugin.unloaded");
}

/// Row 81, for a plugin that looks.
#[test]
fn a_deadline_ends_a_call() {
    let host = host();
    let good = good(&host);
    let start = Instant::now();
    let ctx = Context::new().timeout(Duration::from_millis(30));
    let outcome = good.call("nap", &mut ctx.with("ms", 60_000));
    refused(outcome, "call.timeout");
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert!(start.elapsed() < Duration::from_secs(30));
    // A call that is made meanwhile is under the same deadline.
    let ctx = Context::new().timeout(Duration::from_millis(30));
    let ctx = ctx.with("plugin", "fixture-good").with("label", "nap");
    let outcome = good.call("forward", &mut ctx.with("ms", 60_000));
    refused(outcome, "call.timeout");
    assert!(start.elapsed() < Duration::from_secs(30));
    let counts = counted(&good, "nap");
    assert_eq!((counts.calls, counts.failures), (2, 2));
}

/// Row 82: a call that does not look is not cut off, and what it answers late is its answer.
#[test]
fn a_caller_can_cancel() {
    let host = host();
    let good = good(&host);
    let cancel = Cancel::new();
    thread::scope(|scope| {
        let nap = scope.spawn(|| {
            let ctx = Context::new().cancelled_by(&cancel);
            good.call("nap", &mut ctx.with("ms", 60_000))
        });
        wait_until("the nap to begin", || counted(&good, "nap").calls == 1);
        cancel.cancel();
        refused(nap.join().unwrap(), "call.cancelled");
    });
    // It stays cancelled, for every context it was given to.
    let mut ctx = Context::new().cancelled_by(&cancel);
    refused(good.call("count", &mut ctx), "call.cancelled");
    assert_eq!(number(&good, "count"), 1);
}

/// Row 93: neither the plugin nor its counters see a call that is too late.
#[test]
fn a_call_after_its_deadline_is_not_made() {
    let host = host();
    let good = good(&host);
    assert_eq!(number(&good, "count"), 1);
    let label = good.label("count").unwrap();
    let lease = good.lease().unwrap();
    let mut late = Context::new().deadline(Instant::now());
    refused(good.call("count", &mut late), "call.timeout");
    refused(label.call(&mut late), "call.timeout");
    refused(lease.call("count", &mut late), "call.timeout");
    refused(
        host.call("fixture-good", "count", &mut late),
        "call.timeout",
    );
    assert!(late.is_empty());
    assert_eq!(counted(&good, "count").calls, 1);
    assert_eq!(number(&good, "count"), 2);
    // A new deadline makes the context good again.
    let mut late = late.timeout(Duration::from_secs(60));
    good.call("count", &mut late).unwrap();
}

#[test]
fn progress_arrives_on_the_thread_of_the_call() {
    let host = host();
    let good = good(&host);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    let caller = thread::current().id();
    let ctx = Context::new().on_progress(move |progress| {
        assert_eq!(thread::current().id(), caller);
        let line = format!(
            "{} {} {}/{:?} {}",
            progress.plugin, progress.label, progress.done, progress.total, progress.message
        );
        kept.lock().unwrap().push(line);
    });
    let mut ctx = ctx.with("plugin", "fixture-good").with("label", "progress");
    good.call("progress", &mut ctx).unwrap();
    let expected = (1..=3).map(|done| format!("fixture-good progress {done}/Some(3) step"));
    assert_eq!(*seen.lock().unwrap(), expected.collect::<Vec<_>>());
    // That of calls from plugin to plugin as well.
    good.call("forward", &mut ctx).unwrap();
    assert_eq!(seen.lock().unwrap().len(), 6);
}

/// Row 95: what an app's own code does wrong is no matter of the plugin's.
#[test]
fn a_panic_of_the_one_who_watches_progress_stays_out_of_the_plugin() {
    let host = host();
    let good = good(&host);
    let mut ctx = Context::new().on_progress(|_| panic!("the watcher panics"));
    good.call("progress", &mut ctx).unwrap();
    assert_eq!(number(&good, "build"), 1);
}

isolated! {
    fn log_lines_carry_the_plugin_and_the_label() {
        let lines = Lines::default();
        tracing::subscriber::set_global_default(lines.clone()).unwrap();
        let host = host();
        let good = good(&host);
        let mut ctx = Context::new().with("line", "seven eighths full");
        good.call("log", &mut ctx).unwrap();
        let logged = |line: &str| lines.count(line);
        let line = "WARN plg::plugin message=seven eighths full plugin=fixture-good label=log";
        assert_eq!(logged(line), 1, "{lines:?}");
        let line = "INFO plg::plugin message=build 1 is ready plugin=fixture-good label=";
        assert_eq!(logged(line), 1, "{lines:?}");
        // A line is cut at the limit, and is text whatever the plugin sent.
        ctx.set("line", "ü".repeat(10_000));
        good.call("log", &mut ctx).unwrap();
        let longest = lines.longest();
        assert!(longest < Some((16 << 10) + 200), "{longest:?}");
    }
}

isolated! {
    /// Row 95.
    fn a_subscriber_that_panics_does_not_end_the_process() {
        let lines = Lines::that_panic_at("plugin");
        let host = host();
        let (good, bad) = (good(&host), bad(&host));
        tracing::subscriber::set_global_default(lines.clone()).unwrap();
        good.call("log", &mut Context::new().with("line", "x")).unwrap();
        good.call("progress", &mut Context::new()).unwrap();
        // The host's own words, about a context that is used after its call.
        bad.call("keep", &mut Context::new()).unwrap();
        bad.call("use.kept", &mut Context::new()).unwrap();
        assert_eq!(number(&good, "build"), 1);
    }
}

#[test]
fn every_call_is_counted_and_some_are_timed() {
    let host = host();
    let (good, bad) = (good(&host), bad(&host));
    let (threads, rounds) = (4, 1_000_u64);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let label = good.label("count").unwrap();
                let mut ctx = Context::new();
                for round in 0..rounds {
                    // By name and by handle is the same label.
                    if round % 2 == 0 {
                        label.call(&mut ctx).unwrap();
                    } else {
                        good.call("count", &mut ctx).unwrap();
                    }
                    if round % 10 == 0 {
                        refused(bad.call("fail", &mut ctx), "call.failed");
                        refused(good.call("no.such", &mut ctx), "call.no_route");
                    }
                    if round % 4 == 0 {
                        bad.call("fine", &mut ctx).unwrap();
                    }
                }
            });
        }
    });
    let count = counted(&good, "count");
    assert_eq!((count.calls, count.failures), (threads * rounds, 0));
    // Threads that are gone pass their lane on, so samples depend on who had which.
    let samples = count.latency.samples;
    assert!(samples >= threads * (rounds / SAMPLED) && samples <= threads * rounds / SAMPLED);
    assert!(count.latency.mean <= count.latency.longest);
    assert!(count.latency.median <= count.latency.p99);
    assert!(count.latency.longest > Duration::ZERO);
    assert_eq!(number(&good, "count"), (threads * rounds).cast_signed() + 1);

    // A plugin that does not say which labels it has is counted as one, until one is resolved.
    let all = counted(&bad, "*");
    let (failed, fine) = (threads * rounds / 10, threads * rounds / 4);
    assert_eq!((all.calls, all.failures), (failed + fine, failed));
    bad.label("fine")
        .unwrap()
        .call(&mut Context::new())
        .unwrap();
    bad.call("fine", &mut Context::new()).unwrap();
    assert_eq!(counted(&bad, "fine").calls, 2);
    assert_eq!(counted(&bad, "*").calls, failed + fine);
}

#[test]
fn labels_beyond_the_limit_are_counted_together() {
    let limits = Limits {
        labels: 3,
        ..Limits::default()
    };
    let host = Host::builder().limits(limits).build().unwrap();
    let bad = bad(&host);
    let mut ctx = Context::new();
    let labels = ["fine", "a", "b", "c", "d"].map(|label| bad.label(label).unwrap());
    labels[0].call(&mut ctx).unwrap();
    for label in &labels[1..] {
        refused(label.call(&mut ctx), "call.no_route");
    }
    assert_eq!(counted(&bad, "fine").calls, 1);
    assert_eq!(counted(&bad, "b").calls, 1);
    assert_eq!(counted(&bad, "*").calls, 2);
    assert_eq!(bad.snapshot().labels.len(), 4);
}

#[test]
fn a_snapshot_says_what_is_loaded() {
    let host = host();
    let library = library("fixture-good", Variant::Debug);
    let good = host.load(&library).unwrap();
    bad(&host);
    let before = good.snapshot();
    let current = before.current.as_ref().unwrap();
    let bytes = fs::read(&library).unwrap();
    assert_eq!(before.name.as_str(), "fixture-good");
    assert_eq!((current.number, current.leases), (1, 0));
    assert_eq!(current.version.to_string(), "1.0.0");
    assert_eq!(current.transport, "in-process");
    assert_eq!(current.origin, library);
    assert_eq!(current.digest, Some(plg_host::Digest::of(&bytes)));
    assert_eq!(current.image_bytes, Some(bytes.len() as u64));
    assert!(current.mapped_bytes > 4096);
    assert!(current.loaded_at.elapsed().unwrap() < Duration::from_secs(300));
    assert_eq!(before.retained, []);
    assert!(
        before
            .labels
            .iter()
            .any(|label| label.label == "bench.key8")
    );
    // It is a picture: the plugin goes on, the picture does not change.
    number(&good, "count");
    assert_eq!(counted(&good, "count").calls, 1);
    assert_ne!(before, good.snapshot());
    let names: Vec<_> = host.snapshots().into_iter().map(|one| one.name).collect();
    let names: Vec<_> = names.iter().map(plg_host::PluginName::as_str).collect();
    assert_eq!(names, ["fixture-bad", "fixture-good"]);
    let _ = host.unload("fixture-bad").unwrap();
    assert_eq!(host.snapshots().len(), 1);
}

#[test]
fn two_hosts_of_one_process_know_nothing_of_each_other() {
    let (one, two) = (host(), host());
    let (first, second) = (good(&one), good(&two));
    assert_eq!((number(&first, "count"), number(&first, "count")), (1, 2));
    assert_eq!(number(&second, "count"), 1);
    assert_eq!(counted(&first, "count").calls, 2);
    assert_eq!(counted(&second, "count").calls, 1);
    bad(&two);
    refused(one.plugin("fixture-bad"), "plugin.not_found");
    let ctx = Context::new().with("plugin", "fixture-bad");
    let mut ctx = ctx.with("label", "fine");
    refused(first.call("forward", &mut ctx), "plugin.not_found");
    second.call("forward", &mut ctx).unwrap();
    let _ = one.unload("fixture-good").unwrap();
    fails(&first, "count", "plugin.unloaded");
    assert_eq!(number(&second, "count"), 2);
    drop(one);
    assert_eq!(number(&second, "count"), 3);
}
