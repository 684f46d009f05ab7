//! Calls from plugin to plugin: of itself, which is always there.

use std::time::{Duration, Instant};

use plg_plugin_api::Value;

use crate::conformance::finding::{Found, SOON, expect_code, expect_value, failed};
use crate::conformance::rule::{Needs, Rule};
use crate::conformance::subject::Subject;
use crate::context::Context;

pub(super) const RULES: &[Rule<Subject>] = &[
    Rule::must(
        "others.call",
        Needs::AtOnce,
        "another plugin is called, and its values are there",
        |subject| {
            let value = Value::from([
                ("$bytes", Value::Bytes(vec![0, 255])),
                ("a", Value::from(1.5)),
            ]);
            let context = asking(subject, "echo", Value::from([("value", value.clone())]));
            let left = subject.call("call", context)?;
            let expected = Value::from([("value", value.clone()), ("echo", value)]);
            expect_value("answer", left.get("answer"), &expected)
        },
    ),
    Rule::must(
        "others.error",
        Needs::AtOnce,
        "its error arrives, and so does that of the host",
        error,
    ),
    Rule::must("others.depth", Needs::AtOnce, "calls nest", |subject| {
        let left = subject.call("depth", nesting(subject, 4))?;
        expect_value("reached", left.get("reached"), &Value::from(4))
    }),
    Rule::must(
        "others.too_deep",
        Needs::AtOnce,
        "calls that nest too deep fail with `call.depth`",
        |subject| {
            let limit = i64::from(subject.host.inner.setup.loader.limits.depth);
            let outcome = subject.ask("depth", &mut nesting(subject, limit + 2));
            expect_code(&outcome, "call.depth")
        },
    ),
    Rule::must(
        "others.timeout",
        Needs::AtOnce,
        "a call inside ends with the deadline of the one outside",
        |subject| {
            let start = Instant::now();
            let none = Value::Map(Default::default());
            let mut context = asking(subject, "sleep", none).timeout(SHORT);
            let outcome = subject.ask("call", &mut context);
            match context.text("code") {
                // It had just enough time to say what became of the call inside.
                Some("call.timeout" | "call.cancelled") if outcome.is_ok() => {}
                _ => expect_code(&outcome, "call.timeout")?,
            }
            let took = start.elapsed();
            if took > SOON {
                return failed(format!("it took {took:?}, expected at most {SOON:?}"));
            }
            subject.is_awake_soon()
        },
    ),
];

const SHORT: Duration = Duration::from_millis(300);

fn asking(subject: &Subject, label: &str, values: Value) -> Context {
    let context = subject.context().with("plugin", subject.plugin.name());
    context
        .with("label", format!("conformance.{label}"))
        .with("values", values)
}

fn nesting(subject: &Subject, left: i64) -> Context {
    let context = subject.context().with("plugin", subject.plugin.name());
    context.with("left", left)
}

fn error(subject: &Subject) -> Found {
    let told = Value::from([("code", "conformance.told"), ("message", "so ß\n")]);
    let left = subject.call("call", asking(subject, "fail", told))?;
    expect_value("code", left.get("code"), &Value::from("conformance.told"))?;
    expect_value("message", left.get("message"), &Value::from("so ß\n"))?;

    let none = Value::Map(Default::default());
    let context = asking(subject, "echo", none).with("plugin", "conformance-nobody");
    let left = subject.call("call", context)?;
    expect_value("code", left.get("code"), &Value::from("plugin.not_found"))
}
