//! What a program answers while calls run.

use serde_json::json;

use super::client::Client;
use super::program::Launcher;
use crate::conformance::finding::{Found, expect, failed};
use crate::conformance::rule::{Needs, Rule};

pub(super) const RULES: &[Rule<Launcher>] = &[
    Rule::must(
        "wire.busy_health",
        Needs::Labels,
        "`/healthz` is answered 200 while calls run",
        |launcher| {
            let started = launcher.ready()?;
            let _one = started.running(&started.call(SLEEP, None))?;
            let mut two = started.client()?;
            // One that takes a call at a time has this one wait.
            two.begin(&started.call(SLEEP, None))?;
            (0..5).try_for_each(|_| {
                let answer = started.client()?.get("/healthz")?;
                expect("the status", &answer.status, &200)
            })
        },
    ),
    Rule::must(
        "wire.cancel",
        Needs::Labels,
        "a call that is cancelled is answered soon",
        |launcher| {
            let started = launcher.ready()?;
            let call = started.call(SLEEP, None);
            let mut client = started.running(&call)?;
            let cancel = json!({ "id": call["id"] }).to_string();
            let answer = started.client()?.post("/cancel", &cancel)?;
            expect("the status", &answer.status, &204)?;
            is_cancelled(&mut client)
        },
    ),
    Rule::should(
        "wire.cancel_first",
        Needs::Labels,
        "also when the `/cancel` came before the call",
        |launcher| {
            let started = launcher.ready()?;
            let call = started.call(SLEEP, Some(20_000));
            let cancel = json!({ "id": call["id"] }).to_string();
            let answer = started.client()?.post("/cancel", &cancel)?;
            expect("the status", &answer.status, &204)?;
            let mut client = started.client()?;
            client.begin(&call)?;
            let outcome = client.answer()?.outcome()?;
            expect(
                "the code",
                &outcome["error"]["code"],
                &json!("call.cancelled"),
            )
        },
    ),
    Rule::must(
        "wire.gone",
        Needs::Labels,
        "a caller that goes takes no other call along",
        |launcher| {
            let started = launcher.ready()?;
            for _ in 0..8 {
                drop(started.running(&started.call(SLEEP, Some(300)))?);
            }
            let outcome = started
                .client()?
                .call(&started.call("conformance.about", None))?;
            expect("`suite`", &outcome["set"]["suite"], &json!(1))
        },
    ),
];

pub(super) const SLEEP: &str = "conformance.sleep";

/// Whether the call, whose first line was read, ends so.
pub(super) fn is_cancelled(client: &mut Client) -> Found {
    let mut last = json!(null);
    loop {
        let chunk = client.chunk()?;
        if chunk.is_empty() {
            break;
        }
        for line in chunk
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            last = match serde_json::from_slice(line) {
                Ok(line) => line,
                Err(error) => return failed(format!("a line is no JSON: {error}")),
            };
        }
    }
    expect("the code", &last["error"]["code"], &json!("call.cancelled"))
}
