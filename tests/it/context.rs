//! Values on their way to a plugin and back, the limits they are held to, and contexts that are used
//! when they must not be.

use std::collections::BTreeMap;
use std::thread;

use plg_host::{Context, Host, Limits, Value, json};
use plg_plugin_api::abi::status;

use crate::support::plugins::{bad, good, host, number, refused};

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::from(entries)
}

/// One value of every kind, with the ends of each.
fn values() -> Vec<Value> {
    let deep = (0..40).fold(Value::from("core"), |inner, level| match level % 2 {
        0 => Value::List(vec![inner]),
        _ => map([("in", inner)]),
    });
    vec![
        Value::Null,
        Value::from(true),
        Value::from(false),
        Value::from(0),
        Value::from(i64::MIN),
        Value::from(i64::MAX),
        Value::from(0.1),
        Value::from(-0.0),
        Value::from(f64::MIN_POSITIVE),
        Value::from(f64::INFINITY),
        Value::from(f64::NEG_INFINITY),
        Value::from(f64::NAN),
        Value::from(""),
        Value::from("plain"),
        Value::from("nul \0 inside"),
        Value::from("Ünïcødé 🦀 \u{10ffff}"),
        Value::from("x".repeat(100_000)),
        Value::Bytes(Vec::new()),
        Value::Bytes((0..=255).collect()),
        Value::List(Vec::new()),
        Value::List(vec![Value::Null, Value::from(1), Value::from("two")]),
        Value::Map(BTreeMap::new()),
        map([
            ("", Value::from("blank keys are fine inside")),
            (
                "list",
                Value::List(vec![map([("a", Value::Bytes(vec![0]))])]),
            ),
            ("ü", Value::from(2.5)),
        ]),
        deep,
    ]
}

/// Like `==`, with numbers compared by their bits: not a number is the same as itself here.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::F64(left), Value::F64(right)) => left.to_bits() == right.to_bits(),
        _ => left == right,
    }
}

#[test]
fn every_value_comes_back_as_it_was() {
    let host = host();
    let good = good(&host);
    for value in values() {
        let mut ctx = Context::new().with("value", &value);
        good.call("echo", &mut ctx).unwrap();
        let echo = ctx.get("echo.value").unwrap();
        assert!(same(echo, &value), "{value:?} came back as {echo:?}");
        assert!(same(ctx.get("value").unwrap(), &value));
    }
    // All of them at once, through the index that many values have.
    let keys: Vec<_> = (0..values().len()).map(|n| format!("key {n}")).collect();
    let mut ctx: Context = keys.iter().zip(values()).collect();
    good.call("echo", &mut ctx).unwrap();
    assert_eq!(ctx.len(), 2 * keys.len());
    for (key, value) in keys.iter().zip(values()) {
        let echo = ctx.get(&format!("echo.{key}")).unwrap();
        assert!(same(echo, &value), "{value:?} came back as {echo:?}");
    }
    let order: Vec<_> = ctx.iter().map(|(key, _)| key.to_owned()).collect();
    assert_eq!(order[..keys.len()], keys);
}

#[test]
fn a_value_may_change_its_kind_under_its_key() {
    let host = host();
    let good = good(&host);
    let mut ctx = Context::new().with("echo.value", "something longer than a number");
    for value in values() {
        ctx.set("value", &value);
        good.call("echo", &mut ctx).unwrap();
        assert!(same(ctx.get("echo.value").unwrap(), &value));
        ctx.remove("echo.echo.value");
    }
}

#[test]
fn any_text_but_a_blank_one_is_a_key() {
    let host = host();
    let good = good(&host);
    for key in ["\0", "a\0b", "🦀", " padded ", "a.b.c", "\u{202e}"] {
        let mut ctx = Context::new().with(key, 7);
        good.call("echo", &mut ctx).unwrap();
        assert_eq!(ctx.get(&format!("echo.{key}")), Some(&Value::from(7)));
    }
    let mut ctx = Context::new().with("", 1).with(" \t", 2);
    assert!(ctx.is_empty());
    bad(&host).call("blank.key", &mut ctx).unwrap();
    assert!(ctx.is_empty());
    assert_eq!(ctx.get(""), None);
    assert_eq!(ctx.remove(""), None);
}

#[test]
fn null_is_a_value_and_missing_is_not() {
    let host = host();
    let bad = bad(&host);
    let mut ctx = Context::new().with("text", Value::Null);
    assert_eq!(ctx.get("text"), Some(&Value::Null));
    assert_eq!(ctx.get("other"), None);
    let said = refused(bad.call("wrong.type", &mut ctx), "ctx.type");
    assert!(said.contains("null"), "{said}");
    ctx.remove("text");
    let said = refused(bad.call("wrong.type", &mut ctx), "ctx.missing");
    assert!(said.contains("`text`"), "{said}");
}

/// Row 87.
#[test]
fn a_value_of_another_kind_is_told_with_both_kinds() {
    let host = host();
    let bad = bad(&host);
    let mut ctx = Context::new();
    for value in values() {
        ctx.set("text", &value);
        let outcome = bad.call("wrong.type", &mut ctx);
        if value.as_i64().is_some() {
            outcome.unwrap();
            continue;
        }
        let said = refused(outcome, "ctx.type");
        let kind = value.kind().to_string();
        assert!(said.contains("`text`") && said.contains(&kind), "{said}");
    }
    assert_eq!(ctx.text("number"), None);
}

#[test]
fn many_values_are_found_and_removed() {
    let mut ctx = Context::new();
    let key = |n: i64| format!("key.{n}");
    for n in 0..200 {
        ctx.set(&key(n), n);
    }
    for n in (0..200).step_by(2) {
        assert_eq!(ctx.remove(&key(n)), Some(Value::from(n)));
        assert_eq!(ctx.remove(&key(n)), None);
    }
    assert_eq!(ctx.len(), 100);
    for n in 0..200 {
        let expected = (n % 2 == 1).then(|| Value::from(n));
        assert_eq!(ctx.get(&key(n)), expected.as_ref());
    }
    // Down through the number of values from which an index is kept, and up again.
    for n in (0..200).rev() {
        ctx.remove(&key(n));
        assert_eq!(ctx.get(&key(1)).is_some(), n > 1);
    }
    assert!(ctx.is_empty());
    for n in 0..40 {
        ctx.set(&key(n), n);
        ctx.set(&key(n), n + 1);
        assert_eq!(ctx.get(&key(n)), Some(&Value::from(n + 1)));
    }
    ctx.clear();
    assert_eq!((ctx.len(), ctx.get(&key(3))), (0, None));
}

/// The keys of both labels are the same eight.
const EIGHT: [&str; 8] = ["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"];

fn eight(ctx: &Context) -> Vec<i64> {
    let eight = EIGHT.iter().map(|key| ctx.get(key));
    eight.filter_map(|value| value?.as_i64()).collect()
}

/// A key that was numbered and the same key by name are one key, however many values there are, and
/// whatever is removed and added in between.
#[test]
fn numbered_keys_and_names_agree() {
    let host = host();
    let good = good(&host);
    for others in [0, 3, 9, 40] {
        let mut ctx = Context::new();
        for n in 0..others {
            ctx.set(&format!("other.{n}"), "in the way");
        }
        for key in EIGHT {
            ctx.set(key, 0);
        }
        for round in 0..4 {
            good.call("bench.key8", &mut ctx).unwrap();
            good.call("bench.name8", &mut ctx).unwrap();
            assert_eq!(eight(&ctx), [2 * round + 2; 8]);
        }
        for n in 0..others {
            ctx.remove(&format!("other.{n}"));
            good.call("bench.key8", &mut ctx).unwrap();
        }
        ctx.remove("k3");
        ctx.set("k3", 100);
        good.call("bench.key8", &mut ctx).unwrap();
        assert_eq!(ctx.get("k3"), Some(&Value::from(101)));
        ctx.remove("k5");
        let said = refused(good.call("bench.key8", &mut ctx), "ctx.missing");
        assert!(said.contains("`k5`"), "{said}");
    }
}

#[test]
fn a_context_goes_from_thread_to_thread_and_from_host_to_host() {
    let hosts = [host(), host()];
    let plugins = [good(&hosts[0]), good(&hosts[1])];
    let mut ctx: Context = EIGHT.iter().map(|key| (key, 0)).collect();
    for round in 0..6 {
        let plugin = &plugins[round % 2];
        ctx = thread::scope(|scope| {
            let call = scope.spawn(move || {
                plugin.call("bench.key8", &mut ctx).unwrap();
                ctx
            });
            call.join().unwrap()
        });
    }
    assert_eq!(eight(&ctx), [6; 8]);
    // A copy is a context of its own.
    let mut copy = ctx.clone();
    plugins[0].call("bench.key8", &mut copy).unwrap();
    assert_eq!((eight(&ctx), eight(&copy)), (vec![6; 8], vec![7; 8]));
}

#[test]
fn values_are_json_and_json_is_values() {
    let json = serde_json::json!({
        "null": null,
        "flag": true,
        "least": i64::MIN,
        "beyond": 18_446_744_073_709_551_615_u64,
        "half": 0.5,
        "text": "ü\0",
        "list": [1, [2, {"deep": []}]],
        "map": {"": {}},
    });
    let value = json::to_value(json.clone());
    let back = json::from_value(&value);
    let beyond = value.as_map().unwrap()["beyond"].as_f64();
    assert_eq!(beyond, Some(18_446_744_073_709_551_615.0));
    for (key, member) in json.as_object().unwrap() {
        if key != "beyond" {
            assert_eq!(&back[key], member, "{key}");
        }
    }
    let host = host();
    let good = good(&host);
    let mut ctx = Context::new().with("json", value);
    good.call("echo", &mut ctx).unwrap();
    let object = json::from_context(&ctx);
    assert_eq!(object["echo.json"], back);
    assert_eq!(object["json"], back);
    assert_eq!(json::from_value(&Value::Bytes(vec![0xff, 0])), "/wA=");
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(json::from_value(&Value::from(number)).is_null());
    }
}

/// A host with caps small enough to reach.
fn small() -> Host {
    let limits = Limits {
        value_bytes: 1024,
        key_bytes: 32,
        values: 10,
        text_bytes: 40,
        ..Limits::default()
    };
    let host = Host::builder().limits(limits).build();
    host.expect("a host can be made")
}

/// Row 87.
#[test]
fn what_a_plugin_sets_is_held_to_the_limits() {
    let host = small();
    let bad = bad(&host);
    let call = |label: &str, key: &str, size: i64| {
        let mut ctx = Context::new().with(key, size);
        bad.call(label, &mut ctx)?;
        Ok(ctx)
    };
    let ctx = call("huge.value", "size", 1024).unwrap();
    assert_eq!(ctx.text("value").map(str::len), Some(1024));
    for size in [1025, 100 << 20] {
        let said = refused(call("huge.value", "size", size), "ctx.too_large");
        assert!(said.contains("`value`"), "{said}");
    }
    // An element takes its own bytes even when it holds none.
    let ctx = call("huge.list", "size", 64).unwrap();
    let list = ctx.get("value").and_then(Value::as_list);
    assert_eq!(list.map(<[Value]>::len), Some(64));
    for size in [65, 1_000_000] {
        refused(call("huge.list", "size", size), "ctx.too_large");
    }
    call("huge.key", "size", 32).unwrap();
    for size in [33, 10 << 20] {
        refused(call("huge.key", "size", size), "ctx.too_large");
    }
    // The count is one of them.
    assert_eq!(call("many.keys", "count", 9).unwrap().len(), 10);
    refused(call("many.keys", "count", 10), "ctx.too_large");
    // The message was cut, and is still text.
    let said = refused(call("no.such.label.at.all", "x", 1), "call.no_route");
    assert!(said.contains('…') && said.len() < 200, "{said}");
}

/// Row 87.
#[test]
fn a_million_keys_and_a_value_without_end_are_refused_by_a_host_of_its_own_accord() {
    let host = host();
    let bad = bad(&host);
    let limits = Limits::default();
    let mut ctx = Context::new().with("count", 1_000_000);
    refused(bad.call("many.keys", &mut ctx), "ctx.too_large");
    assert_eq!(ctx.len(), limits.values);
    let mut ctx = Context::new().with("size", 64 << 20);
    refused(bad.call("huge.value", &mut ctx), "ctx.too_large");
    assert_eq!(ctx.get("value"), None);
    let mut ctx = Context::new().with("size", 10 << 20);
    refused(bad.call("huge.key", &mut ctx), "ctx.too_large");
    // One level is the value itself.
    let mut ctx = Context::new().with("depth", 64);
    bad.call("deep.value", &mut ctx).unwrap();
    for depth in [65, 10_000] {
        let mut ctx = Context::new().with("depth", depth);
        refused(bad.call("deep.value", &mut ctx), "ctx.too_large");
        assert_eq!(ctx.get("value"), None);
    }
}

/// Row 87: what is refused leaves what was there.
#[test]
fn a_value_that_is_refused_replaces_nothing() {
    let host = small();
    let bad = bad(&host);
    for before in [Value::from("before"), Value::from(1), Value::Null] {
        for (label, key, size) in [("huge.value", "size", 4096), ("huge.list", "size", 4096)] {
            let mut ctx = Context::new().with("value", &before).with(key, size);
            refused(bad.call(label, &mut ctx), "ctx.too_large");
            assert_eq!(ctx.get("value"), Some(&before));
        }
    }
}

// Row 86 needs no test: a call takes its context mutably, so two threads never share one.

fn answers(ctx: &Context) -> [Option<i64>; 3] {
    ["read", "written", "cancelled"].map(|key| ctx.get(key).and_then(Value::as_i64))
}

/// What every function of a context answers after its call.
const EXPIRED: [Option<i64>; 3] = [
    Some(status::EXPIRED as i64),
    Some(status::EXPIRED as i64),
    // One that polls in the background ends.
    Some(1),
];

/// Row 85.
#[test]
fn a_context_that_is_kept_is_good_for_nothing() {
    let host = host();
    let bad = bad(&host);
    let mut kept = Context::new().with("secret", "of the first call");
    bad.call("keep", &mut kept).unwrap();
    // In the next call of the same thread and the same context.
    bad.call("use.kept", &mut kept).unwrap();
    assert_eq!(answers(&kept), EXPIRED);
    assert_eq!(kept.text("secret"), Some("of the first call"));
    assert_eq!(kept.get("stale"), None);
    // In the call of another context on another thread.
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut other = Context::new().with("secret", "of another thread");
            bad.call("use.kept", &mut other).unwrap();
            assert_eq!(answers(&other), EXPIRED);
            assert_eq!(other.text("secret"), Some("of another thread"));
            assert_eq!(other.get("stale"), None);
        });
    });
    assert_eq!(number(&good(&host), "build"), 1);
}

plg_tests::isolated! {
    /// Row 85: the thread of the call is gone, and another one has its place.
    fn a_context_that_is_kept_is_good_for_nothing_in_the_first_call_of_a_later_thread() {
        let host = host();
        let bad = &bad(&host);
        let threads = host.census().threads;
        for _ in 0..20 {
            let calls = ["keep", "use.kept"].map(|label| {
                thread::scope(|scope| {
                    let call = scope.spawn(move || {
                        let mut ctx = Context::new().with("secret", label);
                        bad.call(label, &mut ctx).unwrap();
                        ctx
                    });
                    let ctx = call.join().unwrap();
                    crate::support::wait_until("the thread to be gone", || {
                        host.census().threads == threads
                    });
                    ctx
                })
            });
            assert_eq!(answers(&calls[1]), EXPIRED);
            assert_eq!(calls[1].get("stale"), None);
        }
    }
}
