//! Keeps a total that its callers share and a clock that ticks: state, a thread, and waiting.

mod clock;
mod hand_over;
mod state;

use std::time::Duration;

use plg_plugin_api::{Context, Error, Level, plugin};

const LABELS: [&str; 5] = [
    "counter.add",
    "counter.total",
    "counter.start",
    "counter.ticks",
    "counter.wait",
];

plugin!(
    execute,
    labels: LABELS,
    init: init,
    stop: stop,
    state: hand_over::VERSION,
    save: hand_over::save,
    restore: hand_over::restore,
);

/// How long a waiting call sleeps before it asks whether its caller has given up.
const PATIENCE: Duration = Duration::from_millis(20);

fn execute(ctx: &mut Context<'_>) -> Result<(), Error> {
    match ctx.label() {
        "counter.add" => add(ctx),
        "counter.total" => ctx.set("total", state::total()),
        "counter.start" => start(ctx),
        "counter.ticks" => ticks(ctx),
        "counter.wait" => wait(ctx),
        other => Err(Error::unknown_label(other, &LABELS)),
    }
}

fn init(ctx: &mut Context<'_>) -> Result<(), Error> {
    state::lock().stopping = false;
    ctx.log(Level::Info, "ready to count");
    Ok(())
}

fn stop(ctx: &mut Context<'_>) -> Result<(), Error> {
    state::lock().stopping = true;
    state::CHANGED.notify_all();
    let ticks = clock::join();
    if let Some(ticks) = ticks {
        ctx.log(
            Level::Debug,
            format_args!("the clock stopped after {ticks} ticks"),
        );
    }
    Ok(())
}

fn add(ctx: &mut Context<'_>) -> Result<(), Error> {
    let by = ctx.find::<i64>("by")?.unwrap_or(1);
    let total = state::add(by)?;
    ctx.set("total", total)
}

fn start(ctx: &mut Context<'_>) -> Result<(), Error> {
    let every_ms = ctx.find::<i64>("every_ms")?.unwrap_or(100);
    let started = clock::start(every_ms)?;
    ctx.set("started", started)
}

fn ticks(ctx: &mut Context<'_>) -> Result<(), Error> {
    let (ticks, ticking) = {
        let state = state::lock();
        (state.ticks, state.clock.is_some())
    };
    ctx.set("ticks", ticks)?;
    ctx.set("ticking", ticking)
}

/// Waits in short turns: a cancellation cannot wake the condition variable of a plugin.
fn wait(ctx: &mut Context<'_>) -> Result<(), Error> {
    let until: i64 = ctx.get("until")?;
    loop {
        // The host is asked while the state is unlocked: it may take its time to answer.
        let given_up = ctx.cancelled();
        let remaining = ctx.remaining();
        let turn = match remaining {
            _ if given_up => Duration::ZERO,
            Some(left) => left.min(PATIENCE),
            None => PATIENCE,
        };
        let total = state::total_within(until, turn)?;
        if total >= until {
            return ctx.set("total", total);
        }
        if given_up {
            let why = match remaining {
                Some(Duration::ZERO) => "the deadline passed",
                _ => "the caller cancelled",
            };
            let message = format!("{why} while the total was {total}, below {until}");
            return Err(Error::new("counter.cancelled", message));
        }
    }
}

#[cfg(test)]
mod tests;
