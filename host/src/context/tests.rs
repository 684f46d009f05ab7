//! Both sides of the boundary in one binary, without a library: what miri can run.

use std::cell::Cell;

use plg_plugin_api::abi::{Ctx, Str, ValueRef, status};
use plg_plugin_api::export::{self, Entry};
use plg_plugin_api::{Context as PluginContext, Error, Key, Value};

use super::frame::{Call, Callee, Frame};
use super::table::TABLE;
use super::{Context, Failure};
use crate::limits::Limits;
use crate::plugin::thread::{HERE, Number};

struct Linked {
    limits: Limits,
    other: Entry,
}

impl Callee for Linked {
    fn name(&self) -> &str {
        "linked"
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn call_other(&self, _plugin: &str, label: &str, context: &mut Context) -> Result<(), Failure> {
        match self.call(label, self.other, context) {
            Some(status::OK) => Ok(()),
            _ => Err(*context.take_failure().unwrap()),
        }
    }
}

impl Linked {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            other: |_| Ok(()),
        }
    }

    fn call(&self, label: &str, entry: Entry, context: &mut Context) -> Option<i32> {
        let call = Call {
            callee: self,
            label,
        };
        HERE.with(|here| {
            Number::of(here);
            Frame::enter(here, context, &call, self.limits.depth, |raw, label| {
                run(raw, label, entry)
            })
        })
    }
}

fn run(raw: Ctx, label: Str, entry: Entry) -> i32 {
    #[expect(unsafe_code, reason = "it stands where a mapped entry point would")]
    // SAFETY: the frame is current.
    unsafe {
        export::run(raw, label, entry)
    }
}

#[test]
fn values_of_every_kind_cross_both_ways() {
    let nested = Value::from([
        (
            "list",
            Value::List(vec![1.into(), "two".into(), Value::Null]),
        ),
        ("bytes", Value::Bytes(vec![0, 255])),
        ("map", Value::from([("deep", 0.5)])),
    ]);
    let mut context = Context::new().with("in", nested.clone()).with("n", 41);
    let answer = Linked::new(Limits::default()).call(
        "copy",
        |ctx| {
            let value: Value = ctx.get("in")?;
            ctx.set("out", value)?;
            let label = ctx.label();
            ctx.set("label", label)?;
            let n: i64 = ctx.get("n")?;
            ctx.set("n", n + 1)?;
            assert!(ctx.remove("in"));
            Ok(())
        },
        &mut context,
    );
    assert_eq!(answer, Some(status::OK));
    assert_eq!(context.get("out"), Some(&nested));
    assert_eq!(context.get("n"), Some(&Value::I64(42)));
    assert_eq!(context.text("label"), Some("copy"));
    assert_eq!(context.get("in"), None);
}

#[test]
fn interned_keys_find_what_names_set_and_the_other_way_round() {
    static HERE_AND_THERE: Key = Key::new("here.and.there");
    let mut context = Context::new().with("here.and.there", 1);
    for _ in 0..3 {
        let answer = Linked::new(Limits::default()).call(
            "keys",
            |ctx| {
                let value: i64 = ctx.get(&HERE_AND_THERE)?;
                ctx.set("here.and.there", value * 2)?;
                let value: i64 = ctx.get(&HERE_AND_THERE)?;
                ctx.set(&HERE_AND_THERE, value + 1)
            },
            &mut context,
        );
        assert_eq!(answer, Some(status::OK));
    }
    assert_eq!(context.get("here.and.there"), Some(&Value::I64(15)));
    assert_eq!(context.len(), 1);
}

#[test]
fn a_panic_stops_at_the_shim_and_says_where() {
    let mut context = Context::new();
    let answer =
        Linked::new(Limits::default()).call("panic", |_| panic!("deliberate"), &mut context);
    assert_eq!(answer, Some(status::PANICKED));
    assert!(
        context
            .take_failure()
            .unwrap()
            .message
            .contains("deliberate")
    );
}

#[test]
fn restore_is_told_a_version_and_never_a_label_that_is_none() {
    fn take_over(ctx: &mut PluginContext<'_>, version: u32) -> Result<(), Error> {
        ctx.set("version", i64::from(version))
    }
    let linked = Linked::new(Limits::default());
    let restored = |label: &str| {
        let mut context = Context::new();
        let call = Call {
            callee: &linked,
            label,
        };
        let answer = HERE.with(|here| {
            Number::of(here);
            Frame::enter(here, &mut context, &call, 1, |raw, label| {
                #[expect(unsafe_code, reason = "it stands where a mapped entry point would")]
                // SAFETY: the frame is current.
                unsafe {
                    export::run_restore(raw, label, Some(take_over))
                }
            })
        });
        (answer, context)
    };
    for (label, version) in [("0", 0), ("7", 7), ("4294967295", 4_294_967_295)] {
        let (answer, context) = restored(label);
        assert_eq!(answer, Some(status::OK), "{label}");
        assert_eq!(context.get("version"), Some(&Value::I64(version)));
    }
    for label in ["", "-1", "4294967296", "two", "1 "] {
        let (answer, mut context) = restored(label);
        assert_eq!(answer, Some(status::FAILED), "{label}");
        assert_eq!(context.len(), 0);
        let message = context.take_failure().unwrap().message;
        assert!(message.contains(&format!("`{label}`")), "{message}");
    }
}

#[test]
fn a_context_is_dead_after_its_call_and_while_another_runs() {
    thread_local! {
        static KEPT: Cell<Option<Ctx>> = const { Cell::new(None) };
    }
    fn stale_read() -> i32 {
        let raw = KEPT.get().unwrap();
        let mut out = ValueRef::NULL;
        let key = Str::new("secret");
        #[expect(unsafe_code, reason = "a plugin in C could do this")]
        // SAFETY: the key and `out` are good for the call; the stale token is what is tried.
        unsafe {
            (TABLE.get)(raw.token, key, &raw mut out)
        }
    }
    let linked = Linked {
        limits: Limits::default(),
        other: |ctx| ctx.set("stale", i64::from(stale_read())),
    };
    let mut context = Context::new().with("secret", 1);
    let call = Call {
        callee: &linked,
        label: "keep",
    };
    HERE.with(|here| {
        Frame::enter(here, &mut context, &call, 32, |raw, label| {
            KEPT.set(Some(raw));
            assert_eq!(stale_read(), status::OK);
            let answer = run(raw, label, |ctx| {
                let outcome = ctx.call("linked", "other", Value::from([("secret", 2)]))?;
                ctx.set("stale", &outcome["stale"])
            });
            assert_eq!(answer, status::OK);
            assert_eq!(stale_read(), status::OK);
        })
    });
    let expired = Value::from(status::EXPIRED);
    assert_eq!(context.get("stale"), Some(&expired));
    assert_eq!(stale_read(), status::EXPIRED);
}

#[test]
fn limits_refuse_what_is_too_large_and_change_nothing() {
    let limits = Limits {
        value_bytes: 64,
        key_bytes: 8,
        values: 2,
        ..Limits::default()
    };
    let mut context = Context::new().with("a", "before");
    let entry: Entry = |ctx: &mut PluginContext<'_>| {
        let code = |outcome: Result<(), Error>| outcome.unwrap_err().code().to_owned();
        assert_eq!(code(ctx.set("a", "x".repeat(65))), "ctx.too_large");
        assert_eq!(code(ctx.set("b", vec![Value::Null; 5])), "ctx.too_large");
        assert_eq!(code(ctx.set("long.keys", 1)), "ctx.too_large");
        ctx.set("b", "x".repeat(64))?;
        assert_eq!(code(ctx.set("c", 1)), "ctx.too_large");
        ctx.set(" ", 1)
    };
    let answer = Linked::new(limits).call("limits", entry, &mut context);
    assert_eq!(answer, Some(status::OK));
    assert_eq!(context.text("a"), Some("before"));
    assert_eq!(context.len(), 2);
}
