//! Plugins that are programs of their own: their start, their calls, and how they end.

use std::env;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use plg_host::{Cancel, Context, Host, Limits, Unloaded, Value};
use plg_tests::{child, isolated};
use rustix::process::{Pid, Signal, getpid, kill_process};
use serde_json::json;

use crate::support::busy::{Board, busy};
use crate::support::lines::Lines;
use crate::support::process::ignore;
use crate::support::programs::{Programs, exists, failure, host, host_with, pid, value};
use crate::support::run::Run;
use crate::support::{Over, Variant, library, program, wait_until, workspace};

#[test]
fn a_program_is_found_loaded_called_and_unloaded_like_any_plugin() {
    let programs = Programs::new();
    programs.plugin("helper", &["ok"]);
    let run = tempfile::tempdir().unwrap();
    let host = Host::builder()
        .plugin_dir(programs.path())
        .allow_unsafe_directories(true)
        .run_dir(run.path())
        .build()
        .unwrap();
    let report = host.load_all().unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    let helper = host.plugin("helper").unwrap();
    let all = [
        ("null", Value::Null),
        ("flag", true.into()),
        ("whole", i64::MIN.into()),
        ("number", 0.1.into()),
        ("text", "zwölf".into()),
        ("bytes", Value::Bytes(vec![0, 255, 10])),
        ("list", Value::List(vec![1.into(), Value::List(vec![])])),
        ("map", Value::from([("$odd", "x")])),
        ("$key", "y".into()),
    ];
    let mut context: Context = all.clone().into_iter().collect();
    helper.call("echo", &mut context).unwrap();
    for (key, value) in &all {
        assert_eq!(context.get(key), Some(value), "{key}");
    }
    let mut context = Context::new().with("text", "x").with("other", 1);
    helper.call("remove", &mut context).unwrap();
    assert_eq!((context.get("text"), context.len()), (None, 1));

    let snapshot = host.snapshots().remove(0).current.unwrap();
    assert_eq!((snapshot.transport, snapshot.mapped_bytes), ("process", 0));
    assert!(snapshot.digest.is_some());
    let child = pid(&helper);
    assert_eq!(fs::read_dir(run.path()).unwrap().count(), 1);
    assert_eq!(host.unload("helper").unwrap(), Unloaded::Unmapped);
    assert!(!exists(child), "it was waited for");
    drop(host);
    assert_eq!(fs::read_dir(run.path()).unwrap().count(), 0);
}

#[test]
fn what_the_plugin_says_of_a_failure_is_passed_on() {
    let programs = Programs::new();
    let limits = Limits {
        value_bytes: 1 << 20,
        ..Limits::default()
    };
    let host = host_with(limits);
    let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
    let cases = [
        ("ctx.missing", "ctx.missing", "ctx.missing"),
        ("call.panicked", "call.panicked", ""),
        ("proc.failed", "proc.failed", "proc.failed"),
        ("own.code", "call.failed", "own.code"),
        ("No Code", "call.failed", "call.failed"),
    ];
    for (said, code, own) in cases {
        let mut context = Context::new().with("code", said);
        let error = helper.call("fail", &mut context).unwrap_err();
        assert_eq!(error.code(), code);
        let text = error.to_string();
        assert!(
            text.contains("as it was asked to") && text.contains(own),
            "{text}"
        );
        assert_eq!(
            context.get("left"),
            Some(&1.into()),
            "values come with an error"
        );
    }
    let (code, _) = failure(helper.call("nothing", &mut Context::new()));
    assert_eq!(code, "call.no_route");
    let mut context = Context::new().with("bytes", 2 << 20);
    assert_eq!(
        failure(helper.call("large", &mut context)).0,
        "ctx.too_large"
    );
    let mut context = Context::new().with("text", "x".repeat(17 << 20));
    assert_eq!(
        failure(helper.call("echo", &mut context)).0,
        "ctx.too_large"
    );
}

/// Row 113.
#[test]
fn a_program_that_ends_before_it_listens_is_told_with_what_it_said() {
    let programs = Programs::new();
    let host = host();
    let cases = [
        ("exit:0", "exited with status 0", "going down"),
        ("exit:3", "exited with status 3", "going down"),
        ("sig:6", "was killed by signal 6", "going down"),
        ("half_exit", "exited with status 0", ""),
    ];
    for (at, (mode, ending, said)) in cases.into_iter().enumerate() {
        let path = programs.plugin(&format!("ends-{at}"), &[mode]);
        let (code, text) = failure(host.load(path));
        assert_eq!(code, "proc.exited", "{mode}: {text}");
        assert!(
            text.contains(ending) && text.contains(said),
            "{mode}: {text}"
        );
    }
    assert!(host.census().generations == 0);
}

/// Rows 114, 115, 117 and 118.
#[test]
fn what_comes_in_the_place_of_a_start_line_is_refused() {
    let programs = Programs::new();
    // What is only late has a host that waits no longer than it has to.
    let waiting = |start| {
        host_with(Limits {
            start,
            ..Limits::default()
        })
    };
    let hasty = waiting(Duration::from_millis(700));
    // As long as a program takes to be asked whether it is well, on a busy machine too.
    let brisk = waiting(Duration::from_secs(3));
    let patient = waiting(Duration::from_secs(60));
    let cases = [
        ("no_line", "proc.handshake_timeout"),
        ("half_line", "proc.handshake_timeout"),
        ("close_out", "proc.handshake"),
        ("garbage", "proc.handshake"),
        ("empty_line", "proc.handshake"),
        ("long_line", "proc.handshake"),
        ("bom", "proc.handshake"),
        ("wrong:plg", "proc.handshake_mismatch"),
        ("wrong:plugin", "proc.handshake_mismatch"),
        ("wrong:version", "proc.handshake_mismatch"),
        ("wrong:nonce", "proc.handshake_mismatch"),
        ("wrong:address", "proc.handshake_mismatch"),
        ("unready", "proc.unhealthy"),
        ("sick", "proc.unhealthy"),
    ];
    for (at, (mode, expected)) in cases.into_iter().enumerate() {
        let path = programs.plugin(&format!("odd-{at}"), &[mode]);
        let host = match mode {
            "no_line" | "half_line" => &hasty,
            "unready" | "sick" => &brisk,
            _ => &patient,
        };
        let (code, text) = failure(host.load(path));
        assert_eq!(code, expected, "{mode}: {text}");
    }
}

/// Rows 115, 116 and 117: what is odd and harmless.
#[test]
fn a_start_line_may_come_in_pieces_and_among_floods() {
    let programs = Programs::new();
    let host = host();
    for (at, mode) in ["drip_line", "crlf", "two_lines", "flood_err", "flood_out"]
        .into_iter()
        .enumerate()
    {
        let path = programs.plugin(&format!("fine-{at}"), &[mode]);
        let plugin = host
            .load(path)
            .unwrap_or_else(|error| panic!("{mode}: {error}"));
        for _ in 0..3 {
            pid(&plugin);
        }
    }
}

/// Rows 121 and 131.
#[test]
fn what_cannot_be_run_is_told_by_the_system_s_words() {
    let programs = Programs::new();
    let host = host();
    let script = |name: &str, mode: u32, text: &[u8]| {
        let directory = programs.manifest(name, json!({ "exec": "bin/run" }));
        fs::create_dir(directory.join("bin")).unwrap();
        fs::write(directory.join("bin/run"), text).unwrap();
        fs::set_permissions(directory.join("bin/run"), fs::Permissions::from_mode(mode)).unwrap();
        directory
    };
    let cases = [
        (script("no-mode", 0o644, b"#!/bin/sh\n"), "ermission denied"),
        (
            script("no-format", 0o755, b"\x7fELF nothing"),
            "xec format error",
        ),
        (
            script("no-interpreter", 0o755, b"#!/nonexistent\n"),
            "o such file",
        ),
        (
            programs.manifest("no-name", json!({ "exec": "plg-is-no-program" })),
            "on PATH",
        ),
    ];
    for (path, words) in cases {
        let (code, text) = failure(host.load(&path));
        assert_eq!(code, "proc.spawn", "{}: {text}", path.display());
        assert!(text.contains(words), "{text}");
    }
    let process = json!({ "exec": "bin/run", "dialect": "hashicorp" });
    let other = programs.manifest("other-dialect", process);
    assert_eq!(failure(host.load(other)).0, "proc.dialect");
    let helper = programs.plugin("helper", &["ok"]);
    let long = programs.path().join("x".repeat(100));
    fs::create_dir(&long).unwrap();
    for (run, expected) in [
        (long.as_path(), "proc.socket_path"),
        (Path::new("/nonexistent"), "proc.run_dir"),
    ] {
        let builder = Host::builder().allow_unsafe_directories(true);
        let host = builder.run_dir(run).build().unwrap();
        assert_eq!(failure(host.load(&helper)).0, expected);
    }
}

/// Rows 123 and 128. The variable is set for the child that the test runs in.
#[test]
fn a_program_gets_nothing_of_the_host_that_is_not_written_down() {
    let test = concat!(
        module_path!(),
        "::a_program_gets_nothing_of_the_host_that_is_not_written_down"
    );
    let ended = child::run(test, &[("SECRET", "1"), ("LD_LIBRARY_PATH", "/x")], || {
        let programs = Programs::new();
        let leaked = fs::File::create(programs.path().join("leaked")).unwrap();
        rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
        let host = host();
        let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
        let Value::Map(variables) = value(&helper, "env", "env").unwrap() else {
            panic!("no map");
        };
        let known = ["PATH", "HOME", "TMPDIR", "LANG", "TZ"];
        for name in variables.keys() {
            assert!(known.contains(&name.as_str()), "{name}");
        }
        let Value::List(open) = value(&helper, "fds", "fds").unwrap() else {
            panic!("no list");
        };
        let open: Vec<_> = open.iter().map(|link| link.as_str().unwrap()).collect();
        let count = |kind: &str| open.iter().filter(|link| link.starts_with(kind)).count();
        // The listener, this connection, and the directory that is read.
        let known = (count("pipe:"), count("socket:"), count("/proc/"));
        assert_eq!((known, open.len()), ((3, 2, 1), 6), "{open:?}");
        let cwd = value(&helper, "cwd", "cwd").unwrap();
        assert!(cwd.as_str().unwrap().contains("/plg-run-"), "{cwd:?}");
    });
    assert!(ended.status.success(), "{}", ended.output);
}

/// Rows 124 and 188.
#[test]
fn what_a_program_leaves_running_or_does_not_end_is_killed() {
    let programs = Programs::new();
    let limits = Limits {
        grace: Duration::from_millis(400),
        ..Limits::default()
    };
    let host = host_with(limits);
    let mark = programs.path().join("mark");
    let mark_text = mark.display().to_string();
    let left = || {
        let pid = fs::read_to_string(&mark).unwrap().parse().unwrap();
        Pid::from_raw(pid).unwrap()
    };
    let path = programs.plugin("leaves", &["fork_grandchild", &mark_text]);
    let leaves = host.load(&path).unwrap();
    assert!(exists(left()));
    let _ = host.unload("leaves").unwrap();
    wait_until("the grandchild is gone", || !is_running(left()));
    drop(leaves);
    // One that left the group holds nothing up.
    let path = programs.plugin("goes-away", &["setsid", &mark_text]);
    host.load(&path).unwrap();
    let away = left();
    let start = Instant::now();
    let _ = host.unload("goes-away").unwrap();
    assert!(start.elapsed() < Duration::from_secs(20));
    kill_process(away, Signal::KILL).unwrap();

    let stays = host
        .load(programs.plugin("stays", &["ignore_term"]))
        .unwrap();
    let child = pid(&stays);
    assert_eq!(host.unload("stays").unwrap(), Unloaded::Unmapped);
    assert!(!exists(child));
}

/// Rows 137 and 129.
#[test]
fn a_program_that_was_killed_between_calls_is_started_again() {
    let programs = Programs::new();
    let host = host();
    let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
    for _ in 0..3 {
        let before = pid(&helper);
        kill(before);
        assert_ne!(pid(&helper), before, "the call goes to the next one");
    }
}

#[test]
fn a_call_whose_program_dies_fails_and_is_not_made_again_by_itself() {
    let programs = Programs::new();
    let host = host();
    let mark = programs.path().join("mark");
    let path = programs.plugin("helper", &["ok", &mark.display().to_string()]);
    let helper = host.load(path).unwrap();
    let (code, text) = failure(helper.call("kill", &mut Context::new()));
    assert_eq!(code, "call.unavailable");
    for words in ["killed by signal 9", "about to die", "is unknown"] {
        assert!(text.contains(words), "{text}");
    }
    let mut context = Context::new().with("status", 3);
    let (code, text) = failure(helper.call("mark", &mut context));
    assert_eq!(code, "call.unavailable");
    assert!(text.contains("exited with status 3"), "{text}");
    assert_eq!(fs::read(&mark).unwrap(), b"x");
    // Who ends with status 0 says that it answered all that it began.
    let mut context = Context::new().with("status", 0);
    assert_eq!(
        failure(helper.call("mark", &mut context)).0,
        "call.unavailable"
    );
    assert_eq!(fs::read(&mark).unwrap(), b"xxx");
}

/// Row 184.
#[test]
fn a_program_that_dies_again_and_again_is_given_up_until_it_is_loaded_again() {
    let programs = Programs::new();
    let host = host();
    let path = programs.plugin("helper", &["ok"]);
    let helper = host.load(&path).unwrap();
    for _ in 0..5 {
        let (code, text) = failure(helper.call("kill", &mut Context::new()));
        assert_eq!(code, "call.unavailable", "{text}");
    }
    for _ in 0..2 {
        let (code, text) = failure(helper.call("pid", &mut Context::new()));
        assert_eq!(code, "proc.failed");
        assert!(text.contains("killed by signal 9"), "{text}");
    }
    let _ = host.unload("helper").unwrap();
    pid(&host.load(&path).unwrap());
}

#[test]
fn what_is_started_again_is_what_was_loaded() {
    let programs = Programs::new();
    let host = host();
    let directory = programs.plugin("helper", &["ok"]);
    let helper = host.load(&directory).unwrap();
    let program = directory.join("bin/helper");
    fs::rename(&program, directory.join("before")).unwrap();
    fs::write(&program, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    pid(&helper);
    kill(pid(&helper));
    let (code, text) = failure(helper.call("pid", &mut Context::new()));
    assert_eq!(code, "proc.changed", "{text}");
}

#[test]
fn a_deadline_and_a_cancel_hold_and_lose_no_thread() {
    let programs = Programs::new();
    let host = host();
    let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
    let long = || Context::new().with("ms", 60_000);
    let start = Instant::now();
    for _ in 0..6 {
        let mut context = long().timeout(Duration::from_millis(50));
        assert_eq!(
            failure(helper.call("sleep", &mut context)).0,
            "call.timeout"
        );
    }
    let sleeping = || value(&helper, "counts", "sleeping").unwrap();
    wait_until("it was told to stop", || sleeping() == 0.into());
    let cancel = Cancel::new();
    let mut context = long().cancelled_by(&cancel);
    thread::scope(|scope| {
        scope.spawn(|| {
            wait_until("the call is inside", || sleeping() == 1.into());
            cancel.cancel();
        });
        assert_eq!(
            failure(helper.call("sleep", &mut context)).0,
            "call.cancelled"
        );
    });
    assert!(start.elapsed() < Duration::from_secs(30));
    wait_until("no thread is lost", || {
        let snapshot = host.snapshots().remove(0);
        snapshot.lost.is_empty() && !snapshot.stuck
    });
    wait_until("it was told to stop", || sleeping() == 0.into());
    assert_ne!(value(&helper, "counts", "cancelled").unwrap(), 0.into());
    // It was told how long the caller waits, too.
    let mut context = Context::new().timeout(Duration::from_secs(50));
    helper.call("request", &mut context).unwrap();
    let Some(Value::Map(request)) = context.get("request") else {
        panic!("{context:?}");
    };
    let Some(Value::I64(left)) = request.get("timeout_ms") else {
        panic!("{request:?}");
    };
    assert!((1..=50_000).contains(left), "{left}");
    assert_eq!(request.get("depth"), Some(&1.into()));
}

isolated! {
    /// Code of this process is another matter, also when the program has it called.
    fn a_call_with_a_deadline_stays_on_its_thread_until_it_calls_code_of_this_process() {
        let programs = Programs::new();
        let host = host();
        let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
        let (busy, board) = (busy(&host), Board::new());
        let here = thread::current().id();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let note = seen.clone();
        let context = Context::new()
            .with("call", Value::from([("plugin", "nobody"), ("label", "x")]))
            .on_progress(move |_| note.lock().unwrap().push(thread::current().id()));
        let context = context.timeout(Duration::from_secs(50));
        let mut context = context.cancelled_by(&Cancel::new());
        helper.call("chat", &mut context).unwrap();
        assert_eq!(*seen.lock().unwrap(), [here]);

        let values = board.context();
        let call = Value::from([
            ("plugin", Value::from("busy")),
            ("label", "hang".into()),
            ("values", Value::from([("board", values.get("board").unwrap().clone())])),
        ]);
        let start = Instant::now();
        let mut context = Context::new().with("call", call).timeout(Duration::from_millis(300));
        assert_eq!(failure(helper.call("chat", &mut context)).0, "call.timeout");
        assert!(start.elapsed() < Duration::from_secs(30));
        assert_eq!(board.entered(), 1);
        let lost = |name: &str| {
            let snapshots = host.snapshots();
            let plugin = snapshots.into_iter().find(|plugin| plugin.name.as_str() == name);
            plugin.unwrap().lost.len()
        };
        assert_eq!((lost("busy"), lost("helper")), (1, 0));
        drop(busy);
    }
}

/// Row 186: alive and silent.
#[test]
fn a_program_that_is_stopped_holds_nobody_beyond_the_deadline() {
    let programs = Programs::new();
    let limits = Limits {
        start: Duration::from_secs(2),
        grace: Duration::from_millis(300),
        ..Limits::default()
    };
    let host = host_with(limits);
    let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
    let stop = || {
        let child = pid(&helper);
        let mut context = Context::new().timeout(Duration::from_millis(100));
        assert_eq!(failure(helper.call("stop", &mut context)).0, "call.timeout");
        wait_until("no thread is lost", || host.snapshots()[0].lost.is_empty());
        child
    };
    let child = stop();
    wait_until("it is killed because it answers nothing", || !exists(child));
    let child = stop();
    assert_eq!(host.unload("helper").unwrap(), Unloaded::Unmapped);
    assert!(!exists(child));
}

#[test]
fn an_upgrade_and_the_way_back_lose_no_call() {
    let programs = Programs::new();
    let host = host();
    let [old, new] = ["old", "new"].map(|build| {
        let base = Programs::new();
        (base.plugin("helper", &["ok", build]), base)
    });
    let helper = host.load(&old.0).unwrap();
    let child = pid(&helper);
    let over = AtomicBool::new(false);
    let calls = AtomicUsize::new(0);
    thread::scope(|scope| {
        let _over = Over(&over);
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let build = value(&helper, "build", "build").unwrap();
                    assert!(["old", "new"].contains(&build.as_str().unwrap()));
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let more = || {
            let before = calls.load(Ordering::SeqCst);
            wait_until("calls go on", || calls.load(Ordering::SeqCst) > before + 20);
        };
        for _ in 0..2 {
            more();
            let upgraded = host.upgrade("helper", &new.0).unwrap();
            assert_eq!(upgraded.retired, Unloaded::Unmapped);
            assert_eq!(value(&helper, "build", "build").unwrap(), "new".into());
            more();
            host.rollback("helper").unwrap();
            assert_eq!(value(&helper, "build", "build").unwrap(), "old".into());
        }
    });
    assert!(!exists(child));
    // A build that does not start leaves the one that answers.
    let bad = programs.plugin("helper", &["exit:1"]);
    assert_eq!(failure(host.upgrade("helper", bad)).0, "proc.exited");
    assert_eq!(value(&helper, "build", "build").unwrap(), "old".into());
}

#[test]
fn a_call_can_log_tell_how_far_it_is_and_call_other_plugins() {
    let programs = Programs::new();
    let host = host();
    host.load(library("text", Variant::Debug)).unwrap();
    let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let ask = |call: Value| {
        let seen = seen.clone();
        let mut context = Context::new()
            .with("call", call)
            .on_progress(move |progress| {
                let text = (progress.done, progress.total, progress.message.to_owned());
                seen.lock().unwrap().push(text);
            });
        helper.call("chat", &mut context).unwrap();
        let Some(Value::Map(reply)) = context.remove("reply") else {
            panic!("no reply");
        };
        reply
    };
    let call = |plugin: &str| {
        Value::from([
            ("plugin", Value::from(plugin)),
            ("label", "text.upper".into()),
            ("values", Value::from([("text", "ada")])),
        ])
    };
    let lines = Lines::default();
    let reply = tracing::subscriber::with_default(lines.clone(), || ask(call("text")));
    assert_eq!(
        lines.count("INFO plg::plugin message=said in a call plugin=helper label=chat"),
        1
    );
    assert_eq!(*seen.lock().unwrap(), [(1, Some(2), "half".to_owned())]);
    let Some(Value::Map(values)) = reply.get("values") else {
        panic!("{reply:?}");
    };
    assert_eq!(values.get("text"), Some(&"ADA".into()));
    let reply = ask(call("nobody"));
    let Some(Value::Map(error)) = reply.get("error") else {
        panic!("{reply:?}");
    };
    assert_eq!(error.get("code"), Some(&"plugin.not_found".into()));
}

#[test]
fn what_a_program_writes_to_its_errors_is_logged() {
    let programs = Programs::new();
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || {
        let host = host();
        let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
        helper.call("stderr", &mut Context::new()).unwrap();
        for line in [
            "INFO plg::plugin message=a plain line plugin=helper",
            "WARN plg::plugin message=a warning plugin=helper fields={\"pages\":3}",
        ] {
            wait_until(line, || lines.count(line) == 1);
        }
    });
}

isolated! {
    /// Row 127: the thread that loads may end, and the plugin does not.
    fn a_program_lives_on_when_the_thread_that_loaded_it_ends() {
        let programs = Programs::new();
        let host = host();
        let path = programs.plugin("helper", &["ok"]);
        let load = || (host.load(path).unwrap(), rustix::thread::gettid());
        let loaded = thread::scope(|scope| scope.spawn(load).join().unwrap());
        let (helper, thread) = loaded;
        let child = pid(&helper);
        // Once it is gone, its end has been told to whoever waits for that.
        let task = format!("/proc/self/task/{}", thread.as_raw_nonzero());
        wait_until("the thread to be gone", || !Path::new(&task).exists());
        assert_eq!(pid(&helper), child);
        drop(host);
        assert!(!exists(child));
    }
}

isolated! {
    /// Row 129: an app that ignores SIGCHLD has the kernel wait for children.
    fn an_app_may_ignore_the_end_of_children() {
        let programs = Programs::new();
        let path = programs.plugin("helper", &["ok"]);
        ignore(libc::SIGCHLD);
        let host = host();
        let helper = host.load(path).unwrap();
        let before = pid(&helper);
        kill(before);
        let after = pid(&helper);
        assert_ne!(after, before);
        let _ = host.unload("helper").unwrap();
        assert!(!exists(after));
    }
}

/// Rows 126 and 192: the host is killed, with children that do not look at their standard input.
#[test]
fn nothing_outlives_a_host_that_is_killed() {
    if let (Some(run), Some(base)) = (env::var_os("PLG_RUN"), env::var_os("PLG_BASE")) {
        load_and_die(Path::new(&run), Path::new(&base));
    }
    let programs = Programs::new();
    programs.plugin("ok", &["ok"]);
    for number in 1..20 {
        let mode = if number % 2 == 0 { "ok" } else { "ignore_end" };
        programs.plugin(&format!("helper-{number}"), &[mode]);
    }
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path();
    let (text, base) = (
        run.display().to_string(),
        programs.path().display().to_string(),
    );
    let variables = [("PLG_RUN", text.as_str()), ("PLG_BASE", base.as_str())];
    let test = concat!(module_path!(), "::nothing_outlives_a_host_that_is_killed");
    let ended = child::run(test, &variables, || unreachable!("it dies before"));
    let children: Vec<Pid> = ended
        .output
        .lines()
        .filter_map(|line| line.strip_prefix("child ")?.parse().ok())
        .filter_map(Pid::from_raw)
        .collect();
    assert_eq!(children.len(), 20, "{}", ended.output);
    let start = Instant::now();
    for child in children {
        wait_until("the child is gone", || !is_running(child));
    }
    assert!(start.elapsed() < Duration::from_secs(2));
    let left = || fs::read_dir(run).unwrap().count();
    assert_eq!(left(), 1, "nobody was there to remove it");
    let host = Host::builder().run_dir(run).allow_unsafe_directories(true);
    let host = host.build().unwrap();
    host.load(programs.path().join("ok")).unwrap();
    assert_eq!(left(), 1, "only its own");
    drop(host);
    assert_eq!(left(), 0);
}

/// `plugins/py-upper` needs no build.
#[test]
fn the_sample_in_python_answers() {
    let host = host();
    let upper = host.load(workspace().join("plugins/py-upper")).unwrap();
    let mut context = Context::new().with("text", "hello");
    upper.call("upper", &mut context).unwrap();
    assert_eq!(context.text("text"), Some("HELLO"));
    let mut context = Context::new().with("texts", Value::List(vec!["a".into(), "b".into()]));
    upper.call("upper_all", &mut context).unwrap();
    assert_eq!(
        context.get("texts"),
        Some(&Value::List(vec!["A".into(), "B".into()]))
    );
    let mut context = Context::new().with("text", 3);
    assert_eq!(failure(upper.call("upper", &mut context)).0, "ctx.type");
}

isolated! {
    /// Row 191: ending for want of calls is no bad end, however often it happens.
    fn a_program_that_ends_because_nobody_calls_is_started_by_the_next_call() {
        let programs = Programs::new();
        let process = json!({ "exec": "bin/count", "idle_timeout": "50ms" });
        let directory = programs.manifest("wordcount-process", process);
        // The sample says its own version.
        let manifest = json!({
            "name": "wordcount-process",
            "version": "0.1.0",
            "process": { "exec": "bin/count", "idle_timeout": "50ms" },
        });
        fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
        fs::create_dir(directory.join("bin")).unwrap();
        let sample = program("wordcount-process", Variant::Debug);
        if fs::hard_link(&sample, directory.join("bin/count")).is_err() {
            fs::copy(&sample, directory.join("bin/count")).unwrap();
        }
        let host = host();
        let count = host.load(&directory).unwrap();
        for _ in 0..7 {
            let mut context = Context::new().with("text", "one two three");
            count.call("count", &mut context).unwrap();
            assert_eq!(context.get("words"), Some(&3.into()), "{context:?}");
            wait_until("it ended", || host.census().children == Some(0));
        }
    }
}

#[test]
fn the_commands_take_a_program_like_a_library() {
    let said = Run::of(&["call", "plugins/py-upper", "upper", "text=hello"]);
    assert_eq!(said.ok(), "text: HELLO\n");
    let listed = Run::of(&["list", "--plugin-dir", "plugins"]);
    assert!(listed.ok().contains("py-upper"), "{}", listed.stdout);
    let shown = Run::of(&["inspect", "plugins/py-upper"]);
    for words in ["python3 py_upper.py", "upper_all", "sha256:"] {
        assert!(shown.ok().contains(words), "{}", shown.stdout);
    }
    let document = Run::of(&["inspect", "plugins/py-upper", "--json"]).json();
    assert_eq!(document["manifest"]["name"], "py-upper");
    let checked = Run::of(&["check", "plugins/py-upper"]);
    assert!(checked.ok().contains("would load"), "{}", checked.stdout);
    let programs = Programs::new();
    let path = programs.plugin("ends", &["exit:3"]);
    let told = Run::of(&["call", &path.display().to_string(), "x"]);
    assert!(
        told.stderr.contains("error[proc.exited]"),
        "{}",
        told.stderr
    );
    assert!(told.stderr.contains("going down"), "{}", told.stderr);
}

/// Kills a process and waits until it is dead.
fn kill(process: Pid) {
    kill_process(process, Signal::KILL).unwrap();
    wait_until("it is dead and waited for", || !exists(process));
}

/// Loads what is in `base`, says which children that makes, and is killed.
fn load_and_die(run: &Path, base: &Path) {
    let builder = Host::builder().plugin_dir(base).run_dir(run);
    let host = builder.allow_unsafe_directories(true).build().unwrap();
    let mut out = std::io::stdout();
    for plugin in host.load_all().unwrap().loaded {
        writeln!(out, "\nchild {}", pid(&plugin)).unwrap();
    }
    out.flush().unwrap();
    kill_process(getpid(), Signal::KILL).unwrap();
}

/// Whether a process runs; one that nobody has waited for does not.
fn is_running(process: Pid) -> bool {
    let status = Path::new("/proc").join(process.to_string()).join("stat");
    fs::read_to_string(status).is_ok_and(|status| !status.contains(") Z "))
}
