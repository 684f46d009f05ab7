//! Which values there are after a call.

use std::collections::BTreeSet;

use plg_plugin_api::Value;

use crate::conformance::finding::{Found, expect, expect_value, failed};
use crate::conformance::rule::{Needs, Rule};
use crate::conformance::subject::Subject;

pub(super) const RULES: &[Rule<Subject>] = &[
    Rule::must(
        "keys.listed",
        Needs::Labels,
        "the keys there are can be listed",
        listed,
    ),
    Rule::must(
        "keys.put",
        Needs::Labels,
        "a value can be set under any key",
        |subject| {
            KEYS.into_iter().try_for_each(|key| {
                let context = subject.context().with("key", key).with("value", 7);
                let left = subject.call("put", context)?;
                expect_value(key, left.get(key), &Value::from(7))
            })
        },
    ),
    Rule::must(
        "keys.blank",
        Needs::Labels,
        "a value under a blank key is ignored",
        |subject| {
            ["", " ", "\t\n"].into_iter().try_for_each(|key| {
                let context = subject.context().with("key", key).with("value", 7);
                let left = subject.call("put", context)?;
                expect("the number of values", &left.len(), &2)
            })
        },
    ),
    Rule::must(
        "keys.removed",
        Needs::Labels,
        "what is removed is gone, and the rest is not",
        removed,
    ),
    Rule::must(
        "keys.replaced",
        Needs::Labels,
        "what was set last counts",
        replaced,
    ),
];

const KEYS: [&str; 6] = ["a", "$key", "$bytes", "ß", "a b", "a\0b"];

fn listed(subject: &Subject) -> Found {
    let mut context = subject.context();
    for key in KEYS {
        context.set(key, true);
    }
    let left = subject.call("keys", context)?;
    let Some(Value::List(found)) = left.get("keys") else {
        return failed("no list is under `keys`");
    };
    let found: BTreeSet<_> = found.iter().map(Value::as_str).collect();
    expect("`keys`", &found, &KEYS.map(Some).into_iter().collect())
}

fn removed(subject: &Subject) -> Found {
    let texts = |texts: &[&str]| texts.iter().map(|text| Value::from(*text)).collect();
    let mut context = subject.context().with("kept", 1);
    for key in KEYS {
        context.set(key, 1);
    }
    let mut keys = KEYS.to_vec();
    keys.push("never");
    context.set("keys", Value::List(texts(&keys)));
    let left = subject.call("remove", context)?;
    let was_there = keys.iter().map(|key| Value::from(*key != "never"));
    expect_value(
        "removed",
        left.get("removed"),
        &Value::List(was_there.collect()),
    )?;
    if let Some(key) = KEYS.into_iter().find(|key| left.get(key).is_some()) {
        return failed(format!("`{}` is still there", key.escape_debug()));
    }
    expect_value("kept", left.get("kept"), &Value::from(1))
}

fn replaced(subject: &Subject) -> Found {
    let context = subject.context().with("value", 0).with("again", 0);
    let left = subject.call("replace", context.with("other", "o"))?;
    expect_value("value", left.get("value"), &Value::from("two"))?;
    expect_value("again", left.get("again"), &Value::from(true))?;
    expect_value("other", left.get("other"), &Value::from("o"))?;
    match left.get("fresh") {
        None => Ok(()),
        Some(_) => failed("`fresh` is still there"),
    }
}
