//! What a plugin hands over to its next build: new calls are held back, the old build saves, the new one
//! restores, and calls go on where they may.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::start::{Function, Refusal};
use crate::context::Context;
use crate::error::Error;
use crate::inner::Inner;
use crate::plugin::Unloaded;
use crate::plugin::generation::Generation;
use crate::plugin::record::Plugin;
use crate::plugin::turn::{Held, HeldBack, Turn};
use crate::upgrade::UpgradeError;

/// How long calls may be held back, for everything that is done meanwhile.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    began: Instant,
    limit: Duration,
}

impl Patience {
    fn left(self) -> Duration {
        self.limit.saturating_sub(self.began.elapsed())
    }
}

impl Inner {
    /// The time for handing state over, from now on.
    pub(super) fn patience(&self) -> Patience {
        Patience {
            began: Instant::now(),
            limit: self.setup.loader.limits.state,
        }
    }

    /// Replaces a generation that keeps state. Any failure leaves it answering, with its state.
    pub(super) fn replace_with_state(
        &self,
        plugin: &Arc<Plugin>,
        turn: &Turn<'_>,
        generation: Arc<Generation>,
    ) -> Result<Unloaded, Error> {
        let patience = self.patience();
        let handed_over = self.hold_back(plugin, turn, patience).and_then(|held| {
            self.hand_over(plugin, &held, &generation, patience)?;
            Ok(held)
        });
        match handed_over {
            Ok(held) => {
                let remains = turn.replace_held(held, generation);
                Ok(turn.retire_swapped(remains))
            }
            Err(error) => {
                let _ = turn.discard(generation);
                Err(error)
            }
        }
    }

    /// Holds new calls back from a plugin until nobody is inside it; none of them fails.
    pub(super) fn hold_back<'plugin>(
        &self,
        plugin: &Plugin,
        turn: &Turn<'plugin>,
        patience: Patience,
    ) -> Result<Held<'plugin>, Error> {
        let limit = patience.limit;
        turn.hold_back(patience.left()).map_err(|why| {
            let (code, message) = match why {
                HeldBack::Empty => ("plugin.unloaded", "it is not loaded any more".to_owned()),
                HeldBack::Own => (
                    "plugin.busy",
                    "the upgrade was asked for from inside a call to it".to_owned(),
                ),
                HeldBack::Calls(calls) => (
                    "call.timeout",
                    format!("{calls} calls were inside after {limit:?}"),
                ),
            };
            let code = code.to_owned();
            failed(plugin, "hold back calls", Refusal { code, message })
        })
    }

    /// Lets the old build save its state and the new one restore it.
    pub(super) fn hand_over(
        &self,
        plugin: &Arc<Plugin>,
        held: &Held<'_>,
        to: &Arc<Generation>,
        patience: Patience,
    ) -> Result<(), Error> {
        let refused = |stage, code: &str, message| {
            let code = code.to_owned();
            failed(plugin, stage, Refusal { code, message })
        };
        let state = held
            .generation()
            .map(|from| (from, from.transport.state_version()));
        let Some((from, Some(version))) = state else {
            return Ok(());
        };
        if to.transport.state_version().is_none() {
            let message = "the new build cannot restore state".to_owned();
            return Err(refused("restore", "upgrade.state", message));
        }
        let run = |stage, generation, function, context| {
            let left = patience.left();
            if left.is_zero() {
                let message = format!("nothing is left of {:?}", patience.limit);
                return Err(refused(stage, "call.timeout", message));
            }
            self.run(plugin, generation, function, context, left)
                .map_err(|refusal| failed(plugin, stage, refusal))
        };
        let saved = run("save", from, Function::Save, Context::new())?;
        let (bytes, limit) = (saved.bytes(), self.setup.loader.limits.state_bytes);
        if bytes > limit {
            let message = format!("the state has {bytes} bytes, the limit is {limit}");
            return Err(refused("save", "upgrade.state", message));
        }
        if !saved.is_empty() {
            run("restore", to, Function::Restore(version), saved)?;
        }
        Ok(())
    }
}

fn failed(plugin: &Plugin, stage: &'static str, refusal: Refusal) -> Error {
    UpgradeError::State {
        name: plugin.name().clone(),
        stage,
        code: refusal.code,
        message: refusal.message,
    }
    .into()
}
