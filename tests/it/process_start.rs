//! What a program that is a plugin is told when it starts, and where it listens: the configuration, and TCP.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use plg_host::{Context, Handle, Host, Limits, PluginName, Value};
use plg_tests::isolated;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use serde_json::json;

use crate::support::programs::{Programs, exists, failure, host, host_with, pid, value};
use crate::support::{Variant, program, wait_until, workspace};

/// A plugin that listens on a port.
fn on_tcp(programs: &Programs, name: &str, args: &[&str]) -> PathBuf {
    let directory = programs.plugin(name, args);
    let process = json!({ "exec": "bin/helper", "args": args, "transport": "tcp" });
    programs.manifest(name, process);
    directory
}

fn configured(config: serde_json::Value) -> Host {
    let config = config.as_object().cloned().unwrap();
    let builder = Host::builder().allow_unsafe_directories(true);
    builder
        .config(&PluginName::new("helper").unwrap(), config)
        .build()
        .unwrap()
}

/// Where a plugin listens.
fn port(plugin: &Handle) -> u16 {
    let address = value(plugin, "address", "address").unwrap();
    let port = address.as_str().unwrap().rsplit_once(':').unwrap().1;
    port.parse().unwrap()
}

#[test]
fn the_operator_s_configuration_reaches_the_program_and_nobody_else() {
    let programs = Programs::new();
    let host = configured(json!({ "password": "hunter2", "deep": { "odd": [1, null, 0.5] } }));
    let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
    let config = value(&helper, "config", "config").unwrap();
    let expected = Value::from([
        ("password", Value::from("hunter2")),
        (
            "deep",
            Value::from([("odd", Value::List(vec![1.into(), Value::Null, 0.5.into()]))]),
        ),
    ]);
    assert_eq!(config, expected);
    let child = pid(&helper);
    for file in ["cmdline", "environ"] {
        let text = fs::read(format!("/proc/{child}/{file}")).unwrap();
        assert!(
            !String::from_utf8_lossy(&text).contains("hunter2"),
            "{file}"
        );
    }
    // The one that comes after it gets the same, and another plugin nothing.
    kill_process(child, Signal::KILL).unwrap();
    wait_until("it is dead", || !exists(child));
    assert_eq!(value(&helper, "config", "config").unwrap(), expected);
    let other = host.load(programs.plugin("other", &["ok"])).unwrap();
    let nothing = Value::Map([].into());
    assert_eq!(value(&other, "config", "config").unwrap(), nothing);
}

/// Row 132.
#[test]
fn a_configuration_has_at_most_a_mebibyte() {
    let programs = Programs::new();
    let path = programs.plugin("helper", &["ok"]);
    let text = |bytes: usize| json!({ "text": "x".repeat(bytes) });
    let (code, said) = failure(configured(text(1 << 20)).load(&path));
    assert_eq!(code, "proc.config_too_large", "{said}");
    assert!(said.contains("1048576"), "{said}");
    // What is just below goes through, although no pipe holds as much.
    let host = configured(text((1 << 20) - 1024));
    let helper = host.load(&path).unwrap();
    let Value::Map(config) = value(&helper, "config", "config").unwrap() else {
        panic!("no map");
    };
    assert_eq!(config["text"].as_str().unwrap().len(), (1 << 20) - 1024);
}

/// Who does not read its configuration is given up in time, however long that is.
#[test]
fn a_program_that_reads_nothing_holds_nobody_up() {
    let programs = Programs::new();
    let path = programs.plugin("helper", &["no_line"]);
    let config = json!({ "text": "x".repeat(900 << 10) });
    let limits = Limits {
        start: Duration::from_millis(300),
        ..Limits::default()
    };
    let builder = Host::builder()
        .allow_unsafe_directories(true)
        .limits(limits);
    let config = config.as_object().cloned().unwrap();
    let host = builder
        .config(&PluginName::new("helper").unwrap(), config)
        .build()
        .unwrap();
    let start = Instant::now();
    assert_eq!(failure(host.load(&path)).0, "proc.handshake_timeout");
    assert!(start.elapsed() < Duration::from_secs(20));
}

isolated! {
    /// Row 132: more arguments than the system takes. It takes a quarter of what the stack may have.
    fn arguments_that_the_system_does_not_take_are_told_by_its_words() {
        let stack = getrlimit(Resource::Stack);
        setrlimit(Resource::Stack, Rlimit { current: Some(512 << 10), ..stack }).unwrap();
        let programs = Programs::new();
        let args: Vec<String> = (0..200).map(|_| "x".repeat(4000)).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (code, text) = failure(host().load(programs.plugin("helper", &args)));
        assert_eq!(code, "proc.spawn");
        assert!(text.contains("rgument list too long"), "{text}");
    }
}

#[test]
fn a_program_may_listen_on_a_port() {
    let programs = Programs::new();
    let host = host();
    let helper = host.load(on_tcp(&programs, "helper", &["ok"])).unwrap();
    let mut context = Context::new().with("text", "zwölf");
    helper.call("echo", &mut context).unwrap();
    assert_eq!(context.text("text"), Some("zwölf"));
    let token = value(&helper, "token", "token").unwrap();
    assert_eq!(token.as_str().unwrap().len(), 64);
    let (before, child) = (port(&helper), pid(&helper));
    let text = |file: &str| {
        let text = fs::read(format!("/proc/{child}/{file}")).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    };
    for file in ["cmdline", "environ"] {
        assert!(!text(file).contains(token.as_str().unwrap()), "{file}");
    }
    kill_process(child, Signal::KILL).unwrap();
    wait_until("it is dead", || !exists(child));
    assert_ne!(pid(&helper), child);
    assert_ne!(value(&helper, "token", "token").unwrap(), token);
    assert!(before != 0 && port(&helper) != 0);
    let _ = host.unload("helper").unwrap();
}

/// The library for plugins in Rust, and the sample in Python.
#[test]
fn samples_listen_on_ports_as_well() {
    let programs = Programs::new();
    let host = host();
    let process = json!({ "exec": "bin/count", "transport": "tcp" });
    let directory = programs.manifest("wordcount-process", process.clone());
    let manifest = json!({ "name": "wordcount-process", "version": "0.1.0", "process": process });
    fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
    fs::create_dir(directory.join("bin")).unwrap();
    fs::copy(
        program("wordcount-process", Variant::Debug),
        directory.join("bin/count"),
    )
    .unwrap();
    let count = host.load(&directory).unwrap();
    let mut context = Context::new().with("text", "one two three");
    count.call("count", &mut context).unwrap();
    assert_eq!(context.get("words"), Some(&3.into()));

    let directory = programs.path().join("py-upper");
    fs::create_dir(&directory).unwrap();
    let sample = workspace().join("plugins/py-upper");
    fs::copy(sample.join("py_upper.py"), directory.join("py_upper.py")).unwrap();
    let text = fs::read(sample.join("plugin.json")).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&text).unwrap();
    manifest["process"]["transport"] = json!("tcp");
    fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
    let upper = host.load(&directory).unwrap();
    let mut context = Context::new().with("text", "hello");
    upper.call("upper", &mut context).unwrap();
    assert_eq!(context.text("text"), Some("HELLO"));
}

/// Row 120: any user of the machine can connect, and is told nothing.
#[test]
fn who_has_no_token_is_refused() {
    let programs = Programs::new();
    let host = host();
    let helper = host.load(on_tcp(&programs, "helper", &["ok"])).unwrap();
    let calls = || value(&helper, "counts", "calls").unwrap().as_i64().unwrap();
    let before = calls();
    for authorization in [
        "",
        "Authorization: Bearer x\r\n",
        "Authorization: Bearer\r\n",
    ] {
        let mut stranger = TcpStream::connect(("127.0.0.1", port(&helper))).unwrap();
        let body = json!({ "id": 1, "label": "pid", "values": {} }).to_string();
        let length = body.len();
        write!(
            stranger,
            "POST /execute HTTP/1.1\r\nHost: x\r\n{authorization}Content-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = [0; 12];
        stranger.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 401");
    }
    // `address` was asked for three times.
    assert_eq!(calls(), before + 4);
}

#[test]
fn a_program_that_refuses_the_token_is_told_so() {
    let programs = Programs::new();
    let (code, text) = failure(host().load(on_tcp(&programs, "helper", &["no_admission"])));
    assert_eq!(code, "proc.auth", "{text}");
}

/// Rows 119 and 120: the start line names what the program does not listen on.
#[test]
fn somebody_else_s_address_is_not_connected_to() {
    let programs = Programs::new();
    let limits = Limits {
        start: Duration::from_millis(700),
        ..Limits::default()
    };
    let host = host_with(limits);
    let cases = [
        "tcp:192.0.2.1:80",
        "tcp:0.0.0.0:80",
        "tcp:127.0.0.2:80",
        "tcp:[::]:80",
        "tcp:localhost:80",
        "tcp:127.0.0.1:0",
        "tcp:127.0.0.1",
        "unix:/tmp/somewhere",
        "unix:\0abstract",
    ];
    let mut number = 0;
    let mut load = |address: &str, tcp: bool| {
        number += 1;
        let (name, args) = (
            format!("odd-{number}"),
            [&*format!("says_address:{address}")],
        );
        failure(host.load(match tcp {
            true => on_tcp(&programs, &name, &args),
            false => programs.plugin(&name, &args),
        }))
    };
    for address in cases.into_iter().filter(|address| !address.contains('\0')) {
        for tcp in [true, false] {
            let (code, text) = load(address, tcp);
            assert_eq!(code, "proc.handshake_mismatch", "{address}: {text}");
            assert!(text.contains(address), "{text}");
        }
    }
    // A port that a process of the same user has: nobody is shown the token there.
    for place in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
        let Ok(squatter) = TcpListener::bind(place) else {
            eprintln!("skipped: this machine has no {place}");
            continue;
        };
        let port = squatter.local_addr().unwrap().port();
        let ip = if place.starts_with('[') {
            "[::1]"
        } else {
            "127.0.0.1"
        };
        let (code, text) = load(&format!("tcp:{ip}:{port}"), true);
        assert_eq!(code, "proc.unhealthy", "{text}");
        assert!(text.contains("another process listens"), "{text}");
        squatter.set_nonblocking(true).unwrap();
        while let Ok((mut peer, _)) = squatter.accept() {
            let mut said = Vec::new();
            match peer.read_to_end(&mut said) {
                Ok(_) => assert_eq!(said, b""),
                Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    }
    // What stands at the path of a Unix socket by other means is not the program either.
    let directory = programs.path().join("link");
    fs::create_dir(&directory).unwrap();
    let (code, text) = load(&format!("unix:{}", directory.display()), false);
    assert_eq!(code, "proc.handshake_mismatch", "{text}");
}

isolated! {
    /// Row 122.
    fn the_place_of_sockets_is_private_whatever_the_umask() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        rustix::process::umask(rustix::fs::Mode::empty());
        let programs = Programs::new();
        let path = programs.plugin("helper", &["ok"]);
        let run = tempfile::tempdir().unwrap();
        // What others may have left there stays as it is.
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("kept"), "x").unwrap();
        symlink(elsewhere.path(), run.path().join("plg-run-linked")).unwrap();
        fs::create_dir(run.path().join("plg-run-open")).unwrap();
        fs::write(run.path().join("plg-run-file"), "x").unwrap();
        let host = Host::builder().run_dir(run.path()).allow_unsafe_directories(true);
        let host = host.build().unwrap();
        let helper = host.load(path).unwrap();
        pid(&helper);
        let entries: Vec<_> = fs::read_dir(run.path()).unwrap().flatten().collect();
        assert_eq!(entries.len(), 4, "{entries:?}");
        let others = ["plg-run-linked", "plg-run-open", "plg-run-file"];
        let own = entries.iter().find(|entry| {
            let name = entry.file_name();
            !others.contains(&name.to_str().unwrap())
        });
        let own = own.unwrap().path();
        for place in [own.clone(), own.join("1"), own.join("1/w")] {
            let mode = fs::metadata(&place).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", place.display());
        }
        assert!(elsewhere.path().join("kept").exists());
    }
}

/// Row 130: a program that somebody writes cannot be run, and the system's words say so.
#[test]
fn a_program_that_is_being_written_is_tried_again_and_then_refused() {
    let programs = Programs::new();
    let directory = programs.plugin("helper", &["ok"]);
    let place = directory.join("bin/helper");
    // A file of its own: others run the fixture.
    fs::remove_file(&place).unwrap();
    fs::copy(program("fixture-helper", Variant::Debug), &place).unwrap();
    let host = host();
    let writing = fs::File::options().append(true).open(&place).unwrap();
    let (code, text) = failure(host.load(&directory));
    assert_eq!(code, "proc.spawn", "{text}");
    assert!(text.contains("file busy"), "{text}");
    drop(writing);
    pid(&host.load(&directory).unwrap());
}
