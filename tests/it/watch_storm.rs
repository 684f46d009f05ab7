//! A watched library that is replaced again and again, in every way, while threads call it: no call is
//! lost or answered wrongly, and what answers in the end is what stands in the file. Row 96, by the watch.

use std::env;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use plg_host::{Context, Digest, Handle, Value};
use plg_tests::child;

use crate::support::{Variant, stamped_bytes, wait_until};
use crate::watch::{Watched, options, write_slowly};

const GOOD: &str = "fixture-good";
/// The number of the first build. Some smaller ones mean to the fixture that it is to fail.
const FIRST: u64 = 10_000;

/// How often the library is replaced: 30 times, or 1,000 in a campaign.
fn replacements() -> u64 {
    if env::var_os("PLG_CAMPAIGN").is_some() {
        1_000
    } else {
        30
    }
}

/// What callers and the thread that replaces know of each other.
#[derive(Default)]
struct Weather {
    /// The newest build that was seen in service.
    least: AtomicU64,
    /// The newest build that was written.
    most: AtomicU64,
    over: AtomicBool,
}

/// Tells the callers that it is over, also when the thread that replaces gives up.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a caller counts for itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Ledger {
    sent: u64,
    lost: u64,
    /// Answered by a build that was replaced before the call, or that was never written.
    wrong: u64,
    /// Answered by an older build than the caller met before.
    back: u64,
}

/// Calls until the storm is over, and checks every answer.
fn call(weather: &Weather, good: &Handle) -> Ledger {
    let label = good.label("build").expect("the fixture has that label");
    let (mut ledger, mut newest) = (Ledger::default(), 0);
    let mut ctx = Context::new();
    while !weather.over.load(Ordering::Relaxed) {
        let least = weather.least.load(Ordering::Acquire);
        ledger.sent += 1;
        if label.call(&mut ctx).is_err() {
            ledger.lost += 1;
            continue;
        }
        let build = ctx.get("build").and_then(Value::as_i64);
        let build = build.map_or(0, i64::cast_unsigned);
        let most = weather.most.load(Ordering::Acquire);
        ledger.wrong += u64::from(build < least || build > most);
        ledger.back += u64::from(build < newest);
        newest = build;
    }
    ledger
}

/// Build after build of the fixture.
struct Builds {
    bytes: Vec<u8>,
    digits: usize,
}

impl Builds {
    fn new() -> Self {
        // The number is its own needle: found once, every build costs one copy.
        const NUMBER: u64 = 7_340_915_286_043_971;
        let bytes = stamped_bytes(Variant::Release, NUMBER);
        let needle = NUMBER.to_string();
        let digits = bytes
            .windows(needle.len())
            .position(|window| window == needle.as_bytes())
            .expect("the number was just written");
        Self { bytes, digits }
    }

    fn bytes(&mut self, number: u64) -> &[u8] {
        let digits = format!("{number:016}");
        self.bytes[self.digits..self.digits + 16].copy_from_slice(digits.as_bytes());
        &self.bytes
    }
}

/// The ways to replace a file, in turns.
fn replace(path: &Path, bytes: &[u8], turn: u64) {
    match turn % 3 {
        0 => {
            let new = path.with_file_name(".new");
            fs::write(&new, bytes).expect("a build can be written");
            fs::rename(&new, path).expect("a build can be renamed");
        }
        1 => fs::write(path, bytes).expect("a build can be written"),
        _ => write_slowly(path, bytes, 8, options().settle / 4),
    }
}

#[test]
fn a_storm_of_replacements_loses_nothing() {
    let test = concat!(module_path!(), "::a_storm_of_replacements_loses_nothing");
    let ended = child::run_within(Duration::from_secs(1800), test, &[], || {
        let mut builds = Builds::new();
        let watched = Watched::new();
        let path = watched.path("good.so");
        let weather = Weather::default();
        let mut bring = |number: u64| {
            let bytes = builds.bytes(number);
            weather.most.store(number, Ordering::Release);
            replace(&path, bytes, number);
            let start = Instant::now();
            let wanted = Some(Digest::of(bytes));
            wait_until(&format!("build {number}"), || {
                watched.serving(GOOD) == wanted
            });
            weather.least.store(number, Ordering::Release);
            start.elapsed()
        };
        bring(FIRST);
        let good = watched.host.plugin(GOOD).expect("it is loaded");
        let start = Instant::now();
        let (ledger, mut times) = thread::scope(|scope| {
            let callers = [(); 2].map(|()| scope.spawn(|| call(&weather, &good)));
            let over = Over(&weather.over);
            let numbers = FIRST + 1..=FIRST + replacements();
            let times: Vec<_> = numbers.map(&mut bring).collect();
            drop(over);
            let ledgers = callers.map(|caller| caller.join().expect("a caller ends"));
            let [one, two] = ledgers;
            let sum = Ledger {
                sent: one.sent + two.sent,
                lost: one.lost + two.lost,
                wrong: one.wrong + two.wrong,
                back: one.back + two.back,
            };
            (sum, times)
        });
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        let (took, looks) = (start.elapsed(), watched.watch.as_ref().map(|w| w.looks()));
        println!(
            "{ledger:?} in {took:?}, {looks:?} looks; from written to serving: \
             median {:?}, 99 % {:?}, longest {:?}",
            at(50),
            at(99),
            at(100)
        );
        let sent = ledger.sent;
        assert!(sent > 0);
        let clean = Ledger {
            sent,
            ..Ledger::default()
        };
        assert_eq!(ledger, clean);
        // One for each replacement and no more: nothing half-written was taken for a build.
        assert_eq!(watched.generation(GOOD), 1 + replacements());
    });
    println!("{}", ended.output);
    assert!(ended.status.success(), "{}\n{}", ended.status, ended.output);
}
