//! Programs that are plugins, driven over their sockets by a client that reads strictly and writes anything.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use plg_packaging::Manifest;
use plg_plugin_api::process::wire::{self, Config, StartLine};
use plg_tests::fixtures::{Variant, program};
use plg_tests::wait_until;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::workspace;

/// How long anything may take that should not take any time.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_plugin_starts_answers_and_ends() {
    for plugin in plugins() {
        let mut running = plugin.start();
        assert_eq!(running.start.plg, 1);
        assert_eq!(running.start.plugin, "known-as");
        assert_eq!(running.start.nonce, "6f0c");
        assert_eq!(running.start.version, plugin.version());
        assert_eq!(running.start.address, running.config.address);
        let mut client = running.ready();
        let answer = client.call(plugin.label, plugin.values());
        assert!(answer["set"].is_object(), "{plugin:?}: {answer}");
        let answer = client.call("no such label", json!({}));
        assert_eq!(answer["error"]["code"], "call.no_route", "{plugin:?}");
        assert_eq!(client.get("/nothing/here").status, 404);
        assert_eq!(client.post("/shutdown", "").status, 204);
        assert_eq!(running.ended().code(), Some(0), "{plugin:?}");
    }
}

#[test]
fn a_plugin_prints_its_manifest() {
    for plugin in plugins() {
        let output = plugin.command().arg("capabilities").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{plugin:?}");
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
        let manifest = fs::read(plugin.directory().join("plugin.json")).unwrap();
        assert_eq!(printed, serde_json::from_slice::<Value>(&manifest).unwrap());
        let manifest = Manifest::parse(&manifest).unwrap().manifest;
        assert!(manifest.process.is_some(), "{plugin:?}");
    }
}

#[test]
fn a_plugin_whose_host_is_gone_is_gone_within_a_second() {
    for plugin in plugins() {
        let mut running = plugin.start();
        running.ready();
        assert_gone_with_host(&mut running);
    }
    let mut running = fixture().start();
    let mut client = running.ready();
    client.send_call(1, "hang", json!({}), None);
    wait_for_call(&running, 1);
    assert_gone_with_host(&mut running);

    // Also before it is ready.
    let mut running = fixture().configured(|config| config["config"] = json!({"init": "hang"}));
    assert_eq!(running.client().get("/healthz").status, 503);
    assert_gone_with_host(&mut running);
}

fn assert_gone_with_host(running: &mut Running) {
    running.stdin = None;
    let since = Instant::now();
    running.ended();
    let took = since.elapsed();
    // A second, and what a busy machine adds.
    assert!(took < Duration::from_secs(3), "it took {took:?}");
}

#[test]
fn a_signal_lets_calls_end_and_a_second_one_does_not() {
    for signal in [Signal::TERM, Signal::INT] {
        for plugin in plugins() {
            let mut running = plugin.start();
            running.ready();
            running.kill(signal);
            assert_eq!(running.ended().code(), Some(0), "{plugin:?} {signal:?}");
        }

        let mut running = fixture().start();
        let mut client = running.ready();
        client.send_call(1, "patient", json!({}), None);
        wait_for_call(&running, 1);
        running.kill(signal);
        let mut other = running.client();
        wait_until("it ends", || other.get("/healthz").status == 503);
        let refused = other.post("/execute", r#"{"id":2,"label":"copy","values":{}}"#);
        assert_eq!(refused.status, 503);
        assert_eq!(other.post("/cancel", r#"{"id":1}"#).status, 204);
        assert_eq!(client.outcome()["error"]["code"], "call.cancelled");
        assert_eq!(running.ended().code(), Some(0));
        assert!(running.log().contains(r#""message":"stop""#));

        let mut running = fixture().start();
        running.ready().send_call(1, "hang", json!({}), None);
        wait_for_call(&running, 1);
        running.kill(signal);
        let mut other = running.client();
        wait_until("it ends", || other.get("/healthz").status == 503);
        running.kill(signal);
        assert_eq!(running.ended().signal(), Some(signal.as_raw()));
    }
}

#[test]
fn what_would_not_end_is_left_behind_with_another_status() {
    let mut running = fixture().start();
    let mut client = running.ready();
    client.send_call(1, "hang", json!({}), None);
    wait_for_call(&running, 1);
    assert_eq!(running.client().post("/shutdown", "").status, 204);
    assert_eq!(running.ended().code(), Some(1));
}

#[test]
fn a_plugin_that_nobody_calls_exits() {
    let mut running = fixture().configured(|config| config["idle_ms"] = json!(300));
    // As long as a call runs, it is not idle.
    let mut client = running.ready();
    client.send_call(1, "patient", json!({}), Some(1000));
    assert_eq!(client.outcome()["error"]["code"], "call.cancelled");
    assert_eq!(client.call("copy", json!({}))["id"], 2);
    assert_eq!(running.ended().code(), Some(0));
}

#[test]
fn values_of_every_kind_come_back() {
    let mut running = fixture().start();
    let mut client = running.ready();
    let values = json!({
        "null": null, "true": true, "int": i64::MIN, "float": 0.1, "whole": 1.0, "text": "ß\n\u{0}",
        "bytes": {"$bytes": "AP8="}, "nan": {"$f64": "nan"}, "inf": {"$f64": "-inf"}, "list": [1, [2.5, {}]],
        "map": {"a": {"b": null}}, "escaped": {"$map": {"$bytes": "x", "$map": 1}}, "$key": 7,
    });
    let answer = client.call("copy", values.clone());
    let copied = answer["set"].as_object().unwrap();
    assert_eq!(copied.len(), values.as_object().unwrap().len());
    for (key, value) in values.as_object().unwrap() {
        assert_eq!(&copied[&format!("{key}.copy")], value, "{key}");
    }
    assert_eq!(answer["removed"], json!([]));
    running.shut_down();
}

#[test]
fn an_outcome_has_what_the_call_changed() {
    let mut running = fixture().start();
    let mut client = running.ready();
    let answer = client.call(
        "change",
        json!({"kept": 0, "again": 1, "gone": 1, "same": 1}),
    );
    assert_eq!(
        answer["set"],
        json!({"kept": 2, "again": "once more", "removed": [true, true, false]})
    );
    assert_eq!(answer["removed"], json!(["gone"]));
    // A static key is as good for the second call as for the first.
    for _ in 0..2 {
        let answer = client.call("key", json!({"text": "a"}));
        assert_eq!(answer["set"], json!({"text": "A"}));
    }
    let answer = client.call("fail", json!({}));
    assert_eq!(answer["set"], json!({"partial": true}));
    assert_eq!(
        answer["error"],
        json!({"code": "fixture.failed", "message": "it was told to"})
    );
    assert_eq!(
        client.call("key", json!({}))["error"]["code"],
        "ctx.missing"
    );
    let wrong = client.call("key", json!({"text": 1}));
    assert_eq!(wrong["error"]["code"], "ctx.type");
    running.shut_down();
}

#[test]
fn a_panic_is_an_answer_and_not_the_end() {
    let mut running = fixture().start();
    let mut client = running.ready();
    for _ in 0..3 {
        let answer = client.call("panic", json!({}));
        assert_eq!(answer["error"]["code"], "call.panicked");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("told to panic at "), "{message}");
    }
    assert_eq!(client.call("copy", json!({}))["set"], json!({}));
    running.shut_down();
    assert!(running.log().contains("told to panic"));
}

#[test]
fn a_call_says_what_it_does() {
    let mut running = fixture().start();
    let mut client = running.ready();
    client.send_call(5, "talk", json!({}), None);
    let answer = client.answer();
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(
        answer.lines(),
        [
            json!({"log": {"level": "warn", "message": "first\nsecond"}}),
            json!({"progress": {"done": 3, "total": 10, "message": "pages"}}),
            json!({"id": 5, "set": {"said": true}, "removed": []}),
        ]
    );
    // The connection is as good as before.
    assert_eq!(client.call("copy", json!({}))["set"], json!({}));
    running.shut_down();
    for line in running.log().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string() && line["message"].is_string());
    }
    assert!(
        running
            .log()
            .contains(r#"{"level":"debug","message":"of no call"}"#)
    );
}

#[test]
fn a_call_asks_the_host_for_another_plugin() {
    let mut running = fixture().start();
    let mut client = running.ready();
    let mut replies = running.client();
    client.send_call(9, "ask", json!({}), None);
    client.head();
    let asked = client.line();
    assert_eq!(
        asked,
        json!({"call": {"seq": 1, "plugin": "text", "label": "trim", "values": {"text": " x "}}})
    );
    // These are replies to nothing, and change nothing.
    for reply in [
        r#"{"id":8,"seq":1,"values":{"text":"other"}}"#,
        r#"{"id":9,"seq":7,"values":{"text":"other"}}"#,
        r#"{"id":9,"seq":1,"values":{"text":"x"}}"#,
    ] {
        assert_eq!(replies.post("/reply", reply).status, 204);
    }
    let asked = client.line();
    assert_eq!(asked["call"]["seq"], 2);
    assert_eq!(asked["call"]["values"], json!({"text": "x"}));
    let refusal = r#"{"id":9,"seq":2,"error":{"code":"plugin.not_found","message":"no `text`"}}"#;
    assert_eq!(replies.post("/reply", refusal).status, 204);
    assert_eq!(
        client.line(),
        json!({"id": 9, "set": {"first": "x", "second": "plugin.not_found"}, "removed": []})
    );
    client.last_chunk();

    // A caller that gives up in the meantime ends the wait.
    client.send_call(10, "ask", json!({}), None);
    client.head();
    assert_eq!(client.line()["call"]["seq"], 1);
    assert_eq!(replies.post("/cancel", r#"{"id":10}"#).status, 204);
    assert_eq!(client.line()["error"]["code"], "call.cancelled");
    client.last_chunk();
    client.send_call(11, "ask", json!({}), Some(50));
    client.head();
    assert_eq!(client.line()["call"]["seq"], 1);
    assert_eq!(client.line()["error"]["code"], "call.timeout");
    client.last_chunk();
    running.shut_down();
}

#[test]
fn a_call_sees_that_nobody_waits() {
    let mut running = fixture().start();
    let mut client = running.ready();
    let mut other = running.client();
    // The deadline passes.
    client.send_call(1, "patient", json!({}), Some(20));
    assert_eq!(client.outcome()["error"]["code"], "call.cancelled");
    // The caller cancels, while the call runs.
    client.send_call(2, "patient", json!({}), None);
    client.head();
    assert_eq!(other.post("/cancel", r#"{"id":2}"#).status, 204);
    assert!(client.line()["progress"].is_object());
    assert_eq!(client.line()["error"]["code"], "call.cancelled");
    client.last_chunk();
    // And before it has begun: one connection overtakes the other.
    assert_eq!(other.post("/cancel", r#"{"id":3}"#).status, 204);
    client.send_call(3, "patient", json!({}), None);
    assert_eq!(client.outcome()["error"]["code"], "call.cancelled");
    let answer = client.call("left", json!({}));
    assert_eq!(answer["set"], json!({"ms": -1}));
    client.send_call(5, "left", json!({}), Some(60_000));
    let left = client.outcome()["set"]["ms"].as_i64().unwrap();
    assert!((1..=60_000).contains(&left), "{left}");
    running.shut_down();
}

#[test]
fn calls_run_at_the_same_time() {
    let mut running = fixture().start();
    let mut health = running.ready();
    let mut clients: Vec<_> = (1..=60)
        .map(|id| {
            let mut client = running.client();
            client.send_call(id, "patient", json!({}), None);
            client.head();
            client
        })
        .collect();
    assert_eq!(health.get("/healthz").status, 200);
    let taken = health.post("/execute", r#"{"id":7,"label":"copy","values":{}}"#);
    assert_eq!(taken.status, 409);
    for id in 1..=60 {
        let cancel = format!(r#"{{"id":{id}}}"#);
        assert_eq!(health.post("/cancel", &cancel).status, 204);
    }
    for (client, id) in clients.iter_mut().zip(1..) {
        client.line();
        assert_eq!(client.line()["id"], id);
    }
    running.shut_down();
}

#[test]
fn a_caller_that_goes_in_the_middle_takes_only_its_call_along() {
    let mut running = fixture().start();
    let mut client = running.ready();
    for id in 1..20 {
        let mut caller = running.client();
        caller.send_call(id, "patient", json!({}), Some(200));
        caller.head();
    }
    wait_until("they end", || {
        client
            .post("/execute", r#"{"id":1,"label":"copy","values":{}}"#)
            .status
            == 200
    });
    running.shut_down();
}

#[test]
fn the_configuration_reaches_the_plugin() {
    let mut running = fixture()
        .configured(|config| config["config"] = json!({"a": [1, 2.5, null], "$map": {"$x": true}}));
    let answer = running.ready().call("config", json!({}));
    assert_eq!(
        answer["set"]["config"],
        json!({"$map": {"a": [1, 2.5, null], "$map": {"$map": {"$x": true}}}})
    );
    running.shut_down();
}

#[test]
fn a_plugin_that_cannot_begin_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let taken = directory.path().join("taken");
    fs::write(&taken, "").unwrap();
    let config = |change: fn(&mut Value)| {
        let mut config = config(&directory.path().join("s"));
        change(&mut config);
        format!("{config}\n").into_bytes()
    };
    let mut in_use = config(|_| {});
    in_use = String::from_utf8(in_use)
        .unwrap()
        .replace("/s\"", "/taken\"")
        .into_bytes();
    for (input, word) in [
        (Vec::new(), "started by a plugin host"),
        (b"\n".to_vec(), "EOF"),
        (b"{}\n".to_vec(), "missing field `protocol`"),
        (vec![b' '; (1 << 20) + 1], "more than 1048576 bytes"),
        (vec![b'['; 1 << 20], "no configuration"),
        (config(|config| config["protocol"] = json!(0)), "version 0"),
        (
            config(|config| config["address"] = json!("tcp:127.0.0.1:0")),
            "no token",
        ),
        (
            config(|config| {
                config["address"] = json!("tcp:0.0.0.0:0");
                config["token"] = json!("t");
            }),
            "loopback",
        ),
        (
            config(|config| config["address"] = json!("pipe:x")),
            "expected `unix:PATH`",
        ),
        (
            config(|config| config["nonce"] = json!("n".repeat(4096))),
            "start line is too long",
        ),
        (in_use, "failed to listen"),
    ] {
        let mut child = fixture()
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One that has seen enough does not read the rest.
        let _ = child.stdin.take().unwrap().write_all(&input);
        let output = child.wait_with_output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{word}: {log}");
        assert_eq!(output.stdout, b"", "{word}");
        let line: Value = serde_json::from_str(&log).unwrap();
        assert_eq!(line["level"], "error");
        assert!(line["message"].as_str().unwrap().contains(word), "{log}");
    }

    let mut running = fixture().configured(|config| config["config"] = json!({"init": "fail"}));
    assert_eq!(running.ended().code(), Some(2));
    assert!(running.log().contains("it was told to fail"));
}

#[test]
fn over_tcp_every_request_needs_the_token() {
    let tcp = |config: &mut Value| {
        config["address"] = json!("tcp:127.0.0.1:0");
        config["token"] = json!("s3cret");
    };
    for plugin in [Some(fixture()), python()].into_iter().flatten() {
        let mut running = plugin.configured(tcp);
        assert!(running.start.address.starts_with("tcp:127.0.0.1:"));
        assert!(!running.start.address.ends_with(":0"));
        for wrong in [
            "",
            "Authorization: Bearer s3cre\r\n",
            "Authorization: Bearer s3cretX\r\n",
            "Authorization: Bearer \r\n",
            "Authorization: Basic s3cret\r\n",
            "Authorization: s3cret\r\n",
        ] {
            for request in [
                "GET /healthz",
                "POST /execute",
                "POST /shutdown",
                "GET /own",
            ] {
                let mut client = running.client();
                client.send(format!("{request} HTTP/1.1\r\n{wrong}\r\n").as_bytes());
                assert_eq!(client.answer().status, 401, "{plugin:?}: {request} {wrong}");
                client.closed();
            }
        }
        let mut client = running.client();
        client.token = Some("s3cret");
        wait_until("it is ready", || client.get("/healthz").status == 200);
        let answer = client.call(plugin.label, plugin.values());
        assert!(answer["set"].is_object(), "{plugin:?}: {answer}");
        assert_eq!(client.post("/shutdown", "").status, 204);
        assert_eq!(running.ended().code(), Some(0));
    }
}

#[test]
fn what_is_no_request_is_refused_and_the_connection_closed() {
    let mut running = fixture().start();
    let mut good = running.ready();
    let ok = "GET /healthz HTTP/1.1\r\n\r\n";
    let headers = |headers: &str| format!("POST /execute HTTP/1.1\r\n{headers}\r\n").into_bytes();
    let chunks = |chunks: &str| {
        let head = "POST /cancel HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        format!("{head}{chunks}").into_bytes()
    };
    let cases: Vec<(Vec<u8>, u16)> = vec![
        // No HTTP.
        (b"\x16\x03\x01\x02\x00\x01".to_vec(), 400),
        (b"hello\r\n\r\n".to_vec(), 400),
        (b"\r\nGET /healthz HTTP/1.1\r\n\r\n".to_vec(), 400),
        (b"GET\r\n\r\n".to_vec(), 400),
        (b"GET /a b HTTP/1.1\r\n\r\n".to_vec(), 505),
        (b"GET / HTTP/1.0\r\n\r\n".to_vec(), 505),
        (b"PRI * HTTP/2.0\r\n\r\n".to_vec(), 505),
        (b"GET http://elsewhere/ HTTP/1.1\r\n\r\n".to_vec(), 400),
        (b"OPTIONS * HTTP/1.1\r\n\r\n".to_vec(), 400),
        (b"GET / HTTP/1.1\n\n".to_vec(), 400),
        (b"GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n".to_vec(), 400),
        (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n".to_vec(), 400),
        (b"GET / HTTP/1.1\r\nA : b\r\n\r\n".to_vec(), 400),
        (b"GET / HTTP/1.1\r\nA: b\0\r\n\r\n".to_vec(), 400),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_vec(),
            400,
        ),
        // Two lengths of one body.
        (
            headers("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
            400,
        ),
        (headers("Content-Length: 4\r\nContent-Length: 4\r\n"), 400),
        (headers("Content-Length: 4, 4\r\n"), 400),
        (headers("Content-Length: +4\r\n"), 400),
        (headers("Content-Length: -1\r\n"), 400),
        (headers("Content-Length: 0x4\r\n"), 400),
        (headers("Content-Length:\r\n"), 400),
        (headers("Transfer-Encoding: gzip, chunked\r\n"), 501),
        (headers("Transfer-Encoding: chunked, chunked\r\n"), 501),
        (headers("Transfer-Encoding: identity\r\n"), 501),
        (
            headers("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            400,
        ),
        (
            headers("Expect: 100-continue\r\nContent-Length: 4\r\n"),
            417,
        ),
        // Too much.
        (headers("Content-Length: 16777217\r\n"), 413),
        (headers("Content-Length: 99999999999999999999999\r\n"), 413),
        (headers(&format!("A: {}\r\n", "a".repeat(64 << 10))), 431),
        (headers(&"A: a\r\n".repeat(65)), 431),
        (format!("GET /{}", "a".repeat(80 << 10)).into_bytes(), 431),
        // Chunks that are none.
        (chunks("x\r\n"), 400),
        (chunks("\r\n"), 400),
        (chunks("-1\r\n"), 400),
        (chunks("1;a=b\r\nx\r\n0\r\n\r\n"), 400),
        (chunks("1\nx"), 400),
        (chunks("2\r\n{}}\r\n0\r\n\r\n"), 400),
        (chunks("2\r\n{}\r\n0\r\nA: b\r\n\r\n"), 400),
        (chunks("00000002\r\n{}\r\n0\r\n\r\n"), 400),
        (chunks("ffffffffffffffff\r\n"), 400),
        (chunks("1000001\r\n"), 413),
    ];
    for (request, status) in cases {
        let shown = String::from_utf8_lossy(&request[..request.len().min(100)]).into_owned();
        let mut client = running.client();
        // What follows is not taken for a request of its own.
        client.send(&[&request, ok.as_bytes()].concat());
        let answer = client.answer();
        assert_eq!(answer.status, status, "{shown:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{shown:?}");
        client.closed();
    }
    assert_eq!(good.get("/healthz").status, 200);
    running.shut_down();
}

#[test]
fn what_is_no_record_is_refused_and_the_connection_stays() {
    let mut running = fixture().start();
    let mut client = running.ready();
    for (path, body) in [
        ("/execute", ""),
        ("/execute", "{}"),
        ("/execute", r#"{"id":1,"label":"copy","values":[]}"#),
        ("/execute", r#"{"id":-1,"label":"copy","values":{}}"#),
        ("/execute", r#"{"id":1,"id":1,"label":"copy","values":{}}"#),
        (
            "/execute",
            r#"{"id":1,"label":"copy","values":{"a":{"$x":1}}}"#,
        ),
        ("/execute", r#"{"id":1,"label":"copy","values":{}} {}"#),
        ("/reply", r#"{"id":1,"seq":1}"#),
        ("/cancel", "17"),
    ] {
        assert_eq!(client.post(path, body).status, 400, "{path} {body}");
    }
    for (method, path) in [
        ("GET", "/execute"),
        ("POST", "/healthz"),
        ("PUT", "/cancel"),
    ] {
        client.send(format!("{method} {path} HTTP/1.1\r\n\r\n").as_bytes());
        assert_eq!(client.answer().status, 405, "{method} {path}");
    }
    assert_eq!(client.call("copy", json!({}))["set"], json!({}));
    running.shut_down();
}

#[test]
fn requests_come_in_pieces_in_chunks_and_several_at_once() {
    let mut running = fixture().start();
    let mut client = running.ready();
    let body = r#"{"id":1,"label":"copy","values":{"a":1}}"#;
    let whole = format!(
        "POST /execute HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for byte in whole.as_bytes() {
        client.send(&[*byte]);
    }
    assert_eq!(client.outcome()["set"], json!({"a.copy": 1}));
    client.send(b"POST /execute HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n");
    for byte in body.as_bytes() {
        client.send(&[b"1\r\n", [*byte].as_slice(), b"\r\n"].concat());
    }
    client.send(b"0\r\n\r\n");
    assert_eq!(client.outcome()["set"], json!({"a.copy": 1}));
    client.send(format!("{whole}{whole}GET /healthz HTTP/1.1\r\n\r\n").as_bytes());
    assert_eq!(client.outcome()["set"], json!({"a.copy": 1}));
    assert_eq!(client.outcome()["set"], json!({"a.copy": 1}));
    assert_eq!(client.answer().status, 200);
    client.send(b"HEAD /healthz HTTP/1.1\r\nConnection: keep-alive, Close\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    client.closed();
    running.shut_down();
}

#[test]
fn large_values_pass_and_too_large_ones_are_said_to_be() {
    let mut running = fixture().start();
    let mut client = running.ready();
    let answer = client.call("copy", json!({"a": "x".repeat(7 << 20)}));
    assert_eq!(answer["set"]["a.copy"].as_str().unwrap().len(), 7 << 20);
    let answer = client.call("large", json!({"size": 16 << 20}));
    assert_eq!(answer["error"]["code"], "ctx.too_large");
    assert_eq!(answer["set"], json!({}));
    assert_eq!(client.call("copy", json!({}))["set"], json!({}));
    running.shut_down();
}

#[test]
fn what_is_the_plugins_own_is_passed_on() {
    let mut running = fixture().start();
    let mut client = running.ready();
    let answer = client.post("/echo?a=b", "body");
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (201, b"body".as_slice())
    );
    let answer = client.get("/header?x=1");
    assert_eq!(answer.body, b"/header?x=1");
    assert_eq!(answer.header("x-injected"), None);
    assert_eq!(client.get("/panic").status, 500);
    assert_eq!(client.get("/status").status, 500);
    assert_eq!(client.get("/other").status, 404);
    running.shut_down();
}

#[test]
fn a_head_that_does_not_come_ends_the_connection() {
    let mut running = fixture().start();
    let mut good = running.ready();
    let mut silent = running.client();
    let mut slow = running.client();
    slow.send(b"GET /healthz HTTP/1.1\r\n");
    assert_eq!(slow.answer().status, 408);
    slow.closed();
    silent.closed();
    // One that has asked before may take its time.
    assert_eq!(good.get("/healthz").status, 200);
    running.shut_down();
}

#[test]
fn connections_are_counted() {
    let mut running = fixture().start();
    let mut good = running.ready();
    let mut clients = Vec::new();
    // Some of them before it comes to the limit, and a few more after it.
    let refused = (0..300).any(|_| {
        let mut client = running.client();
        client.send(b"GET /healthz HTTP/1.1\r\n\r\n");
        let status = client.answer().status;
        clients.push(client);
        status == 503
    });
    assert!(refused);
    assert!(clients.len() > 250, "{}", clients.len());
    assert_eq!(good.get("/healthz").status, 200);
    drop(clients);
    wait_until("there is room again", || {
        let mut client = running.client();
        client.send(b"GET /healthz HTTP/1.1\r\n\r\n");
        client.answer().status == 200
    });
    running.shut_down();
}

#[test]
fn the_sample_counts_words() {
    let sample = Plugin::sample();
    let mut running = sample.configured(|config| config["config"] = json!({"ignore": ["the"]}));
    let mut client = running.ready();
    let text = "the cat and the dog and";
    let answer = client.call("top", json!({"text": text, "limit": 1}));
    assert_eq!(answer["set"]["top"], json!([{"word": "and", "count": 2}]));
    client.send_call(2, "top", json!({"text": "a ".repeat(25_000)}), None);
    let lines = client.answer().lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0]["progress"]["done"], 10_000);
    running.shut_down();
}

#[test]
fn the_python_sample_speaks_all_of_the_protocol() {
    let Some(python) = python() else { return };
    let mut running = python.start();
    let mut client = running.ready();
    let answer = client.call("upper", json!({"text": "straße"}));
    assert_eq!(answer["set"], json!({"text": "STRASSE"}));
    for (values, code) in [
        (json!({}), "ctx.missing"),
        (json!({"text": {"$bytes": "aGk="}}), "ctx.type"),
        (json!({"text": {"$map": {"$bytes": "x"}}}), "ctx.type"),
    ] {
        assert_eq!(client.call("upper", values)["error"]["code"], code);
    }
    client.send_call(9, "upper_all", json!({"texts": ["a", "b"]}), None);
    let lines = client.answer().lines();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for line in &lines {
        let text = line.to_string();
        wire::decode::<wire::Line>(text.as_bytes(), wire::MAX_LINE).unwrap();
    }
    assert_eq!(lines[3]["set"], json!({"texts": ["A", "B"]}));
    // Overtaken by its cancellation.
    let mut other = running.client();
    assert_eq!(other.post("/cancel", r#"{"id":10}"#).status, 204);
    client.send_call(10, "upper_all", json!({"texts": ["a"]}), None);
    assert_eq!(client.outcome()["error"]["code"], "call.cancelled");
    for hostile in [
        "Content-Length: 1\r\nContent-Length: 2\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: x\r\n",
        "Content-Length: 16777217\r\n",
    ] {
        let mut client = running.client();
        client.send(format!("POST /execute HTTP/1.1\r\n{hostile}\r\n").as_bytes());
        assert!(matches!(client.answer().status, 400 | 413), "{hostile}");
        client.closed();
    }
    assert_eq!(
        client
            .post("/reply", r#"{"id":1,"seq":1,"values":{}}"#)
            .status,
        204
    );
    running.shut_down();
}

/// A program and something that it can do.
#[derive(Debug)]
struct Plugin {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<PathBuf>,
    label: &'static str,
}

/// The samples.
fn plugins() -> Vec<Plugin> {
    let python = python();
    [Some(Plugin::sample()), python]
        .into_iter()
        .flatten()
        .collect()
}

fn fixture() -> Plugin {
    Plugin {
        name: "fixture-process",
        program: program("fixture-process", Variant::Debug),
        arguments: Vec::new(),
        label: "copy",
    }
}

/// The sample in Python, where there is one.
#[expect(clippy::print_stdout, reason = "it says what was not tested")]
fn python() -> Option<Plugin> {
    let output = Command::new("python3").arg("--version").output();
    if !output.is_ok_and(|output| output.status.success()) {
        println!("skipped: there is no `python3`");
        return None;
    }
    let name = "py-upper";
    Some(Plugin {
        name,
        program: PathBuf::from("python3"),
        arguments: vec![workspace().join("plugins").join(name).join("py_upper.py")],
        label: "upper",
    })
}

impl Plugin {
    fn sample() -> Self {
        let name = "wordcount-process";
        Self {
            name,
            program: program(name, Variant::Debug),
            arguments: Vec::new(),
            label: "count",
        }
    }

    fn directory(&self) -> PathBuf {
        workspace().join("plugins").join(self.name)
    }

    fn version(&self) -> String {
        let manifest = fs::read(self.directory().join("plugin.json")).unwrap();
        Manifest::parse(&manifest)
            .unwrap()
            .manifest
            .version
            .to_string()
    }

    fn values(&self) -> Value {
        json!({"text": "a b"})
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
    }

    fn start(&self) -> Running {
        self.configured(|_| {})
    }

    fn configured(&self, change: impl FnOnce(&mut Value)) -> Running {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(&directory.path().join("s"));
        change(&mut config);
        let mut child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "{config}").unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        let mut stderr = child.stderr.take().unwrap();
        let (sender, log) = mpsc::channel();
        thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            let _ = sender.send(text);
        });
        let start = wire::decode(line.as_bytes(), wire::MAX_START).unwrap();
        Running {
            child,
            stdin: Some(stdin),
            config: serde_json::from_value(config).unwrap(),
            start,
            log,
            seen: None,
            _directory: directory,
        }
    }
}

fn config(socket: &Path) -> Value {
    json!({"protocol": 9, "plugin": "known-as", "generation": 3, "nonce": "6f0c", "token": null,
        "address": format!("unix:{}", socket.display()), "idle_ms": null, "config": {}, "unknown": [1]})
}

/// A program that runs; it is killed when the test is over.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    config: Config,
    start: StartLine,
    log: Receiver<String>,
    seen: Option<String>,
    _directory: TempDir,
}

impl Running {
    /// A new connection.
    fn client(&self) -> Client {
        let stream = match self.start.address.split_once(':').unwrap() {
            ("unix", path) => Stream::Unix(UnixStream::connect(path).unwrap()),
            (_, place) => Stream::Tcp(TcpStream::connect(place).unwrap()),
        };
        match &stream {
            Stream::Unix(stream) => stream.set_read_timeout(Some(SOON)).unwrap(),
            Stream::Tcp(stream) => stream.set_read_timeout(Some(SOON)).unwrap(),
        }
        Client {
            stream: BufReader::new(stream),
            token: None,
            last: 0,
        }
    }

    /// A new connection, once calls are taken.
    fn ready(&self) -> Client {
        let mut client = self.client();
        wait_until("it is ready", || client.get("/healthz").status == 200);
        client
    }

    fn kill(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("it exits", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    fn shut_down(&mut self) {
        assert_eq!(self.client().post("/shutdown", "").status, 204);
        assert_eq!(self.ended().code(), Some(0));
    }

    /// What it wrote to standard error until it ended.
    fn log(&mut self) -> &str {
        self.seen
            .get_or_insert_with(|| self.log.recv_timeout(SOON).unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Until the program has begun a call: another with its id is refused.
fn wait_for_call(running: &Running, id: u64) {
    let mut client = running.client();
    let body = json!({"id": id, "label": "copy", "values": {}}).to_string();
    wait_until("the call runs", || {
        client.post("/execute", &body).status == 409
    });
}

/// A connection.
struct Client {
    stream: BufReader<Stream>,
    token: Option<&'static str>,
    last: u64,
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

#[derive(Debug)]
struct Answered {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Client {
    /// Sends anything. A peer that has seen enough may be gone.
    fn send(&mut self, bytes: &[u8]) {
        let stream = self.stream.get_mut();
        let _ = match stream {
            Stream::Unix(stream) => stream.write_all(bytes),
            Stream::Tcp(stream) => stream.write_all(bytes),
        };
    }

    fn request(&mut self, method: &str, path: &str, body: &str) {
        let token = self
            .token
            .map(|token| format!("Authorization: Bearer {token}\r\n"));
        let token = token.unwrap_or_default();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\n{token}Content-Length: {length}\r\n\r\n"
        );
        self.send((head + body).as_bytes());
    }

    fn get(&mut self, path: &str) -> Answered {
        self.request("GET", path, "");
        self.answer()
    }

    fn post(&mut self, path: &str, body: &str) -> Answered {
        self.request("POST", path, body);
        self.answer()
    }

    fn send_call(&mut self, id: u64, label: &str, values: Value, timeout: Option<u64>) {
        self.last = id;
        let body =
            json!({"id": id, "label": label, "values": values, "timeout_ms": timeout, "depth": 0});
        self.request("POST", "/execute", &body.to_string());
    }

    /// Calls, with an id of its own, and returns the outcome.
    fn call(&mut self, label: &str, values: Value) -> Value {
        let id = self.last + 1;
        self.send_call(id, label, values, None);
        let outcome = self.outcome();
        assert_eq!(outcome["id"], id);
        outcome
    }

    /// The last line of an answer.
    fn outcome(&mut self) -> Value {
        let answer = self.answer();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.lines().pop().unwrap()
    }

    fn answer(&mut self) -> Answered {
        let mut answer = self.head();
        let length = answer.header("content-length");
        let length = length.map(|length| length.parse::<usize>().unwrap());
        let chunked = answer.header("transfer-encoding") == Some("chunked");
        answer.body = match (length, chunked) {
            (None, false) => {
                assert_eq!(answer.status, 204, "{answer:?}");
                Vec::new()
            }
            (Some(length), false) => {
                let mut body = vec![0; length];
                self.stream.read_exact(&mut body).unwrap();
                body
            }
            (None, true) => {
                let mut body = Vec::new();
                while let Some(chunk) = self.chunk() {
                    body.extend(chunk);
                }
                body
            }
            (Some(_), true) => panic!("two lengths: {answer:?}"),
        };
        answer
    }

    /// The status and the headers.
    fn head(&mut self) -> Answered {
        let first = self.text_line();
        let status = first.strip_prefix("HTTP/1.1 ").unwrap();
        let (status, _) = status.split_once(' ').unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.text_line();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").unwrap();
            headers.push((name.to_lowercase(), value.to_owned()));
        }
        Answered {
            status: status.parse().unwrap(),
            headers,
            body: Vec::new(),
        }
    }

    fn text_line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let line = line.strip_suffix("\r\n");
        line.expect("a line ends in CRLF").to_owned()
    }

    /// The next chunk; `None` after the last.
    fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(&self.text_line(), 16).unwrap();
        let mut chunk = vec![0; size];
        self.stream.read_exact(&mut chunk).unwrap();
        assert_eq!(self.text_line(), "");
        (size > 0).then_some(chunk)
    }

    /// The next chunk as the line that it is: lines are sent at once.
    fn line(&mut self) -> Value {
        let chunk = self.chunk().expect("there is another line");
        assert_eq!(chunk.last(), Some(&b'\n'));
        serde_json::from_slice(&chunk).unwrap()
    }

    fn last_chunk(&mut self) {
        assert_eq!(self.chunk(), None);
    }

    /// The peer sends nothing more.
    fn closed(&mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

impl Answered {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn lines(&self) -> Vec<Value> {
        let lines = self.body.split(|byte| *byte == b'\n');
        lines
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(bytes),
            Self::Tcp(stream) => stream.read(bytes),
        }
    }
}
