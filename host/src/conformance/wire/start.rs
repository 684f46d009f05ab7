//! What a program prints, and where it listens.

use plg_packaging::Manifest;
use serde_json::json;

use super::client::request;
use super::program::Launcher;
use crate::conformance::finding::{Found, expect, failed, shown, soon};
use crate::conformance::rule::{Needs, Rule};

pub(super) const RULES: &[Rule<Launcher>] = &[
    Rule::must(
        "wire.capabilities",
        Needs::Nothing,
        "with `capabilities` the manifest is printed",
        capabilities,
    ),
    Rule::must(
        "wire.start",
        Needs::Nothing,
        "the start line repeats what the configuration says",
        start,
    ),
    Rule::must(
        "wire.token",
        Needs::Nothing,
        "over TCP only requests with the token are served",
        token,
    ),
];

fn capabilities(launcher: &Launcher) -> Found {
    let output = launcher.capabilities()?;
    if !output.status.success() {
        return failed(format!(
            "it ended with {}, expected status 0",
            output.status
        ));
    }
    match Manifest::parse(&output.stdout) {
        Ok(parsed) => expect(
            "the name",
            &parsed.manifest.name.as_str(),
            &launcher.name.as_str(),
        ),
        Err(error) => {
            let printed = String::from_utf8_lossy(&output.stdout);
            failed(format!("it printed {}: {error}", shown(&printed)))
        }
    }
}

fn start(launcher: &Launcher) -> Found {
    let mut started = launcher.start(|config| {
        config["protocol"] = json!(99);
        config["generation"] = json!(7);
        config["of_the_future"] = json!({"a": [1]});
    })?;
    let (line, config) = (&started.line, &started.config);
    expect("`plg`", &line["plg"], &json!(1))?;
    expect("`plugin`", &line["plugin"], &config["plugin"])?;
    expect("`nonce`", &line["nonce"], &config["nonce"])?;
    expect("`address`", &line["address"], &config["address"])?;
    expect("`version`", &line["version"], &json!(launcher.version))?;
    started.wait_until_ready()?;
    if let Ok(status) = started.ended(std::time::Duration::from_millis(50)) {
        return failed(format!("it ended with {status} after its start line"));
    }
    Ok(())
}

fn token(launcher: &Launcher) -> Found {
    let started = launcher.start(|config| {
        config["address"] = json!("tcp:127.0.0.1:0");
        config["token"] = json!("0123456789abcdef0123456789abcdef");
    })?;
    let port = started.address().strip_prefix("tcp:127.0.0.1:");
    if !port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return failed(format!("the address is {}", shown(&started.address())));
    }
    let call = json!({"id": 1, "label": "conformance.no-such-label", "values": {}}).to_string();
    let shown_tokens = [
        ("", 401),
        ("Authorization: Bearer wrong\r\n", 401),
        ("Authorization: 0123456789abcdef0123456789abcdef\r\n", 401),
        (
            "Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n",
            200,
        ),
    ];
    // One that is not ready yet says so to whoever may ask.
    let health = |header: &str| format!("GET /healthz HTTP/1.1\r\nHost: plugin\r\n{header}\r\n");
    let is_ready = || {
        let request = health(shown_tokens[3].0);
        Ok(started.client()?.exchange(request.as_bytes())?.status == 200)
    };
    let what = "`/healthz` with the token was not answered with 200";
    soon(is_ready, what)?;
    for (header, status) in shown_tokens {
        let requests = [health(header), request("/execute", header, &call)];
        for request in requests {
            let answer = started.client()?.exchange(request.as_bytes())?;
            let what = format!("the status with {}", shown(&header));
            expect(&what, &answer.status, &status)?;
        }
    }
    Ok(())
}
