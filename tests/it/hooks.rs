//! Hooks and events: who is asked, who is told, and that neither harms the host.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use plg_host::{
    Calls, Context, Event, Events, Handle, Hook, HookOptions, Host, Limits, Phase, Step,
    Subscription, UpgradeOptions, Verdict,
};
use plg_tests::isolated;

use crate::support::busy::{Board, busy};
use crate::support::plugins::{bad, digest, good, host, loaded, number, refused};
use crate::support::{Variant, library, stamped, wait_until};

const LONG: Duration = Duration::from_secs(60);

/// What hooks wrote down, in order.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn wait_for(&self, count: usize) -> Vec<String> {
        wait_until(&format!("{count} notes"), || {
            self.0.lock().unwrap().len() >= count
        });
        self.take()
    }
}

/// Does what the test says before, and notes what it is told after.
struct Does<F> {
    name: &'static str,
    notes: Notes,
    before: F,
}

impl<F: FnMut(&Event) -> Verdict + Send + 'static> Hook for Does<F> {
    fn before(&mut self, event: &Event) -> Verdict {
        self.notes.add(format!("{} {event}", self.name));
        (self.before)(event)
    }

    fn after(&mut self, event: &Event) {
        self.notes.add(format!("{} {event}", self.name));
    }
}

fn hook<F: FnMut(&Event) -> Verdict + Send + 'static>(
    host: &Host,
    name: &'static str,
    notes: &Notes,
    options: HookOptions,
    before: F,
) -> Subscription {
    let notes = notes.clone();
    let hook = Does {
        name,
        notes,
        before,
    };
    host.subscribe(options, hook).unwrap()
}

fn go(_: &Event) -> Verdict {
    Verdict::Go
}

fn only(steps: &[Step]) -> HookOptions {
    HookOptions {
        steps: steps.to_vec(),
        ..HookOptions::default()
    }
}

fn all_calls() -> HookOptions {
    HookOptions {
        calls: Calls::All,
        ..only(&[Step::Call])
    }
}

/// A host whose hooks have this long.
fn with_patience(hook: Duration) -> Host {
    let limits = Limits {
        hook,
        ..Limits::default()
    };
    Host::builder().limits(limits).build().unwrap()
}

fn count(plugin: &Handle) {
    plugin.call("count", &mut Context::new()).unwrap();
}

/// What a stream has by now.
fn told(events: &mut Events) -> Vec<Event> {
    std::iter::from_fn(|| events.try_next()).collect()
}

#[test]
fn hooks_are_asked_in_order_and_told_after() {
    let host = host();
    let notes = Notes::default();
    let at = |order| HookOptions {
        order,
        ..only(&[Step::Load])
    };
    let _kept = [
        hook(&host, "third", &notes, at(1), go),
        hook(&host, "first", &notes, at(-1), go),
        hook(&host, "second", &notes, at(0), go),
        hook(&host, "fourth", &notes, at(1), go),
    ];
    host.load(loaded(&[])).unwrap();
    let notes = notes.wait_for(8);
    for (name, note) in ["first", "second", "third", "fourth"].iter().zip(&notes) {
        assert_eq!(*note, format!("{name} load before: loaded 1.0.0"));
    }
    let done = notes
        .iter()
        .filter(|note| note.contains("load done: loaded 1.0.0 (generation 1)"));
    assert_eq!(done.count(), 4);
}

/// After a veto the rest is not asked; who is told of the failure is everybody.
#[test]
fn a_hook_can_veto_each_step() {
    let directory = tempfile::tempdir().unwrap();
    let notes = Notes::default();
    let host = Host::builder()
        .plugin_dir(directory.path())
        .build()
        .unwrap();
    let steps = [
        Step::Discover,
        Step::Load,
        Step::Call,
        Step::Upgrade,
        Step::Unload,
    ];
    let vetoed = Arc::new(Mutex::new(None));
    let seen = vetoed.clone();
    let options = HookOptions {
        calls: Calls::All,
        ..only(&steps)
    };
    let _one = hook(
        &host,
        "one",
        &Notes::default(),
        options.clone(),
        move |event| {
            if *seen.lock().unwrap() == Some(event.step) {
                return Verdict::Veto(format!("no {} today", event.step));
            }
            Verdict::Go
        },
    );
    let last = HookOptions {
        order: 1,
        ..options
    };
    let _two = hook(&host, "two", &notes, last, go);
    let veto = |step: Option<Step>| *vetoed.lock().unwrap() = step;
    let check = |step: Step, said: &str| {
        assert!(said.contains(&format!("no {step} today")), "{said}");
        let notes = notes.wait_for(1);
        let [note] = &notes[..] else {
            panic!("{notes:?}");
        };
        assert!(note.starts_with(&format!("two {step} failed")), "{note}");
        assert!(
            note.contains("[hook.vetoed]") && note.contains("today"),
            "{note}"
        );
    };

    veto(Some(Step::Discover));
    let report = host.load_all().unwrap();
    assert_eq!((report.loaded.len(), report.failed.len()), (0, 1));
    let error = &report.failed[0];
    assert_eq!(error.code(), "hook.vetoed");
    assert!(
        error
            .to_string()
            .contains(directory.path().to_str().unwrap()),
        "{error}"
    );
    check(Step::Discover, &error.to_string());

    veto(Some(Step::Load));
    let said = refused(host.load(loaded(&[])), "hook.vetoed");
    assert!(said.contains("`loaded`"), "{said}");
    check(Step::Load, &said);
    refused(host.plugin("loaded"), "plugin.not_found");

    veto(None);
    let plugin = host.load(loaded(&[])).unwrap();
    assert_eq!(number(&plugin, "count"), 1);
    notes.wait_for(4);

    veto(Some(Step::Call));
    let said = refused(plugin.call("count", &mut Context::new()), "hook.vetoed");
    check(Step::Call, &said);
    let said = refused(
        plugin.call("count", &mut Context::new().timeout(LONG)),
        "hook.vetoed",
    );
    check(Step::Call, &said);

    veto(Some(Step::Upgrade));
    let said = refused(host.upgrade("loaded", loaded(&["BUILD=2"])), "hook.vetoed");
    check(Step::Upgrade, &said);

    veto(Some(Step::Unload));
    let said = refused(host.unload("loaded"), "hook.vetoed");
    check(Step::Unload, &said);
    assert_eq!(plugin.generation(), Some(1));

    veto(None);
    assert_eq!(number(&plugin, "count"), 2);
    let _ = host.unload("loaded").unwrap();
}

/// Row 95.
#[test]
fn a_hook_that_panics_objects_to_nothing() {
    let host = host();
    let notes = Notes::default();
    let options = HookOptions {
        calls: Calls::All,
        ..HookOptions::default()
    };
    let options = HookOptions {
        steps: Step::ALL.to_vec(),
        ..options
    };
    let _panics = hook(&host, "panics", &notes, options.clone(), |_| {
        panic!("the hook panics")
    });
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(Self);
        }
    }
    struct Worse;
    impl Hook for Worse {
        fn after(&mut self, _: &Event) {
            std::panic::panic_any(Bomb);
        }
    }
    let _worse = host.subscribe(options.clone(), Worse).unwrap();
    let behaved = Notes::default();
    let _behaves = hook(&host, "behaves", &behaved, options, go);
    for _ in 0..3 {
        let plugin = host.load(loaded(&[])).unwrap();
        assert_eq!(number(&plugin, "build"), 1);
        let _ = host.upgrade("loaded", loaded(&["BUILD=2"])).unwrap();
        assert_eq!(number(&plugin, "build"), 2);
        let _ = host.unload("loaded").unwrap();
    }
    // Each of the five steps is asked and told about, to all of them.
    assert_eq!(notes.wait_for(30).len(), 30);
    assert_eq!(behaved.wait_for(30).len(), 30);
}

/// Blocks in `before` until the test lets it go on.
struct Blocks {
    asked: Sender<String>,
    answers: Receiver<Verdict>,
}

impl Hook for Blocks {
    fn before(&mut self, event: &Event) -> Verdict {
        let _ = self.asked.send(event.to_string());
        self.answers.recv().unwrap_or(Verdict::Go)
    }
}

#[test]
fn a_hook_that_blocks_is_left_behind_until_it_caught_up() {
    let host = with_patience(Duration::from_millis(50));
    let (asked, questions) = mpsc::channel();
    let (answer, answers) = mpsc::channel();
    let blocks = Blocks { asked, answers };
    let _blocks = host
        .subscribe(only(&[Step::Load, Step::Unload]), blocks)
        .unwrap();
    let notes = Notes::default();
    let other = HookOptions {
        order: 1,
        ..only(&[Step::Load])
    };
    let _other = hook(&host, "other", &notes, other, go);
    let start = Instant::now();
    host.load(loaded(&[])).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert!(
        questions
            .recv_timeout(LONG)
            .unwrap()
            .starts_with("load before")
    );
    assert_eq!(
        notes.wait_for(2).len(),
        2,
        "the next hook is asked all the same"
    );
    // It is not asked while it is behind.
    let _ = host.unload("loaded").unwrap();
    host.load(loaded(&[])).unwrap();
    assert_eq!(questions.try_recv().ok(), None);
    // What it says too late counts for nothing.
    answer.send(Verdict::Veto("too late".to_owned())).unwrap();
    wait_until("it to be asked again", || {
        let unloaded = thread::scope(|scope| {
            let unload = scope.spawn(|| host.unload("loaded"));
            if questions.recv_timeout(Duration::from_millis(20)).is_ok() {
                answer.send(Verdict::Veto("in time".to_owned())).unwrap();
            }
            unload.join().unwrap()
        });
        match unloaded {
            Ok(_) => {
                host.load(loaded(&[])).unwrap();
                false
            }
            Err(error) => {
                assert_eq!(error.code(), "hook.vetoed");
                true
            }
        }
    });
    assert!(host.plugin("loaded").unwrap().generation().is_some());
}

/// A call does not wait for a hook beyond its own deadline, and the hook is not behind because of it.
#[test]
fn a_hook_is_not_waited_for_beyond_a_deadline() {
    let host = with_patience(LONG * 10);
    let good = good(&host);
    let (asked, questions) = mpsc::channel();
    let (answer, answers) = mpsc::channel();
    let blocks = Blocks { asked, answers };
    let _blocks = host.subscribe(all_calls(), blocks).unwrap();
    let start = Instant::now();
    let mut ctx = Context::new().timeout(Duration::from_millis(100));
    refused(good.call("count", &mut ctx), "call.timeout");
    assert!(start.elapsed() < LONG);
    questions.recv_timeout(LONG).unwrap();
    answer.send(Verdict::Go).unwrap();
    answer
        .send(Verdict::Veto("asked again".to_owned()))
        .unwrap();
    refused(good.call("count", &mut Context::new()), "hook.vetoed");
    drop(answer);
    assert_eq!(number(&good, "count"), 1);
}

#[test]
fn a_slow_hook_misses_events_and_holds_nobody_up() {
    let host = with_patience(Duration::from_millis(50));
    let good = good(&host);
    struct Slow(Receiver<()>, Sender<u64>);
    impl Hook for Slow {
        fn after(&mut self, event: &Event) {
            let _ = self.0.recv();
            let _ = self.1.send(event.number);
        }
    }
    let (let_go, wait) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let slow = host.subscribe(all_calls(), Slow(wait, tell)).unwrap();
    let start = Instant::now();
    (0..10_000).for_each(|_| count(&good));
    // Asked once, it is not asked again while it is behind.
    assert!(start.elapsed() < LONG);
    let missed = slow.missed();
    assert!(missed > 0 && missed <= 10_000, "{missed}");
    drop(let_go);
    // What it did not miss arrives in order.
    let got: Vec<_> = (0..10_000 - missed)
        .map(|_| told.recv_timeout(LONG).unwrap())
        .collect();
    assert!(got.is_sorted());
    assert_eq!(number(&good, "count"), 10_001);
}

/// Calls and changes from within a hook are not told to that very hook, which could not answer.
#[test]
fn a_hook_may_use_the_host() {
    let host = Arc::new(with_patience(LONG * 10));
    let good = good(&host);
    let notes = Notes::default();
    let (used, start) = (Arc::downgrade(&host), Instant::now());
    let options = HookOptions {
        steps: Step::ALL.to_vec(),
        ..all_calls()
    };
    let kept = hook(&host, "uses", &notes, options, move |event| {
        if let (Step::Call, Some(host)) = (event.step, used.upgrade()) {
            let other = host.load(loaded(&[])).unwrap();
            assert_eq!(number(&other, "build"), 1);
            // On another thread, and from plugin to plugin, it is still the hook that calls.
            let ctx = Context::new().timeout(LONG).with("plugin", "loaded");
            host.call("fixture-good", "forward", &mut ctx.with("label", "count"))
                .unwrap();
            let _ = host.unload("loaded").unwrap();
        }
        Verdict::Go
    });
    assert_eq!(number(&good, "count"), 1);
    let notes = notes.wait_for(2);
    assert!(notes[0].contains("call before: fixture-good"), "{notes:?}");
    assert!(notes[1].contains("call done: fixture-good"), "{notes:?}");
    assert!(start.elapsed() < LONG * 5);
    refused(
        host.call("loaded", "build", &mut Context::new()),
        "plugin.unloaded",
    );
    drop(kept);
}

#[test]
fn a_subscription_ends_when_it_is_dropped() {
    let host = host();
    let notes = Notes::default();
    let good = good(&host);
    struct Ends(Notes);
    impl Hook for Ends {
        fn before(&mut self, _: &Event) -> Verdict {
            Verdict::Veto("as long as it lives".to_owned())
        }
    }
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.add("gone".to_owned());
        }
    }
    for _ in 0..3 {
        let kept = host.subscribe(all_calls(), Ends(notes.clone())).unwrap();
        refused(good.call("build", &mut Context::new()), "hook.vetoed");
        drop(kept);
        good.call("build", &mut Context::new()).unwrap();
        assert_eq!(notes.wait_for(1), ["gone"]);
    }
}

/// One that is there from the beginning sees what one that comes later cannot.
#[test]
fn hooks_of_the_builder_last_as_long_as_the_host() {
    let notes = Notes::default();
    struct Ends(Notes);
    impl Hook for Ends {
        fn before(&mut self, event: &Event) -> Verdict {
            self.0.add(event.to_string());
            Verdict::Go
        }
        fn after(&mut self, event: &Event) {
            self.0.add(event.to_string());
        }
    }
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.add("gone".to_owned());
        }
    }
    let hook = Ends(notes.clone());
    let host = Host::builder()
        .hook(HookOptions::default(), hook)
        .build()
        .unwrap();
    let handle = host.load(loaded(&[])).unwrap();
    assert_eq!(number(&handle, "build"), 1);
    drop(host);
    let notes = notes.wait_for(4);
    assert!(notes[0].starts_with("load before: loaded"), "{notes:?}");
    assert!(notes[1].starts_with("load done: loaded"), "{notes:?}");
    assert!(notes[2].starts_with("unload done: loaded"), "{notes:?}");
    assert_eq!(notes[3], "gone");
    drop(handle);
}

/// Each hook has the calls it asked for, whatever others want.
#[test]
fn calls_are_sampled_for_each_hook() {
    let host = host();
    let good = good(&host);
    let sampled = |one_in| HookOptions {
        calls: Calls::Sampled(one_in),
        ..all_calls()
    };
    let (tens, fours, all) = (Notes::default(), Notes::default(), Notes::default());
    let _tens = hook(&host, "tens", &tens, sampled(10), go);
    let _fours = hook(&host, "fours", &fours, sampled(4), go);
    (0..400).for_each(|_| count(&good));
    // Asked before and told after.
    assert_eq!(tens.wait_for(80).len(), 80);
    assert_eq!(fours.wait_for(200).len(), 200);
    let every = hook(&host, "all", &all, all_calls(), go);
    (0..400).for_each(|_| count(&good));
    assert_eq!(all.wait_for(800).len(), 800);
    assert_eq!(tens.wait_for(80).len(), 80);
    assert_eq!(fours.wait_for(200).len(), 200);
    drop(every);
    // A plugin that is loaded later is looked at as well; zero is every one.
    let zero = Notes::default();
    let _zero = hook(&host, "zero", &zero, sampled(0), go);
    let bad = bad(&host);
    refused(bad.call("fail", &mut Context::new()), "call.failed");
    let notes = zero.wait_for(2);
    assert_eq!(
        notes[0],
        "zero call before: fixture-bad 1.0.0 (generation 1) `fail`"
    );
    assert!(notes[1].contains("call failed: fixture-bad") && notes[1].contains("[call.failed]"));
}

/// Without being asked for, calls are not told of.
#[test]
fn a_stream_tells_what_happened_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let host = host();
    let mut events = host.events();
    let mut second = host.events();
    let first = library("fixture-good", Variant::Debug);
    let plugin = host.load(&first).unwrap();
    assert_eq!(number(&plugin, "build"), 1);
    let two = stamped(directory.path(), Variant::Debug, 2);
    let _ = host.upgrade("fixture-good", &two).unwrap();
    let _ = host.rollback("fixture-good").unwrap();
    let _ = host.unload("fixture-good").unwrap();
    let told = told(&mut events);
    let words: Vec<_> = told
        .iter()
        .filter(|event| event.step != Step::Notice)
        .map(|event| (event.step, event.phase, event.generation))
        .collect();
    assert_eq!(
        words,
        [
            (Step::Load, Phase::Before, None),
            (Step::Load, Phase::Done, Some(1)),
            (Step::Upgrade, Phase::Before, None),
            (Step::Upgrade, Phase::Done, Some(2)),
            (Step::Upgrade, Phase::Before, Some(2)),
            (Step::Upgrade, Phase::Done, Some(3)),
            (Step::Unload, Phase::Before, Some(3)),
            (Step::Unload, Phase::Done, Some(3)),
        ]
    );
    let done = |generation| {
        let of =
            |event: &&Event| (event.phase, event.generation) == (Phase::Done, Some(generation));
        told.iter().find(of).unwrap()
    };
    for (generation, library) in [(1, &first), (2, &two), (3, &first)] {
        let event = done(generation);
        assert_eq!(event.plugin.as_ref().unwrap().as_str(), "fixture-good");
        assert_eq!(event.version.as_ref().unwrap().to_string(), "1.0.0");
        assert_eq!(event.digest, Some(digest(library)));
        assert_eq!(event.code, None);
        assert!(event.at.elapsed().unwrap() < LONG);
    }
    assert!(told.iter().map(|event| event.number).is_sorted());
    assert_eq!(
        (events.missed(), events.next_within(Duration::ZERO)),
        (0, None)
    );
    // Every stream has all of them.
    assert_eq!(self::told(&mut second), told);
}

/// Whatever fails is told of once.
#[test]
fn each_failure_is_one_event() {
    let directory = tempfile::tempdir().unwrap();
    let host = host();
    let plugin = host.load(loaded(&[])).unwrap();
    let mut events = host.events();
    let mut check = |step: Step, code: &str, of: Option<&str>| {
        let told = told(&mut events);
        let failed: Vec<_> = told
            .iter()
            .filter(|event| event.phase == Phase::Failed)
            .collect();
        let [event] = &failed[..] else {
            panic!("{told:?}");
        };
        assert_eq!((event.step, event.code), (step, Some(code)), "{event}");
        let name = event.plugin.as_ref().map(plg_host::PluginName::as_str);
        assert_eq!(name, of, "{event}");
        assert!(
            !event.message.is_empty() && event.path.is_some(),
            "{event:?}"
        );
        assert!(
            !told.iter().any(|event| event.phase == Phase::Done),
            "{told:?}"
        );
    };
    let missing = directory.path().join("missing.so");
    let code = host.load(&missing).unwrap_err().code();
    check(Step::Load, code, None);
    let code = host
        .load_pinned(&missing, digest(&loaded(&[])))
        .unwrap_err()
        .code();
    check(Step::Load, code, None);
    let code = host.upgrade("loaded", &missing).unwrap_err().code();
    check(Step::Upgrade, code, None);
    refused(host.load(loaded(&["BUILD=2"])), "plugin.loaded");
    check(Step::Load, "plugin.loaded", Some("loaded"));
    refused(
        host.load(loaded(&["NAME=\"refuses\"", "INIT_REFUSE"])),
        "native.init",
    );
    check(Step::Load, "native.init", Some("refuses"));
    refused(
        host.upgrade("loaded", loaded(&["INIT_REFUSE"])),
        "native.init",
    );
    check(Step::Upgrade, "native.init", Some("loaded"));
    let options = UpgradeOptions::default();
    let older = loaded(&["VERSION=\"0.9.0\""]);
    refused(
        host.upgrade_with("loaded", older, options),
        "upgrade.rollback_denied",
    );
    check(Step::Upgrade, "upgrade.rollback_denied", Some("loaded"));
    refused(host.rollback("loaded"), "upgrade.no_previous");
    check(Step::Upgrade, "upgrade.no_previous", Some("loaded"));
    assert_eq!(number(&plugin, "build"), 1);
}

#[test]
fn a_stream_that_nobody_reads_misses_events() {
    let host = host();
    let good = good(&host);
    let _calls = hook(&host, "calls", &Notes::default(), all_calls(), go);
    let mut events = host.events();
    (0..3_000).for_each(|_| count(&good));
    let missed = events.missed();
    assert_eq!(missed, 6_000 - 4_096);
    assert_eq!(told(&mut events).len(), 4_096);
    drop(events);
    assert_eq!(number(&good, "count"), 3_001);
}

/// Even while handles and lost threads keep parts of it.
#[test]
fn a_stream_ends_with_its_host() {
    let host = host();
    let handle = host.load(loaded(&[])).unwrap();
    let _kept = hook(&host, "kept", &Notes::default(), HookOptions::default(), go);
    let events = host.events();
    let (begin, begun) = mpsc::channel();
    thread::spawn(move || {
        begin.send(None).unwrap();
        let last = events.last();
        begin
            .send(last.map(|event| (event.step, event.phase)))
            .unwrap();
    });
    assert_eq!(begun.recv_timeout(LONG).unwrap(), None);
    drop(host);
    let last = begun.recv_timeout(LONG).unwrap();
    assert_eq!(last, Some((Step::Unload, Phase::Done)));
    refused(handle.call("build", &mut Context::new()), "plugin.unloaded");
}

/// Subscribing and calling at the same time: from then on every call is seen.
#[test]
fn a_hook_sees_every_call_after_it_subscribed() {
    let host = host();
    let (busy, board) = (busy(&host), Board::new());
    board.open();
    for round in 0..200 {
        let vetoes = |_: &Event| Verdict::Veto("seen".to_owned());
        thread::scope(|scope| {
            let caller = scope.spawn(|| {
                // While nobody wants calls any more, the plugin forgets that somebody did.
                (0..20).for_each(|_| drop(busy.call("linger", &mut board.context())));
            });
            let kept = hook(&host, "vetoes", &Notes::default(), all_calls(), vetoes);
            let outcome = busy.call("build", &mut Context::new());
            assert!(outcome.is_err(), "the call was not seen in round {round}");
            caller.join().unwrap();
            drop(kept);
        });
    }
}

isolated! {
    /// Threads of hooks end with their subscriptions.
    fn hooks_leave_no_threads() {
        let host = host();
        let before = host.census().threads;
        for _ in 0..50 {
            let kept = hook(&host, "short", &Notes::default(), HookOptions::default(), go);
            drop(host.events());
            drop(kept);
        }
        wait_until("the threads to end", || host.census().threads == before);
    }
}
