//! Plugins written for Skarlso's go-plugin-framework, against what such plugins are seen to do.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use data_encoding::BASE64;
use plg_host::builtin::{self, Builtin};
use plg_host::{
    Context, ContractOptions, ContractType, Handle, Host, Limits, Manifest, PluginName, Value,
};
use serde_json::json;

use crate::support::lines::Lines;
use crate::support::programs::{Programs, exists, failure, host, pid, value};
use crate::support::{Variant, program, wait_until, workspace};

/// A plugin that does as its mode says.
fn plugin(programs: &Programs, name: &str, mode: &str) -> PathBuf {
    with(programs, name, &[mode], json!({}))
}

fn with(programs: &Programs, name: &str, args: &[&str], more: serde_json::Value) -> PathBuf {
    let directory = programs.plugin(name, &[]);
    let args: Vec<&str> = [&["contracts"], args].concat();
    let mut process = json!({ "exec": "bin/helper", "dialect": "contracts", "args": args });
    let more = more.as_object().unwrap().clone();
    process.as_object_mut().unwrap().extend(more);
    assert_eq!(programs.manifest(name, process), directory);
    directory
}

fn host_with(options: ContractOptions) -> Host {
    Host::builder()
        .contract_options(options)
        .allow_unsafe_directories(true)
        .build()
        .unwrap()
}

/// What the plugin was told, and the files that it was told to make.
fn config(plugin: &Handle) -> (Context, [PathBuf; 2]) {
    let mut context = Context::new();
    plugin.call("config", &mut context).unwrap();
    let socket = format!("/tmp/{}-plugin.socket", context.text("id").unwrap());
    let lock = format!("{socket}.lock");
    (context, [socket.into(), lock.into()])
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

#[test]
fn a_plugin_of_the_framework_is_loaded_called_and_stopped() {
    let programs = Programs::new();
    let host = host();
    let plugin = host.load(plugin(&programs, "processor", "")).unwrap();
    let snapshot = plugin.snapshot().current.unwrap();
    assert_eq!(snapshot.transport, "process");

    let (told, files) = config(&plugin);
    assert_eq!(told.text("type"), Some("unix"));
    assert_eq!(told.get("idleTimeout"), Some(&3_600_000_000_000_i64.into()));
    assert!(told.text("id").unwrap().starts_with("plg-processor-"));
    assert!(files.iter().all(|file| is_there(file)));

    let mut context = Context::new()
        .with("data", Value::Bytes(b"hi".to_vec()))
        .with("format", "text");
    plugin.call("process", &mut context).unwrap();
    let seen = |context: &Context, key: &str| context.text(key).map(str::to_owned);
    assert_eq!(seen(&context, "method").unwrap(), "POST");
    assert_eq!(seen(&context, "target").unwrap(), "/process");
    let body = Value::from([("data", "aGk="), ("format", "text")]);
    assert_eq!(context.get("body"), Some(&body));
    assert_eq!(context.text("format"), Some("text"), "it stays");
    for label in ["formats", "get:/formats", "GET:formats"] {
        let mut context = Context::new();
        plugin.call(label, &mut context).unwrap();
        assert_eq!(seen(&context, "method").unwrap(), "GET", "{label}");
        assert_eq!(seen(&context, "target").unwrap(), "/formats");
        for header in ["type", "accept"] {
            assert_eq!(seen(&context, header).unwrap(), "application/json");
        }
        assert_eq!(context.get("length"), Some(&Value::Null), "no body");
    }
    let mut context = Context::new().with("b", "ä &").with("a", 1).with("c", true);
    plugin.call("get:formats", &mut context).unwrap();
    let target = "/formats?a=1&b=%C3%A4%20%26&c=true";
    assert_eq!(context.text("target"), Some(target));
    let mut context = Context::new();
    plugin.call("put:formats", &mut context).unwrap();
    assert_eq!(context.text("length"), Some("0"));

    let list = Value::List(vec![1.into(), 2.into()]);
    assert_eq!(value(&plugin, "list", "result").unwrap(), list);
    assert_eq!(value(&plugin, "two", "a").unwrap(), 1.into());
    let mut context = Context::new();
    plugin.call("empty", &mut context).unwrap();
    assert!(context.is_empty());
    assert_eq!(value(&plugin, "checks", "count").unwrap(), 1.into());

    let child = pid(&plugin);
    let _ = host.unload("processor").unwrap();
    assert!(!exists(child));
    assert!(!files.iter().any(|file| is_there(file)), "{files:?}");
}

#[test]
fn what_the_plugin_answers_instead_becomes_an_error() {
    let programs = Programs::new();
    let options = ContractOptions {
        timeout: Duration::from_millis(300),
        ..Default::default()
    };
    let host = host_with(options);
    let plugin = host.load(plugin(&programs, "processor", "")).unwrap();
    let cases = [
        ("error", "contract.status", "status 422: no such format"),
        ("plain", "contract.status", "status 400: plain words"),
        ("created", "contract.status", "status 201"),
        ("panic", "call.panicked", "panic recovered"),
        ("nothing", "call.no_route", "404 page not found"),
        ("garbage", "http.body", "expected value"),
        ("elsewhere", "http.redirect", "302"),
        ("hang", "call.timeout", "no answer within 300ms"),
        ("crash", "call.unavailable", "exited with status 1"),
        // What is the framework's own, and what no server would understand.
        ("shutdown", "call.no_route", "no endpoint"),
        ("post:/./healthz", "call.no_route", "no endpoint"),
        ("get:", "call.no_route", "no endpoint"),
        ("a/../shutdown", "call.no_route", "no endpoint"),
    ];
    for (label, code, words) in cases {
        let (found, text) = failure(plugin.call(label, &mut Context::new()));
        assert_eq!(found, code, "{label}: {text}");
        assert!(text.contains(words), "{label}: {text}");
    }
    let list = Context::new().with("list", Value::List(Vec::new()));
    let (code, _) = failure(plugin.call("get:formats", &mut list.clone()));
    assert_eq!(code, "ctx.type");
    // The caller's own deadline comes first.
    let mut slow = Context::new().timeout(Duration::from_secs(30));
    plugin.call("sleep", &mut slow).unwrap();

    let options = ContractOptions {
        accept_any_2xx: true,
        ..Default::default()
    };
    let host = host_with(options);
    let plugin = host.load(programs.path().join("processor")).unwrap();
    assert_eq!(value(&plugin, "created", "made").unwrap(), true.into());
}

#[test]
fn what_a_plugin_offers_is_read_leniently() {
    let programs = Programs::new();
    let options = ContractOptions {
        capabilities_timeout: Duration::from_millis(700),
        ..Default::default()
    };
    let host = host_with(options);
    let cases = [
        ("caps_null", Ok(None)),
        ("caps_null_array", Ok(Some(false))),
        ("caps_null_schema", Ok(Some(false))),
        ("caps_plain", Ok(Some(true))),
        ("caps_object", Ok(Some(true))),
        ("caps_case", Ok(Some(true))),
        ("caps_config", Ok(Some(true))),
        (
            "caps_exit",
            Err("exited with status 3; its standard error ends with: no capabilities"),
        ),
        ("caps_hang", Err("no answer within 700ms")),
        ("caps_flood", Err("more than 1048576 bytes")),
        ("caps_garbage", Err("no JSON object")),
        ("caps_broken", Err("neither base64 nor JSON")),
    ];
    for (at, (mode, expected)) in cases.into_iter().enumerate() {
        let path = plugin(&programs, &format!("odd-{at}"), mode);
        match (host.load(path), expected) {
            (Ok(plugin), Ok(schema)) => {
                let contract = host.contract("dataProcessor");
                let offer = contract.offers().first();
                assert_eq!(offer.is_some(), schema.is_some(), "{mode}");
                let kinds = offer.map(|offer| offer.types().any(|kind| kind.schema().is_some()));
                assert_eq!(kinds, schema, "{mode}");
                let _ = host.unload(plugin.name()).unwrap();
            }
            (outcome, Err(words)) => {
                let (code, text) = failure(outcome);
                assert_eq!(code, "contract.capabilities", "{mode}: {text}");
                assert!(text.contains(words), "{mode}: {text}");
            }
            (Err(error), Ok(_)) => panic!("{mode}: {error}"),
        }
    }
}

#[test]
fn a_plugin_may_say_in_several_ways_where_it_listens() {
    let programs = Programs::new();
    let host = host();
    for (at, mode) in ["", "tcp_four", "tcp_port", "tcp_url"]
        .into_iter()
        .enumerate()
    {
        let more = json!({ "transport": "tcp" });
        let path = with(&programs, &format!("tcp-{at}"), &[mode], more);
        let plugin = host
            .load(path)
            .unwrap_or_else(|error| panic!("{mode}: {error}"));
        assert_eq!(config(&plugin).0.text("type"), Some("tcp"), "{mode}");
    }
    for (at, mode) in ["banner", "slow_start"].into_iter().enumerate() {
        let path = plugin(&programs, &format!("fine-{at}"), mode);
        let plugin = host
            .load(path)
            .unwrap_or_else(|error| panic!("{mode}: {error}"));
        pid(&plugin);
    }
    let options = ContractOptions {
        start_timeout: Duration::from_millis(500),
        ..Default::default()
    };
    let host = host_with(options);
    let place = programs.path().join("squatter");
    let squatter = UnixListener::bind(&place).unwrap();
    let squat = place.to_str().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = with(
        &programs,
        "port",
        &["port_squatted", &port.local_addr().unwrap().to_string()],
        json!({ "transport": "tcp" }),
    );
    let (code, text) = failure(host.load(path));
    assert_eq!(code, "proc.unhealthy");
    assert!(text.contains("does not listen there"), "{text}");
    let cases = [
        (
            "foreign",
            "proc.handshake_mismatch",
            "`address` is `http://10.1.2.3:80`",
        ),
        ("silent", "proc.handshake_timeout", "within 500ms"),
        ("sick", "proc.unhealthy", "answered 500"),
        (
            "squatted",
            "proc.unhealthy",
            "another process listens in its place",
        ),
    ];
    for (at, (mode, code, words)) in cases.into_iter().enumerate() {
        let path = with(&programs, &format!("odd-{at}"), &[mode, squat], json!({}));
        let (found, text) = failure(host.load(path));
        assert_eq!(found, code, "{mode}: {text}");
        assert!(text.contains(words), "{mode}: {text}");
    }
    drop(squatter);
    assert!(place.exists(), "what is not the plugin's stays");
}

#[test]
fn a_plugin_is_stopped_however_it_takes_that() {
    let programs = Programs::new();
    let limits = Limits {
        grace: Duration::from_secs(2),
        ..Limits::default()
    };
    let host = Host::builder()
        .limits(limits)
        .allow_unsafe_directories(true)
        .build()
        .unwrap();
    for (at, mode) in ["", "exit0", "mute", "deaf", "keep_socket"]
        .into_iter()
        .enumerate()
    {
        let name = format!("stops-{at}");
        let plugin = host.load(plugin(&programs, &name, mode)).unwrap();
        let (child, (_, files)) = (pid(&plugin), config(&plugin));
        assert!(files.iter().all(|file| is_there(file)), "{mode}");
        let _ = host.unload(&name).unwrap();
        assert!(!exists(child), "{mode}");
        assert!(
            !files.iter().any(|file| is_there(file)),
            "{mode}: {files:?}"
        );
    }
}

/// The plugin would cut them off.
#[test]
fn calls_that_are_inside_are_waited_for_before_the_plugin_is_stopped() {
    let programs = Programs::new();
    let host = host();
    let plugin = host.load(plugin(&programs, "processor", "")).unwrap();
    let inside = {
        let plugin = plugin.clone();
        thread::spawn(move || value(&plugin, "sleep", "slept"))
    };
    let is_inside = || {
        let labels = plugin.snapshot().labels;
        labels.iter().any(|label| label.calls > 0)
    };
    wait_until("the call is inside", is_inside);
    let _ = host.unload("processor").unwrap();
    assert_eq!(inside.join().unwrap().unwrap(), true.into());
}

#[test]
fn a_plugin_that_was_idle_ends_and_is_started_again_by_the_next_call() {
    let programs = Programs::new();
    let host = host();
    let more = json!({ "idle_timeout": "100ms" });
    let plugin = host.load(with(&programs, "idle", &[""], more)).unwrap();
    let mut before = None;
    // More often than a plugin may crash within a minute.
    for _ in 0..8 {
        let child = pid(&plugin);
        assert_ne!(before.replace(child), Some(child));
        assert_eq!(value(&plugin, "checks", "count").unwrap(), 1.into());
        wait_until("it ends", || !exists(child));
    }
}

#[test]
fn what_other_hosts_left_is_swept_and_what_lives_is_not() {
    let programs = Programs::new();
    // This one has ended, and its number will not come back so soon.
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let (dead, living) = (ended.id(), std::process::id());
    let own = std::process::id();
    let file = |host: u32, end: &str| {
        PathBuf::from(format!("/tmp/plg-swept-{host}-{own}{end}-plugin.socket"))
    };
    let lock = |socket: &Path| PathBuf::from(format!("{}.lock", socket.display()));
    let stale = |path: &Path| drop(UnixListener::bind(path).unwrap());
    let [alone, locked, held, owned, own_host] = [
        file(dead, "alone"),
        file(dead, "locked"),
        file(dead, "held"),
        file(dead, "owned"),
        file(living, "host"),
    ];
    let only_lock = lock(&file(dead, "lock"));
    stale(&alone);
    stale(&locked);
    fs::write(lock(&locked), dead.to_string()).unwrap();
    fs::write(&only_lock, dead.to_string()).unwrap();
    let listener = UnixListener::bind(&held).unwrap();
    fs::write(lock(&held), dead.to_string()).unwrap();
    stale(&owned);
    fs::write(lock(&owned), living.to_string()).unwrap();
    stale(&own_host);

    let host = host();
    host.load(plugin(&programs, "sweeper", "")).unwrap();
    for gone in [&alone, &locked, &lock(&locked), &only_lock] {
        assert!(!is_there(gone), "{}", gone.display());
    }
    let kept = [
        held.clone(),
        lock(&held),
        owned.clone(),
        lock(&owned),
        own_host,
    ];
    for path in &kept {
        assert!(is_there(path), "{}", path.display());
    }
    drop(listener);
    kept.iter().for_each(|path| fs::remove_file(path).unwrap());
}

#[test]
fn configuration_goes_to_the_plugin_by_type() {
    let programs = Programs::new();
    let path = plugin(&programs, "processor", "caps_config");
    let options = ContractOptions {
        config: [("main".to_owned(), b"{\"a\":1}".to_vec())].into(),
        ..Default::default()
    };
    let given = |host: &Host| {
        let plugin = host.load(&path).unwrap();
        let (told, _) = config(&plugin);
        told.get("configTypes").cloned().unwrap()
    };
    let entry =
        |kind: &str, data: &[u8]| Value::from([("type", kind), ("data", &BASE64.encode(data))]);
    let all = host_with(options.clone());
    assert_eq!(given(&all), Value::List(vec![entry("main", b"{\"a\":1}")]));

    let declared = ContractOptions {
        only_declared_config: true,
        ..options
    };
    let host = host_with(declared.clone());
    let (code, text) = failure(host.load(&path));
    assert_eq!(code, "contract.config");
    assert!(
        text.contains("`other`") && !text.contains("`main`"),
        "{text}"
    );

    let own = json!({ "other": [1], "unasked": true });
    let host = Host::builder()
        .contract_options(declared)
        .config(
            &PluginName::new("processor").unwrap(),
            own.as_object().unwrap().clone(),
        )
        .allow_unsafe_directories(true)
        .build()
        .unwrap();
    let both = vec![entry("main", b"{\"a\":1}"), entry("other", b"[1]")];
    assert_eq!(given(&host), Value::List(both));

    let large = ContractOptions {
        config: [("main".to_owned(), vec![0; 128 << 10])].into(),
        ..Default::default()
    };
    let (code, text) = failure(host_with(large).load(&path));
    assert_eq!(code, "ctx.too_large", "{text}");
}

#[test]
fn plugins_are_found_by_the_framework_s_rules() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = program("fixture-helper", Variant::Debug);
    let place = |name: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::hard_link(&fixture, &path)
            .or_else(|_| fs::copy(&fixture, &path).map(drop))
            .unwrap();
        path
    };
    place("contract_one");
    place("deep/er/contract_Two");
    place("deep/contract-one");
    place("contract_v1.2");
    place(".contract_hidden");
    place("contract_caps_exit");
    place("9lives");
    place("unwanted");
    fs::write(directory.path().join("LICENSE"), "words").unwrap();
    std::os::unix::fs::symlink(&fixture, directory.path().join("link")).unwrap();
    std::os::unix::fs::symlink("deep", directory.path().join("around")).unwrap();
    let script = directory.path().join("script");
    fs::write(&script, "no program").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();

    let options = ContractOptions {
        filter: Some(Arc::new(|name| name != "unwanted")),
        ..Default::default()
    };
    let host = host();
    let found = host.discover_contracts(directory.path(), &options).unwrap();
    let names: Vec<_> = found
        .candidates
        .iter()
        .map(|one| one.manifest.name.to_string())
        .collect();
    assert_eq!(names, ["contract-one", "contract-two"]);
    assert_eq!(found.candidates[0].manifest.version.to_string(), "0.0.0");
    let skipped: Vec<(String, &str)> = found
        .skipped
        .iter()
        .map(|one| {
            let path = one
                .path
                .strip_prefix(directory.path().canonicalize().unwrap());
            (path.unwrap().display().to_string(), one.code)
        })
        .collect();
    let expected = [
        (".contract_hidden", "contract.name"),
        ("9lives", "contract.name"),
        ("LICENSE", "dir.kind"),
        ("around", "dir.kind"),
        ("contract_caps_exit", "contract.capabilities"),
        ("contract_v1.2", "contract.name"),
        ("deep/contract-one", "contract.name"),
        ("link", "dir.kind"),
        ("script", "contract.capabilities"),
    ];
    assert_eq!(
        skipped,
        expected.map(|(path, code)| (path.to_owned(), code))
    );
    assert!(found.skipped.iter().all(|one| !one.why.is_empty()));
    assert!(host.snapshots().is_empty(), "nothing is loaded");
    assert!(
        host.discover_contracts(directory.path().join("none"), &options)
            .is_err()
    );

    let host = Host::builder()
        .contract_dir(directory.path(), options)
        .allow_unsafe_directories(true)
        .build()
        .unwrap();
    let report = host.load_all().unwrap();
    let loaded: Vec<_> = report.loaded.iter().map(Handle::name).collect();
    assert_eq!(loaded, ["contract-one", "contract-two"]);
    let failed: Vec<_> = report.failed.iter().map(plg_host::Error::code).collect();
    assert_eq!(failed, ["contract.capabilities", "contract.capabilities"]);
    pid(&host.plugin("contract-two").unwrap());
}

#[test]
fn what_a_policy_denies_is_not_even_asked() {
    use plg_host::policy::{Level, Policy, Rule};
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("denied");
    let ran = directory.path().join("ran.txt");
    let text = format!("#!/bin/sh\ntouch {}\necho '{{}}'\n", ran.display());
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let host = |policy: Policy| {
        let builder = Host::builder().policy(policy);
        builder.allow_unsafe_directories(true).build().unwrap()
    };
    let denied = host(Policy::new(Rule::new(Level::Denied)));
    let found = denied
        .discover_contracts(directory.path(), &ContractOptions::default())
        .unwrap();
    let codes: Vec<_> = found.skipped.iter().map(|one| one.code).collect();
    assert_eq!(codes, ["policy.denied"]);
    assert!(!ran.exists());
    let found =
        host(Policy::default()).discover_contracts(directory.path(), &ContractOptions::default());
    assert_eq!(found.unwrap().candidates.len(), 1);
    assert!(ran.exists());
}

/// Offers `dataProcessor` under the given type.
struct Own(&'static str);

impl Builtin for Own {
    fn execute(&self, ctx: &mut builtin::Context<'_>) -> Result<(), builtin::Error> {
        ctx.set("own", self.0)
    }

    fn contracts(&self) -> Vec<(String, ContractType)> {
        vec![("dataProcessor".to_owned(), ContractType::new(self.0))]
    }
}

#[test]
fn a_contract_is_looked_up_by_name_and_type() {
    let programs = Programs::new();
    let host = host();
    let missing = host.contract("dataProcessor");
    assert_eq!(missing.one().unwrap_err().code(), "contract.not_found");
    let kind = "simple-text-processor";
    assert_eq!(
        missing.of_type(kind).unwrap_err().code(),
        "contract.not_found"
    );

    host.load(plugin(&programs, "first", "")).unwrap();
    let contract = host.contract("dataProcessor");
    let offer = contract.one().unwrap();
    assert_eq!(
        (offer.handle().name(), offer.is_builtin()),
        ("first", false)
    );
    let mut context = Context::new().with("data", "aGk=");
    offer.call(kind, "process", &mut context).unwrap();
    assert_eq!(context.text("method"), Some("POST"));
    let (code, text) = failure(host.contract("transformer").one().cloned());
    assert_eq!(code, "contract.not_found");
    assert!(text.contains("`dataProcessor`"), "{text}");
    let (code, text) = failure(contract.of_type("other").cloned());
    assert_eq!(code, "contract.type");
    assert!(text.contains(kind), "{text}");
    let (code, _) = failure(offer.call("other", "process", &mut Context::new()));
    assert_eq!(code, "contract.type");

    host.load(plugin(&programs, "second", "")).unwrap();
    let contract = host.contract("dataProcessor");
    assert_eq!(contract.offers().len(), 2);
    for outcome in [contract.one(), contract.of_type(kind)] {
        let (code, text) = failure(outcome.cloned());
        assert_eq!(code, "contract.ambiguous");
        assert!(text.contains("`first`, `second`"), "{text}");
    }

    let register = |name: &str, kind| {
        let name = PluginName::new(name).unwrap();
        let manifest = Manifest::minimal(name, semver::Version::new(1, 0, 0));
        host.register_builtin(manifest, Own(kind)).unwrap();
    };
    register("own", "own-type");
    let contract = host.contract("dataProcessor");
    let names: Vec<_> = contract
        .offers()
        .iter()
        .map(|offer| offer.handle().name())
        .collect();
    assert_eq!(names, ["own", "first", "second"]);
    assert_eq!(contract.one().unwrap().handle().name(), "own");
    // It does not offer that type.
    assert_eq!(
        contract.of_type(kind).unwrap_err().code(),
        "contract.ambiguous"
    );
    register("other", kind);
    let contract = host.contract("dataProcessor");
    assert_eq!(contract.one().unwrap_err().code(), "contract.ambiguous");
    assert_eq!(contract.of_type(kind).unwrap().handle().name(), "other");
    let _ = host.unload("other").unwrap();
    assert_eq!(
        host.contract("dataProcessor")
            .one()
            .unwrap()
            .handle()
            .name(),
        "own"
    );
}

#[test]
fn values_are_held_to_the_schema_of_the_type_that_is_called() {
    let programs = Programs::new();
    let host = host();
    let kind = "simple-text-processor";
    host.load(plugin(&programs, "processor", "")).unwrap();
    let contract = host.contract("dataProcessor");
    let offer = contract.one().unwrap();
    let mut context = Context::new().with("data", 7).with("format", false);
    let (code, text) = failure(offer.call(kind, "process", &mut context));
    assert_eq!(code, "contract.payload");
    assert!(
        text.contains("at `/data`") && text.contains("at `/format`"),
        "{text}"
    );
    assert_eq!(context.get("method"), None, "it was not called");
    offer.handle().call("process", &mut context).unwrap();

    // What a schema refers to is neither fetched nor read.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let secret = programs.path().join("secret.json");
    fs::write(&secret, "{}").unwrap();
    let addresses = [
        format!("http://{}/schema.json", server.local_addr().unwrap()),
        format!("file://{}", secret.display()),
    ];
    for (at, address) in addresses.iter().enumerate() {
        let name = format!("remote-{at}");
        // The extra argument has to come before the word `capabilities`.
        let path = with(&programs, &name, &["caps_remote", address], json!({}));
        host.load(path).unwrap();
        let contract = host.contract("dataProcessor");
        let offer = contract
            .offers()
            .iter()
            .find(|offer| offer.handle().name() == name)
            .unwrap();
        let (code, text) = failure(offer.call(kind, "process", &mut Context::new()));
        assert_eq!(code, "contract.schema", "{text}");
        assert!(text.contains("is not fetched"), "{text}");
        assert!(offer.handle().call("process", &mut Context::new()).is_ok());
    }
    assert!(server.accept().is_err(), "nobody came");
}

#[test]
fn what_go_s_slog_writes_is_logged_as_it_means() {
    let programs = Programs::new();
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || {
        let host = host();
        host.load(plugin(&programs, "processor", "slog")).unwrap();
    });
    let fields = r#"{"n":1,"time":"2025-01-01T00:00:00Z"}"#;
    let line = format!("WARN plg::plugin message=from slog plugin=processor fields={fields}");
    assert_eq!(lines.count(&line), 1, "{lines:?}");
}

/// Written in Go, from the wire facts, with the standard library alone.
#[test]
fn a_plugin_in_go_is_driven() {
    if Command::new("go").arg("version").output().is_err() {
        println!("skipped: there is no `go`");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = workspace().join("tests/fixtures/go/contracts");
    let build = Command::new("go")
        .args(["build", "-o"])
        .arg(directory.path().join("plugins/gopher"))
        .arg(".")
        .current_dir(source)
        .env("GOFLAGS", "-mod=mod")
        .env("GOPROXY", "off")
        .env("GOCACHE", directory.path().join("cache"))
        .env("GOPATH", directory.path().join("path"))
        .output()
        .unwrap();
    assert!(
        build.status.success(),
        "{}",
        String::from_utf8_lossy(&build.stderr)
    );
    for tcp in [false, true] {
        let options = ContractOptions {
            tcp,
            idle_timeout: Duration::from_millis(400),
            ..Default::default()
        };
        let host = host();
        let report = host
            .load_contracts(directory.path().join("plugins"), &options)
            .unwrap();
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        let contract = host.contract("dataProcessor");
        let offer = contract.of_type("simple-text-processor").unwrap();
        let mut context = Context::new()
            .with("data", Value::Bytes(b"hello".to_vec()))
            .with("format", "upper");
        offer
            .call("simple-text-processor", "process", &mut context)
            .unwrap();
        assert_eq!(context.text("data"), Some(&*BASE64.encode(b"HELLO")));
        let plugin = offer.handle();
        let (code, text) = failure(plugin.call("panic", &mut Context::new()));
        assert_eq!(code, "call.panicked", "{text}");
        let (code, _) = failure(plugin.call("nothing", &mut Context::new()));
        assert_eq!(code, "call.no_route");
        let child = pid(plugin);
        wait_until("it was idle", || !exists(child));
        let next = pid(plugin);
        assert_ne!(next, child);
        let _ = host.unload("gopher").unwrap();
        assert!(!exists(next));
    }
    let left = fs::read_dir("/tmp").unwrap().flatten();
    let own = format!("plg-gopher-{}-", std::process::id());
    let left: Vec<_> = left
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&own))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
