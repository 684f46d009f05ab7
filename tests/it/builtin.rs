//! Plugins that are compiled into the app.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use plg_host::builtin::{self, Builtin, Error};
use plg_host::policy::{Level, Policy, Rule};
use plg_host::{Cancel, Context, Host, Label, Limits, Manifest, PluginName, Unloaded, Value};
use plg_packaging::manifest::Dependency;

use crate::support::programs::failure;
use crate::support::{Variant, library};

fn manifest(name: &str) -> Manifest {
    Manifest::minimal(
        PluginName::new(name).unwrap(),
        semver::Version::new(1, 2, 3),
    )
}

fn execute(ctx: &mut builtin::Context<'_>) -> Result<(), Error> {
    match ctx.label() {
        "greet" => {
            let reply = format!("Hello, {}!", ctx.get::<&str>("name")?);
            ctx.set("reply", reply)
        }
        "panic" => panic!("told to"),
        "fail" => {
            ctx.set("left", 1)?;
            Err(Error::new("greeter.tired", "no more"))
        }
        "patient" => {
            while !ctx.cancelled() {
                thread::sleep(Duration::from_millis(1));
            }
            Err(Error::new("call.cancelled", "nobody waits"))
        }
        "hang" => loop {
            thread::sleep(Duration::from_secs(60));
        },
        "ask" => {
            let outcome = ctx.call("other", "greet", [("name", "Bob")])?;
            ctx.set("reply", outcome.get("reply"))
        }
        "self" => ctx.call("greeter", "self", [("", 1)]).map(drop),
        other => Err(Error::unknown_label(other, &["greet"])),
    }
}

#[test]
fn what_is_compiled_in_is_called_like_any_plugin() {
    let host = Host::builder().build().unwrap();
    let greeter = host.register_builtin(manifest("greeter"), execute).unwrap();
    let mut context = Context::new().with("name", "Ada");
    host.call("greeter", "greet", &mut context).unwrap();
    assert_eq!(context.text("reply"), Some("Hello, Ada!"));
    greeter.label("greet").unwrap().call(&mut context).unwrap();

    let snapshot = greeter.snapshot();
    let current = snapshot.current.unwrap();
    assert_eq!((current.transport, current.mapped_bytes), ("builtin", 0));
    assert_eq!(
        (current.digest, current.version.to_string().as_str()),
        (None, "1.2.3")
    );
    let greet = snapshot.labels.iter().find(|label| label.label == "greet");
    assert!(greet.is_some_and(|label| label.calls >= 1));

    host.register_builtin(manifest("other"), execute).unwrap();
    let mut context = Context::new();
    greeter.call("ask", &mut context).unwrap();
    assert_eq!(context.text("reply"), Some("Hello, Bob!"));
    assert_eq!(
        failure(greeter.call("self", &mut Context::new())).0,
        "call.depth"
    );
}

#[test]
fn what_the_operator_denies_does_not_run_though_it_is_compiled_in() {
    let name = PluginName::new("greeter").unwrap();
    let policy = Policy::new(Rule::new(Level::Isolated)).plugin(name, Rule::new(Level::Denied));
    let host = Host::builder().policy(policy).build().unwrap();
    let refused = host.register_builtin(manifest("greeter"), execute);
    assert_eq!(failure(refused).0, "policy.denied");
    host.register_builtin(manifest("other"), execute).unwrap();
}

#[test]
fn what_goes_wrong_in_it_is_an_error_of_the_call() {
    // One call does not come back.
    let limits = Limits {
        drain: Duration::from_millis(50),
        ..Limits::default()
    };
    let host = Host::builder().limits(limits).build().unwrap();
    let greeter = host.register_builtin(manifest("greeter"), execute).unwrap();
    let (code, text) = failure(greeter.call("panic", &mut Context::new()));
    assert_eq!(code, "call.panicked");
    assert!(text.contains("told to"), "{text}");
    let mut context = Context::new();
    let (code, text) = failure(greeter.call("fail", &mut context));
    assert_eq!(code, "call.failed");
    assert!(text.contains("greeter.tired"), "{text}");
    assert_eq!(context.get("left"), Some(&1.into()));
    assert_eq!(
        failure(greeter.call("greet", &mut Context::new())).0,
        "ctx.missing"
    );
    assert_eq!(
        failure(greeter.call("nothing", &mut Context::new())).0,
        "call.no_route"
    );

    let mut soon = Context::new().timeout(Duration::from_millis(20));
    assert_eq!(failure(greeter.call("hang", &mut soon)).0, "call.timeout");
    let mut soon = Context::new().timeout(Duration::from_millis(20));
    assert_eq!(
        failure(greeter.call("patient", &mut soon)).0,
        "call.timeout"
    );
    let cancel = Cancel::new();
    cancel.cancel();
    let mut over = Context::new().cancelled_by(&cancel);
    assert_eq!(
        failure(greeter.call("greet", &mut over)).0,
        "call.cancelled"
    );
    let mut context = Context::new().with("name", "Ada");
    greeter.call("greet", &mut context).unwrap();
}

/// Counts what is done to it.
#[derive(Default)]
struct Counted {
    began: AtomicU32,
    ended: AtomicU32,
    refuses: AtomicBool,
}

struct Code(Arc<Counted>);

impl Builtin for Code {
    fn execute(&self, ctx: &mut builtin::Context<'_>) -> Result<(), Error> {
        ctx.set("began", i64::from(self.0.began.load(Ordering::SeqCst)))
    }

    fn init(&self, _: &mut builtin::Context<'_>) -> Result<(), Error> {
        self.0.began.fetch_add(1, Ordering::SeqCst);
        if self.0.refuses.load(Ordering::SeqCst) {
            return Err(Error::new("counted.refused", "not today"));
        }
        Ok(())
    }

    fn stop(&self, _: &mut builtin::Context<'_>) -> Result<(), Error> {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
        panic!("even now");
    }
}

#[test]
fn it_is_begun_ended_and_registered_again() {
    let host = Host::builder().build().unwrap();
    let counted = Arc::new(Counted::default());
    let register = || host.register_builtin(manifest("counted"), Code(counted.clone()));
    counted.refuses.store(true, Ordering::SeqCst);
    let (code, text) = failure(register());
    assert_eq!(code, "native.init");
    assert!(text.contains("not today"), "{text}");
    counted.refuses.store(false, Ordering::SeqCst);
    let handle = register().unwrap();
    assert_eq!(failure(register()).0, "plugin.loaded");
    assert_eq!(host.unload("counted").unwrap(), Unloaded::Unmapped);
    assert_eq!(
        failure(handle.call("count", &mut Context::new())).0,
        "plugin.unloaded"
    );
    register().unwrap();
    let mut context = Context::new();
    handle.call("count", &mut context).unwrap();
    assert_eq!(context.get("began"), Some(&Value::I64(3)));
    host.shutdown().unwrap();
    assert_eq!(
        counted.ended.load(Ordering::SeqCst),
        3,
        "a refused one ends as well"
    );
    assert_eq!(Arc::strong_count(&counted), 1, "nothing of it is left");
    assert_eq!(failure(register()).0, "host.closed");
}

#[test]
fn its_manifest_counts_and_a_file_can_replace_it() {
    let host = Host::builder()
        .allow_unsafe_directories(true)
        .build()
        .unwrap();
    let mut needy = manifest("needy");
    let other = PluginName::new("fixture-good").unwrap();
    needy
        .dependencies
        .insert(other, Dependency::new(semver::VersionReq::STAR, false));
    needy.labels = vec![Label::new("greet").unwrap()];
    let (code, _) = failure(host.register_builtin(needy.clone(), execute));
    assert_eq!(code, "deps.missing");
    host.register_builtin(manifest("fixture-good"), execute)
        .unwrap();
    let handle = host.register_builtin(needy, execute).unwrap();
    let (code, text) = failure(handle.call("fail", &mut Context::new()));
    assert_eq!(code, "call.no_route");
    assert!(text.contains("it has `greet`"), "{text}");
    assert_eq!(failure(host.unload("fixture-good")).0, "deps.in_use");

    assert_eq!(failure(host.isolate("fixture-good")).0, "policy.builtin");
    let fixture = library("fixture-good", Variant::Debug);
    let options = plg_host::UpgradeOptions {
        allow_downgrade: true,
    };
    host.upgrade_with("fixture-good", fixture, options).unwrap();
    let current = host
        .plugin("fixture-good")
        .unwrap()
        .snapshot()
        .current
        .unwrap();
    assert_eq!(current.transport, "in-process");
    assert_eq!(
        failure(host.rollback("fixture-good")).0,
        "upgrade.no_previous"
    );
}
