//! The records of the native protocol: what is written is read as the same, and what is no record is
//! refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use plg_plugin_api::abi::status;
use plg_plugin_api::process::lend_aside;
use plg_plugin_api::process::wire::{
    self, Call, Cancel, Config, Execute, Fault, Line, Log, Outcome, Progress, Reply, StartLine,
    Values, WireError,
};
use plg_plugin_api::{Level, Value};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

#[test]
fn every_kind_of_value_is_written_as_the_protocol_says() {
    for (value, json) in [
        (Value::Null, "null"),
        (Value::Bool(true), "true"),
        (Value::I64(i64::MIN), "-9223372036854775808"),
        (Value::I64(i64::MAX), "9223372036854775807"),
        (Value::F64(1.0), "1.0"),
        (Value::F64(-0.0), "-0.0"),
        (Value::F64(1e300), "1e+300"),
        (Value::F64(5e-324), "5e-324"),
        (Value::F64(f64::INFINITY), r#"{"$f64":"inf"}"#),
        (Value::F64(f64::NEG_INFINITY), r#"{"$f64":"-inf"}"#),
        (Value::from("a\n\u{0}ß"), r#""a\n\u0000ß""#),
        (Value::Bytes(b"hello".to_vec()), r#"{"$bytes":"aGVsbG8="}"#),
        (Value::Bytes(Vec::new()), r#"{"$bytes":""}"#),
        (Value::List(vec![1.into(), ().into()]), "[1,null]"),
        (Value::from([("a", 1), ("b", 2)]), r#"{"a":1,"b":2}"#),
        (Value::Map(BTreeMap::new()), "{}"),
        (Value::from([("", 1)]), r#"{"":1}"#),
        (Value::from([("$bytes", "x")]), r#"{"$map":{"$bytes":"x"}}"#),
        (
            Value::from([("$map", 1), ("a", 2)]),
            r#"{"$map":{"$map":1,"a":2}}"#,
        ),
        (
            Value::from([("$map", Value::from([("$map", 1)]))]),
            r#"{"$map":{"$map":{"$map":{"$map":1}}}}"#,
        ),
    ] {
        assert_eq!(text(&one(value.clone())), format!(r#"{{"k":{json}}}"#));
        assert_eq!(read(json).unwrap(), value, "{json}");
        // An equal zero of the other sign would pass for the same.
        assert_eq!(text(&one(read(json).unwrap())), text(&one(value)));
    }
    let nan = read(r#"{"$f64":"nan"}"#).unwrap();
    assert!(nan.as_f64().unwrap().is_nan());
    assert_eq!(text(&one(nan)), r#"{"k":{"$f64":"nan"}}"#);
}

/// Whoever kept the context of a call has nothing in the hand that a later one would take for its own, also on
/// another thread.
#[test]
fn no_two_calls_are_lent_the_same_context() {
    let token = || {
        let mut token = 0;
        let lent = lend_aside(Values::default(), |context, _| {
            token = context.token;
            0
        });
        lent.unwrap();
        token
    };
    let elsewhere = std::thread::spawn(token).join().unwrap();
    let tokens = BTreeSet::from([token(), token(), elsewhere]);
    assert_eq!(tokens.len(), 3, "{tokens:?}");
}

/// A library's answer means the same in a process of its own as in that of a host.
#[test]
fn what_a_library_answers_without_a_word_has_a_code() {
    for (answer, code, words) in [
        (status::FAILED, "call.failed", "it answered 1"),
        (status::PANICKED, "call.panicked", "did not say why"),
        (77, "call.failed", "it answered 77"),
    ] {
        let error = lend_aside(Values::default(), |_, _| answer).unwrap_err();
        assert_eq!(error.code(), code, "{answer}");
        assert!(error.message().contains(words), "{answer}: {error}");
    }
}

#[test]
fn other_spellings_are_read_as_well() {
    for (json, value) in [
        ("1e2", Value::F64(100.0)),
        ("-7", Value::I64(-7)),
        (
            "9223372036854775808",
            Value::F64(9_223_372_036_854_775_808.0),
        ),
        (r#"{ "$map" : { } }"#, Value::Map(BTreeMap::new())),
        (r#""\ud83d\ude00""#, Value::from("😀")),
        (r#"{"\u0024bytes":"aGk="}"#, Value::Bytes(b"hi".to_vec())),
    ] {
        assert_eq!(read(json).unwrap(), value, "{json}");
    }
}

#[test]
fn what_is_no_value_is_refused() {
    for (json, word) in [
        (r#"{"$bytes":"aGk"}"#, "base64"),
        (r#"{"$bytes":"aGk=\n"}"#, "base64"),
        (r#"{"$bytes":7}"#, "string"),
        (r#"{"$f64":"NaN"}"#, "`NaN`"),
        (r#"{"$f64":1.0}"#, "string"),
        (r#"{"$map":[]}"#, "object"),
        (r#"{"$map":null}"#, "object"),
        (r#"{"$time":1}"#, "`$time`"),
        (r#"{"$":1}"#, "`$`"),
        (r#"{"$bytes":"aGk=","a":1}"#, "stands alone"),
        (r#"{"a":1,"$bytes":"aGk="}"#, "`$map`"),
        (r#"{"a":1,"a":1}"#, "twice"),
        (r#"{"$map":{"$a":1,"$a":1}}"#, "twice"),
        (r#""\ud83d""#, "hex escape"),
        ("\"\u{0}\"", "control character"),
        ("1e400", "out of range"),
        ("01", "invalid number"),
        ("NaN", "expected"),
        ("[1,]", "trailing comma"),
        ("1 // one", "expected"),
    ] {
        let error = read(json).unwrap_err().to_string();
        assert!(error.contains(word), "{json}: {error}");
    }
    for text in [
        br#"{"k":"\xff"}"#.as_slice(),
        b"\xef\xbb\xbf{}",
        br#"{"k":1}{"k":1}"#,
        br#"{"k":1,"k":2}"#,
        b"[]",
        b"",
    ] {
        let error = wire::decode::<Values>(text, wire::MAX_BODY).unwrap_err();
        assert!(matches!(error, WireError::Shape { .. }), "{error}");
    }
}

#[test]
fn values_nest_so_deep_and_no_deeper() {
    let nested = |depth| (0..depth).fold(Value::Null, |inner, _| Value::List(vec![inner]));
    round_trip(&one(nested(64)));
    let error = wire::encode(&one(nested(65)), wire::MAX_BODY).unwrap_err();
    assert!(error.to_string().contains("64 deep"), "{error}");
    let json = |depth| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    read(&json(64)).unwrap();
    for depth in [65, 100, 10_000, 1_000_000] {
        assert!(read(&json(depth)).is_err(), "{depth}");
    }
    // What is written as two levels counts as two.
    let escaped = |depth| (0..depth).fold(Value::Null, |inner, _| Value::from([("$", inner)]));
    round_trip(&one(escaped(32)));
    wire::encode(&one(escaped(33)), wire::MAX_BODY).unwrap_err();
    // So may what a record does not have: it is passed over.
    let unknown = format!(r#"{{"id":1,"more":{}}}"#, json(1000));
    assert_eq!(
        wire::decode::<Cancel>(unknown.as_bytes(), wire::MAX_BODY),
        Ok(Cancel { id: 1 })
    );
}

#[test]
fn a_short_text_cannot_take_much_memory() {
    let maps = format!(r#"{{"k":[{}{{}}]}}"#, r#"{"":0},"#.repeat(2_000_000));
    let error = wire::decode::<Values>(maps.as_bytes(), wire::MAX_BODY).unwrap_err();
    assert!(error.to_string().contains("256 MiB"), "{error}");
}

#[test]
fn no_record_is_larger_than_its_limit() {
    let exact = one(Value::from("x".repeat(10)));
    let length = text(&exact).len();
    wire::encode(&exact, length).unwrap();
    assert_eq!(
        wire::encode(&exact, length - 1),
        Err(WireError::TooLarge { limit: length - 1 })
    );
    assert_eq!(
        wire::decode::<Values>(text(&exact).as_bytes(), length - 1),
        Err(WireError::TooLarge { limit: length - 1 })
    );
}

#[test]
fn records_are_written_as_the_protocol_shows_them() {
    let fault = || Fault {
        code: "upper.no_text".to_owned(),
        message: "`text` is missing".to_owned(),
    };
    let config = json!({"protocol": 1, "plugin": "py-upper", "generation": 3, "nonce": "6f0c",
        "address": "unix:/run/s", "token": null, "idle_ms": 3_600_000, "config": {"$x": [1]}});
    let config: Config = wire::decode(config.to_string().as_bytes(), wire::MAX_CONFIG).unwrap();
    round_trip(&config);
    assert!(
        !format!("{config:?}").contains("6f0c"),
        "it leaves secrets out"
    );
    same(
        &StartLine {
            plg: 1,
            plugin: "py-upper".to_owned(),
            version: "0.1.0".to_owned(),
            nonce: "6f0c".to_owned(),
            address: "unix:/run/s".to_owned(),
            forms: Vec::new(),
            state: None,
        },
        r#"{"plg":1,"plugin":"py-upper","version":"0.1.0","nonce":"6f0c","address":"unix:/run/s"}"#,
    );
    same(
        &Execute {
            id: 17,
            label: "upper".to_owned(),
            values: [("text", "hello")].into_iter().collect(),
            timeout_ms: Some(1500),
            depth: 1,
        },
        r#"{"id":17,"label":"upper","values":{"text":"hello"},"timeout_ms":1500,"depth":1}"#,
    );
    same(
        &Line::Outcome(Outcome {
            id: 17,
            set: [("$text", "HELLO")].into_iter().collect(),
            removed: vec!["old".to_owned()],
            error: Some(fault()),
        }),
        r#"{"id":17,"set":{"$text":"HELLO"},"removed":["old"],"error":{"code":"upper.no_text","message":"`text` is missing"}}"#,
    );
    same(
        &Line::Log(Log {
            level: Level::Info,
            message: "halfway".to_owned(),
        }),
        r#"{"log":{"level":"info","message":"halfway"}}"#,
    );
    same(
        &Line::Progress(Progress {
            done: 3,
            total: Some(10),
            message: "pages".to_owned(),
        }),
        r#"{"progress":{"done":3,"total":10,"message":"pages"}}"#,
    );
    same(
        &Line::Call(Call {
            seq: 1,
            plugin: "text".to_owned(),
            label: "trim".to_owned(),
            values: [("text", " x ")].into_iter().collect(),
        }),
        r#"{"call":{"seq":1,"plugin":"text","label":"trim","values":{"text":" x "}}}"#,
    );
    same(
        &Reply {
            id: 17,
            seq: 1,
            answer: Ok([("text", "x")].into_iter().collect()),
        },
        r#"{"id":17,"seq":1,"values":{"text":"x"}}"#,
    );
    same(
        &Reply {
            id: 17,
            seq: 1,
            answer: Err(fault()),
        },
        r#"{"id":17,"seq":1,"error":{"code":"upper.no_text","message":"`text` is missing"}}"#,
    );
}

#[test]
fn what_may_be_left_out_is_and_what_is_unknown_is_passed_over() {
    let outcome: Line = wire::decode(br#"{"id":1,"colour":{"red":[1]}}"#, 100).unwrap();
    let expected = Outcome {
        id: 1,
        ..Outcome::default()
    };
    assert_eq!(outcome, Line::Outcome(expected));
    let call: Execute = wire::decode(br#"{"id":1,"label":"a","values":{}}"#, 100).unwrap();
    assert_eq!((call.timeout_ms, call.depth), (None, 0));
    for line in [
        r#"{"error":{"code":"a.b","message":"c"}}"#,
        r#"{"id":1,"log":{"level":"info","message":"x"}}"#,
        r#"{"log":{"level":"loud","message":"x"}}"#,
        r#"{"progress":{"done":-1}}"#,
        r#"{"id":1,"id":1}"#,
        r#"{"id":1.5}"#,
        "{}",
        "[]",
    ] {
        wire::decode::<Line>(line.as_bytes(), 100).unwrap_err();
    }
    for reply in [
        r#"{"id":1,"seq":1}"#,
        r#"{"id":1,"seq":1,"values":{},"error":{"code":"a.b","message":"c"}}"#,
    ] {
        wire::decode::<Reply>(reply.as_bytes(), 100).unwrap_err();
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same(values in vec((any::<String>(), value()), 0..6)) {
        let mut values = values;
        values.sort_by(|(left, _), (right, _)| left.cmp(right));
        values.dedup_by(|(left, _), (right, _)| left == right);
        round_trip(&Values(values));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in any::<Vec<u8>>(), json in r#"[\[\]{}",:$0-9a-z. ]{0,60}"#) {
        for text in [&text, json.as_bytes()] {
            if let Ok(values) = wire::decode::<Values>(text, wire::MAX_BODY) {
                round_trip(&values);
            }
            let _ = wire::decode::<Line>(text, wire::MAX_LINE);
        }
    }
}

/// Values of every kind, but for the number that is not equal to itself.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        any::<String>(),
        r"\$?[a-z]{0,3}",
        Just("$map".to_owned()),
        Just("$bytes".to_owned()),
        Just("$f64".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::I64),
        any::<u64>()
            .prop_map(f64::from_bits)
            .prop_filter("not equal to itself", |number| !number.is_nan())
            .prop_map(Value::F64),
        any::<String>().prop_map(Value::Str),
        any::<Vec<u8>>().prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(6, 40, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::List),
            btree_map(key.clone(), inner, 0..4).prop_map(Value::Map),
        ]
    })
}

fn one(value: Value) -> Values {
    Values(vec![("k".to_owned(), value)])
}

fn read(json: &str) -> Result<Value, WireError> {
    let text = format!(r#"{{"k":{json}}}"#);
    let values: Values = wire::decode(text.as_bytes(), wire::MAX_BODY)?;
    Ok(values.value("k").unwrap().clone())
}

fn text(record: &impl Serialize) -> String {
    String::from_utf8(wire::encode(record, wire::MAX_BODY).unwrap()).unwrap()
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(record: &T) {
    let json = text(record);
    let read: T = wire::decode(json.as_bytes(), wire::MAX_BODY).unwrap();
    assert_eq!(&read, record, "{json}");
}

fn same<T: Serialize + DeserializeOwned + PartialEq + Debug>(record: &T, json: &str) {
    assert_eq!(text(record), json);
    round_trip(record);
}
