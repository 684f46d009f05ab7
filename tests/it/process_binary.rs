//! The binary form of calls: it means what JSON means, and what is no record is refused.

use std::fs;

use plg_host::{Context, Host};
use plg_plugin_api::Value;
use plg_plugin_api::process::wire::{
    self, Execute, ExecuteRef, Fault, Form, Outcome, Source, Values, WireError,
};
use proptest::prelude::*;
use serde_json::json;

use crate::process_wire::value;
use crate::support::programs::{Programs, host};
use crate::support::{Variant, program};

/// The example of the protocol.
const UPPER: &str = "70 6c 67 01  11 00 00 00 00 00 00 00  ff ff ff ff ff ff ff ff  00 00 00 00
    05 00 00 00  75 70 70 65 72
    01 00 00 00  04 00 00 00  74 65 78 74  05  05 00 00 00  68 65 6c 6c 6f";

#[test]
fn a_call_is_written_as_the_protocol_shows_it() {
    let example: String = UPPER.split_whitespace().collect();
    let protocol = fs::read_to_string(plg_tests::workspace().join("host/PROTOCOL.md")).unwrap();
    let stated: String = protocol.split_whitespace().collect();
    assert!(stated.contains(&example));
    let bytes = data_encoding::HEXLOWER.decode(example.as_bytes()).unwrap();
    let execute = Execute {
        id: 17,
        label: "upper".to_owned(),
        values: [("text", "hello")].into_iter().collect(),
        timeout_ms: None,
        depth: 0,
    };
    assert_eq!(written(Form::Plg, &execute), bytes);
    assert_eq!(
        Form::Plg.decode_execute(&bytes, wire::MAX_BODY).unwrap(),
        execute
    );
    let json = written(Form::Json, &execute);
    assert_eq!(json, wire::encode(&execute, wire::MAX_BODY).unwrap());
}

#[test]
fn what_is_no_record_is_refused() {
    let head = b"plg\x02\x01\0\0\0\0\0\0\0".as_slice();
    let tail = [0, 0, 0, 0, 0].as_slice();
    let values = |entries: &[u8]| [head, entries, tail].concat();
    let nested = |depth: usize| {
        let lists = [7, 1, 0, 0, 0].repeat(depth);
        values(&[&[1, 0, 0, 0, 1, 0, 0, 0, b'k'], lists.as_slice(), &[0]].concat())
    };
    let cases: [(&str, Vec<u8>, &str); 11] = [
        ("another record", b"plg\x01\x01".to_vec(), "begins"),
        ("json", br#"{"id":1}"#.to_vec(), "begins"),
        (
            "a key twice",
            values(&[&[2, 0, 0, 0], [1, 0, 0, 0, b'k', 0].repeat(2).as_slice()].concat()),
            "twice",
        ),
        (
            "the last of many keys twice",
            {
                let key = |key: u8| [1, 0, 0, 0, key, 0];
                let keys = (b'a'..=b'z').chain([b'b']).flat_map(key);
                values(&[27, 0, 0, 0].into_iter().chain(keys).collect::<Vec<u8>>())
            },
            "twice",
        ),
        (
            "a map's key twice",
            values(b"\x01\0\0\0\x01\0\0\0k\x08\x02\0\0\0\x01\0\0\0a\0\x01\0\0\0a\0"),
            "twice",
        ),
        (
            "a map's keys in no order",
            values(b"\x01\0\0\0\x01\0\0\0k\x08\x02\0\0\0\x01\0\0\0b\0\x01\0\0\0a\0"),
            "place",
        ),
        ("no text", values(b"\x01\0\0\0\x01\0\0\0\xff\0"), "text"),
        ("no such tag", values(b"\x01\0\0\0\x01\0\0\0k\x09"), "tag 9"),
        ("too deep", nested(65), "deep"),
        ("more than there is", values(b"\xff\xff\xff\xff"), "ends"),
        (
            "something after it",
            [values(&[0; 4]), vec![0]].concat(),
            "follow",
        ),
    ];
    for (what, bytes, expected) in cases {
        let error = Form::Plg
            .decode_outcome(&bytes, wire::MAX_BODY)
            .unwrap_err();
        let text = error.to_string();
        assert!(text.contains(expected), "{what}: {text}");
    }
    Form::Plg
        .decode_outcome(&nested(64), wire::MAX_BODY)
        .unwrap();
    let outcome = values(&[0; 4]);
    let limit = outcome.len() - 1;
    let error = Form::Plg.decode_outcome(&outcome, limit).unwrap_err();
    assert_eq!(error, WireError::TooLarge { limit });
}

#[test]
fn few_bytes_cannot_take_much_memory() {
    // One byte each, and a place in a list.
    const NULLS: usize = 3 << 20;
    let mut bytes = b"plg\x02\x01\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0k\x07".to_vec();
    bytes.extend((NULLS as u32 * 2).to_le_bytes());
    bytes.extend([0].repeat(NULLS * 2));
    bytes.extend([0; 5]);
    let error = Form::Plg
        .decode_outcome(&bytes, wire::MAX_BODY)
        .unwrap_err();
    assert!(error.to_string().contains("memory"), "{error}");
}

#[test]
fn no_record_is_larger_than_its_limit_or_nests_too_deep() {
    let outcome = |value: Value| Outcome {
        set: [("k", value)].into_iter().collect(),
        ..Outcome::default()
    };
    let mut bytes = vec![1, 2, 3];
    let text = outcome("x".repeat(100).into());
    let length = 4 + 8 + 4 + (4 + 1) + (1 + 4 + 100) + 4 + 1;
    Form::Plg.encode_outcome(&mut bytes, &text, length).unwrap();
    assert_eq!(bytes.len(), 3 + length);
    let limit = length - 1;
    let error = Form::Plg.encode_outcome(&mut bytes, &text, limit);
    assert_eq!(error.unwrap_err(), WireError::TooLarge { limit });

    let nested = (0..64).fold(Value::Null, |inner, _| Value::List(vec![inner]));
    let deep = outcome(nested.clone());
    Form::Plg
        .encode_outcome(&mut bytes, &deep, 1 << 20)
        .unwrap();
    let deep = outcome(Value::List(vec![nested]));
    Form::Plg
        .encode_outcome(&mut bytes, &deep, 1 << 20)
        .unwrap_err();
}

/// The fixture agrees to the form, and the helper of other tests does not know of it.
#[test]
fn a_program_of_ours_is_called_in_it() {
    let programs = Programs::new();
    let directory = programs.manifest("fixture-process", json!({ "exec": "bin/program" }));
    let manifest = json!({ "name": "fixture-process", "version": "1.2.3",
        "process": { "exec": "bin/program" } });
    fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
    fs::create_dir(directory.join("bin")).unwrap();
    let fixture = program("fixture-process", Variant::Debug);
    fs::copy(fixture, directory.join("bin/program")).unwrap();
    for host in [
        host(),
        Host::builder()
            .allow_unsafe_directories(true)
            .pace(plg_host::Pace::Latency)
            .build()
            .unwrap(),
    ] {
        let plugin = host.load(&directory).unwrap();
        // JSON cannot tell one from the other.
        let odd = f64::from_bits(0x7ff8_0000_0000_0001);
        let mut context = Context::new()
            .with("odd", odd)
            .with("$map", Value::from([("$bytes", 1)]))
            .with("large", Value::Bytes(vec![7; 3 << 20]));
        for _ in 0..20 {
            plugin
                .call(
                    "swap",
                    &mut Context::new().with("text", Value::Bytes(vec![1; 64])),
                )
                .unwrap();
        }
        plugin.call("copy", &mut context).unwrap();
        assert_eq!(context.get("$map.copy"), context.get("$map"));
        assert_eq!(context.get("large.copy"), context.get("large"));
        let Some(Value::F64(copy)) = context.get("odd.copy") else {
            panic!("no number");
        };
        assert_eq!(copy.to_bits(), odd.to_bits());
        // Lines are JSON.
        let mut context = Context::new();
        plugin.call("talk", &mut context).unwrap();
        assert_eq!(context.get("said"), Some(&true.into()));
        let error = plugin.call("fail", &mut context).unwrap_err();
        assert!(error.to_string().contains("it was told to"), "{error}");
        assert_eq!(context.get("partial"), Some(&true.into()));
    }
}

proptest! {
    #[test]
    fn both_forms_mean_the_same(
        entries in proptest::collection::btree_map(any::<String>(), value(), 0..20),
        (id, timeout_ms, depth, label) in (any::<u64>(), any::<Option<u32>>(), any::<u32>(), any::<String>()),
        removed in proptest::collection::vec(any::<String>(), 0..4),
        error in any::<Option<(String, String)>>(),
    ) {
        let values = Values(entries.into_iter().collect());
        let execute = Execute { id, label, values: values.clone(), timeout_ms: timeout_ms.map(u64::from), depth };
        let error = error.map(|(code, message)| Fault { code, message });
        let outcome = Outcome { id, set: values, removed, error };
        for form in [Form::Plg, Form::Json] {
            let bytes = written(form, &execute);
            assert_eq!(form.decode_execute(&bytes, wire::MAX_BODY).unwrap(), execute);
            let mut bytes = Vec::new();
            form.encode_outcome(&mut bytes, &outcome, wire::MAX_BODY).unwrap();
            assert_eq!(form.decode_outcome(&bytes, wire::MAX_BODY).unwrap(), outcome);
        }
    }

    #[test]
    fn a_part_of_a_record_is_none_and_a_changed_one_is_read_or_refused(
        values in proptest::collection::btree_map(any::<String>(), value(), 0..4),
        flip in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let outcome = Outcome { id: 1, set: Values(values.into_iter().collect()), ..Outcome::default() };
        let mut bytes = Vec::new();
        Form::Plg.encode_outcome(&mut bytes, &outcome, wire::MAX_BODY).unwrap();
        for end in 0..bytes.len() {
            Form::Plg.decode_outcome(&bytes[..end], wire::MAX_BODY).unwrap_err();
        }
        let place = flip.index(bytes.len());
        bytes[place] ^= 1 << bit;
        assert_eq!(dripped(&bytes, 1), Form::Plg.decode_outcome(&bytes, wire::MAX_BODY));
        // What is read is what would be written so.
        if let Ok(read) = Form::Plg.decode_outcome(&bytes, wire::MAX_BODY) {
            let mut again = Vec::new();
            Form::Plg.encode_outcome(&mut again, &read, wire::MAX_BODY).unwrap();
            assert_eq!(again, bytes);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in any::<Vec<u8>>(), kind in 1..3_u8) {
        let bytes = [b"plg", [kind].as_slice(), &bytes].concat();
        let _ = Form::Plg.decode_outcome(&bytes, wire::MAX_BODY);
        let _ = Form::Plg.decode_execute(&bytes, wire::MAX_BODY);
    }
}

/// A source of which only so many bytes come at once.
struct Drip<'a>(&'a [u8], usize);

impl Source for Drip<'_> {
    fn more(&mut self, out: &mut Vec<u8>, most: usize) -> bool {
        let count = most.min(self.1).min(self.0.len());
        let (some, rest) = self.0.split_at(count);
        out.extend_from_slice(some);
        self.0 = rest;
        count > 0
    }

    fn block(&mut self, start: &[u8], length: usize) -> Option<Vec<u8>> {
        let (some, rest) = self.0.split_at_checked(length - start.len())?;
        self.0 = rest;
        Some([start, some].concat())
    }
}

fn dripped(bytes: &[u8], step: usize) -> Result<Outcome, WireError> {
    Form::read_outcome(&mut Drip(bytes, step), bytes.len())
}

/// What goes over the connection, of a record whose large values stay where they are.
fn sent(outcome: &Outcome) -> Vec<u8> {
    let mut bytes = b"head".to_vec();
    let pieces = Form::Plg
        .write_outcome(&mut bytes, outcome, wire::MAX_BODY)
        .unwrap();
    let slices = pieces.gather(&bytes, 4);
    let sent: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
    assert_eq!(sent.len(), bytes.len() - 4 + pieces.length());
    sent
}

#[test]
fn large_values_mean_the_same_from_where_they_are_and_while_they_come() {
    let text = "ä".repeat(50_000);
    let large = Value::from([
        ("a", Value::Bytes(vec![7; 200_000])),
        ("b", Value::from("short")),
        ("c", Value::from(text.as_str())),
        ("d", Value::Bytes(vec![1; 9_000])),
    ]);
    let set = [
        ("small", Value::from(1)),
        ("large", large),
        ("last", Value::from(text.as_str())),
    ];
    let outcome = Outcome {
        id: 5,
        set: set.into_iter().collect(),
        removed: vec!["gone".to_owned()],
        error: None,
    };
    let mut bytes = Vec::new();
    Form::Plg
        .encode_outcome(&mut bytes, &outcome, wire::MAX_BODY)
        .unwrap();
    assert_eq!(sent(&outcome), bytes);
    for step in [1, 1000, 16 << 10, usize::MAX] {
        assert_eq!(dripped(&bytes, step).unwrap(), outcome);
    }
    // The limit counts what is not copied as well.
    let limit = bytes.len() - 1;
    let error = Form::Plg
        .write_outcome(&mut Vec::new(), &outcome, limit)
        .unwrap_err();
    assert_eq!(error, WireError::TooLarge { limit });

    for end in [3, 40, 100_000, 250_000, bytes.len() - 1] {
        let error = dripped(&bytes[..end], 1000).unwrap_err();
        assert!(error.to_string().contains("ends in the middle"), "{error}");
        // More was announced than comes.
        let mut early = Drip(&bytes[..end], 1000);
        Form::read_outcome(&mut early, bytes.len()).unwrap_err();
    }
    bytes.push(0);
    let error = dripped(&bytes, 1000).unwrap_err();
    assert!(error.to_string().contains("1 bytes follow"), "{error}");
    let place = bytes.len() - 100;
    bytes[place] = 0xff;
    let error = dripped(&bytes, 1000).unwrap_err();
    assert!(error.to_string().contains("a text"), "{error}");
}

fn written(form: Form, execute: &Execute) -> Vec<u8> {
    let values = &execute.values.0;
    let values: Vec<(&str, &Value)> = values
        .iter()
        .map(|(key, value)| (key.as_str(), value))
        .collect();
    let execute = ExecuteRef {
        id: execute.id,
        label: &execute.label,
        values: &values,
        timeout_ms: execute.timeout_ms,
        depth: execute.depth,
    };
    let mut bytes = Vec::new();
    form.encode_execute(&mut bytes, &execute, wire::MAX_BODY)
        .unwrap();
    bytes
}
