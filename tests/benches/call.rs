//! What a call costs, against calling an exported function of the same library through a pointer.
#![expect(unsafe_code, reason = "the other side of every ratio is a raw call")]

use std::hint::{self, black_box};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use libloading::os::unix::Library;
use plg_host::{Context, Host, LabelHandle};
use plg_plugin_api::abi::{DESCRIPTOR_SYMBOL, DescriptorGetter};
use plg_tests::bench::{Bench, per_call};
use plg_tests::fixtures::{Variant, library};

/// Calls per sample: a few microseconds, so that the clock does not count and few samples are hit by
/// an interrupt.
const CALLS: u32 = 1_000;
const ROUNDS: usize = 2_001;
const RAW: &str = "dlsym pointer";

fn main() {
    let mut bench = Bench::new("call");
    let path = library("fixture-good", Variant::Release);
    // SAFETY: the fixture's constructors are its unload hooks, which do nothing yet.
    let mapping = unsafe { Library::new(&path) }.expect("the fixture can be mapped");
    // SAFETY: the ABI gives the symbol this type.
    let raw = unsafe { mapping.get::<DescriptorGetter>(DESCRIPTOR_SYMBOL) };
    let raw = *raw.expect("the fixture exports its getter");

    let host = Host::builder().build().expect("a host can be made");
    let plugin = host.load(&path).expect("the fixture can be loaded");
    let label = |name: &str| plugin.label(name).expect("the fixture has this label");

    let empty = label("bench.empty");
    let mut ctx = Context::new();
    bench.compare(
        ("label.call, empty reused context", 2.5),
        ROUNDS,
        || labelled(&empty, &mut ctx, CALLS),
        RAW,
        || pointed(raw, CALLS),
    );
    on_two_threads(&mut bench, &empty, raw);

    let mut ctx = Context::new();
    bench.compare(
        ("host.call(name, label)", 12.0),
        ROUNDS,
        || {
            per_call(CALLS, || {
                let (plugin, label) = black_box(("fixture-good", "bench.empty"));
                answered(host.call(plugin, label, &mut ctx));
            })
        },
        RAW,
        || pointed(raw, CALLS),
    );

    for (name, label_name, reach) in [
        ("one get + set, by name", "bench.name", 20.0),
        ("one get + set, interned", "bench.key", 5.0),
        ("8 get + set, by name", "bench.name8", 130.0),
        ("8 get + set, interned", "bench.key8", 40.0),
    ] {
        let mut ctx = Context::new().with("a", 1);
        if label_name.ends_with('8') {
            ctx = (0..8).map(|n| (format!("k{n}"), n)).collect();
        }
        let label = label(label_name);
        bench.compare(
            (name, reach),
            ROUNDS,
            || labelled(&label, &mut ctx, CALLS),
            RAW,
            || pointed(raw, CALLS),
        );
    }
    bench.print();
}

/// Both threads call the same side at the same time; a sample is the mean of the two. Samples are longer
/// than elsewhere, so that starting together takes a small part of them.
fn on_two_threads(bench: &mut Bench, label: &LabelHandle, raw: DescriptorGetter) {
    const LONG: u32 = 20 * CALLS;
    const NAME: &str = "label.call, the same on 2 threads";
    const STOP: usize = usize::MAX;
    if !bench.wants(NAME) {
        return;
    }
    // Twice the number of the turn, and one more when it is the raw call's.
    let turn = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let other_time = AtomicU64::new(0);
    let run = |turn: usize, ctx: &mut Context| match turn % 2 {
        0 => labelled(label, ctx, LONG),
        _ => pointed(raw, LONG),
    };
    let other_thread = || {
        let mut ctx = Context::new();
        let mut last = 0;
        loop {
            let now = spin_while(&turn, |now| now == last);
            if now == STOP {
                return;
            }
            other_time.store(run(now, &mut ctx).to_bits(), Ordering::Relaxed);
            done.store(now, Ordering::Release);
            last = now;
        }
    };
    let both = |side: usize, ctx: &mut Context| {
        let now = (turn.load(Ordering::Relaxed) / 2 + 1) * 2 + side;
        turn.store(now, Ordering::Release);
        let time = run(now, ctx);
        spin_while(&done, |done| done != now);
        f64::midpoint(time, f64::from_bits(other_time.load(Ordering::Relaxed)))
    };
    let (mut ctx, mut unused) = (Context::new(), Context::new());
    thread::scope(|scope| {
        scope.spawn(other_thread);
        bench.compare(
            (NAME, 2.5),
            ROUNDS / 4,
            || both(0, &mut ctx),
            "dlsym pointer, on 2 threads",
            || both(1, &mut unused),
        );
        turn.store(STOP, Ordering::Release);
    });
}

/// Waits without sleeping, so that both threads start at once.
fn spin_while(number: &AtomicUsize, waiting: impl Fn(usize) -> bool) -> usize {
    loop {
        let now = number.load(Ordering::Acquire);
        if !waiting(now) {
            return now;
        }
        hint::spin_loop();
    }
}

#[inline(never)]
fn labelled(label: &LabelHandle, ctx: &mut Context, calls: u32) -> f64 {
    per_call(calls, || answered(black_box(label).call(ctx)))
}

#[inline(never)]
fn pointed(raw: DescriptorGetter, calls: u32) -> f64 {
    per_call(calls, || {
        // SAFETY: the getter takes nothing and returns an address.
        black_box(unsafe { black_box(raw)() });
    })
}

#[inline(always)]
fn answered(outcome: Result<(), plg_host::Error>) {
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
