//! What one build leaves to the next in an upgrade.

use plg_plugin_api::{Context, Error};

use crate::{clock, state};

/// The version of what `save` writes.
pub(crate) const VERSION: u32 = 1;

/// Calls go on meanwhile, so all of it is read under one lock; the host is called without it.
pub(crate) fn save(ctx: &mut Context<'_>) -> Result<(), Error> {
    let (total, ticks, every_ms) = {
        let state = state::lock();
        let every_ms = state.clock.as_ref().map(|clock| clock.every_ms);
        (state.total, state.ticks, every_ms)
    };
    ctx.set("total", total)?;
    ctx.set("ticks", ticks)?;
    ctx.set("every_ms", every_ms)
}

/// Begins where another build was, with a clock if that had one.
pub(crate) fn restore(ctx: &mut Context<'_>, version: u32) -> Result<(), Error> {
    if version != VERSION {
        let message = format!("the state is of version {version}, expected {VERSION}");
        return Err(Error::new("counter.state", message));
    }
    let total = ctx.get("total")?;
    let ticks = ctx.get("ticks")?;
    let every_ms: Option<i64> = ctx.get("every_ms")?;
    {
        let mut state = state::lock();
        state.total = total;
        state.ticks = ticks;
    }
    if let Some(every_ms) = every_ms {
        clock::start(every_ms)?;
    }
    Ok(())
}
