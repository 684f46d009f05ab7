//! What programs, those that they leave behind, and who listens to the log can do to a host.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use plg_host::control::hosts;
use plg_host::policy::{Level, Policy, Rule};
use plg_host::{Context, Host, Limits, Value};
use plg_tests::isolated;
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::process::{Resource, Rlimit, Signal, kill_process};

use crate::support::lines::Lines;
use crate::support::process::with_signals;
use crate::support::programs::{Programs, exists, failure, host, host_with, pid};
use crate::support::{Variant, library, program, wait_until};

/// Makes directories in each other, so many.
fn nest(place: &Path, depth: usize) {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut directory = openat(CWD, place, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&directory, "d", Mode::RWXU).unwrap();
        directory = openat(&directory, "d", flags, Mode::empty()).unwrap();
    }
}

isolated! {
    /// A program may leave more directories in each other than its host has descriptors, or room on a stack.
    fn what_a_program_left_is_removed_however_deep_it_is() {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};

        let limit = rustix::process::getrlimit(Resource::Nofile);
        let few = Rlimit { current: Some(256), ..limit };
        rustix::process::setrlimit(Resource::Nofile, few).unwrap();
        let [run, elsewhere] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        fs::write(elsewhere.path().join("kept"), "x").unwrap();
        let left = run.path().join("plg-run-left");
        let work = left.join("1/w");
        let mut private = fs::DirBuilder::new();
        private.recursive(true).mode(0o700).create(&work).unwrap();
        fs::write(left.join("lock"), "").unwrap();
        nest(&work, 2_000);
        symlink(elsewhere.path(), work.join("link")).unwrap();
        let closed = work.join("closed");
        fs::create_dir_all(closed.join("inner/more")).unwrap();
        fs::write(closed.join("inner/file"), "x").unwrap();
        for place in ["inner", ""] {
            let none = fs::Permissions::from_mode(0o000);
            fs::set_permissions(closed.join(place), none).unwrap();
        }
        let programs = Programs::new();
        let host = Host::builder().run_dir(run.path());
        let host = host.allow_unsafe_directories(true).build().unwrap();
        pid(&host.load(programs.plugin("helper", &["ok"])).unwrap());
        assert!(!left.exists());
        assert!(elsewhere.path().join("kept").exists());
        drop(host);
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 0);
    }
}

/// A program can put something else in the place of its file before it ends, and nobody waits for that.
#[test]
fn a_program_that_became_a_pipe_is_not_waited_for() {
    let programs = Programs::new();
    let directory = programs.plugin("helper", &["ok"]);
    let limits = Limits {
        back_off: Duration::from_millis(1),
        ..Limits::default()
    };
    let host = host_with(limits);
    let helper = host.load(&directory).unwrap();
    let child = pid(&helper);
    let place = directory.join("bin/helper");
    fs::remove_file(&place).unwrap();
    rustix::fs::mkfifoat(CWD, &place, Mode::RWXU).unwrap();
    kill_process(child, Signal::KILL).unwrap();
    wait_until("its end", || !exists(child));
    let mut context = Context::new().timeout(Duration::from_secs(20));
    let (code, text) = failure(helper.call("echo", &mut context));
    assert_eq!(code, "proc.changed", "{text}");
}

isolated! {
    /// Row 200: calls that are given up take no thread and no descriptor each.
    fn a_program_that_stopped_is_told_by_one_thread_that_calls_were_given_up() {
        let programs = Programs::new();
        let host = host();
        let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
        let child = pid(&helper);
        kill_process(child, Signal::STOP).unwrap();
        for _ in 0..100 {
            let mut context = Context::new().timeout(Duration::from_millis(2));
            assert_eq!(failure(helper.call("echo", &mut context)).0, "call.timeout");
        }
        let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        let tellers = names.filter(|name| name.trim() == "plg-cancel").count();
        assert!(tellers <= 1, "{tellers} threads");
        // It does not say that it is well either.
        wait_until("its end", || !exists(child));
        pid(&helper);
    }
}

isolated! {
    /// Who listens to the log runs on the thread that waits for a program.
    fn a_program_is_waited_for_though_who_listens_to_the_log_panics() {
        for text in ["a plain line", "killed by signal"] {
            let programs = Programs::new();
            tracing::subscriber::with_default(Lines::that_panic_at(text), || {
                let limits = Limits {
                    back_off: Duration::from_millis(1),
                    ..Limits::default()
                };
                let host = host_with(limits);
                let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
                let child = pid(&helper);
                // It may be killed before it has answered.
                let _ = helper.call("stderr", &mut Context::new());
                if text != "a plain line" {
                    kill_process(child, Signal::KILL).unwrap();
                }
                wait_until("nothing is left of it", || !exists(child));
                wait_until("another one", || {
                    let mut context = Context::new().timeout(Duration::from_secs(5));
                    let again = helper.call("pid", &mut context).is_ok();
                    again && context.get("pid") != Some(&Value::I64(i64::from(child.as_raw_nonzero().get())))
                });
            });
        }
    }
}

isolated! {
    /// A signal ends a wait before it is over, as those of a profiler do all the time.
    fn a_deadline_counts_for_a_caller_that_gets_signals_all_the_time() {
        let programs = Programs::new();
        let host = host();
        let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
        let outcome = with_signals(Duration::from_millis(5), || {
            let mut context = Context::new().with("ms", 20_000).timeout(Duration::from_secs(2));
            helper.call("sleep", &mut context)
        });
        assert_eq!(failure(outcome).0, "call.timeout");
    }
}

isolated! {
    /// What the host took out of its process comes back by itself, and what somebody wants there does not.
    fn what_somebody_wants_apart_does_not_come_back_by_itself() {
        let limits = Limits { round: Duration::from_millis(20), ..Limits::default() };
        let policy = Policy::default().promote_after(Duration::from_secs(1));
        let runner = program("fixture-host", Variant::Debug);
        let host = Host::builder().policy(policy).limits(limits).runner(runner);
        let host = host.allow_unsafe_directories(true).build().unwrap();
        let transport = |name: &str| {
            let snapshots = host.snapshots();
            let found = snapshots.iter().find(|found| found.name.as_str() == name);
            found.unwrap().current.as_ref().unwrap().transport
        };
        for name in ["fixture-bad", "fixture-good"] {
            let plugin = host.load(library(name, Variant::Debug)).unwrap();
            for _ in 0..5 {
                let _ = plugin.call("panic", &mut Context::new()).unwrap_err();
            }
            if name == "fixture-good" {
                let mut context = Context::new().with("ms", 600_000).with("stubborn", true);
                context = context.timeout(Duration::from_millis(50));
                let _ = plugin.call("nap", &mut context).unwrap_err();
            }
            wait_until("the move", || transport(name) == "process");
            if name == "fixture-bad" {
                assert_eq!(host.isolate(name).unwrap(), None);
            }
        }
        // It was moved last, and nothing was wrong with the other one for longer.
        wait_until("its return", || transport("fixture-good") == "in-process");
        assert_eq!(transport("fixture-bad"), "process");
        assert!(host.inline("fixture-bad").unwrap().is_some());
        // A thread is still inside.
        std::process::exit(0);
    }
}

#[test]
fn who_asks_byte_by_byte_holds_up_no_other() {
    let run = tempfile::tempdir().unwrap();
    let host = Host::builder().run_dir(run.path()).control(true);
    let _host = host.allow_unsafe_directories(true).build().unwrap();
    let running = hosts(Some(run.path())).remove(0);
    let directory = fs::read_dir(run.path()).unwrap().next().unwrap().unwrap();
    let mut slow = UnixStream::connect(directory.path().join("control")).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) && slow.write_all(b" ").is_ok() {
                thread::sleep(Duration::from_millis(100));
            }
        });
        let report = running.report();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(report.unwrap().plugins, []);
    });
    let mut nothing = Vec::new();
    assert_eq!(slow.read_to_end(&mut nothing).unwrap_or(0), 0);
}

/// The control socket is for the operator: a plugin in a sandbox finds it above its own directory.
#[test]
fn a_plugin_in_a_sandbox_is_not_the_operator() {
    let programs = Programs::new();
    let granted = Rule::new(Level::Sandboxed).grant("network".parse().unwrap());
    for (rule, expected) in [(granted, "silence"), (Rule::new(Level::Isolated), "ok")] {
        let host = Host::builder().policy(Policy::new(rule)).control(true);
        let host = host.allow_unsafe_directories(true).build().unwrap();
        let helper = match host.load(programs.plugin("helper", &["ok"])) {
            Err(error) if error.code() == "proc.sandbox" => continue,
            helper => helper.unwrap(),
        };
        let mut context = Context::new()
            .with("what", "ask")
            .with("at", "../../control");
        helper.call("try", &mut context).unwrap();
        assert_eq!(context.text("outcome"), Some(expected));
        drop(host);
        fs::remove_dir_all(programs.path().join("helper")).unwrap();
    }
}
