//! What happens while a call runs.

use std::time::{Duration, Instant};

use plg_plugin_api::Value;
use tracing::Level;

use super::ear;
use crate::conformance::finding::{
    Found, SOON, expect, expect_code, expect_ok, expect_value, failed, shown, soon,
};
use crate::conformance::rule::{Needs, Rule};
use crate::conformance::subject::{Report, Subject, number};
use crate::context::Context;

pub(super) const RULES: &[Rule<Subject>] = &[
    Rule::must(
        "course.log",
        Needs::Labels,
        "each level is logged as such, with the plugin's name",
        log,
    ),
    Rule::must(
        "course.progress",
        Needs::Labels,
        "progress arrives in order and as it was reported",
        progress,
    ),
    Rule::must(
        "course.no_deadline",
        Needs::Labels,
        "without a deadline there is none",
        |subject| {
            let left = subject.call("deadline", Context::new())?;
            expect_value("left_ms", left.get("left_ms"), &Value::Null)
        },
    ),
    Rule::must(
        "course.deadline",
        Needs::Labels,
        "the plugin is told how long it has",
        |subject| {
            let left = subject.call("deadline", Context::new().timeout(MINUTE))?;
            let left = number(&left, "left_ms")?;
            if (1..=60_000).contains(&left) {
                return Ok(());
            }
            failed(format!("`left_ms` is {left}, expected 1 to 60000"))
        },
    ),
    Rule::must(
        "course.timeout",
        Needs::Labels,
        "a call ends soon after its deadline, with `call.timeout`",
        |subject| {
            let start = Instant::now();
            let mut context = Context::new().timeout(SHORT);
            let outcome = subject.ask("sleep", &mut context);
            expect_code(&outcome, "call.timeout")?;
            is_soon(start.elapsed())
        },
    ),
    Rule::must(
        "course.cancel",
        Needs::Labels,
        "a call ends soon after it was cancelled, with `call.cancelled`",
        |subject| {
            let mut asked = Instant::now();
            let ended = subject.with_sleepers(1, || {
                asked = Instant::now();
                Ok(())
            })?;
            is_soon(asked.elapsed())?;
            let mut ended = ended.iter();
            ended.try_for_each(|outcome| expect_code(outcome, "call.cancelled"))
        },
    ),
    Rule::must(
        "course.stopped",
        Needs::Labels,
        "what was given up ends in the plugin as well",
        |subject| {
            let mut context = Context::new().timeout(SHORT);
            expect_code(&subject.ask("sleep", &mut context), "call.timeout")?;
            subject.with_sleepers(1, || Ok(()))?;
            subject.is_awake_soon()?;
            let none_lost = || Ok(subject.plugin.snapshot().lost.is_empty());
            soon(none_lost, "a thread did not come back from the plugin")
        },
    ),
];

const SHORT: Duration = Duration::from_millis(200);
const MINUTE: Duration = Duration::from_secs(60);

fn log(subject: &Subject) -> Found {
    let levels = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    levels.into_iter().try_for_each(|(name, level)| {
        let message = format!("as {name}\nof \"two\" lines");
        let mut context = subject.context().with("level", name);
        context.set("message", message.as_str());
        let (outcome, heard) = ear::listen(|| subject.ask("log", &mut context));
        expect_ok(&outcome)?;
        let expected = ear::Heard {
            level,
            plugin: subject.plugin.name().to_owned(),
            message,
        };
        if heard.contains(&expected) {
            return Ok(());
        }
        failed(format!(
            "logged was {}, expected {expected:?}",
            shown(&heard)
        ))
    })
}

fn progress(subject: &Subject) -> Found {
    let (left, reports) = subject.progress_of("progress")?;
    let report = |done, total, text: &str| -> Report { (done, total, text.to_owned()) };
    let expected = vec![
        report(0, None, "begin"),
        report(3, Some(10), "pages"),
        report(10, Some(10), "end"),
    ];
    expect("the progress", &reports, &expected)?;
    expect_value("reported", left.get("reported"), &Value::from(3))
}

fn is_soon(took: Duration) -> Found {
    if took <= SOON {
        return Ok(());
    }
    failed(format!("it took {took:?}, expected at most {SOON:?}"))
}
