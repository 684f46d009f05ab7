//! What a program answers is hostile until it was read.

use std::time::Duration;

use plg_host::{Context, Host};

use crate::support::programs::{Programs, failure, host, value};

/// Rows 133, 134 and 135.
#[test]
fn an_answer_that_is_none_is_refused_with_its_code() {
    let programs = Programs::new();
    let host = host();
    let cases = [
        ("junk", "http.protocol"),
        ("http09", "http.protocol"),
        ("http10", "http.protocol"),
        ("two_lengths", "http.protocol"),
        ("length_and_chunked", "http.protocol"),
        ("negative_length", "http.protocol"),
        ("large_length", "http.protocol"),
        ("no_length", "http.protocol"),
        ("bad_chunk", "http.protocol"),
        ("long_chunk", "http.protocol"),
        ("huge_chunk", "http.protocol"),
        ("chunk_extension", "http.protocol"),
        ("large_header", "http.protocol"),
        ("many_headers", "http.protocol"),
        ("endless_100", "http.protocol"),
        ("large_body", "http.body"),
        ("endless_body", "http.body"),
        ("compressed", "http.body"),
        ("wrong_type", "http.body"),
        ("no_json", "http.body"),
        ("twice", "http.body"),
        ("deep", "http.body"),
        ("bad_bytes", "http.body"),
        ("no_outcome", "http.body"),
        ("after_outcome", "http.body"),
        ("no_line", "http.body"),
        ("redirect", "http.redirect"),
        ("status", "http.status"),
        ("swap", "http.mixup"),
        // Rows 134 and 136.
        ("midway", "call.unavailable"),
        ("closes", "call.unavailable"),
    ];
    for (at, (answer, expected)) in cases.into_iter().enumerate() {
        let plugin = load(&host, &programs, at, answer);
        let mut context = Context::new()
            .with("kept", 1)
            .timeout(Duration::from_secs(60));
        let (code, text) = failure(plugin.call("x", &mut context));
        assert_eq!(code, expected, "{answer}: {text}");
        assert_eq!(context.get("done"), None, "{answer}");
        let _ = host.unload(plugin.name()).unwrap();
    }
}

/// Row 134: a total deadline.
#[test]
fn an_answer_that_does_not_come_costs_the_deadline() {
    let programs = Programs::new();
    let host = host();
    for (at, answer) in ["silent", "slow_body"].into_iter().enumerate() {
        let plugin = load(&host, &programs, at, answer);
        let mut context = Context::new().timeout(Duration::from_millis(200));
        let (code, text) = failure(plugin.call("x", &mut context));
        assert_eq!(code, "call.timeout", "{answer}: {text}");
    }
}

#[test]
fn an_answer_may_be_chunked_and_close_its_connection() {
    let programs = Programs::new();
    let host = host();
    for (at, answer) in ["chunked", "close_after", "longer"].into_iter().enumerate() {
        let plugin = load(&host, &programs, at, answer);
        for _ in 0..3 {
            let mut context = Context::new();
            plugin.call("x", &mut context).unwrap();
            assert_eq!(context.get("done"), Some(&true.into()), "{answer}");
        }
    }
}

#[test]
fn connections_are_used_again() {
    let programs = Programs::new();
    let host = host();
    let plugin = host.load(programs.plugin("helper", &["ok"])).unwrap();
    for _ in 0..50 {
        value(&plugin, "pid", "pid").unwrap();
    }
    assert_eq!(value(&plugin, "counts", "connections").unwrap(), 1.into());
}

fn load(host: &Host, programs: &Programs, at: usize, answer: &str) -> plg_host::Handle {
    let mode = format!("bad_http:{answer}");
    let path = programs.plugin(&format!("bad-{at}"), &[&mode]);
    host.load(path).unwrap()
}
