//! How long an upgrade takes while two threads call, and what their calls saw of it.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use plg_host::{Context, Handle, Host, Unloaded};
use plg_tests::bench::{Bench, once};
use plg_tests::fixtures::{Variant, stamped_bytes};

const NAME: &str = "upgrade + drain + unmap, 2 busy callers";
/// Builds below are asked to misbehave.
const FIRST: u64 = 1_000;
const CALLERS: usize = 2;

/// Which builds a call may meet: the one that answered when it began, or a later one.
struct Builds {
    /// The newest of which an upgrade returned.
    answering: AtomicU64,
    /// The newest that an upgrade was given.
    given: AtomicU64,
    enough: AtomicBool,
}

/// What the callers saw.
#[derive(Default)]
struct Seen {
    calls: u64,
    lost: u64,
    wrong: u64,
}

fn main() {
    let mut bench = Bench::new("upgrade");
    let directory = tempfile::tempdir().expect("a directory can be made");
    let library = directory.path().join("next.so");
    let write = |build| {
        fs::write(&library, stamped_bytes(Variant::Release, build))
            .expect("a build can be written");
    };
    write(FIRST);
    let host = Host::builder().build().expect("a host can be made");
    let plugin = host.load(&library).expect("the first build can be loaded");
    let builds = Builds {
        answering: AtomicU64::new(FIRST),
        given: AtomicU64::new(FIRST),
        enough: AtomicBool::new(false),
    };
    let rounds = bench.rounds(301) as u64;
    let mut times = Vec::new();
    let mut retained = 0;
    let seen: Vec<Seen> = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| scope.spawn(|| call(&plugin, &builds)))
            .collect();
        for build in FIRST + 1..=FIRST + rounds {
            write(build);
            // Who upgrades has not been busy just before, and is not made to wait for having been.
            thread::sleep(Duration::from_millis(5));
            let (time, outcome) = upgrade(&host, &library, &builds, build);
            times.push(time);
            retained += u64::from(outcome != Unloaded::Unmapped);
        }
        builds.enough.store(true, Ordering::SeqCst);
        let seen = callers.into_iter().map(|caller| caller.join());
        seen.map(|seen| seen.expect("a caller returns")).collect()
    });
    let sum = |count: fn(&Seen) -> u64| seen.iter().map(count).sum();
    let (calls, lost, wrong) = (
        sum(|seen| seen.calls),
        sum(|seen| seen.lost),
        sum(|seen| seen.wrong),
    );
    times.sort_by(f64::total_cmp);
    let p99 = times[times.len() * 99 / 100] / 1e3;
    bench.absolute(
        (NAME, Duration::from_millis(1)),
        times,
        [
            ("upgrades", rounds),
            ("µs for 99 of 100", p99 as u64),
            ("calls", calls),
            ("calls lost", lost),
            ("answers wrong", wrong),
            ("retained", retained),
        ],
    );
    bench.print();
    assert_eq!((lost, wrong, retained), (0, 0, 0), "an upgrade was seen");
}

fn upgrade(host: &Host, library: &Path, builds: &Builds, build: u64) -> (f64, Unloaded) {
    builds.given.store(build, Ordering::SeqCst);
    let (time, upgraded) = once(|| host.upgrade("fixture-good", library));
    let upgraded = upgraded.unwrap_or_else(|error| panic!("{error}"));
    builds.answering.store(build, Ordering::SeqCst);
    (time, upgraded.retired)
}

/// Calls without a pause and checks every answer.
fn call(plugin: &Handle, builds: &Builds) -> Seen {
    let label = plugin.label("build").expect("the fixture has this label");
    let mut ctx = Context::new();
    let mut seen = Seen::default();
    while !builds.enough.load(Ordering::Relaxed) {
        let oldest = builds.answering.load(Ordering::SeqCst);
        let outcome = label.call(&mut ctx);
        let newest = builds.given.load(Ordering::SeqCst);
        let answer = ctx.get("build").and_then(|build| build.as_i64());
        let answer = answer.and_then(|build| u64::try_from(build).ok());
        seen.calls += 1;
        seen.lost += u64::from(outcome.is_err());
        seen.wrong += u64::from(answer.is_none_or(|build| build < oldest || build > newest));
    }
    seen
}
