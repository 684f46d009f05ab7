//! A host that runs is asked from another process.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use plg_host::control::hosts;
use plg_host::{Context, Host};
use plg_tests::isolated;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

use crate::support::programs::{self, Programs};
use crate::support::run::{Run, command};
use crate::support::{Variant, library, plg, program, wait_until};

/// A directory that hosts have their sockets in.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // What others may enter is no run directory.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let mut command = command(self.path(), arguments);
        Run::from(command.env("PLG_RUN_DIR", self.path()).output().unwrap())
    }

    fn host(&self) -> Host {
        let runner = program("fixture-host", Variant::Debug);
        let builder = Host::builder().run_dir(self.path()).control(true);
        let builder = builder.allow_unsafe_directories(true);
        builder.runner(runner).build().unwrap()
    }

    /// A `plg watch` that follows a directory with `hello` in it.
    fn watch(&self, name: &str) -> Watching {
        let directory = self.path().join(name);
        fs::create_dir(&directory).unwrap();
        let place = directory.join("libhello.so");
        fs::copy(library("hello", Variant::Debug), place).unwrap();
        let child = Command::new(plg())
            .args(["watch", "--json"])
            .arg(&directory)
            .env("XDG_RUNTIME_DIR", self.path())
            .env("XDG_STATE_HOME", "/dev/null")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut watching = Watching(child);
        let mut lines = BufReader::new(watching.0.stdout.take().unwrap()).lines();
        lines
            .find(|line| {
                let line = line.as_ref().unwrap();
                line.contains(r#""step":"load""#) && line.contains(r#""phase":"done""#)
            })
            .unwrap()
            .unwrap();
        // It goes on printing.
        thread::spawn(move || lines.count());
        watching
    }
}

struct Watching(Child);

impl Watching {
    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        let _ = kill_process(pid, Signal::INT);
        let _ = self.0.wait();
    }
}

#[test]
fn a_plugin_of_another_process_is_moved_there_and_back() {
    let bench = Bench::new();
    assert_eq!(bench.run(&["ps"]).ok(), "no host that runs can be asked\n");
    let watching = bench.watch("one");
    let plugin = || {
        let report = bench.run(&["ps", "--json"]).json();
        assert_eq!(report["hosts"][0]["pid"], watching.0.id());
        report["hosts"][0]["plugins"][0].clone()
    };
    let before = plugin();
    assert_eq!(before["name"], "hello");
    assert_eq!(before["version"], "0.1.0");
    assert_eq!(before["transport"], "in-process");
    assert_eq!(before["pid"], json!(null));
    let refused = bench.run(&["logs", "hello"]);
    refused.failed(3, "control.no_process");

    let moved = bench.run(&["isolate", "hello"]);
    assert!(
        moved.ok().contains("in a process of its own now"),
        "{}",
        moved.stdout
    );
    let apart = plugin();
    assert_eq!(apart["transport"], "process");
    let pid = apart["pid"].as_i64().unwrap();
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    assert!(programs::exists(pid));
    assert!(apart["because"].is_string(), "{apart}");
    let shown = bench.run(&["ps"]);
    let row = shown.ok().lines().nth(1).unwrap().to_owned();
    for word in [&watching.pid(), "hello", "0.1.0", "process"] {
        assert!(row.contains(word), "{row}");
    }
    assert!(bench.run(&["isolate", "hello"]).ok().contains("already"));
    assert_eq!(bench.run(&["logs", "hello"]).status, 0);

    let back = bench.run(&["inline", "hello", "--json"]);
    assert_eq!(back.json()["transport"], "in-process", "{}", back.stderr);
    wait_until("its process is gone", || !programs::exists(pid));
    assert_eq!(plugin()["transport"], "in-process");
    drop(watching);
    assert_eq!(bench.run(&["ps"]).ok(), "no host that runs can be asked\n");
}

#[test]
fn which_host_is_meant_has_to_be_clear() {
    let bench = Bench::new();
    let (one, _two) = (bench.watch("one"), bench.watch("two"));
    let said = bench.run(&["isolate", "hello"]);
    assert!(said.failed(1, "control.several").contains(&one.pid()));
    bench.run(&["isolate", "hello", "--host", &one.pid()]).ok();
    let report = bench.run(&["ps", "--json", "--host", &one.pid()]).json();
    assert_eq!(report["hosts"].as_array().unwrap().len(), 1);
    assert_eq!(report["hosts"][0]["plugins"][0]["transport"], "process");
    let said = bench.run(&["isolate", "hallo"]);
    assert!(said.failed(3, "control.no_host").contains("hello"));
    bench
        .run(&["ps", "--host", "1"])
        .failed(3, "control.no_host");
}

#[test]
fn what_a_process_wrote_is_shown() {
    let (bench, programs) = (Bench::new(), Programs::new());
    let host = bench.host();
    let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
    for _ in 0..3 {
        helper.call("stderr", &mut Context::new()).unwrap();
    }
    let lines = |arguments: &[&str]| {
        let run = bench.run(arguments);
        run.ok().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    wait_until("all was read", || {
        lines(&["logs", "helper"])
            .iter()
            .filter(|line| *line == "a plain line")
            .count()
            == 3
    });
    assert_eq!(lines(&["logs", "helper", "-n", "1"]).len(), 1);
    let first = bench.run(&["logs", "helper", "--json"]);
    assert!(
        first.ok().contains(r#""line":"a plain line""#),
        "{}",
        first.stdout
    );

    let mut following = command(bench.path(), &["logs", "helper", "--follow", "-n", "0"]);
    let following = following
        .env("PLG_RUN_DIR", bench.path())
        .stdout(Stdio::piped());
    let mut following = Watching(following.spawn().unwrap());
    let stdout = following.0.stdout.take().unwrap();
    let (sender, seen) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    // It may begin later than a call, so there are calls until it has seen one.
    wait_until("a later line is seen", || {
        helper.call("stderr", &mut Context::new()).unwrap();
        seen.recv_timeout(Duration::from_millis(300)).is_ok()
    });
}

#[test]
fn a_host_that_cannot_listen_is_not_made() {
    let bench = Bench::new();
    let long = bench.path().join("x".repeat(100));
    fs::create_dir(&long).unwrap();
    let error = Host::builder()
        .run_dir(&long)
        .control(true)
        .build()
        .unwrap_err();
    assert_eq!(error.code(), "control.listen");
    // Nobody asked for a socket.
    Host::builder().run_dir(&long).build().unwrap();
}

#[test]
fn nobody_holds_up_a_host_or_its_end() {
    let bench = Bench::new();
    let host = bench.host();
    let running = hosts(Some(bench.path()));
    let [running] = running.as_slice() else {
        panic!("{running:?}")
    };
    assert_eq!(running.pid(), std::process::id());
    let socket = socket(bench.path());
    for nonsense in [
        "",
        "\n",
        "{}\n",
        "[[[[\n",
        "{\"ask\":\"everything\"}\n",
        "x",
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let _ = stream.write_all(nonsense.as_bytes());
    }
    let mut stream = UnixStream::connect(&socket).unwrap();
    let _ = stream.write_all("x".repeat(1 << 20).as_bytes());
    drop(stream);
    assert_eq!(running.report().unwrap().plugins, []);
    let silent = UnixStream::connect(&socket).unwrap();
    assert_eq!(
        running.isolate("nobody").unwrap_err().code(),
        "plugin.not_found"
    );
    drop(silent);
    // One that asks nothing does not keep the host from going.
    let _silent = UnixStream::connect(&socket).unwrap();
    drop(host);
    assert_eq!(running.report().unwrap_err().code(), "control.silent");
    assert!(!socket.exists());
    assert!(hosts(Some(bench.path())).is_empty());
}

/// Who asks a letter at a time has had its time after two seconds, and then it is the turn of the next.
#[test]
fn one_that_dawdles_does_not_hold_up_the_others() {
    let bench = Bench::new();
    let _host = bench.host();
    let running = hosts(Some(bench.path())).remove(0);
    let mut slow = UnixStream::connect(socket(bench.path())).unwrap();
    slow.write_all(b" ").unwrap();
    let dawdling = thread::spawn(move || {
        let mut letters = (0..4000).map(|_| {
            thread::sleep(Duration::from_millis(25));
            slow.write_all(b" ")
        });
        // It is cut off at some point.
        letters.any(|written| written.is_err())
    });
    assert_eq!(running.report().unwrap().plugins, []);
    assert!(dawdling.join().unwrap());
}

#[test]
fn only_private_directories_are_asked() {
    let bench = Bench::new();
    let _host = bench.host();
    let directory = socket(bench.path()).parent().unwrap().to_owned();
    assert_eq!(hosts(Some(bench.path())).len(), 1);
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(hosts(Some(bench.path())).is_empty());
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
}

isolated! {
    fn an_idle_host_that_can_be_asked_has_one_thread_more() {
        let bench = Bench::new();
        let threads = || fs::read_dir("/proc/self/task").unwrap().count();
        let before = threads();
        let host = bench.host();
        assert_eq!(threads(), before + 1);
        drop(host);
        wait_until("the thread is gone", || threads() == before);
    }
}

#[test]
fn a_call_can_be_isolated() {
    let hello = library("hello", Variant::Debug);
    let hello = hello.to_str().unwrap();
    let called = Run::of(&["call", hello, "greet", "name=Ada", "--isolated"]);
    assert_eq!(called.ok(), "reply: Hello, Ada!\n");
    // What would end the process ends the plugin's.
    let bad = library("fixture-bad", Variant::Debug);
    let aborted = Run::of(&["call", bad.to_str().unwrap(), "abort", "--isolated"]);
    aborted.failed(1, "call.unavailable");
}

/// The socket of the one host below a directory.
fn socket(parent: &Path) -> PathBuf {
    let entries = fs::read_dir(parent).unwrap().map(Result::unwrap);
    let mut entries = entries.filter(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with("plg-run-")
    });
    entries.next().unwrap().path().join("control")
}
