//! How plugins that are programs are looked after: health, idle ends, events, what an operator sees, and the end of many.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use plg_host::{
    Context, Event, Events, Handle, Hook, HookOptions, Limits, ProcessSnapshot, Step, Unloaded,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::programs::{Programs, exists, failure, host, host_with, pid, value};
use crate::support::{Over, wait_until};

/// Asked often, so that tests take no minute.
fn impatient() -> Limits {
    Limits {
        probe_every: Duration::from_millis(50),
        probe_timeout: Duration::from_millis(400),
        back_off: Duration::from_millis(1),
        restarts: 1000,
        ..Limits::default()
    }
}

fn process(plugin: &Handle) -> ProcessSnapshot {
    plugin.snapshot().current.unwrap().process.unwrap()
}

/// The next event with that code.
fn next(events: &mut Events, code: &str) -> Event {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let event = events
            .next_within(left)
            .unwrap_or_else(|| panic!("no {code}"));
        if event.code == Some(code) {
            return event;
        }
    }
}

fn count(plugin: &Handle, what: &str) -> i64 {
    value(plugin, "counts", what).unwrap().as_i64().unwrap()
}

/// Row 186: the caller has no deadline, so only the supervisor can end the call.
#[test]
fn a_call_without_a_deadline_ends_when_its_program_was_stopped() {
    let programs = Programs::new();
    let host = host_with(impatient());
    let mut events = host.events();
    let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
    let child = pid(&helper);
    assert!(
        next(&mut events, "proc.started")
            .message
            .contains(&child.to_string())
    );
    let (code, text) = failure(helper.call("stop", &mut Context::new()));
    assert_eq!(code, "call.unavailable");
    for words in [
        "whether the call was made is unknown",
        "/healthz",
        "no answer within",
    ] {
        assert!(text.contains(words), "{text}");
    }
    let told = next(&mut events, "proc.unhealthy");
    assert_eq!((told.step, told.generation), (Step::Notice, Some(1)));
    let ended = next(&mut events, "proc.ended");
    assert!(ended.message.contains("killed by signal 9"), "{ended}");
    assert_ne!(pid(&helper), child);
    let again = next(&mut events, "proc.restarted");
    assert!(again.message.contains("/healthz"), "{again}");
    assert!(!exists(child));
}

/// Row 187: calls are answered, and health is not.
#[test]
fn a_program_that_is_not_well_three_times_in_a_row_is_killed() {
    for answers in ["sick sick sick", "sick silent sick"] {
        let programs = Programs::new();
        let host = host_with(impatient());
        let mut events = host.events();
        let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
        let child = pid(&helper);
        let mut context = Context::new().with("answers", answers);
        helper.call("health", &mut context).unwrap();
        let told = next(&mut events, "proc.unhealthy");
        assert!(told.message.contains("it answered 500"), "{told}");
        wait_until("it is dead", || !exists(child));
        assert_ne!(pid(&helper), child);
    }
}

/// Row 187: health that comes and goes, and calls that hang while health is well.
#[test]
fn a_program_that_is_well_again_or_only_slow_is_left_alone() {
    let programs = Programs::new();
    let host = host_with(impatient());
    let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
    let child = pid(&helper);
    let answers = ["sick sick ok"; 5].join(" ");
    let mut context = Context::new().with("answers", answers.as_str());
    helper.call("health", &mut context).unwrap();
    let before = count(&helper, "asked");
    wait_until("it was asked often", || {
        count(&helper, "asked") > before + 20
    });
    let mut context = Context::new().with("ms", 500);
    helper.call("sleep", &mut context).unwrap();
    assert_eq!(pid(&helper), child);
    let process = process(&helper);
    assert_eq!((process.starts, process.restarts), (1, 0));
}

/// Nobody wakes a program that nobody calls: it does not run at all.
#[test]
fn a_program_that_nobody_calls_is_not_woken() {
    let programs = Programs::new();
    let host = host_with(impatient());
    let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
    let child = pid(&helper);
    let switches = || {
        let tasks = fs::read_dir(format!("/proc/{child}/task"))
            .unwrap()
            .flatten();
        let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).ok();
        let of_all: String = tasks.filter_map(status).collect();
        let lines = of_all.lines().filter(|line| line.contains("ctxt_switches"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut before = switches();
    wait_until("it was asked for the last time, and sleeps", || {
        thread::sleep(Duration::from_millis(300));
        std::mem::replace(&mut before, switches()) == before
    });
}

/// The helper does not end by itself, so the host does it.
#[test]
fn a_program_that_nobody_calls_is_ended_and_the_next_call_starts_another() {
    let programs = Programs::new();
    let host = host();
    let mut events = host.events();
    let helper = host.load(idle(&programs, "helper", "40ms")).unwrap();
    // More often than a program may end badly.
    for _ in 0..7 {
        let child = pid(&helper);
        wait_until("it is ended", || process(&helper).pid.is_none());
        let told = next(&mut events, "proc.ended");
        assert!(told.message.contains("no call for 40ms"), "{told}");
        assert!(!exists(child));
    }
    assert_eq!(process(&helper).starts, 7);
    assert_eq!(host.unload("helper").unwrap(), Unloaded::Unmapped);
}

/// Row 191: calls come when the program is just about to be ended.
#[test]
fn no_call_is_lost_at_the_moment_of_an_idle_end() {
    let rounds = if std::env::var_os("PLG_CAMPAIGN").is_some() {
        10_000
    } else {
        60
    };
    let programs = Programs::new();
    let limits = Limits {
        restarts: usize::MAX,
        ..Limits::default()
    };
    let host = host_with(limits);
    let helper = host.load(idle(&programs, "helper", "10ms")).unwrap();
    let together = Barrier::new(2);
    thread::scope(|scope| {
        for caller in 0..2_u64 {
            let (helper, together) = (&helper, &together);
            scope.spawn(move || {
                for round in 0..rounds {
                    together.wait();
                    pid(helper);
                    // The program is ended 15 ms after the last call.
                    let around = 12_000 + (round * 397 + caller * 517) % 12_000;
                    thread::sleep(Duration::from_micros(around));
                }
            });
        }
    });
    let process = process(&helper);
    assert!(process.starts > 1, "{process:?}");
    assert_eq!(process.in_flight, 0);
}

/// A plugin that the host may end after so long.
fn idle(programs: &Programs, name: &str, timeout: &str) -> PathBuf {
    let directory = programs.plugin(name, &["ok"]);
    let process = json!({ "exec": "bin/helper", "args": ["ok"], "idle_timeout": timeout });
    programs.manifest(name, process);
    directory
}

/// Row 194.
#[test]
fn a_subscriber_that_is_blocked_holds_up_nobody() {
    struct Blocked(mpsc::Receiver<()>);
    impl Hook for Blocked {
        fn after(&mut self, _: &Event) {
            // Until the test is over.
            let _ = self.0.recv();
        }
    }
    let programs = Programs::new();
    let host = host_with(impatient());
    let (release, blocked) = mpsc::channel::<()>();
    let options = HookOptions {
        steps: vec![Step::Notice],
        ..HookOptions::default()
    };
    let subscription = host.subscribe(options, Blocked(blocked)).unwrap();
    // Nobody reads these either.
    let events = host.events();
    let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
    for _ in 0..10 {
        let child = pid(&helper);
        kill_process(child, Signal::KILL).unwrap();
        wait_until("it is dead and waited for", || !exists(child));
    }
    pid(&helper);
    assert_eq!(process(&helper).restarts, 10);
    assert_eq!(events.missed(), 0);
    drop(release);
    drop(subscription);
}

#[test]
fn an_operator_sees_the_process_of_a_plugin() {
    let programs = Programs::new();
    let host = host_with(impatient());
    let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
    let child = pid(&helper);
    let number = u32::try_from(child.as_raw_nonzero().get()).unwrap();
    let seen = process(&helper);
    assert_eq!((seen.pid, seen.starts, seen.restarts), (Some(number), 1, 0));
    assert_eq!((seen.in_flight, seen.last_exit), (0, None));
    assert!(seen.since.is_some_and(|since| since.elapsed().is_ok()));
    assert!(
        seen.rss.is_some_and(|bytes| bytes > 100 << 10),
        "{:?}",
        seen.rss
    );
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut context = Context::new().with("ms", 60_000);
            let (code, text) = failure(helper.call("sleep", &mut context));
            assert_eq!(code, "call.unavailable", "{text}");
        });
        wait_until("the call is inside", || process(&helper).in_flight == 1);
        kill_process(child, Signal::KILL).unwrap();
    });
    // It is seen without a call.
    wait_until("its end is seen", || process(&helper).last_exit.is_some());
    let seen = process(&helper);
    assert_eq!((seen.pid, seen.since, seen.rss), (None, None, None));
    assert!(seen.last_exit.unwrap().contains("killed by signal 9"));
    pid(&helper);
    let seen = process(&helper);
    assert_eq!((seen.starts, seen.restarts), (2, 1));
    let in_process = host.load(crate::support::library(
        "text",
        crate::support::Variant::Debug,
    ));
    let snapshot = in_process.unwrap().snapshot().current.unwrap();
    assert_eq!(snapshot.process, None);
}

/// A program that is given up is told once.
#[test]
fn that_a_program_is_given_up_is_told() {
    let programs = Programs::new();
    let limits = Limits {
        restarts: 2,
        ..impatient()
    };
    let host = host_with(limits);
    let mut events = host.events();
    let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
    for _ in 0..2 {
        let _ = failure(helper.call("kill", &mut Context::new()));
    }
    for _ in 0..3 {
        assert_eq!(
            failure(helper.call("pid", &mut Context::new())).0,
            "proc.failed"
        );
    }
    let told = next(&mut events, "proc.failed");
    assert!(told.message.contains("2 times"), "{told}");
    let more = std::iter::from_fn(|| events.try_next());
    assert_eq!(
        more.filter(|event| event.code == Some("proc.failed"))
            .count(),
        0
    );
}

/// Row 188: one after the other they would take much longer.
#[test]
fn a_host_ends_all_programs_at_the_same_time() {
    let many = if std::env::var_os("PLG_CAMPAIGN").is_some() {
        100
    } else {
        24
    };
    let programs = Programs::new();
    let limits = Limits {
        grace: Duration::from_secs(1),
        ..Limits::default()
    };
    let host = host_with(limits);
    let mut children = Vec::new();
    for number in 0..many {
        let path = programs.plugin(&format!("stays-{number}"), &["ignore_term"]);
        children.push(pid(&host.load(path).unwrap()));
    }
    let start = Instant::now();
    let unloaded = host.shutdown().unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(unloaded.len(), many);
    assert!(
        unloaded
            .iter()
            .all(|(_, unloaded)| *unloaded == Unloaded::Unmapped)
    );
    assert!(!children.into_iter().any(exists));
}

/// Those that need others go first, also when the others are programs that end at once.
#[test]
fn programs_that_need_each_other_are_ended_in_order() {
    let programs = Programs::new();
    let host = host();
    let needs = |name: &str, needed: &[&str]| {
        let directory = programs.plugin(name, &["ok"]);
        let needed: serde_json::Map<_, _> = needed
            .iter()
            .map(|needed| ((*needed).to_owned(), json!("^1")))
            .collect();
        let manifest = json!({
            "name": name,
            "version": "1.0.0",
            "dependencies": needed,
            "process": { "exec": "bin/helper", "args": ["ok"] },
        });
        fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
        directory
    };
    let all = [
        needs("base", &[]),
        needs("left", &["base"]),
        needs("right", &["base"]),
        needs("top", &["left", "right"]),
    ];
    for path in all {
        host.load(path).unwrap();
    }
    let mut events = host.events();
    host.shutdown().unwrap();
    let mut order = Vec::new();
    while let Some(event) = events.try_next() {
        if event.step == Step::Unload {
            order.push(event.plugin.unwrap().to_string());
        }
    }
    order[1..3].sort();
    assert_eq!(order, ["top", "left", "right", "base"]);
}

/// Calls go on while programs are killed, and each gets its answer in the end.
#[test]
fn a_call_that_waits_for_a_start_takes_the_next_program() {
    let programs = Programs::new();
    let host = host_with(impatient());
    let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
    let over = AtomicBool::new(false);
    let calls = AtomicUsize::new(0);
    thread::scope(|scope| {
        let _over = Over(&over);
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    match value(&helper, "pid", "pid") {
                        Ok(_) => {}
                        Err(error) => assert_eq!(error.code(), "call.unavailable", "{error}"),
                    }
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for _ in 0..5 {
            let before = calls.load(Ordering::SeqCst);
            wait_until("calls go on", || calls.load(Ordering::SeqCst) > before + 20);
            let Some(number) = process(&helper).pid else {
                continue;
            };
            let child = Pid::from_raw(i32::try_from(number).unwrap()).unwrap();
            kill_process(child, Signal::KILL).unwrap();
            wait_until("it is dead and waited for", || !exists(child));
        }
    });
}
