use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use plg_plugin_api::testing::{Call, Done};
use plg_plugin_api::{Error, Level, Value};

use super::hand_over::{VERSION, restore, save};
use super::{LABELS, execute, init, state, stop};

/// The plugin, freshly loaded. Its state is one for the whole process, so tests take turns.
struct Loaded {
    _turn: MutexGuard<'static, ()>,
}

fn load() -> Loaded {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    {
        let mut state = state::lock();
        state.total = 0;
        state.ticks = 0;
    }
    Call::new("").run(init).unwrap();
    Loaded { _turn: turn }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // A failed test leaves no thread to the next one.
        let _ = Call::new("").run(stop);
    }
}

fn call(label: &str) -> Result<Done, Error> {
    Call::new(label).run(execute)
}

fn number(done: &Done, key: &str) -> i64 {
    done.value(key).and_then(Value::as_i64).unwrap()
}

/// Waits on a thread of its own, as another caller would.
fn wait_in_thread(until: i64) -> thread::JoinHandle<Result<i64, Error>> {
    thread::spawn(move || {
        let done = Call::new("counter.wait")
            .with("until", until)
            .run(execute)?;
        Ok(number(&done, "total"))
    })
}

fn wait_for_ticks(ticks: i64) {
    let patience = Instant::now() + Duration::from_secs(10);
    while number(&call("counter.ticks").unwrap(), "ticks") < ticks {
        assert!(Instant::now() < patience, "the clock does not tick");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn says_that_it_is_ready() {
    let _loaded = load();
    let done = Call::new("").run(init).unwrap();
    assert_eq!(done.lines(Level::Info), ["ready to count"]);
}

#[test]
fn adds_one_or_what_it_is_told() {
    let _loaded = load();
    assert_eq!(number(&call("counter.add").unwrap(), "total"), 1);
    let done = Call::new("counter.add")
        .with("by", -3)
        .run(execute)
        .unwrap();
    assert_eq!(number(&done, "total"), -2);
    assert_eq!(number(&call("counter.total").unwrap(), "total"), -2);
}

#[test]
fn keeps_the_total_when_it_would_overflow() {
    let _loaded = load();
    call("counter.add").unwrap();
    let error = Call::new("counter.add")
        .with("by", i64::MAX)
        .run(execute)
        .unwrap_err();
    assert_eq!(error.code(), "counter.overflow");
    assert_eq!(number(&call("counter.total").unwrap(), "total"), 1);
}

#[test]
fn refuses_a_text_for_a_number() {
    let _loaded = load();
    let error = Call::new("counter.add")
        .with("by", "two")
        .run(execute)
        .unwrap_err();
    assert_eq!(error.code(), "ctx.type");
}

#[test]
fn counts_from_many_threads() {
    let _loaded = load();
    let adders: Vec<_> = (0..8)
        .map(|_| thread::spawn(|| (0..100).try_for_each(|_| call("counter.add").map(drop))))
        .collect();
    for adder in adders {
        adder.join().unwrap().unwrap();
    }
    assert_eq!(number(&call("counter.total").unwrap(), "total"), 800);
}

#[test]
fn starts_one_clock_which_ticks_until_the_plugin_stops() {
    let _loaded = load();
    let start = || {
        let done = Call::new("counter.start")
            .with("every_ms", 1)
            .run(execute)
            .unwrap();
        done.value("started").and_then(Value::as_bool).unwrap()
    };
    assert!(start());
    assert!(!start());
    wait_for_ticks(3);
    Call::new("").run(stop).unwrap();
    let done = call("counter.ticks").unwrap();
    assert_eq!(done.value("ticking"), Some(&Value::Bool(false)));
    let ticks = number(&done, "ticks");
    thread::sleep(Duration::from_millis(20));
    assert_eq!(number(&call("counter.ticks").unwrap(), "ticks"), ticks);
}

#[test]
fn refuses_an_interval_that_is_none() {
    let _loaded = load();
    for every_ms in [i64::MIN, -1, 0, 3_600_001, i64::MAX] {
        let error = Call::new("counter.start")
            .with("every_ms", every_ms)
            .run(execute)
            .unwrap_err();
        assert_eq!(error.code(), "counter.interval", "{every_ms}");
    }
}

#[test]
fn waits_until_the_total_is_reached() {
    let _loaded = load();
    let waiter = wait_in_thread(5);
    for _ in 0..5 {
        call("counter.add").unwrap();
    }
    assert_eq!(waiter.join().unwrap(), Ok(5));
}

#[test]
fn a_total_that_is_reached_needs_no_wait() {
    let _loaded = load();
    let done = Call::new("counter.wait")
        .with("until", 0)
        .cancelled()
        .run(execute)
        .unwrap();
    assert_eq!(number(&done, "total"), 0);
}

#[test]
fn gives_up_with_its_caller() {
    let _loaded = load();
    let wait = || Call::new("counter.wait").with("until", 1);

    let error = wait().cancelled().run(execute).unwrap_err();
    assert_eq!(error.code(), "counter.cancelled");
    assert!(error.message().contains("the caller cancelled"), "{error}");

    let begun = Instant::now();
    let limit = Duration::from_millis(50);
    let error = wait().timeout(limit).run(execute).unwrap_err();
    assert_eq!(error.code(), "counter.cancelled");
    assert!(error.message().contains("the deadline passed"), "{error}");
    assert!(begun.elapsed() >= limit);
}

#[test]
fn stopping_wakes_whoever_waits_and_starts_nothing_more() {
    let _loaded = load();
    let waiter = wait_in_thread(i64::MAX);
    Call::new("").run(stop).unwrap();
    let error = waiter.join().unwrap().unwrap_err();
    assert_eq!(error.code(), "counter.stopped");
    let error = call("counter.start").map(drop).unwrap_err();
    assert_eq!(error.code(), "counter.stopped");
}

#[test]
fn the_total_survives_an_upgrade() {
    let old = load();
    Call::new("counter.add").with("by", 7).run(execute).unwrap();
    let saved = Call::new("").run(save).unwrap();
    drop(old);
    let _new = load();
    assert_eq!(number(&call("counter.total").unwrap(), "total"), 0);
    saved.restore(VERSION, restore).unwrap();
    assert_eq!(number(&call("counter.add").unwrap(), "total"), 8);
    let done = call("counter.ticks").unwrap();
    assert_eq!(done.value("ticking"), Some(&Value::Bool(false)));
}

#[test]
fn a_clock_goes_on_ticking_after_an_upgrade() {
    let old = load();
    Call::new("counter.start")
        .with("every_ms", 1)
        .run(execute)
        .unwrap();
    wait_for_ticks(3);
    let saved = Call::new("").run(save).unwrap();
    let done = call("counter.ticks").unwrap();
    assert_eq!(
        done.value("ticking"),
        Some(&Value::Bool(true)),
        "the old build goes on"
    );
    drop(old);
    let _new = load();
    let ticks = number(&saved, "ticks");
    let restored = saved.restore(VERSION, restore).unwrap();
    assert_eq!(number(&restored, "every_ms"), 1);
    assert!(number(&call("counter.ticks").unwrap(), "ticks") >= ticks);
    wait_for_ticks(ticks + 3);
}

#[test]
fn takes_over_a_state_whole_or_not_at_all() {
    let _loaded = load();
    let whole = || {
        Call::new("")
            .with("total", 7)
            .with("ticks", 3)
            .with("every_ms", Value::Null)
    };
    let error = whole().restore(VERSION + 1, restore).unwrap_err();
    assert_eq!(error.code(), "counter.state");
    let error = whole()
        .with("ticks", "three")
        .restore(VERSION, restore)
        .unwrap_err();
    assert_eq!(error.code(), "ctx.type");
    let error = Call::new("")
        .with("total", 7)
        .restore(VERSION, restore)
        .unwrap_err();
    assert_eq!(error.code(), "ctx.missing");
    assert_eq!(number(&call("counter.total").unwrap(), "total"), 0);
    whole().restore(VERSION, restore).unwrap();
    assert_eq!(number(&call("counter.total").unwrap(), "total"), 7);
}

#[test]
fn names_its_labels_to_whoever_asks_for_another() {
    let error = call("counter.ad").map(drop).unwrap_err();
    assert_eq!(error.code(), "call.no_route");
    let manifest = include_str!("../plugin.json");
    for label in LABELS {
        assert!(error.message().contains(label), "{error}");
        assert!(manifest.contains(&format!("\"{label}\"")), "{label}");
    }
}
