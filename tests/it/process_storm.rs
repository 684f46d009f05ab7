//! Programs are killed and stopped at random while several threads call them. Each call is accounted for.
//!
//! `PLG_CAMPAIGN=1` makes it 200 kills in 30 seconds and checks how soon the programs answer again, `PLG_SEED=7`
//! kills in another order.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use plg_host::{Context, Handle, Limits};
use plg_tests::isolated;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::programs::{Programs, exists, host_with};
use crate::support::{Over, wait_until};

/// What became of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Answered,
    /// Nobody knows whether it was made.
    Unknown,
    NotMade,
}

const PROGRAMS: usize = 3;
const CALLERS: usize = 4;

isolated! {
    /// Rows 185, 186, 190 and 193.
    fn programs_killed_at_random_lose_no_call_and_do_none_twice() {
        let is_campaign = env::var_os("PLG_CAMPAIGN").is_some();
        let (kills, length) = if is_campaign { (200, 30) } else { (50, 8) };
        let seed = env::var("PLG_SEED").map_or(1, |seed| seed.parse().unwrap());
        let programs = Programs::new();
        let limits = Limits {
            probe_every: Duration::from_millis(100),
            probe_timeout: Duration::from_millis(150),
            restarts: usize::MAX,
            back_off: Duration::from_millis(5),
            back_off_most: Duration::from_millis(50),
            ..Limits::default()
        };
        let host = host_with(limits);
        let names: Vec<String> = (0..PROGRAMS).map(|number| format!("helper-{number}")).collect();
        let ledger = |name: &str| programs.path().join(format!("{name}.ledger"));
        let plugins: Vec<Handle> = names
            .iter()
            .map(|name| {
                let place = ledger(name).display().to_string();
                host.load(programs.plugin(name, &["ok", &place])).unwrap()
            })
            .collect();
        let over = AtomicBool::new(false);
        let next = AtomicU64::new(1);
        let fates: Mutex<HashMap<(usize, u64), Fate>> = Mutex::default();
        let mut recoveries = Vec::new();
        thread::scope(|scope| {
            let _over = Over(&over);
            for caller in 0..CALLERS {
                let (over, next, fates, plugins) = (&over, &next, &fates, &plugins);
                scope.spawn(move || {
                    let mut own = Vec::new();
                    while !over.load(Ordering::SeqCst) {
                        let id = next.fetch_add(1, Ordering::SeqCst);
                        let at = (caller + usize::try_from(id).unwrap()) % PROGRAMS;
                        own.push(((at, id), call(&plugins[at], id)));
                    }
                    fates.lock().unwrap().extend(own);
                });
            }
            let mut random = Random(seed);
            let pause = Duration::from_secs(length) / kills;
            for _ in 0..kills {
                let at = usize::try_from(random.next() % PROGRAMS as u64).unwrap();
                let stop = random.next().is_multiple_of(4);
                let start = Instant::now();
                if let Some(child) = running(&plugins[at]) {
                    let signal = if stop { Signal::STOP } else { Signal::KILL };
                    // It may have ended at this very moment.
                    let _ = kill_process(child, signal);
                    wait_until("it is dead and waited for", || !exists(child));
                    wait_until("another one answers", || call(&plugins[at], 0) == Fate::Answered);
                    let took = start.elapsed();
                    if !stop {
                        recoveries.push(took);
                    }
                }
                thread::sleep(pause.saturating_sub(start.elapsed()));
            }
        });
        let starts: u64 = plugins.iter().map(starts_of).sum();
        host.shutdown().unwrap();
        assert_eq!(host.census().children, Some(0), "nobody is left, and nobody unwaited for");
        let fates = fates.into_inner().unwrap();
        let mut counts = [0_u64; 3];
        for (at, name) in names.iter().enumerate() {
            let done = executed(&ledger(name));
            for (id, times) in &done {
                assert!(*times == 1 || *id == 0, "call {id} of {name} was made {times} times");
            }
            for ((_, id), fate) in fates.iter().filter(|((of, _), _)| *of == at) {
                let made = done.contains_key(id);
                match fate {
                    Fate::Answered => assert!(made, "call {id} of {name} was answered and not made"),
                    Fate::NotMade => assert!(!made, "call {id} of {name} was made, seed {seed}"),
                    Fate::Unknown => {}
                }
                counts[*fate as usize] += 1;
            }
        }
        assert_eq!(fates.len() as u64, next.into_inner() - 1, "each call is accounted for");
        recoveries.sort();
        let p99 = recoveries[recoveries.len() * 99 / 100];
        let [answered, unknown, not_made] = counts;
        println!(
            "{answered} calls answered, {unknown} cut off, {not_made} not made, {starts} starts, \
             {} kills, 99 % answer again within {p99:?}",
            recoveries.len()
        );
        assert!(answered > 1000, "{answered}");
        if is_campaign {
            assert!(p99 < Duration::from_secs(1), "{p99:?}");
        }
    }
}

/// Calls without a deadline, and says what became of it.
fn call(plugin: &Handle, id: u64) -> Fate {
    let mut context = Context::new()
        .with("id", i64::try_from(id).unwrap())
        .with("us", 200);
    let Err(error) = plugin.call("ledger", &mut context) else {
        let done = context.get("done").unwrap().as_i64();
        assert_eq!(
            done,
            i64::try_from(id).ok(),
            "the answer is that of the call"
        );
        return Fate::Answered;
    };
    let text = error.to_string();
    match error.code() {
        "call.unavailable" if text.contains("is unknown") => Fate::Unknown,
        "call.unavailable" | "proc.exited" | "proc.unhealthy" => Fate::NotMade,
        other => panic!("{other}: {text}"),
    }
}

fn running(plugin: &Handle) -> Option<Pid> {
    let process = plugin.snapshot().current?.process?;
    Pid::from_raw(i32::try_from(process.pid?).ok()?)
}

fn starts_of(plugin: &Handle) -> u64 {
    let current = plugin.snapshot().current.unwrap();
    current.process.unwrap().starts
}

/// How often each call was made.
fn executed(ledger: &Path) -> HashMap<u64, usize> {
    let mut done = HashMap::new();
    for line in fs::read_to_string(ledger).unwrap().lines() {
        let (id, _) = line.split_once(' ').unwrap();
        *done.entry(id.parse().unwrap()).or_default() += 1;
    }
    done
}

/// The same numbers for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}
