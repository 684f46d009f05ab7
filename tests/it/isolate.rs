//! Libraries in processes of their own: started there, moved there and back, and what becomes of one that
//! misbehaves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use plg_host::policy::{Level, Policy, Rule};
use plg_host::{Context, Handle, Host, Limits, Unloaded, Value};
use plg_tests::{child, fixtures::plg, isolated};

use crate::support::programs::{self, Programs};
use crate::support::{Variant, library, program, wait_until};

/// A host that can run libraries in processes of their own.
fn host() -> Host {
    host_with(Policy::default(), Limits::default())
}

fn host_with(policy: Policy, limits: Limits) -> Host {
    let builder = Host::builder().policy(policy).limits(limits);
    let runner = program("fixture-host", Variant::Debug);
    builder.runner(runner).build().unwrap()
}

fn good() -> PathBuf {
    library("fixture-good", Variant::Debug)
}

fn apart() -> Policy {
    Policy::new(Rule::new(Level::Isolated))
}

fn transport(host: &Host, name: &str) -> (&'static str, Option<String>) {
    let snapshots = host.snapshots();
    let plugin = snapshots.iter().find(|plugin| plugin.name.as_str() == name);
    let current = plugin.unwrap().current.as_ref().unwrap();
    (current.transport, current.isolated_because.clone())
}

fn code(plugin: &Handle, label: &str) -> &'static str {
    plugin.call(label, &mut Context::new()).unwrap_err().code()
}

fn value(plugin: &Handle, label: &str, key: &str) -> Option<Value> {
    let mut context = Context::new();
    plugin.call(label, &mut context).unwrap();
    context.get(key).cloned()
}

#[test]
fn a_library_answers_alike_from_a_process_of_its_own() {
    for policy in [Policy::default(), apart()] {
        let host = host_with(policy, Limits::default());
        let plugin = host.load(good()).unwrap();
        let mut context = Context::new().with("number", 41).with("text", "zwölf");
        plugin.call("echo", &mut context).unwrap();
        assert_eq!(context.get("echo.number"), Some(&Value::I64(41)));
        assert_eq!(context.text("echo.text"), Some("zwölf"));
        let bad = host.load(library("fixture-bad", Variant::Debug)).unwrap();
        assert_eq!(code(&bad, "panic"), "call.panicked");
        let error = bad.call("fail", &mut Context::new()).unwrap_err();
        assert!(error.to_string().contains("fixture.failed"), "{error}");
        assert_eq!(code(&bad, "nowhere"), "call.no_route");
        let mut context = Context::new()
            .with("ms", 10_000)
            .timeout(Duration::from_millis(50));
        let error = plugin.call("nap", &mut context).unwrap_err();
        assert_eq!(error.code(), "call.timeout");
        assert_eq!(host.unload(plugin.name()).unwrap(), Unloaded::Unmapped);
    }
}

#[test]
fn a_plugin_moves_out_and_back_with_its_state() {
    let host = host();
    let counter = host.load(library("counter", Variant::Debug)).unwrap();
    let mut context = Context::new().with("by", 5);
    counter.call("counter.add", &mut context).unwrap();
    let total = value(&counter, "counter.total", "total");

    let moved = host.isolate("counter").unwrap().unwrap();
    assert_eq!((moved.from.clone(), moved.generation), (moved.to, 2));
    assert_eq!(moved.retired, Unloaded::Unmapped);
    let (place, because) = transport(&host, "counter");
    assert_eq!(place, "process");
    assert!(because.unwrap().contains("asked"), "the snapshot says why");
    assert_eq!(value(&counter, "counter.total", "total"), total);
    assert_eq!(host.isolate("counter").unwrap(), None, "it is there");

    let moved = host.inline("counter").unwrap().unwrap();
    assert_eq!(moved.generation, 3);
    assert_eq!(transport(&host, "counter"), ("in-process", None));
    assert_eq!(value(&counter, "counter.total", "total"), total);
    assert_eq!(host.inline("counter").unwrap(), None);
}

#[test]
fn the_configuration_reaches_init_wherever_it_runs() {
    let config = serde_json::json!({ "greeting": "zwölf", "other": [1] });
    let serde_json::Value::Object(config) = config else {
        unreachable!();
    };
    let host = Host::builder()
        .config(&"fixture-good".parse().unwrap(), config)
        .runner(program("fixture-host", Variant::Debug))
        .build()
        .unwrap();
    let plugin = host.load(good()).unwrap();
    let configured = || value(&plugin, "configured", "configured");
    assert_eq!(configured(), Some("zwölf".into()));
    host.isolate("fixture-good").unwrap().unwrap();
    assert_eq!(configured(), Some("zwölf".into()));

    // What does not fit is refused alike.
    let directory = tempfile::tempdir().unwrap();
    let schema = r#""config_schema": { "required": ["greeting"] }"#;
    let place = plugin_in(directory.path(), schema);
    for policy in [Policy::default(), apart()] {
        let host = host_with(policy, Limits::default());
        let error = host.load(&place).unwrap_err();
        assert_eq!(error.code(), "proc.config_schema", "{error}");
    }
}

#[test]
fn a_move_is_no_other_build_to_go_back_to() {
    let host = host();
    let plugin = host.load(good()).unwrap();
    let name = plugin.name().to_owned();
    host.isolate(&name).unwrap().unwrap();
    let error = host.rollback(&name).unwrap_err();
    assert_eq!(error.code(), "upgrade.no_previous");
    // Whoever wanted it apart wants its next build apart as well.
    host.upgrade(&name, good()).unwrap();
    assert_eq!(transport(&host, &name).0, "process");
    host.inline(&name).unwrap().unwrap();
    host.upgrade(&name, good()).unwrap();
    assert_eq!(transport(&host, &name).0, "in-process");
}

#[test]
fn without_a_runner_nothing_moves_and_everything_answers() {
    let host = Host::builder().build().unwrap();
    let plugin = host.load(good()).unwrap();
    let error = host.isolate(plugin.name()).unwrap_err();
    assert_eq!(error.code(), "policy.no_runner");
    assert_eq!(value(&plugin, "count", "count"), Some(Value::I64(1)));
    let host = Host::builder().policy(apart()).build().unwrap();
    assert_eq!(host.load(good()).unwrap_err().code(), "policy.no_runner");
    // A runner that is none is said, and what answers goes on.
    let host = Host::builder().runner("/bin/true").build().unwrap();
    let plugin = host.load(good()).unwrap();
    assert_eq!(
        host.isolate(plugin.name()).unwrap_err().code(),
        "proc.exited"
    );
    assert_eq!(value(&plugin, "count", "count"), Some(Value::I64(1)));
    assert_eq!(transport(&host, plugin.name()).0, "in-process");
}

#[test]
fn the_policy_decides_and_a_manifest_can_only_ask_for_more_distance() {
    let denied = Policy::new(Rule::new(Level::Denied));
    let host = host_with(denied, Limits::default());
    assert_eq!(host.load(good()).unwrap_err().code(), "policy.denied");

    let host = host_with(apart(), Limits::default());
    let plugin = host.load(good()).unwrap();
    assert_eq!(
        host.inline(plugin.name()).unwrap_err().code(),
        "policy.denied"
    );
    assert_eq!(value(&plugin, "count", "count"), Some(Value::I64(1)));

    // What is not signed is not `signed`.
    let signed = Policy::new(Rule::new(Level::Signed));
    let host = host_with(signed, Limits::default());
    let plugin = host.load(good()).unwrap();
    let (place, because) = transport(&host, plugin.name());
    assert_eq!(place, "process");
    assert!(because.unwrap().contains("signature"));

    let directory = tempfile::tempdir().unwrap();
    let at =
        |isolation: &str| plugin_in(directory.path(), &format!(r#""isolation": "{isolation}""#));
    let host = self::host();
    let plugin = host.load(at("isolated")).unwrap();
    let (place, because) = transport(&host, plugin.name());
    assert_eq!(
        (place, because.as_deref()),
        ("process", Some("its manifest asks for it"))
    );
    assert_eq!(
        host.inline(plugin.name()).unwrap_err().code(),
        "policy.denied"
    );
    let host = host_with(apart(), Limits::default());
    let plugin = host.load(at("in-process")).unwrap();
    assert_eq!(transport(&host, plugin.name()).0, "process");
}

#[test]
fn an_upgrade_that_asks_for_more_waits_until_it_is_granted() {
    let directory = tempfile::tempdir().unwrap();
    let plain = plugin_in(directory.path(), r#""description": "x""#);
    let host = host_with(apart(), Limits::default());
    let plugin = host.load(&plain).unwrap();
    plugin_in(directory.path(), r#""permissions": ["network"]"#);
    let error = host.upgrade(plugin.name(), &plain).unwrap_err();
    assert_eq!(error.code(), "policy.permission");
    assert!(error.to_string().contains("`network`"), "{error}");
    assert_eq!(value(&plugin, "count", "count"), Some(Value::I64(1)));

    let rule = Rule::new(Level::Isolated).grant("network".parse().unwrap());
    let host = host_with(Policy::new(rule), Limits::default());
    host.load(&plain).unwrap();
    // Whoever has the process has the network.
    self::host().load(&plain).unwrap();
}

#[test]
fn what_a_panic_would_end_runs_where_it_ends_nobody_else() {
    let abort = library("fixture-bad", Variant::Abort);
    let host = host();
    let plugin = host.load(&abort).unwrap();
    let (place, because) = transport(&host, plugin.name());
    assert_eq!(place, "process");
    assert!(because.unwrap().contains("native.panic_abort"));
    assert_eq!(code(&plugin, "panic"), "call.unavailable");
    assert_eq!(
        value(&plugin, "fine", "fine"),
        Some(Value::Bool(true)),
        "started again"
    );
    assert_eq!(
        host.inline(plugin.name()).unwrap_err().code(),
        "native.panic_abort"
    );

    let strict = Policy::new(Rule::new(Level::Trusted).fallback(false));
    let host = host_with(strict, Limits::default());
    assert_eq!(host.load(&abort).unwrap_err().code(), "native.panic_abort");
}

isolated! {
    /// Callers notice nothing of a plugin that moves, a thousand of them inside it at a time.
    fn a_plugin_moves_there_and_back_under_a_thousand_callers() {
        const CALLERS: u64 = 1_000;
        let limits = Limits {
            in_flight: CALLERS as usize,
            start: Duration::from_secs(60),
            drain: Duration::from_secs(60),
            ..Limits::default()
        };
        let host = host_with(Policy::default(), limits);
        let plugin = host.load(good()).unwrap();
        let ledger = tempfile::NamedTempFile::new().unwrap();
        let path = ledger.path().to_str().unwrap();
        let (stop, next) = (AtomicBool::new(false), AtomicU64::new(0));
        let answered = Mutex::new(Vec::new());
        let fullest = thread::scope(|scope| {
            for _ in 0..CALLERS {
                let caller = thread::Builder::new().stack_size(256 << 10);
                let call = || {
                    let mut done = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let id = next.fetch_add(1, Ordering::Relaxed);
                        let mut context = Context::new().with("ledger", path);
                        context.set("id", i64::try_from(id).unwrap());
                        context.set("ms", 300);
                        plugin.call("ledger", &mut context).unwrap();
                        let twice = context.get("twice").and_then(Value::as_i64);
                        assert_eq!(twice, Some(i64::try_from(id * 2).unwrap()));
                        done.push(id);
                    }
                    answered.lock().unwrap().extend(done);
                };
                caller.spawn_scoped(scope, call).unwrap();
            }
            let inside = || next.load(Ordering::Relaxed);
            wait_until("all callers to be inside", || inside() >= CALLERS);
            let mut fullest = 0;
            for _ in 0..10 {
                let before = inside();
                host.isolate("fixture-good").unwrap().unwrap();
                wait_until("as many calls in the process", || inside() >= before + CALLERS);
                let moved = host.inline("fixture-good").unwrap().unwrap();
                assert_eq!(moved.retired, Unloaded::Unmapped);
                let before = inside();
                wait_until("as many calls here", || inside() >= before + CALLERS);
                fullest = fullest.max(host.snapshots()[0].in_flight);
            }
            stop.store(true, Ordering::Relaxed);
            fullest
        });
        assert!(fullest > 900, "{fullest} calls were inside at once");
        let mut answered = answered.into_inner().unwrap();
        answered.sort_unstable();
        let bytes = fs::read(ledger.path()).unwrap();
        let ids = bytes.chunks_exact(8).map(|id| u64::from_le_bytes(id.try_into().unwrap()));
        let mut executed: Vec<u64> = ids.collect();
        executed.sort_unstable();
        let asked: Vec<u64> = (0..next.load(Ordering::Relaxed)).collect();
        assert!(answered == asked, "none was lost: {} of {}", answered.len(), asked.len());
        assert!(executed == asked, "none was made twice: {} of {}", executed.len(), asked.len());
    }
}

isolated! {
    fn a_plugin_that_aborts_after_it_was_moved_out_ends_nobody_else() {
        let host = host();
        let bad = host.load(library("fixture-bad", Variant::Debug)).unwrap();
        host.isolate("fixture-bad").unwrap().unwrap();
        let before = std::process::id();
        for label in ["abort", "segv", "overflow", "exit"] {
            let error = bad.call(label, &mut Context::new()).unwrap_err();
            assert_eq!(error.code(), "call.unavailable", "{label}: {error}");
            let _ = host.unload("fixture-bad").unwrap();
            host.load(library("fixture-bad", Variant::Debug)).unwrap();
        }
        assert_eq!(value(&bad, "fine", "fine"), Some(Value::Bool(true)));
        assert_eq!(std::process::id(), before);
    }
}

/// What a manifest says needs no host of its own that isolates.
#[test]
fn a_manifest_can_have_its_library_served() {
    let bin = plg().parent().unwrap().to_str().unwrap().to_owned();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
    let test = concat!(module_path!(), "::a_manifest_can_have_its_library_served");
    let ended = child::run(test, &[("PATH", &path)], || {
        let directory = tempfile::tempdir().unwrap();
        let members = r#""process": { "exec": "plg", "args": ["runner", "served.lib"] }"#;
        let place = plugin_in(directory.path(), members);
        fs::rename(place.join("libfixture_good.so"), place.join("served.lib")).unwrap();
        let host = Host::builder().build().unwrap();
        let plugin = host.load(&place).unwrap();
        assert_eq!(transport(&host, "fixture-good").0, "process");
        assert_eq!(value(&plugin, "count", "count"), Some(Value::I64(1)));
    });
    assert!(ended.status.success(), "{}", ended.output);
    let out = Command::new(plg())
        .arg("runner")
        .arg(good())
        .arg("capabilities")
        .output()
        .unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(manifest["name"], "fixture-good");
    let out = Command::new(plg())
        .arg("runner")
        .arg("/nowhere.so")
        .output()
        .unwrap();
    assert!(!out.status.success());
    assert!(String::from_utf8_lossy(&out.stderr).contains("/nowhere.so"));
}

#[test]
fn a_program_stays_where_it_is() {
    let programs = Programs::new();
    let host = programs::host();
    let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
    assert_eq!(host.isolate("helper").unwrap(), None);
    let error = host.inline("helper").unwrap_err();
    assert_eq!(error.code(), "policy.program");
    helper.call("echo", &mut Context::new()).unwrap();
}

isolated! {
    fn a_plugin_that_panics_again_and_again_is_taken_out_of_the_process() {
        let policy = Policy::default().promote_after(Duration::from_millis(1));
        let round = Duration::from_millis(20);
        let host = host_with(policy, Limits { round, ..Limits::default() });
        let mut events = host.events();
        let bad = host.load(library("fixture-bad", Variant::Debug)).unwrap();
        for _ in 0..5 {
            assert_eq!(code(&bad, "panic"), "call.panicked");
        }
        wait_until("the notice", || {
            events.try_next().is_some_and(|event| event.code == Some("plugin.isolated"))
        });
        // It does nothing wrong any more, and comes back.
        wait_until("its return", || transport(&host, bad.name()).0 == "in-process");
        assert_eq!(value(&bad, "fine", "fine"), Some(Value::Bool(true)));
    }
}

isolated! {
    fn a_state_that_is_not_given_away_keeps_no_plugin_in_the_process() {
        let host = host();
        let plugin = host.load(library("fixture-good", Variant::State)).unwrap();
        let mode = Context::new().with("save", "fail").with("restore", "").with("ms", 0);
        plugin.call("state-mode", &mut mode.clone()).unwrap();
        // Whoever asks is told; what harms the process goes all the same.
        assert_eq!(host.isolate("fixture-good").unwrap_err().code(), "upgrade.state");
        assert_eq!(transport(&host, "fixture-good").0, "in-process");
        let context = Context::new().with("ms", 600_000).with("stubborn", true);
        let mut context = context.timeout(Duration::from_millis(50));
        assert_eq!(plugin.call("nap", &mut context).unwrap_err().code(), "call.timeout");
        wait_until("the move", || transport(&host, "fixture-good").0 == "process");
        assert!(value(&plugin, "count", "count").is_some());
        std::process::exit(0);
    }
}

#[test]
fn what_a_process_died_of_goes_on_apart() {
    const STATE: &str = "PLG_TEST_STATE";
    let test = concat!(module_path!(), "::what_a_process_died_of_goes_on_apart");
    let state = tempfile::tempdir().unwrap();
    let place = state.path().to_str().unwrap();
    let bad = library("fixture-bad", Variant::Debug);
    let ended = child::run(test, &[(STATE, place)], || {
        let state = std::env::var_os(STATE).unwrap();
        let host = Host::builder().state_dir(state).build().unwrap();
        let bad = host.load(library("fixture-bad", Variant::Debug)).unwrap();
        let _ = bad.call("abort", &mut Context::new());
    });
    assert!(!ended.status.success(), "{}", ended.output);

    let host = Host::builder().state_dir(state.path()).build().unwrap();
    assert_eq!(host.load(&bad).unwrap_err().code(), "native.quarantined");
    drop(host);
    let runner = program("fixture-host", Variant::Debug);
    let host = Host::builder()
        .state_dir(state.path())
        .runner(runner)
        .build()
        .unwrap();
    let plugin = host.load(&bad).unwrap();
    let (place, because) = transport(&host, "fixture-bad");
    assert_eq!(place, "process");
    assert!(
        because.unwrap().contains("`fixture-bad`"),
        "the snapshot says of what"
    );
    assert_eq!(value(&plugin, "fine", "fine"), Some(Value::Bool(true)));
    assert_eq!(
        host.inline("fixture-bad").unwrap_err().code(),
        "native.quarantined"
    );
    // An operator who clears it has it back.
    assert_eq!(host.quarantine().clear(), 1);
    host.inline("fixture-bad").unwrap().unwrap();
}

isolated! {
    fn a_plugin_whose_call_hangs_is_taken_out_of_the_process() {
        let host = host();
        let plugin = host.load(good()).unwrap();
        let mut context = Context::new().with("ms", 600_000).with("stubborn", true);
        context = context.timeout(Duration::from_millis(50));
        assert_eq!(plugin.call("nap", &mut context).unwrap_err().code(), "call.timeout");
        let name = plugin.name().to_owned();
        wait_until("the move", || transport(&host, &name).0 == "process");
        let (_, because) = transport(&host, &name);
        assert!(because.unwrap().contains("`nap` did not come back"));
        assert!(value(&plugin, "count", "count").is_some());
        std::process::exit(0);
    }
}

/// A plugin directory below `parent` with the good fixture and these members in its manifest.
fn plugin_in(parent: &Path, members: &str) -> PathBuf {
    let directory = parent.join("fixture-good");
    fs::create_dir_all(&directory).unwrap();
    let target = directory.join("libfixture_good.so");
    if !target.exists() {
        fs::copy(good(), target).unwrap();
    }
    let json = format!(r#"{{ "name": "fixture-good", "version": "1.0.0", {members} }}"#);
    fs::write(directory.join("plugin.json"), json).unwrap();
    directory
}
