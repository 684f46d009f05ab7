//! How a program goes.

use std::time::Duration;

use rustix::process::Signal;

use super::program::Launcher;
use super::running::{SLEEP, is_cancelled};
use crate::conformance::finding::{Found, SOON, expect, failed};
use crate::conformance::load::NO_SUCH_LABEL;
use crate::conformance::rule::{Needs, Rule};

pub(super) const RULES: &[Rule<Launcher>] = &[
    Rule::must(
        "wire.shutdown",
        Needs::Nothing,
        "after `/shutdown` it exits with status 0",
        |launcher| {
            let mut started = launcher.ready()?;
            let answer = started.client()?.post("/shutdown", "{}")?;
            expect("the status", &answer.status, &204)?;
            started.ends_well(SOON)
        },
    ),
    Rule::must(
        "wire.shutdown_busy",
        Needs::Labels,
        "what had begun is answered, and what comes meanwhile is not begun",
        shutdown_busy,
    ),
    Rule::must(
        "wire.shutdown_hang",
        Needs::Labels,
        "what would not end is left behind, with another status than 0",
        |launcher| {
            let mut started = launcher.ready()?;
            let _hanging = started.running(&started.call(HANG, None))?;
            let answer = started.client()?.post("/shutdown", "{}")?;
            expect("the status", &answer.status, &204)?;
            if started.ended(Duration::from_secs(8))?.success() {
                return failed("it ended with status 0 while a call was not answered");
            }
            Ok(())
        },
    ),
    Rule::must(
        "wire.sigterm",
        Needs::Nothing,
        "after SIGTERM it exits with status 0",
        |launcher| ends_by(launcher, Signal::TERM),
    ),
    Rule::must(
        "wire.sigint",
        Needs::Nothing,
        "after SIGINT it exits with status 0",
        |launcher| ends_by(launcher, Signal::INT),
    ),
    Rule::must(
        "wire.second_sigterm",
        Needs::Labels,
        "a second SIGTERM ends it whatever it does",
        |launcher| {
            let mut started = launcher.ready()?;
            let _hanging = started.running(&started.call(HANG, None))?;
            started.signal(Signal::TERM);
            // Two at once are one to the kernel.
            if started.ended(Duration::from_millis(500)).is_ok() {
                return Ok(());
            }
            started.signal(Signal::TERM);
            started.ended(SOON).map(drop)
        },
    ),
    Rule::must(
        "wire.stdin",
        Needs::Nothing,
        "it exits soon after its host is gone",
        |launcher| {
            let mut started = launcher.ready()?;
            drop(started.stdin.take());
            started.ended(SOON).map(drop)
        },
    ),
    Rule::must(
        "wire.stdin_hang",
        Needs::Labels,
        "also while a call hangs",
        |launcher| {
            let mut started = launcher.ready()?;
            let _hanging = started.running(&started.call(HANG, None))?;
            drop(started.stdin.take());
            started.ended(SOON).map(drop)
        },
    ),
];

const HANG: &str = "conformance.hang";

fn shutdown_busy(launcher: &Launcher) -> Found {
    let mut started = launcher.ready()?;
    let mut other = started.client()?;
    expect("the status", &other.get("/healthz")?.status, &200)?;
    let mut client = started.running(&started.call(SLEEP, Some(500)))?;
    let answer = started.client()?.post("/shutdown", "{}")?;
    expect("the status", &answer.status, &204)?;
    // A connection that is closed has begun nothing either.
    let late = other.post(
        "/execute",
        &started.call(NO_SUCH_LABEL, Some(500)).to_string(),
    );
    if let Ok(late) = late {
        expect("the status of a call that came late", &late.status, &503)?;
    }
    is_cancelled(&mut client)?;
    started.ends_well(Duration::from_secs(5))
}

fn ends_by(launcher: &Launcher, signal: Signal) -> Found {
    let mut started = launcher.ready()?;
    started.signal(signal);
    started.ends_well(SOON)
}
