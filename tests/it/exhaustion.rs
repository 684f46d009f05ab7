//! Plugins that use up what there is, and hosts that have little of it.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use plg_host::policy::{Level, Policy, Rule};
use plg_host::{Builder, Context, Handle, Host, Limits, Resources, Value};
use plg_tests::{child, isolated};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::process::become_nobody;
use crate::support::programs::{Programs, failure, pid, value};
use crate::support::wait_until;

/// A host that holds programs to these caps.
fn host(resources: Resources) -> Host {
    build(Host::builder().policy(policy(Level::Isolated, resources)))
}

fn policy(level: Level, resources: Resources) -> Policy {
    Policy::new(Rule::new(level).resources(resources))
}

fn build(builder: Builder) -> Host {
    builder.allow_unsafe_directories(true).build().unwrap()
}

/// What a call with one value sets under `key`.
fn ask(plugin: &Handle, label: &str, with: (&str, Value), key: &str) -> Value {
    let mut context = Context::new().with(with.0, with.1);
    plugin.call(label, &mut context).unwrap();
    context.remove(key).unwrap()
}

isolated! {
    /// Rows 190 and 196.
    fn a_plugin_without_memory_fails_alone_and_is_started_again() {
        let programs = Programs::new();
        let host = host(Resources { memory: Some(512 << 20), ..Resources::default() });
        let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
        let before = resident();
        let child = pid(&helper);
        let mut context = Context::new().with("bytes", 1_i64 << 30).with("gently", true);
        helper.call("balloon", &mut context).unwrap();
        assert_eq!(context.get("got"), Some(&false.into()));
        assert_eq!(pid(&helper), child);
        let mut context = Context::new().with("bytes", 1_i64 << 30);
        let (code, text) = failure(helper.call("balloon", &mut context));
        assert_eq!(code, "call.unavailable");
        for words in ["memory allocation", "signal 6", "may have 536870912 bytes of memory"] {
            assert!(text.contains(words), "{text}");
        }
        assert_ne!(pid(&helper), child, "it is started again");
        assert!(resident() < before + (32 << 20), "the host's own memory is its own");
    }
}

/// Row 197.
#[test]
fn a_plugin_without_processor_time_is_ended_and_others_answer() {
    let programs = Programs::new();
    let host = host(Resources {
        cpu_seconds: Some(1),
        ..Resources::default()
    });
    let spins = host.load(programs.plugin("spins", &["ok"])).unwrap();
    let other = host.load(programs.plugin("other", &["ok"])).unwrap();
    let child = pid(&spins);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let spin = scope.spawn(|| {
            let outcome = failure(spins.call("spin", &mut Context::new()));
            over.store(true, Ordering::SeqCst);
            outcome
        });
        while !over.load(Ordering::SeqCst) {
            pid(&other);
        }
        let (code, text) = spin.join().unwrap();
        assert_eq!(code, "call.unavailable");
        assert!(
            text.contains("signal 24 (it may have 1 s of processor time)"),
            "{text}"
        );
    });
    assert_ne!(pid(&spins), child);
}

/// Row 198. The kernel holds everybody to this but root.
#[test]
fn a_plugin_that_forks_without_end_comes_to_one() {
    let test = concat!(
        module_path!(),
        "::a_plugin_that_forks_without_end_comes_to_one"
    );
    let programs = Programs::new();
    fs::set_permissions(programs.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = programs.plugin("helper", &["ok"]);
    let text = path.display().to_string();
    let ended = child::run(test, &[("PLG_PLUGIN", &text)], || {
        become_nobody();
        let host = host(Resources {
            processes: Some(40),
            ..Resources::default()
        });
        let helper = host.load(env::var_os("PLG_PLUGIN").unwrap()).unwrap();
        let Value::I64(children) = ask(&helper, "fork", ("most", 400.into()), "children") else {
            panic!("no number");
        };
        // Its threads are among them.
        assert!((1..=40).contains(&children), "{children}");
        let child = pid(&helper).as_raw_nonzero().get();
        let _ = host.unload("helper").unwrap();
        wait_until("all of them are gone", || members(child) == 0);
    });
    assert!(ended.status.success(), "{}", ended.output);
}

/// Row 199.
#[test]
fn a_plugin_that_fills_a_file_comes_to_its_end_and_takes_it_along() {
    let programs = Programs::new();
    let run = tempfile::tempdir().unwrap();
    let resources = Resources {
        file_size: Some(1 << 20),
        ..Resources::default()
    };
    let host = build(
        Host::builder()
            .policy(policy(Level::Isolated, resources))
            .run_dir(run.path()),
    );
    let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
    let mut context = Context::new().with("gently", true);
    helper.call("fill", &mut context).unwrap();
    assert_eq!(context.text("outcome"), Some("EFBIG"));
    assert_eq!(context.get("bytes"), Some(&(1 << 20).into()));
    let again = host.load(programs.plugin("again", &["ok"])).unwrap();
    let (code, text) = failure(again.call("fill", &mut Context::new()));
    assert_eq!(code, "call.unavailable");
    assert!(
        text.contains("signal 25 (a file of it may have 1048576 bytes)"),
        "{text}"
    );
    drop(host);
    assert_eq!(fs::read_dir(run.path()).unwrap().count(), 0);
}

#[test]
fn caps_are_the_ones_that_were_set_and_none_beside_a_core_file() {
    let programs = Programs::new();
    let path = programs.plugin("helper", &["ok"]);
    let limits = |host: &Host| {
        let helper = host.load(&path).unwrap();
        let limits = format!("/proc/{}/limits", pid(&helper));
        let text = fs::read_to_string(limits).unwrap();
        let _ = host.unload("helper").unwrap();
        move |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let mut fields = line.unwrap().split_ascii_whitespace();
            [(); 2].map(|()| fields.next().unwrap().to_owned())
        }
    };
    let of = |value: u64| [(); 2].map(|()| value.to_string());
    let plain = limits(&host(Resources::default()));
    assert_eq!(plain("Max core file size"), of(0));
    let own = getrlimit(Resource::As).maximum;
    let own = own.map_or_else(|| "unlimited".to_owned(), |own| own.to_string());
    assert_eq!(plain("Max address space")[1], own);
    let resources = Resources {
        memory: Some(1 << 31),
        cpu_seconds: Some(50),
        file_size: Some(1 << 20),
        open_files: Some(128),
        processes: None,
    };
    let set = limits(&host(resources));
    assert_eq!(set("Max address space"), of(1 << 31));
    assert_eq!(set("Max cpu time"), ["50", "51"]);
    assert_eq!(set("Max file size"), of(1 << 20));
    assert_eq!(set("Max open files"), of(128));
    let sandboxed = build(Host::builder().policy(policy(Level::Sandboxed, Resources::default())));
    match sandboxed.load(&path) {
        Err(error) if error.code() == "proc.sandbox" => println!("skipped: {error}"),
        _ => {
            let caps = limits(&sandboxed);
            assert_eq!(caps("Max address space"), of(1 << 30));
            assert_eq!(caps("Max file size"), of(256 << 20));
            assert_eq!(caps("Max open files"), of(256));
        }
    }
}

isolated! {
    /// Row 195.
    fn a_host_without_descriptors_says_so_and_its_programs_go_on() {
        let programs = Programs::new();
        let [first, second] = ["first", "second"].map(|name| programs.plugin(name, &["ok"]));
        let host = host(Resources::default());
        let plugin = host.load(&first).unwrap();
        let child = pid(&plugin);
        let limit = Rlimit { current: Some(64), maximum: getrlimit(Resource::Nofile).maximum };
        setrlimit(Resource::Nofile, limit).unwrap();
        let mut refusals = 0;
        for spare in 0.. {
            let taken = all_descriptors_but(spare);
            let answer = value(&plugin, "pid", "pid");
            let outcome = host.load(&second);
            drop(taken);
            assert_eq!(answer.unwrap(), i64::from(child.as_raw_nonzero().get()).into());
            match outcome {
                Ok(_) => break,
                Err(error) => assert_eq!(error.code(), "io.emfile", "{error}"),
            }
            refusals += 1;
        }
        // More than would be too many if they were the program's fault.
        assert!((6..40).contains(&refusals), "{refusals}");
        // Calls at the same time need connections of their own.
        let held = thread::scope(|scope| {
            // Those that the pool has are used first.
            let taken = all_descriptors_but(0);
            let calls: Vec<_> = (0..20).map(|_| scope.spawn(|| plugin.call("sleep", &mut Context::new().with("ms", 300)))).collect();
            let codes: Vec<_> = calls.into_iter().filter_map(|call| call.join().unwrap().err()).map(|error| error.code()).collect();
            drop(taken);
            codes
        });
        assert!(!held.is_empty() && held.iter().all(|code| *code == "io.emfile"), "{held:?}");
        pid(&plugin);
        let taken = all_descriptors_but(0);
        let _ = host.unload("first").unwrap();
        drop(taken);
        assert!(!Path::new(&format!("/proc/{child}")).exists(), "it is stopped without one");
    }
}

isolated! {
    /// Row 200.
    fn ten_thousand_callers_make_no_more_threads_than_may_be_inside() {
        const CALLERS: usize = 10_000;
        let programs = Programs::new();
        let limits = Limits { in_flight: 8, queue: 64, ..Limits::default() };
        let host = build(Host::builder().limits(limits));
        let helper = host.load(programs.plugin("helper", &["ok"])).unwrap();
        pid(&helper);
        let before = host.census().threads.unwrap();
        let (served, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let gate = RwLock::new(());
        thread::scope(|scope| {
            let closed = gate.write().unwrap();
            let call = || {
                drop(gate.read().unwrap());
                let mut context = Context::new().with("ms", 20).timeout(Duration::from_secs(60));
                match helper.call("sleep", &mut context) {
                    Ok(()) => served.fetch_add(1, Ordering::SeqCst),
                    Err(error) => {
                        assert_eq!(error.code(), "call.overloaded", "{error}");
                        refused.fetch_add(1, Ordering::SeqCst)
                    }
                };
            };
            for _ in 0..CALLERS {
                let caller = thread::Builder::new().stack_size(64 << 10);
                caller.spawn_scoped(scope, call).unwrap();
            }
            drop(closed);
        });
        let (served, refused) = (served.into_inner(), refused.into_inner());
        assert!(served >= 8 && refused > 0, "{served} {refused}");
        assert_eq!(served + refused, CALLERS);
        // Callers that wait have a thread each that may be lost in their place. They are kept for a while.
        let most = threads_begun();
        assert!(most <= 8 + 64, "{most} threads of the host");
        wait_until("the callers are gone", || host.census().threads.unwrap() <= before + 8 + 64);
        pid(&helper);
    }
}

/// How many threads this process has begun that run calls for callers: they are numbered.
fn threads_begun() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    let numbers = names.filter_map(|name| name.strip_prefix("plg-call-")?.trim().parse().ok());
    numbers.max().unwrap_or(0)
}

/// How many processes of a group there are.
fn members(group: i32) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let stats =
        processes.filter_map(|process| fs::read_to_string(process.path().join("stat")).ok());
    let of_group = stats.filter(|stat| {
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<_> = fields.split(' ').collect();
        fields[2] == group.to_string() && fields[0] != "Z"
    });
    of_group.count()
}

/// Opens files until only `spare` more could be.
fn all_descriptors_but(spare: usize) -> Vec<fs::File> {
    let mut files = Vec::new();
    while let Ok(file) = fs::File::open("/dev/null") {
        files.push(file);
    }
    files.truncate(files.len().saturating_sub(spare));
    files
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: u64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kilobytes << 10
}
