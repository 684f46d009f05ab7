//! What a plugin in a process of its own is kept from, and what it may still do.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{self, Command};

use plg_host::policy::{Level, Policy, Rule};
use plg_host::{Builder, Context, Faults, Handle, Host, Permission};
use plg_tests::isolated;
use rustix::process::{Signal, kill_process};
use serde_json::json;

use crate::support::programs::{Programs, exists, failure, pid, value};
use crate::support::{Variant, library, plg, program, wait_until, workspace};

/// A host that sandboxes every program, with these permissions granted.
fn sandboxed(granted: &[&str]) -> Host {
    build(Host::builder().policy(policy(granted)))
}

fn build(builder: Builder) -> Host {
    builder.allow_unsafe_directories(true).build().unwrap()
}

fn policy(granted: &[&str]) -> Policy {
    let rule = Rule::new(Level::Sandboxed);
    let grant = |rule: Rule, text: &&str| rule.grant(Permission::new(text).unwrap());
    Policy::new(granted.iter().fold(rule, grant))
}

/// Whether this machine can sandbox at all; where it cannot, the test that asks is skipped.
#[expect(
    clippy::print_stdout,
    reason = "a test that skips a part of itself says so"
)]
fn is_possible() -> bool {
    let programs = Programs::new();
    match sandboxed(&[]).load(programs.plugin("helper", &["ok"])) {
        Err(error) if error.code() == "proc.sandbox" => {
            println!("skipped: {error}");
            false
        }
        _ => true,
    }
}

/// How an attempt of the plugin ended: `ok`, or the name of the error.
fn attempt(helper: &Handle, what: &str, at: impl AsRef<Path>) -> String {
    let at = at.as_ref().display().to_string();
    let mut context = Context::new().with("what", what).with("at", at);
    helper.call("try", &mut context).unwrap();
    context.text("outcome").unwrap().to_owned()
}

#[test]
fn a_sandboxed_program_reads_its_own_files_and_writes_where_it_works() {
    if !is_possible() {
        return;
    }
    let programs = Programs::new();
    let directory = programs.plugin("helper", &["ok"]);
    fs::write(directory.join("words.txt"), "x").unwrap();
    let host = sandboxed(&[]);
    let helper = host.load(&directory).unwrap();
    for (what, at) in [
        ("read", directory.join("words.txt")),
        ("list", directory.clone()),
        ("write", "new".into()),
        ("append", "new".into()),
        ("truncate", "new".into()),
        ("make", "below".into()),
        ("write", "below/other".into()),
        ("remove", "new".into()),
        ("list", "/usr/lib".into()),
        ("read", "/proc/self/maps".into()),
        ("read", "/etc/ld.so.cache".into()),
        ("write", "/dev/null".into()),
        ("run", "/bin/true".into()),
        ("thread", "".into()),
        ("pair", "".into()),
    ] {
        let outcome = attempt(&helper, what, &at);
        assert_eq!(outcome, "ok", "{what} {}", at.display());
    }
    let Some(variables) = value(&helper, "env", "env").ok() else {
        panic!("no variables");
    };
    let text = format!("{variables:?}");
    let cwd = value(&helper, "cwd", "cwd").unwrap();
    let work = Path::new(cwd.as_str().unwrap()).parent().unwrap();
    for name in ["HOME", "TMPDIR"] {
        assert!(text.contains(name), "{text}");
    }
    let path = work.display().to_string();
    assert_eq!(text.matches(&path).count(), 2, "{text}");
    drop(host);
    assert!(!work.exists(), "what it wrote goes with it");
}

#[test]
fn a_sandboxed_program_reaches_no_other_file() {
    if !is_possible() {
        return;
    }
    let programs = Programs::new();
    let directory = programs.plugin("helper", &["ok"]);
    let outside = tempfile::tempdir().unwrap();
    let file = outside.path().join("secret");
    fs::write(&file, "secret").unwrap();
    let host = sandboxed(&[]);
    let other = host.load(programs.plugin("other", &["ok"])).unwrap();
    let others = value(&other, "cwd", "cwd").unwrap();
    let others = Path::new(others.as_str().unwrap());
    let helper = host.load(&directory).unwrap();
    for (what, at) in [
        ("read", "/etc/shadow".into()),
        ("read", "/etc/passwd".into()),
        ("list", "/root".into()),
        ("list", "/".into()),
        ("list", "/tmp".into()),
        ("read", format!("/proc/{}/environ", process::id()).into()),
        ("read", format!("/proc/{}/cmdline", process::id()).into()),
        ("read", file.clone()),
        ("write", file.clone()),
        ("append", file.clone()),
        ("truncate", file.clone()),
        ("remove", file.clone()),
        ("run", file.clone()),
        ("write", outside.path().join("new")),
        ("make", outside.path().join("below")),
        ("write", directory.join("plugin.json")),
        ("write", directory.join("new")),
        ("write", others.join("new")),
        ("list", others.to_owned()),
        ("write", others.parent().unwrap().with_file_name("lock")),
    ] {
        let outcome = attempt(&helper, what, &at);
        assert_eq!(outcome, "EACCES", "{what} {}", at.display());
    }
    assert_eq!(attempt(&helper, "chown", &file), "EPERM");
    // It says so and does nothing.
    let mode = || fs::metadata(&file).unwrap().permissions();
    let before = mode();
    assert_eq!(attempt(&helper, "chmod", &file), "ok");
    assert_eq!(mode(), before);
    assert_eq!(fs::read(&file).unwrap(), b"secret");
}

#[test]
fn a_sandboxed_program_reaches_no_network_and_no_other_process() {
    if !is_possible() {
        return;
    }
    let programs = Programs::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let stream = programs.path().join("stream");
    let message = programs.path().join("message");
    let _stream = UnixListener::bind(&stream).unwrap();
    let _message = UnixDatagram::bind(&message).unwrap();
    let host = sandboxed(&["camera"]);
    let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
    let cases = [
        ("tcp", tcp.local_addr().unwrap().to_string()),
        ("listen", "127.0.0.1:0".to_owned()),
        ("udp", udp.local_addr().unwrap().to_string()),
        ("unix", stream.display().to_string()),
        ("message", message.display().to_string()),
        ("message_pair", String::new()),
        ("signal", process::id().to_string()),
        ("adopt", process::id().to_string()),
    ];
    for (what, at) in cases {
        assert_eq!(attempt(&helper, what, &at), "EPERM", "{what} {at}");
    }
    for what in [
        "ptrace",
        "peek",
        "mount",
        "unshare",
        "setns",
        "namespace",
        "bpf",
        "keyctl",
        "perf",
        "userfaultfd",
        "io_uring",
        "handle",
        "module",
        "shared",
    ] {
        assert_eq!(attempt(&helper, what, ""), "EPERM", "{what}");
    }
    assert_eq!(attempt(&helper, "clone3", ""), "ENOSYS");
    if cfg!(target_arch = "x86_64") {
        assert_eq!(attempt(&helper, "x32", ""), "ENOSYS");
    }
    let status = value(&helper, "status", "status").unwrap();
    let status = status.as_str().unwrap();
    for line in [
        "CapEff:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "NoNewPrivs:\t1",
    ] {
        assert!(status.contains(line), "{status}");
    }
}

#[test]
fn what_was_granted_is_allowed_and_nothing_beside_it() {
    if !is_possible() {
        return;
    }
    let programs = Programs::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let [read, write, neither] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    for directory in [&read, &write, &neither] {
        fs::write(directory.path().join("file"), "x").unwrap();
    }
    let granted = [
        "network".to_owned(),
        format!("read:{}", read.path().display()),
        format!("write:{}", write.path().display()),
    ];
    let host = sandboxed(&granted.each_ref().map(String::as_str));
    let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
    let file = |directory: &tempfile::TempDir| directory.path().join("file").display().to_string();
    for (what, at, expected) in [
        ("tcp", tcp.local_addr().unwrap().to_string(), "ok"),
        ("udp", udp.local_addr().unwrap().to_string(), "ok"),
        ("listen", "127.0.0.1:0".to_owned(), "ok"),
        ("read", file(&read), "ok"),
        ("append", file(&read), "EACCES"),
        ("read", file(&write), "ok"),
        ("write", file(&write), "ok"),
        ("remove", file(&write), "ok"),
        ("read", file(&neither), "EACCES"),
        ("ptrace", String::new(), "EPERM"),
        ("adopt", process::id().to_string(), "EPERM"),
    ] {
        assert_eq!(attempt(&helper, what, &at), expected, "{what} {at}");
    }
    // What is not there cannot be granted.
    let gone = neither.path().join("gone").display().to_string();
    let host = sandboxed(&[&format!("write:{gone}")]);
    let (code, text) = failure(host.load(programs.plugin("other", &["ok"])));
    assert_eq!(code, "proc.sandbox", "{text}");
    assert!(text.contains(&gone), "{text}");
}

isolated! {
    fn a_machine_that_cannot_sandbox_starts_nothing() {
        let programs = Programs::new();
        let path = programs.plugin("helper", &["ok"]);
        let faulty = |faults: Faults| {
            let builder = Host::builder().policy(policy(&[]));
            build(builder.faults(faults))
        };
        let none = Faults::default();
        for (faults, words) in [
            (
                Faults {
                    landlock: Some(0),
                    ..none
                },
                "no landlock",
            ),
            (
                Faults {
                    landlock: Some(2),
                    ..none
                },
                "no version 3 of landlock (it has version 2)",
            ),
            (
                Faults {
                    no_seccomp: true,
                    landlock: Some(7),
                    ..none
                },
                "no seccomp filters",
            ),
            (
                Faults {
                    no_seccomp: true,
                    landlock: Some(0),
                    ..none
                },
                "no landlock and no seccomp filters",
            ),
        ] {
            let host = faulty(faults);
            let (code, text) = failure(host.load(&path));
            assert_eq!(code, "proc.sandbox", "{text}");
            assert!(text.contains(words), "{text}");
            assert_eq!(host.census().children, Some(0));
        }
        // One that only isolates does not ask for it.
        let builder = Host::builder().faults(Faults {
            landlock: Some(0),
            no_seccomp: true,
            ..none
        });
        build(builder).load(&path).unwrap();
    }
}

/// Every version of landlock that is enough, as far as this kernel has them.
#[test]
fn an_older_kernel_sandboxes_with_what_it_has() {
    if !is_possible() {
        return;
    }
    let programs = Programs::new();
    let path = programs.plugin("helper", &["ok"]);
    for landlock in 3..=6 {
        let builder = Host::builder().policy(policy(&[]));
        let faults = Faults {
            landlock: Some(landlock),
            ..Faults::default()
        };
        let host = build(builder.faults(faults));
        let helper = match host.load(&path) {
            Ok(helper) => helper,
            Err(error) => {
                println!("skipped from version {landlock} on: {error}");
                return;
            }
        };
        assert_eq!(attempt(&helper, "read", "/etc/passwd"), "EACCES");
        assert_eq!(attempt(&helper, "truncate", "/etc/hostname"), "EACCES");
        assert_eq!(attempt(&helper, "tcp", "127.0.0.1:9"), "EPERM");
    }
}

#[test]
fn plugins_in_rust_and_python_answer_from_a_sandbox() {
    if !is_possible() {
        return;
    }
    let programs = Programs::new();
    let host = sandboxed(&[]);
    let manifest = json!({
        "name": "wordcount-process",
        "version": "0.1.0",
        "process": { "exec": "bin/count" },
    });
    let directory = programs.manifest("wordcount-process", json!({ "exec": "bin/count" }));
    fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
    fs::create_dir(directory.join("bin")).unwrap();
    let sample = program("wordcount-process", Variant::Debug);
    fs::copy(sample, directory.join("bin/count")).unwrap();
    let count = host.load(&directory).unwrap();
    let mut context = Context::new().with("text", "one two three");
    count.call("count", &mut context).unwrap();
    assert_eq!(context.get("words"), Some(&3.into()), "{context:?}");

    // What is found on PATH may be a script that looks for the real one everywhere.
    let python = Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output();
    let Some(python) = python.ok().filter(|output| output.status.success()) else {
        println!("skipped: there is no python3");
        return;
    };
    let python = String::from_utf8(python.stdout).unwrap();
    let directory = programs.path().join("py-upper");
    fs::create_dir_all(directory.join("bin")).unwrap();
    let sample = workspace().join("plugins/py-upper");
    let manifest = fs::read_to_string(sample.join("plugin.json")).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    manifest["process"]["exec"] = json!("bin/python");
    let script = directory.join("py_upper.py");
    manifest["process"]["args"] = json!([script]);
    fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
    fs::copy(sample.join("py_upper.py"), script).unwrap();
    std::os::unix::fs::symlink(python.trim_end(), directory.join("bin/python")).unwrap();
    let upper = host.load(&directory).unwrap();
    let mut context = Context::new().with("text", "hello");
    upper.call("upper", &mut context).unwrap();
    assert_eq!(context.text("text"), Some("HELLO"));
}

isolated! {
    /// A library, served by the runner, from memory and from a file.
    fn a_library_runs_in_a_sandbox_as_well() {
        if !is_possible() {
            return;
        }
        let images = tempfile::tempdir().unwrap();
        for in_files in [false, true] {
            let mut builder = Host::builder().policy(policy(&[])).runner(plg());
            if in_files {
                builder = builder.image_directory(images.path());
            }
            let host = build(builder);
            let hello = host.load(library("hello", Variant::Debug)).unwrap();
            let mut context = Context::new().with("name", "Ada");
            hello.call("greet", &mut context).unwrap();
            assert!(context.text("reply").is_some_and(|reply| reply.contains("Ada")));
            let [child] = children()[..] else {
                panic!("{:?}", children());
            };
            let status = fs::read_to_string(format!("/proc/{child}/status")).unwrap();
            for line in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
                assert!(status.contains(line), "{status}");
            }
        }
    }
}

/// The children of this process, whichever thread started them.
fn children() -> Vec<u32> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let numbers = lists.flat_map(|list| {
        let numbers = list
            .split_whitespace()
            .map(|number| number.parse().unwrap());
        numbers.collect::<Vec<_>>()
    });
    numbers.collect()
}

/// What shows that the attempts are real ones: without a sandbox they succeed.
#[test]
fn an_isolated_program_may_do_what_its_user_may() {
    let programs = Programs::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let stream = programs.path().join("stream");
    let message = programs.path().join("message");
    let _stream = UnixListener::bind(&stream).unwrap();
    let _message = UnixDatagram::bind(&message).unwrap();
    let file = programs.path().join("file");
    fs::write(&file, "x").unwrap();
    let host = build(Host::builder());
    let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
    let own = process::id().to_string();
    for (what, at) in [
        ("read", "/etc/passwd".to_owned()),
        ("list", "/".to_owned()),
        ("read", format!("/proc/{own}/cmdline")),
        ("write", file.display().to_string()),
        ("append", file.display().to_string()),
        ("truncate", file.display().to_string()),
        ("remove", file.display().to_string()),
        ("tcp", tcp.local_addr().unwrap().to_string()),
        ("listen", "127.0.0.1:0".to_owned()),
        ("udp", udp.local_addr().unwrap().to_string()),
        ("unix", stream.display().to_string()),
        ("message", message.display().to_string()),
        ("message_pair", String::new()),
        ("signal", own.clone()),
        ("adopt", own.clone()),
        ("unshare", String::new()),
    ] {
        assert_eq!(attempt(&helper, what, &at), "ok", "{what} {at}");
    }
    assert_ne!(attempt(&helper, "clone3", ""), "ENOSYS");
}

/// Any thread can make its parent its tracer, and the kernel keeps the end of one that did until that looks.
#[test]
fn a_program_that_is_traced_by_its_host_ends_like_any() {
    let programs = Programs::new();
    let host = build(Host::builder());
    for name in ["unloaded", "killed"] {
        let helper = host.load(programs.plugin(name, &["ok"])).unwrap();
        assert_eq!(attempt(&helper, "ptrace", ""), "ok");
        let child = pid(&helper);
        if name == "killed" {
            kill_process(child, Signal::KILL).unwrap();
            wait_until("its end is noticed", || !exists(child));
            assert_ne!(pid(&helper), child);
        } else {
            let _ = host.unload(name).unwrap();
        }
        assert!(!exists(child));
    }
}
