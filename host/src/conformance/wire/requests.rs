//! What a program answers.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Client, request};
use super::program::{Launcher, Started};
use crate::conformance::finding::{Found, expect, failed, soon};
use crate::conformance::load::NO_SUCH_LABEL;
use crate::conformance::rule::{Needs, Rule};

pub(super) const RULES: &[Rule<Launcher>] = &[
    Rule::must(
        "wire.health",
        Needs::Nothing,
        "`/healthz` is answered 200",
        |launcher| {
            let answer = launcher.ready()?.client()?.get("/healthz")?;
            expect("the status", &answer.status, &200)
        },
    ),
    Rule::must(
        "wire.no_route",
        Needs::Nothing,
        "a call of a label that nobody has is answered `call.no_route`, with its `id`",
        |launcher| {
            let started = launcher.ready()?;
            is_no_route(
                &mut started.client()?,
                &started.call(NO_SUCH_LABEL, Some(5000)),
            )
        },
    ),
    Rule::must(
        "wire.unknown_members",
        Needs::Nothing,
        "unknown members of a request are ignored",
        |launcher| {
            let started = launcher.ready()?;
            let mut call = started.call(NO_SUCH_LABEL, None);
            call["of_the_future"] = json!({"id": [7], "label": null});
            is_no_route(&mut started.client()?, &call)?;
            let cancel = json!({"id": 424_242, "why": "of the future"}).to_string();
            let answer = started.client()?.post("/cancel", &cancel)?;
            expect("the status", &answer.status, &204)
        },
    ),
    Rule::must(
        "wire.keep_alive",
        Needs::Nothing,
        "ten requests on one connection are answered",
        |launcher| {
            let started = launcher.ready()?;
            let mut client = started.client()?;
            (0..5).try_for_each(|_| {
                is_no_route(&mut client, &started.call(NO_SUCH_LABEL, None))?;
                expect("the status", &client.get("/healthz")?.status, &200)
            })
        },
    ),
    Rule::must(
        "wire.pieces",
        Needs::Nothing,
        "a request that comes a byte at a time is answered",
        |launcher| {
            let started = launcher.ready()?;
            let mut client = started.client()?;
            let call = started.call(NO_SUCH_LABEL, None);
            for byte in request("/execute", "", &call.to_string()).bytes() {
                client.send(&[byte])?;
                thread::sleep(Duration::from_micros(100));
            }
            is_outcome(&client.answer()?.outcome()?, &call)
        },
    ),
    Rule::must(
        "wire.bad_json",
        Needs::Nothing,
        "what is no call is refused, and later ones are answered",
        bad_json,
    ),
    Rule::must(
        "wire.two_lengths",
        Needs::Nothing,
        "a request that could be read in two ways is refused, and its connection closed",
        two_lengths,
    ),
    Rule::must(
        "wire.not_found",
        Needs::Nothing,
        "a page that nobody has is answered",
        |launcher| {
            let answer = launcher
                .ready()?
                .client()?
                .get("/conformance/no-such-page")?;
            if launcher.has_labels {
                return expect("the status", &answer.status, &404);
            }
            match answer.status {
                200..=499 => Ok(()),
                status => failed(format!("the status is {status}, expected 404")),
            }
        },
    ),
    Rule::must(
        "wire.cancel_unknown",
        Needs::Nothing,
        "`/cancel` for a call that is not there is answered 204",
        |launcher| {
            let started = launcher.ready()?;
            let answer = started.client()?.post("/cancel", r#"{"id":424242}"#)?;
            expect("the status", &answer.status, &204)
        },
    ),
    Rule::must(
        "wire.reply_unknown",
        Needs::Nothing,
        "a `/reply` that nobody waits for is answered 204",
        |launcher| {
            let started = launcher.ready()?;
            let replies = [
                r#"{"id":424242,"seq":1,"values":{}}"#,
                r#"{"id":424242,"seq":2,"error":{"code":"call.failed","message":"no"}}"#,
            ];
            replies.into_iter().try_for_each(|reply| {
                let answer = started.client()?.post("/reply", reply)?;
                expect("the status", &answer.status, &204)
            })
        },
    ),
    Rule::should(
        "wire.connections",
        Needs::Nothing,
        "64 connections at once are answered",
        |launcher| {
            let started = launcher.ready()?;
            let mut clients = (0..64)
                .map(|_| started.client())
                .collect::<Result<Vec<_>, _>>()?;
            clients
                .iter_mut()
                .try_for_each(|client| expect("the status", &client.get("/healthz")?.status, &200))
        },
    ),
    Rule::must(
        "wire.descriptors",
        Needs::Nothing,
        "connections that were closed take no descriptors",
        descriptors,
    ),
];

fn is_no_route(client: &mut Client, call: &Value) -> Found {
    is_outcome(&client.call(call)?, call)
}

fn is_outcome(outcome: &Value, call: &Value) -> Found {
    expect("`id`", &outcome["id"], &call["id"])?;
    expect(
        "the code",
        &outcome["error"]["code"],
        &json!("call.no_route"),
    )
}

/// A program in which nothing went wrong takes calls.
fn is_well(started: &Started) -> Found {
    is_no_route(
        &mut started.client()?,
        &started.call(NO_SUCH_LABEL, Some(5000)),
    )
}

fn bad_json(launcher: &Launcher) -> Found {
    let started = launcher.ready()?;
    let deep = "[".repeat(100_000);
    let bodies = ["{", "", "null", "[]", "{}", r#"{"id":1}"#, "\u{0}", &deep];
    for body in bodies {
        let answer = started.client()?.post("/execute", body)?;
        if !(400..=499).contains(&answer.status) {
            let start: String = body.chars().take(16).collect();
            let status = answer.status;
            return failed(format!(
                "{start:?} was answered {status}, expected 400 to 499"
            ));
        }
        is_well(&started)?;
    }
    Ok(())
}

fn two_lengths(launcher: &Launcher) -> Found {
    let started = launcher.ready()?;
    let heads = [
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nContent-Length: 51\r\n",
    ];
    for head in heads {
        let mut client = started.client()?;
        let behind = "GET /healthz HTTP/1.1\r\nHost: plugin\r\n\r\n";
        let bytes = format!("POST /cancel HTTP/1.1\r\nHost: plugin\r\n{head}\r\n0\r\n\r\n{behind}");
        let answer = client.exchange(bytes.as_bytes())?;
        if !(400..=499).contains(&answer.status) {
            let status = answer.status;
            return failed(format!(
                "{head:?} was answered {status}, expected 400 to 499"
            ));
        }
        if client.answer().is_ok() {
            return failed(format!("what stands behind {head:?} was answered"));
        }
        if !client.is_closed()? {
            return failed(format!("after {head:?} the connection was left open"));
        }
    }
    is_well(&started)
}

fn descriptors(launcher: &Launcher) -> Found {
    let started = launcher.ready()?;
    // What it opens once and for all is open then.
    for _ in 0..20 {
        is_well(&started)?;
    }
    let mut before = usize::MAX;
    soon(
        || {
            let (now, last) = (started.descriptors()?, before);
            before = now;
            Ok(now == last)
        },
        "the number of descriptors did not stand still",
    )?;
    for _ in 0..200 {
        expect(
            "the status",
            &started.client()?.get("/healthz")?.status,
            &200,
        )?;
    }
    let mut now = 0;
    let is_less = || {
        now = started.descriptors()?;
        Ok(now <= before)
    };
    soon(is_less, "descriptors stayed open")
        .or_else(|_| failed(format!("{now} descriptors are open, {before} were before")))
}
