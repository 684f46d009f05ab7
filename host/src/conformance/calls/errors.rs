//! Why a call failed.

use plg_plugin_api::Value;

use crate::conformance::finding::{Found, expect_code, expect_told, expect_value};
use crate::conformance::rule::{Needs, Rule};
use crate::conformance::subject::{Subject, skip_if_missing};
use crate::context::Context;

pub(super) const RULES: &[Rule<Subject>] = &[
    Rule::must(
        "errors.missing",
        Needs::Labels,
        "a missing value is `ctx.missing`",
        |subject| {
            let outcome = subject.ask("number", &mut subject.context());
            expect_code(&outcome, "ctx.missing")
        },
    ),
    Rule::must(
        "errors.kind",
        Needs::Labels,
        "a value of another kind is `ctx.type`",
        kind,
    ),
    Rule::must(
        "errors.told",
        Needs::Labels,
        "the plugin's code and message arrive",
        |subject| {
            let messages = ["plain", "\"quoted\" \\ `so`", "two\nlines", "ß€🦀 \u{1}"];
            messages.into_iter().try_for_each(|message| {
                let mut context = told(subject, "conformance.told", message);
                let outcome = subject.ask("fail", &mut context);
                expect_told(&outcome, "conformance.told", message)
            })
        },
    ),
    Rule::must(
        "errors.known",
        Needs::Labels,
        "a code of the host's families keeps its meaning",
        |subject| {
            ["ctx.too_large", "ctx.missing", "call.no_route"]
                .into_iter()
                .try_for_each(|code| {
                    let mut context = told(subject, code, "told to");
                    expect_code(&subject.ask("fail", &mut context), code)
                })
        },
    ),
    Rule::must(
        "errors.values",
        Needs::Labels,
        "what was set before the failure is there",
        |subject| {
            let mut context = told(subject, "conformance.told", "told to");
            let outcome = subject.ask("fail", &mut context);
            expect_told(&outcome, "conformance.told", "told to")?;
            expect_value("partial", context.get("partial"), &Value::from(true))
        },
    ),
    Rule::must(
        "errors.panic",
        Needs::Labels,
        "a crash that was survived is `call.panicked`, and the next call succeeds",
        |subject| {
            let outcome = subject.ask("panic", &mut subject.context());
            skip_if_missing(&outcome, "panic")?;
            expect_code(&outcome, "call.panicked")?;
            let echoed = subject.echo(&Value::from("after"))?;
            expect_value("echo", echoed.as_ref(), &Value::from("after"))
        },
    ),
];

fn told(subject: &Subject, code: &str, message: &str) -> Context {
    subject
        .context()
        .with("code", code)
        .with("message", message)
}

fn kind(subject: &Subject) -> Found {
    let others = [
        Value::from("1"),
        Value::Null,
        Value::from(true),
        Value::from(1.0),
        Value::Bytes(vec![1]),
        Value::List(vec![Value::from(1)]),
        Value::from([("number", 1)]),
    ];
    for other in others {
        let mut context = subject.context().with("number", other);
        expect_code(&subject.ask("number", &mut context), "ctx.type")?;
    }
    let both = [(41, 42), (i64::MAX, i64::MIN)];
    both.into_iter().try_for_each(|(number, next)| {
        let left = subject.call("number", subject.context().with("number", number))?;
        expect_value("next", left.get("next"), &Value::from(next))
    })
}
