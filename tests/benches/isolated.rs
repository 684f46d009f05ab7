//! What a call of a plugin in a process of its own costs, against the same bytes over a bare socket.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use plg_host::policy::{Level, Policy, Rule};
use plg_host::{Context, Handle, Host, MANIFEST, Unloaded, Value};
use plg_tests::bench::{Bench, nanos, once, per_call};
use plg_tests::fixtures::{Variant, library, program};
use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};

const PLUGIN: &str = "fixture-process";
const SMALL: usize = 64;
const LARGE: usize = 1 << 20;
/// The first argument of this program when it is the other end of bare sockets.
const ECHO: &str = "echo-of-bench";
const RAW: &str = "Unix socket";

fn main() {
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() == Some(ECHO) {
        let path = arguments.next().expect("the path of a socket");
        let size = arguments.next().and_then(|size| size.parse().ok());
        return echo(Path::new(&path), size.expect("a number of bytes"));
    }
    let mut bench = Bench::new("isolated");
    let directory = tempfile::tempdir().expect("a directory can be made");
    let plugin = plugin(directory.path(), PLUGIN);

    for (name, rounds, calls) in [
        ("64 B, pinned to one CPU", 201, 200),
        ("64 B, free", 201, 200),
        ("64 B with a deadline, free", 201, 200),
    ] {
        if !bench.wants(name) {
            continue;
        }
        let pinned = name.contains("pinned").then(Pinned::new);
        let mut caller = Caller::new(&plugin, SMALL);
        let mut raw = Raw::new(directory.path(), SMALL);
        let deadline = name.contains("deadline").then_some(Duration::from_secs(60));
        bench.compare(
            (name, if pinned.is_some() { 1.3 } else { 0.2 }),
            rounds,
            || per_call(calls, || caller.call(deadline)),
            RAW,
            || per_call(calls, || raw.call()),
        );
    }
    if bench.wants("1 MiB there and back") {
        let mut caller = Caller::new(&plugin, LARGE);
        let mut raw = Raw::new(directory.path(), LARGE);
        bench.compare(
            ("1 MiB there and back", 0.45),
            101,
            || per_call(20, || caller.call(None)),
            RAW,
            || per_call(20, || raw.call()),
        );
    }
    for callers in [16, 64] {
        many(&mut bench, directory.path(), &plugin, callers);
    }
    start(&mut bench, &plugin);
    start_library(&mut bench);
    idle(&mut bench, directory.path());
    bench.print();
}

/// As many callers of one plugin, against as many sockets; a sample is the time of a call as the plugin sees
/// them come, whoever made it.
fn many(bench: &mut Bench, directory: &Path, plugin: &Path, callers: u32) {
    let name = format!("64 B, {callers} callers");
    if !bench.wants(&name) {
        return;
    }
    let calls = 3_200 / callers;
    let caller = Caller::new(plugin, SMALL);
    let mut contexts: Vec<Caller> = (0..callers).map(|_| caller.again()).collect();
    let mut sockets = vec![Raw::new(directory, SMALL)];
    while sockets.len() < callers as usize {
        let socket = sockets[0].again();
        sockets.push(socket);
    }
    bench.compare(
        (&name, 1.11),
        101,
        || at_once(&mut contexts, calls, |caller| caller.call(None)),
        &format!("{callers} sockets"),
        || at_once(&mut sockets, calls, Raw::call),
    );
}

fn at_once<T: Send>(callers: &mut [T], calls: u32, call: impl Fn(&mut T) + Sync) -> f64 {
    let count = callers.len() as u32;
    let ready = Barrier::new(callers.len() + 1);
    let start = thread::scope(|scope| {
        for caller in callers {
            scope.spawn(|| {
                ready.wait();
                for _ in 0..calls {
                    call(caller);
                }
            });
        }
        ready.wait();
        Instant::now()
    });
    nanos(start.elapsed()) / f64::from(calls * count)
}

/// From a plugin that is not there to its first answer.
fn start(bench: &mut Bench, plugin: &Path) {
    let host = host();
    let program = program(PLUGIN, Variant::Release);
    bench.compare(
        ("start to first answer", 2.5),
        101,
        || {
            let mut context = Context::new().with("text", Value::Bytes(vec![b'x']));
            let (time, loaded) = once(|| {
                let loaded = host.load(plugin).unwrap_or_else(|error| panic!("{error}"));
                answered(loaded.call("swap", &mut context));
                loaded
            });
            drop(loaded);
            let ended = host.unload(PLUGIN);
            assert_eq!(ended.ok(), Some(Unloaded::Unmapped));
            time
        },
        "fork + exec + exit",
        || {
            let mut command = Command::new(&program);
            command.arg("capabilities").stdout(Stdio::null());
            let (time, status) = once(|| command.status());
            assert!(status.expect("the program runs").success());
            time
        },
    );
}

/// The same for a library in a process of its own, against a start of the program that it is mapped into.
fn start_library(bench: &mut Bench) {
    const NAME: &str = "start of a library to first answer";
    if !bench.wants(NAME) {
        return;
    }
    let library = library("hello", Variant::Release);
    let runner = program("fixture-host", Variant::Release);
    let builder = Host::builder().allow_unsafe_directories(true);
    let policy = Policy::new(Rule::new(Level::Isolated));
    let host = builder.runner(&runner).policy(policy).build();
    let host = host.expect("a host can be made");
    bench.compare(
        (NAME, 2.5),
        101,
        || {
            let mut context = Context::new().with("name", "Ada");
            let (time, loaded) = once(|| {
                let loaded = host
                    .load(&library)
                    .unwrap_or_else(|error| panic!("{error}"));
                answered(loaded.call("greet", &mut context));
                loaded
            });
            let name = loaded.name().to_owned();
            drop(loaded);
            let ended = host.unload(&name);
            assert_eq!(ended.ok(), Some(Unloaded::Unmapped));
            time
        },
        "fork + exec + exit",
        || {
            // Without a library to load, it does nothing.
            let mut command = Command::new(&runner);
            let (time, status) = once(|| command.status());
            assert!(status.expect("the program runs").success());
            time
        },
    );
}

/// What many plugins cost that nobody calls, after each was called.
fn idle(bench: &mut Bench, directory: &Path) {
    const NAME: &str = "processor time of 100 idle plugins, in 2 s";
    const COUNT: usize = 100;
    const WATCHED: Duration = Duration::from_secs(2);
    if !bench.wants(NAME) {
        return;
    }
    let host = host();
    let before = children();
    for number in 0..COUNT {
        let path = self::plugin(directory, &format!("idle-{number}"));
        let loaded = host.load(path).unwrap_or_else(|error| panic!("{error}"));
        answered(loaded.call(
            "swap",
            &mut Context::new().with("text", Value::Bytes(vec![b'x'])),
        ));
    }
    let plugins = children();
    let plugins: Vec<u32> = plugins
        .into_iter()
        .filter(|child| !before.contains(child))
        .collect();
    assert_eq!(plugins.len(), COUNT);
    // Let those who wait in case of another call give it up.
    thread::sleep(Duration::from_millis(300));
    let time = || spent("self") + plugins.iter().map(|id| spent(&id.to_string())).sum::<f64>();
    let start = time();
    thread::sleep(WATCHED);
    let spent = time() - start;
    let resident = plugins.iter().map(|id| resident(*id));
    let most = resident.max().unwrap_or_default();
    bench.absolute(
        (NAME, Duration::from_millis(20)),
        vec![spent],
        [("KiB resident in the largest", most)],
    );
}

/// Keeps this thread, and what it starts, on one processor.
struct Pinned(CpuSet);

impl Pinned {
    fn new() -> Self {
        let all = sched_getaffinity(None).expect("the processors can be read");
        let last = (0..CpuSet::MAX_CPU).rfind(|cpu| all.is_set(*cpu));
        let mut one = CpuSet::new();
        one.set(last.expect("there is a processor"));
        sched_setaffinity(None, &one).expect("a thread can be pinned");
        Self(all)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        sched_setaffinity(None, &self.0).expect("a thread can be set free");
    }
}

/// Calls a plugin with so many bytes, which sends as many back.
struct Caller {
    plugin: Handle,
    context: Context,
    /// Goes last.
    _host: Option<Host>,
}

impl Caller {
    fn new(plugin: &Path, size: usize) -> Self {
        let host = host();
        let plugin = host.load(plugin).unwrap_or_else(|error| panic!("{error}"));
        Self {
            plugin,
            context: Context::new().with("text", Value::Bytes(vec![b'x'; size])),
            _host: Some(host),
        }
    }

    fn again(&self) -> Self {
        Self {
            plugin: self.plugin.clone(),
            context: self.context.clone(),
            _host: None,
        }
    }

    fn call(&mut self, limit: Option<Duration>) {
        if let Some(limit) = limit {
            self.context = std::mem::take(&mut self.context).timeout(limit);
        }
        answered(self.plugin.call("swap", &mut self.context));
        assert!(self.context.remove("back").is_some());
    }
}

/// A socket whose other end sends back what it gets.
struct Raw {
    stream: UnixStream,
    path: PathBuf,
    bytes: Vec<u8>,
    /// Goes last.
    _child: Option<Echo>,
}

struct Echo(Child);

impl Raw {
    fn new(directory: &Path, size: usize) -> Self {
        let path = tempfile::tempdir_in(directory).expect("a directory can be made");
        let path = path.keep().join("s");
        let program = env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        command.arg(ECHO).arg(&path).arg(size.to_string());
        let child = Echo(command.spawn().expect("this program can be started"));
        let stream = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                Err(_) => thread::yield_now(),
            }
        };
        Self {
            stream,
            path,
            bytes: vec![b'x'; size],
            _child: Some(child),
        }
    }

    fn again(&self) -> Self {
        Self {
            stream: UnixStream::connect(&self.path).expect("it listens"),
            path: self.path.clone(),
            bytes: self.bytes.clone(),
            _child: None,
        }
    }

    fn call(&mut self) {
        let sent = self.stream.write_all(&self.bytes);
        let got = sent.and_then(|()| self.stream.read_exact(&mut self.bytes));
        got.expect("the other end answers");
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // It may have gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn echo(path: &Path, size: usize) {
    let listener = UnixListener::bind(path).expect("a socket can be bound");
    for stream in listener.incoming() {
        let mut stream = stream.expect("a connection comes");
        thread::spawn(move || {
            let mut bytes = vec![0; size];
            while stream.read_exact(&mut bytes).is_ok() && stream.write_all(&bytes).is_ok() {}
        });
    }
}

fn host() -> Host {
    let builder = Host::builder().allow_unsafe_directories(true);
    builder.build().expect("a host can be made")
}

/// A directory with the fixture as a plugin of this name.
fn plugin(directory: &Path, name: &str) -> PathBuf {
    let directory = directory.join(name);
    let manifest = format!(
        r#"{{ "name": "{name}", "version": "1.2.3", "process": {{ "exec": "bin/program" }} }}"#
    );
    let program = program(PLUGIN, Variant::Release);
    fs::create_dir_all(directory.join("bin"))
        .and_then(|()| fs::write(directory.join(MANIFEST), manifest))
        .and_then(|()| {
            let place = directory.join("bin/program");
            fs::hard_link(&program, &place)
                .or_else(|_| fs::copy(&program, &place).map(drop))
                .or_else(|_| symlink(&program, &place))
        })
        .expect("a plugin's directory can be written");
    directory
}

fn answered(outcome: Result<(), plg_host::Error>) {
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// The processes that any thread of this one started.
fn children() -> Vec<u32> {
    let tasks = fs::read_dir("/proc/self/task").expect("this process has threads");
    let lists =
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    let mut found = Vec::new();
    for list in lists {
        found.extend(
            list.split_whitespace()
                .filter_map(|id| id.parse::<u32>().ok()),
        );
    }
    found
}

/// Nanoseconds of processor time that the threads of a process had, other than the one that asks: to read all
/// these files takes longer than what is measured.
fn spent(process: &str) -> f64 {
    let own = gettid().as_raw_nonzero().to_string();
    let tasks = fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten();
    let times = tasks.filter_map(|task| {
        let task = task.ok().filter(|task| task.file_name() != own.as_str())?;
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    times.sum()
}

/// KiB of a process that are in memory.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_default()
}
