//! What comes back as it went.

use std::collections::BTreeMap;

use plg_plugin_api::Value;

use crate::conformance::finding::{Found, expect_value};
use crate::conformance::rule::{Needs, Rule};
use crate::conformance::subject::Subject;

pub(super) const RULES: &[Rule<Subject>] = &[
    Rule::must("values.null", LABELS, "null comes back", |subject| {
        comes_back(subject, [Value::Null])
    }),
    Rule::must(
        "values.bool",
        LABELS,
        "true and false come back",
        |subject| comes_back(subject, [true, false]),
    ),
    Rule::must(
        "values.i64",
        LABELS,
        "whole numbers up to both limits come back as such",
        |subject| {
            let beyond = (1 << 53) + 1;
            comes_back(subject, [0, 1, -1, beyond, -beyond, i64::MIN, i64::MAX])
        },
    ),
    Rule::must(
        "values.f64",
        LABELS,
        "floating-point numbers come back as such, bit by bit",
        |subject| {
            let tiny = f64::from_bits(1);
            comes_back(
                subject,
                [0.0, -0.0, 1.0, 0.1, 1e16, tiny, f64::MAX, -f64::MAX],
            )
        },
    ),
    Rule::must(
        "values.not_finite",
        LABELS,
        "nan and both infinities come back",
        |subject| comes_back(subject, [f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
    ),
    Rule::must("values.text", LABELS, "any text comes back", |subject| {
        let texts = ["", "\"\\/", "\n\r\t\u{1}\u{7f}", "a\0b", "\u{2028}ß", "𝄞🦀"];
        comes_back(subject, texts)
    }),
    Rule::must("values.bytes", LABELS, "any bytes come back", |subject| {
        let bytes: Vec<u8> = (0..=255).collect();
        let all = [Vec::new(), vec![0], bytes, b"text".to_vec()];
        comes_back(subject, all.map(Value::Bytes))
    }),
    Rule::must(
        "values.list",
        LABELS,
        "lists come back, also mixed and deep ones",
        |subject| {
            let mixed = [
                Value::Null,
                Value::from(1),
                Value::from(1.0),
                Value::from("1"),
                Value::Bytes(vec![1]),
                Value::List(vec![Value::Map(BTreeMap::new())]),
            ];
            let deep = (0..DEPTH).fold(Value::from(1), |inner, _| Value::List(vec![inner]));
            let lists = [Value::List(Vec::new()), Value::List(mixed.to_vec()), deep];
            comes_back(subject, lists)
        },
    ),
    Rule::must(
        "values.map",
        LABELS,
        "maps come back with all their keys, also deep ones",
        |subject| {
            let keys = ["", " ", "ß", "a\0b"].map(|key| (key, Value::from(key)));
            let deep = (0..DEPTH).fold(Value::from(1), |inner, _| Value::from([("in", inner)]));
            let maps = [Value::Map(BTreeMap::new()), Value::from(keys), deep];
            comes_back(subject, maps)
        },
    ),
    Rule::must(
        "values.dollar",
        LABELS,
        "maps with keys that begin with `$` stay maps",
        |subject| {
            let keys = ["$bytes", "$f64", "$map", "$other"];
            let alone = keys.map(|key| Value::from([(key, Value::from("AA=="))]));
            let together = Value::from(keys.map(|key| (key, Value::from("nan"))));
            let nested = keys.iter().fold(together.clone(), |inner, key| {
                Value::from([(*key, inner), ("beside", Value::Bytes(vec![0]))])
            });
            comes_back(subject, alone)?;
            comes_back(
                subject,
                [together, nested.clone(), Value::List(vec![nested])],
            )
        },
    ),
    Rule::must(
        "values.large",
        LABELS,
        "1 MiB of text and of bytes come back, and are set",
        |subject| {
            let bytes: Vec<u8> = (0..MIB).map(|index| (index % 251) as u8).collect();
            let text = "aß\n€".repeat(MIB / 7);
            comes_back(subject, [Value::from(text), Value::Bytes(bytes.clone())])?;
            let context = subject.context().with("bytes", MIB as i64);
            let left = subject.call("large", context)?;
            expect_value("large", left.get("large"), &Value::Bytes(bytes))
        },
    ),
    Rule::must(
        "values.many",
        LABELS,
        "200 values are set, and 200 are kept",
        |subject| {
            let left = subject.call("many", subject.context().with("count", MANY))?;
            for index in 0..MANY {
                let key = format!("many.{index}");
                expect_value(&key, left.get(&key), &Value::from(index))?;
            }
            let keys: Vec<_> = (0..MANY)
                .map(|index| (format!("key.{index}"), index))
                .collect();
            let mut context = subject.context().with("value", true);
            for (key, index) in &keys {
                context.set(key, *index);
            }
            let left = subject.call("echo", context)?;
            keys.iter()
                .try_for_each(|(key, index)| expect_value(key, left.get(key), &Value::from(*index)))
        },
    ),
];

const LABELS: Needs = Needs::Labels;
const DEPTH: usize = 40;
const MIB: usize = 1 << 20;
const MANY: i64 = 200;

fn comes_back(subject: &Subject, values: impl IntoIterator<Item = impl Into<Value>>) -> Found {
    values.into_iter().try_for_each(|value| {
        let value = value.into();
        expect_value("echo", subject.echo(&value)?.as_ref(), &value)
    })
}
