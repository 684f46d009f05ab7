//! Requests to the endpoints of plugins that are programs.

use std::thread;
use std::time::Duration;

use plg_host::{Error, Handle, HttpRequest, HttpResponse, Limits, Unloaded};
use serde_json::{Value, json};

use crate::support::programs::{Programs, failure, host, host_with, pid, value};
use crate::support::{Variant, library, program, wait_until};

fn get(plugin: &Handle, path: &str) -> Result<HttpResponse, Error> {
    plugin.http(&HttpRequest::new("GET", path))
}

fn json_of(response: &HttpResponse) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

fn sleeping(plugin: &Handle) -> i64 {
    value(plugin, "counts", "sleeping")
        .unwrap()
        .as_i64()
        .unwrap()
}

#[test]
fn a_request_arrives_as_it_is_and_so_does_the_answer() {
    let programs = Programs::new();
    let host = host();
    for transport in ["unix", "tcp"] {
        let directory = programs.plugin(transport, &["ok"]);
        let process = json!({ "exec": "bin/helper", "args": ["ok"], "transport": transport });
        programs.manifest(transport, process);
        let helper = host.load(directory).unwrap();
        let request = HttpRequest::new("PUT", "/own/page?a=1&b=%2f")
            .header("X-Mine", "yes: \"zwölf\"")
            .header("Authorization", "Basic secret")
            .header("Host", "example.org")
            .header("Connection", "close")
            .header("Transfer-Encoding", "chunked")
            .header("Content-Length", "7")
            .body("zwölf");
        let response = helper.http(&request).unwrap();
        assert_eq!(response.status, 203);
        assert_eq!(response.content_type, "text/own");
        let names: Vec<_> = response
            .headers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["Content-Type", "X-Seen"]);
        let seen = json_of(&response);
        assert_eq!(
            (&seen["method"], &seen["path"], &seen["body"]),
            (
                &json!("PUT"),
                &json!("/own/page?a=1&b=%2f"),
                &json!("zwölf")
            )
        );
        let headers = &seen["headers"];
        assert_eq!(headers["x-mine"], "yes: \"zwölf\"");
        assert_eq!(
            (&headers["host"], &headers["content-length"]),
            (&json!("plugin"), &json!("6"))
        );
        for none in ["connection", "transfer-encoding"] {
            assert_eq!(headers[none], Value::Null, "{none}");
        }
        // The token is the host's, and nobody's secret goes in its place.
        let shown = headers["authorization"].as_str().unwrap_or_default();
        assert_eq!(shown.starts_with("Bearer "), transport == "tcp", "{shown}");
        assert!(!shown.contains("secret"));
        // What it says of itself is passed on, whatever it is.
        assert_eq!(get(&helper, "/nothing").unwrap().status, 404);
        let away = get(&helper, "/own/away").unwrap();
        assert_eq!(away.status, 302);
        assert!(away.headers.iter().any(|(name, _)| name == "Location"));
        assert_eq!(failure(get(&helper, "/own/large")).0, "http.body");
        // They are counted, and use the connections of calls.
        let snapshot = helper.snapshot();
        let all = snapshot
            .labels
            .iter()
            .find(|label| label.label == "*")
            .unwrap();
        assert!(all.calls >= 4 && all.failures >= 1, "{all:?}");
    }
}

#[test]
fn what_belongs_to_the_protocol_or_has_two_meanings_is_not_passed_on() {
    let programs = Programs::new();
    let host = host();
    let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
    let child = pid(&helper);
    let calls = || value(&helper, "counts", "calls").unwrap().as_i64().unwrap();
    let before = calls();
    let paths = [
        "",
        "x",
        "http://x/",
        "/a b",
        "/a#b",
        "/a\r\nX: y",
        "/zwölf",
        "/a/../b",
        "/%2e%2e/x",
        "/own\\x",
        "/execute",
        "/shutdown",
        "/cancel",
        "/reply",
        "/healthz",
        "/save",
        "/restore",
        "/state/x",
        "//shutdown",
        "/./shutdown",
        "/shutdown/",
        "/shutdown?x",
        "/SHUTDOWN",
        "/%73hutdown",
        "/%2573hutdown",
        "/%2fshutdown",
        "/%5cshutdown",
    ];
    for path in paths {
        for method in ["GET", "POST"] {
            let (code, text) = failure(helper.http(&HttpRequest::new(method, path)));
            assert_eq!(code, "http.request", "{path}: {text}");
            assert!(!text.contains('\r'), "{text:?}");
        }
    }
    for method in [
        "",
        "get",
        "CONNECT",
        "TRACE",
        "HEAD",
        "GET / HTTP/1.1\r\nX:",
    ] {
        let (code, text) = failure(helper.http(&HttpRequest::new(method, "/own/x")));
        assert_eq!(code, "http.request", "{method}: {text}");
    }
    for (name, value) in [
        ("", "x"),
        ("a b", "x"),
        ("a", "x\r\ny: z"),
        ("a:", "x"),
        ("a", "\0"),
    ] {
        let request = HttpRequest::new("GET", "/own/x").header(name, value);
        assert_eq!(
            failure(helper.http(&request)).0,
            "http.request",
            "{name:?}: {value:?}"
        );
    }
    for request in [
        HttpRequest::new("POST", "/own/x").body(vec![b'x'; (16 << 20) + 1]),
        HttpRequest::new("GET", "/own/x").header("a", &"x".repeat(70 << 10)),
        HttpRequest::new("GET", &format!("/{}", "x".repeat(9 << 10))),
    ] {
        assert_eq!(failure(helper.http(&request)).0, "http.request");
    }
    assert_eq!(
        (calls(), pid(&helper)),
        (before + 1, child),
        "nothing arrived"
    );
    let large = HttpRequest::new("POST", "/own/x").body(vec![b'x'; 15 << 20]);
    assert_eq!(
        json_of(&helper.http(&large).unwrap())["body"]
            .as_str()
            .unwrap()
            .len(),
        15 << 20
    );
}

#[test]
fn a_plugin_in_this_process_has_no_endpoints() {
    let host = host();
    let text = host.load(library("text", Variant::Debug)).unwrap();
    assert_eq!(failure(get(&text, "/x")).0, "http.no_endpoints");
    let _ = host.unload("text").unwrap();
    assert_eq!(failure(get(&text, "/x")).0, "plugin.unloaded");
}

#[test]
fn a_request_has_a_deadline_and_counts_as_a_call() {
    let programs = Programs::new();
    let limits = Limits {
        in_flight: 1,
        queue: 0,
        ..Limits::default()
    };
    let host = host_with(limits);
    let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
    let slow = HttpRequest::new("GET", "/own/slow?60000").timeout(Duration::from_millis(100));
    assert_eq!(failure(helper.http(&slow)).0, "call.timeout");
    let snapshot = || helper.snapshot();
    wait_until("no thread is lost", || snapshot().lost.is_empty());
    thread::scope(|scope| {
        scope.spawn(|| {
            let slow = HttpRequest::new("GET", "/own/slow?60000").timeout(Duration::from_secs(2));
            assert_eq!(failure(helper.http(&slow)).0, "call.timeout");
        });
        wait_until("it is inside", || {
            let process = snapshot().current.unwrap().process.unwrap();
            process.in_flight == 1
        });
        let another = HttpRequest::new("GET", "/own/x").timeout(Duration::from_secs(1));
        assert_eq!(failure(helper.http(&another)).0, "call.overloaded");
    });
}

#[test]
fn an_upgrade_does_not_cut_a_request_off() {
    let programs = Programs::new();
    let host = host();
    let base = Programs::new();
    let helper = host
        .load(programs.plugin("helper", &["ok", "old"]))
        .unwrap();
    let child = pid(&helper);
    thread::scope(|scope| {
        let asked = scope.spawn(|| get(&helper, "/own/slow?700").unwrap());
        wait_until("it is inside", || sleeping(&helper) == 1);
        let upgraded = host
            .upgrade("helper", base.plugin("helper", &["ok", "new"]))
            .unwrap();
        assert_eq!(upgraded.retired, Unloaded::Unmapped, "it was waited for");
        let seen = json_of(&asked.join().unwrap());
        assert_eq!(seen["pid"], child.as_raw_nonzero().get());
    });
    assert_ne!(
        json_of(&get(&helper, "/own/x").unwrap())["pid"],
        child.as_raw_nonzero().get()
    );
    // One whose program dies is not asked again by itself.
    let (code, text) = failure(get(&helper, "/own/kill"));
    assert_eq!(code, "call.unavailable");
    assert!(text.contains("is unknown"), "{text}");
}

/// The library for plugins in Rust.
#[test]
fn a_program_in_rust_answers_requests() {
    let programs = Programs::new();
    let host = host();
    let process = json!({ "exec": "bin/fixture" });
    let directory = programs.manifest("fixture-process", process.clone());
    let manifest = json!({ "name": "fixture-process", "version": "1.2.3", "process": process });
    std::fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
    std::fs::create_dir(directory.join("bin")).unwrap();
    let fixture = program("fixture-process", Variant::Debug);
    std::fs::copy(fixture, directory.join("bin/fixture")).unwrap();
    let plugin = host.load(directory).unwrap();
    let response = plugin
        .http(&HttpRequest::new("POST", "/echo").body("hello"))
        .unwrap();
    assert_eq!(
        (response.status, response.body.as_slice()),
        (201, b"hello".as_slice())
    );
    assert_eq!(response.content_type, "text/plain");
    assert_eq!(get(&plugin, "/panic").unwrap().status, 500);
    assert_eq!(get(&plugin, "/other").unwrap().status, 404);
}
