//! Upgrades as fast as they go while threads call as fast as they can: nothing is lost, nothing is
//! answered by a build that was replaced, and nothing is left over. Row 96, with the controls that show
//! what the storm would notice.
#![expect(
    unsafe_code,
    reason = "the process's thread-local keys are counted by making all of them"
)]

use std::env;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use plg_host::{Census, Context, Faults, Handle, Host, Reason, Unloaded, Value};
use plg_tests::child;

use crate::support::plugins::with_header;
use crate::support::{Variant, stamped_bytes, wait_until};

/// What a caller counts for itself. `sent` is `ok` and `err` together, always.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Ledger {
    sent: u64,
    ok: u64,
    err: u64,
    /// Answered by a build that was replaced before the call, or that was never given to the host.
    wrong: u64,
    /// Answered by an older build than the caller met before.
    back: u64,
}

impl std::ops::Add for Ledger {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            ok: self.ok + other.ok,
            err: self.err + other.err,
            wrong: self.wrong + other.wrong,
            back: self.back + other.back,
        }
    }
}

/// What callers and the upgrading thread know of each other.
#[derive(Default)]
struct Weather {
    /// The newest build of which an upgrade has returned.
    least: AtomicU64,
    /// The newest build that the host was given.
    most: AtomicU64,
    over: AtomicBool,
}

/// One thread's calls; it checks every answer.
struct Caller<'a> {
    weather: &'a Weather,
    label: plg_host::LabelHandle,
    context: Context,
    newest: u64,
    ledger: Ledger,
}

impl<'a> Caller<'a> {
    fn new(weather: &'a Weather, good: &Handle) -> Self {
        Self {
            weather,
            label: good.label("build").expect("the fixture has that label"),
            context: Context::new(),
            newest: 0,
            ledger: Ledger::default(),
        }
    }

    fn call(&mut self) {
        let least = self.weather.least.load(Ordering::Acquire);
        self.ledger.sent += 1;
        if self.label.call(&mut self.context).is_err() {
            self.ledger.err += 1;
            return;
        }
        self.ledger.ok += 1;
        let build = self.context.get("build").and_then(Value::as_i64);
        let build = build.map_or(0, i64::cast_unsigned);
        if build < least || build > self.weather.most.load(Ordering::Acquire) {
            self.ledger.wrong += 1;
        }
        if build < self.newest {
            self.ledger.back += 1;
        }
        self.newest = build;
    }

    /// Calls until the storm is over.
    fn run(mut self) -> Ledger {
        while !self.weather.over.load(Ordering::Relaxed) {
            self.call();
        }
        self.ledger
    }
}

/// Stamped copies of the fixture, each written anew.
struct Builds {
    directory: tempfile::TempDir,
    bytes: Vec<u8>,
    digits: usize,
}

impl Builds {
    fn new(variant: Variant) -> Self {
        // The number is its own needle: found once, every copy costs one write.
        const NUMBER: u64 = 7_340_915_286_043_971;
        let bytes = stamped_bytes(variant, NUMBER);
        let needle = NUMBER.to_string();
        let digits = bytes
            .windows(needle.len())
            .position(|window| window == needle.as_bytes())
            .expect("the number was just written");
        Self {
            directory: tempfile::tempdir().expect("a temporary directory can be made"),
            bytes,
            digits,
        }
    }

    /// A file with build `number`; a handful of names are used over and over.
    fn next(&mut self, number: u64) -> PathBuf {
        let digits = format!("{number:016}");
        self.bytes[self.digits..self.digits + 16].copy_from_slice(digits.as_bytes());
        let path = self.directory.path().join(format!("{}.so", number % 5));
        fs::write(&path, &self.bytes).expect("a build can be written");
        path
    }
}

/// What a storm came to.
#[derive(Debug, Default)]
struct Report {
    callers: Ledger,
    upgrades: u64,
    retained: u64,
    short_lived: u64,
    took: Duration,
}

/// Two threads that call without a pause, one that starts threads of 20 calls each, and this one, which
/// upgrades for as long as `goes_on`, which is told how long the storm lasts and how many upgrades there
/// were.
fn storm(
    host: &Host,
    builds: &mut Builds,
    first: u64,
    mut goes_on: impl FnMut(Duration, u64) -> bool,
) -> Report {
    let good = host.load(builds.next(first)).expect("the fixture loads");
    let weather = Weather::default();
    weather.least.store(first, Ordering::Release);
    weather.most.store(first, Ordering::Release);
    let start = Instant::now();
    let mut report = Report::default();
    thread::scope(|scope| {
        let callers: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| Caller::new(&weather, &good).run()))
            .collect();
        let starter = scope.spawn(|| short_lived(&weather, &good));
        let mut number = first;
        while goes_on(start.elapsed(), report.upgrades) {
            number += 1;
            weather.most.store(number, Ordering::Release);
            let upgraded = host.upgrade("fixture-good", builds.next(number));
            let upgraded = upgraded.expect("an upgrade works");
            weather.least.store(number, Ordering::Release);
            report.upgrades += 1;
            report.retained += u64::from(upgraded.retired != Unloaded::Unmapped);
        }
        weather.over.store(true, Ordering::Relaxed);
        for caller in callers {
            report.callers = report.callers + caller.join().expect("a caller ends");
        }
        let (ledger, threads) = starter.join().expect("the starter ends");
        report.callers = report.callers + ledger;
        report.short_lived = threads;
    });
    report.took = start.elapsed();
    report
}

/// Threads that end soon after they called, so that some always end while a build is unmapped.
fn short_lived(weather: &Weather, good: &Handle) -> (Ledger, u64) {
    let (mut ledger, mut threads) = (Ledger::default(), 0);
    while !weather.over.load(Ordering::Relaxed) {
        let calls = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let mut caller = Caller::new(weather, good);
                (0..20).for_each(|_| caller.call());
                caller.ledger
            });
            thread.join().expect("a short-lived caller ends")
        });
        ledger = ledger + calls;
        threads += 1;
    }
    (ledger, threads)
}

/// Everything that a build could leave behind in the process.
#[derive(Debug, Eq, PartialEq)]
struct Holdings {
    descriptors: Option<usize>,
    threads: Option<usize>,
    mappings: Option<usize>,
    image_mappings: Option<usize>,
    keys: usize,
}

impl Holdings {
    fn count(host: &Host) -> Self {
        let keys = free_keys();
        let Census {
            descriptors,
            threads,
            mappings,
            image_mappings,
            ..
        } = host.census();
        Self {
            descriptors,
            threads,
            mappings,
            image_mappings,
            keys,
        }
    }
}

/// How many thread-local keys the process has left.
fn free_keys() -> usize {
    let mut keys = Vec::with_capacity(2048);
    let mut key = 0;
    // SAFETY: the key is ours, and so is the place it is written to.
    while unsafe { libc::pthread_key_create(&raw mut key, None) } == 0 {
        keys.push(key);
    }
    for key in &keys {
        // SAFETY: it was made above, and nobody else has seen it.
        unsafe { libc::pthread_key_delete(*key) };
    }
    keys.len()
}

/// How long the storm lasts: `PLG_STORM_SECONDS`, or 20 seconds.
fn length() -> Duration {
    let seconds = env::var("PLG_STORM_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(20))
}

/// malloc and glibc keep mappings for threads that are gone, and malloc maps what is large, such as the
/// history of thousands of upgrades; a count that must return to where it was needs them not to.
const TIDY: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "33554432"),
    ("GLIBC_TUNABLES", "glibc.pthread.stack_cache_size=0"),
];

/// Row 96.
#[test]
fn a_storm_of_upgrades_loses_nothing_and_leaves_nothing() {
    let test = concat!(
        module_path!(),
        "::a_storm_of_upgrades_loses_nothing_and_leaves_nothing"
    );
    let limit = length() * 2 + Duration::from_secs(120);
    let ended = child::run_within(limit, test, &TIDY, || {
        let host = Host::builder().build().expect("a host can be made");
        let mut builds = Builds::new(Variant::Release);
        // What the process takes once and for all is taken before the count.
        storm(&host, &mut builds, 1, |_, upgrades| upgrades < 50);
        let _ = host.unload("fixture-good").expect("it is loaded");
        let counted_before = counted(&host.plugin("fixture-good").expect("it was loaded"));
        let before = Holdings::count(&host);

        // A machine that is busy with other work is given more time to reach the figures.
        let good = host.plugin("fixture-good").expect("it was loaded");
        let report = storm(&host, &mut builds, 1_000_000, |lasted, upgrades| {
            let behind = || upgrades < UPGRADES || counted(&good) - counted_before < CALLS;
            lasted < length() || (lasted < PATIENCE && behind())
        });
        let calls = report.callers;
        let rate = calls.sent as f64 / report.took.as_secs_f64() / 1e6;
        println!("{report:#?}\n{rate:.1} M calls/s");
        let clean = Ledger {
            sent: calls.sent,
            ok: calls.sent,
            ..Ledger::default()
        };
        assert_eq!(calls, clean);
        let per_second = report.upgrades as f64 / report.took.as_secs_f64();
        println!("{per_second:.0} upgrades/s");

        assert_eq!(counted(&good) - counted_before, calls.sent);

        let unloaded = host.unload("fixture-good").unwrap();
        assert_eq!(unloaded, Unloaded::Unmapped);
        wait_until("everything that was retained to be unmapped", || {
            host.sweep();
            host.census().retained == 0
        });
        wait_until("the process to hold what it held before", || {
            Holdings::count(&host) == before
        });
        assert!(report.upgrades >= UPGRADES, "{} upgrades", report.upgrades);
        assert!(calls.sent >= CALLS, "{} calls", calls.sent);
    });
    println!("{}", ended.output);
    assert!(ended.status.success(), "{}\n{}", ended.status, ended.output);
}

/// What a storm has to reach.
const UPGRADES: u64 = 1_000;
const CALLS: u64 = 20_000_000;
/// How long it may take to.
const PATIENCE: Duration = Duration::from_secs(80);

/// How many calls of `build` the host has counted, none of which failed.
fn counted(good: &Handle) -> u64 {
    let labels = good.snapshot().labels;
    let build = labels.iter().find(|label| label.label == "build");
    let build = build.expect("the label is declared");
    assert_eq!(build.failures, 0);
    build.calls
}

/// Row 96, must fail: builds are unmapped under the calls that run in them.
#[test]
fn without_the_drain_the_storm_crashes_or_is_answered_wrongly() {
    let test = concat!(
        module_path!(),
        "::without_the_drain_the_storm_crashes_or_is_answered_wrongly"
    );
    let ended = child::run(test, &TIDY, || {
        let faults = Faults {
            skip_drain: true,
            ..Faults::default()
        };
        let host = Host::builder()
            .faults(faults)
            .build()
            .expect("a host can be made");
        let mut builds = Builds::new(Variant::Release);
        let report = storm(&host, &mut builds, 1, |lasted, _| {
            lasted < Duration::from_secs(20)
        });
        let calls = report.callers;
        assert_eq!((calls.err, calls.wrong, calls.back), (0, 0, 0));
    });
    assert!(!ended.status.success(), "{}", ended.output);
    // Not for want of a host or a fixture: by a signal, or by what the callers noticed.
    let noticed = ended
        .output
        .contains("(calls.err, calls.wrong, calls.back)")
        || ended.output.contains("left == right");
    assert!(
        ended.status.signal().is_some() || noticed,
        "{}\n{}",
        ended.status,
        ended.output
    );
}

/// Rows 96 and 101: a build that cannot be unmapped is kept whole, so nothing is lost either; what it
/// costs is the limit of builds that are kept.
#[test]
fn without_unload_hooks_the_storm_loses_nothing_and_stops_at_the_limit() {
    let test = concat!(
        module_path!(),
        "::without_unload_hooks_the_storm_loses_nothing_and_stops_at_the_limit"
    );
    let ended = child::run(test, &TIDY, || {
        let host = Host::builder().build().expect("a host can be made");
        let mut builds = Builds::new(Variant::NoHooks);
        let report = storm(&host, &mut builds, 1, |_, upgrades| upgrades < 16);
        let calls = report.callers;
        assert_eq!((calls.err, calls.wrong, calls.back), (0, 0, 0));
        assert_eq!((report.upgrades, report.retained), (16, 16));
        let refused = host.upgrade("fixture-good", builds.next(100)).unwrap_err();
        assert_eq!(refused.code(), "upgrade.needs_restart");
        let snapshot = host.plugin("fixture-good").unwrap().snapshot();
        assert!(
            snapshot
                .retained
                .iter()
                .all(|retained| retained.reason == Reason::NoHooks && retained.mapped_bytes > 0)
        );
        // Threads that called every one of them have ended by now, and their destructors ran.
        let mut ctx = Context::new();
        host.call("fixture-good", "build", &mut ctx).unwrap();
        assert_eq!(ctx.get("build"), Some(&Value::from(17)));
        assert_eq!(host.census().retained, 16);
    });
    assert!(ended.status.success(), "{}\n{}", ended.status, ended.output);
}

/// Row 101, must fail: a plugin that claims hooks it does not have crashes the thread that ends after
/// the plugin was unmapped. This is what hooks are for, and why their absence is told.
#[test]
fn a_plugin_that_lies_about_its_hooks_crashes_the_thread_that_called_it() {
    let test = concat!(
        module_path!(),
        "::a_plugin_that_lies_about_its_hooks_crashes_the_thread_that_called_it"
    );
    let end = |liar: &Path| {
        let host = Host::builder().build().expect("a host can be made");
        let threads = host.load(liar).expect("the fixture loads");
        let (called, unloaded) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            let caller = scope.spawn(|| {
                let left = threads.call("leave.value", &mut Context::new());
                left.expect("the fixture leaves a value");
                called.store(true, Ordering::Release);
                wait_until("the plugin to be unloaded", || {
                    unloaded.load(Ordering::Acquire)
                });
            });
            wait_until("the call", || called.load(Ordering::Acquire));
            println!("unloaded: {:?}", host.unload("threads"));
            unloaded.store(true, Ordering::Release);
            // Unlike the end of the scope, this waits until the thread is gone.
            caller.join().expect("the caller ends well");
        });
    };
    let liar = with_header("threads.c", &[], &["FLAGS=PLG_FLAG_UNLOAD_HOOKS"]);
    let ended = child::run(test, &[], || end(&liar));
    assert_eq!(
        ended.status.signal(),
        Some(libc::SIGSEGV),
        "{}",
        ended.output
    );
    assert!(ended.output.contains("Ok(Unmapped)"), "{}", ended.output);
}

/// Row 101: the same plugin without the lie is kept, and its destructor runs.
#[test]
fn a_plugin_without_hooks_is_kept_and_the_thread_that_called_it_ends_well() {
    let test = concat!(
        module_path!(),
        "::a_plugin_without_hooks_is_kept_and_the_thread_that_called_it_ends_well"
    );
    let honest = with_header("threads.c", &[], &[]);
    let ended = child::run(test, &[], || {
        let host = Host::builder().build().expect("a host can be made");
        let threads = host.load(&honest).expect("the fixture loads");
        let unloaded = AtomicBool::new(false);
        thread::scope(|scope| {
            let caller = scope.spawn(|| {
                let left = threads.call("leave.value", &mut Context::new());
                left.expect("the fixture leaves a value");
                while !unloaded.load(Ordering::Acquire) {
                    thread::yield_now();
                }
            });
            let calls = || {
                let labels = threads.snapshot().labels;
                labels.iter().map(|label| label.calls).sum::<u64>()
            };
            wait_until("the call", || calls() == 1);
            let kept = host.unload("threads").expect("it is loaded");
            let reason = Reason::NoHooks;
            assert_eq!(kept, Unloaded::Retained { reason });
            unloaded.store(true, Ordering::Release);
            caller.join().expect("the caller ends well");
        });
    });
    assert!(ended.status.success(), "{}\n{}", ended.status, ended.output);
}
