//! What a plugin hands over to its next build: new calls are held back, the old build saves, the new one
//! restores, and calls go on where they may.

use std::sync::Arc;

use super::start::{Function, Refusal};
use crate::context::Context;
use crate::error::Error;
use crate::inner::Inner;
use crate::plugin::Unloaded;
use crate::plugin::generation::Generation;
use crate::plugin::record::Plugin;
use crate::plugin::turn::{HeldBack, Turn};
use crate::upgrade::UpgradeError;

impl Inner {
    /// Replaces a generation that keeps state. Any failure leaves it answering, with its state.
    pub(super) fn replace_with_state(
        &self,
        plugin: &Arc<Plugin>,
        turn: &Turn<'_>,
        generation: Arc<Generation>,
    ) -> Result<Unloaded, Error> {
        let held = match self.hold_back(plugin, turn) {
            Ok(held) => held,
            Err(error) => {
                let _ = turn.discard(generation);
                return Err(error);
            }
        };
        match self.hand_over(plugin, &held, &generation) {
            Ok(()) => {
                let remains = turn.replace_held(held, generation);
                Ok(turn.retire_swapped(Some(remains)))
            }
            Err(error) => {
                turn.let_go(held);
                let _ = turn.discard(generation);
                Err(error)
            }
        }
    }

    /// Holds new calls back from a plugin until nobody is inside it; none of them fails.
    pub(super) fn hold_back(
        &self,
        plugin: &Plugin,
        turn: &Turn<'_>,
    ) -> Result<Arc<Generation>, Error> {
        let limit = self.setup.loader.limits.state;
        turn.hold_back(limit).map_err(|why| {
            let message = match why {
                HeldBack::Empty => "it is not loaded any more".to_owned(),
                HeldBack::Calls(calls) => format!("{calls} calls were inside after {limit:?}"),
            };
            let code = "call.timeout".to_owned();
            failed(plugin, "hold back calls", Refusal { code, message })
        })
    }

    /// Lets the old build save its state and the new one restore it.
    pub(super) fn hand_over(
        &self,
        plugin: &Arc<Plugin>,
        from: &Arc<Generation>,
        to: &Arc<Generation>,
    ) -> Result<(), Error> {
        let limits = &self.setup.loader.limits;
        let refused = |stage, message| {
            let code = "upgrade.state".to_owned();
            Err(failed(plugin, stage, Refusal { code, message }))
        };
        let Some(version) = from.transport.state_version() else {
            return Ok(());
        };
        if to.transport.state_version().is_none() {
            return refused("restore", "the new build cannot restore state".to_owned());
        }
        let saved = self
            .run(plugin, from, Function::Save, Context::new(), limits.state)
            .map_err(|refusal| failed(plugin, "save", refusal))?;
        let (bytes, limit) = (saved.bytes(), limits.state_bytes);
        if bytes > limit {
            return refused(
                "save",
                format!("the state has {bytes} bytes, the limit is {limit}"),
            );
        }
        if saved.is_empty() {
            return Ok(());
        }
        let restore = Function::Restore(version);
        self.run(plugin, to, restore, saved, limits.state)
            .map_err(|refusal| failed(plugin, "restore", refusal))?;
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
