//! Taking plugins out, those that need them first.

use std::sync::Arc;

use plg_packaging::PluginName;

use crate::error::Error;
use crate::events::{Phase, Step, Subject};
use crate::history::{Change, Why};
use crate::inner::{Inner, take_turn};
use crate::plugin::Unloaded;
use crate::plugin::record::Plugin;

impl Inner {
    /// Unloads one plugin that nothing loaded needs.
    pub(crate) fn unload(&self, plugin: &Arc<Plugin>, why: Why) -> Result<Unloaded, Error> {
        let subject = plugin.subject(plugin.current().as_deref());
        let outcome = self
            .ask(Step::Unload, &subject)
            .and_then(|()| self.unload_allowed(plugin));
        match outcome {
            Ok(unloaded) => {
                self.tell_unloaded(subject, unloaded);
                self.record(Change::Unloaded, why, plugin.name(), None);
                Ok(unloaded)
            }
            Err(error) => {
                self.failed(Step::Unload, subject, &error);
                Err(error)
            }
        }
    }

    fn unload_allowed(&self, plugin: &Arc<Plugin>) -> Result<Unloaded, Error> {
        let turn = take_turn(plugin)?;
        let _ = turn.sweep();
        self.check_unload(plugin.name())?;
        let _ = turn.end_canary();
        let set = self.hold_set();
        // Another plugin that needs it may have been loaded meanwhile.
        self.check_unload(plugin.name())?;
        let Some(remains) = turn.swap(None) else {
            return Err(self.not_loaded(plugin));
        };
        drop(set);
        Ok(turn.retire_swapped(Some(remains)))
    }

    fn tell_unloaded(&self, subject: Subject, unloaded: Unloaded) {
        self.hooks.tell(Step::Unload, Phase::Done, None, || {
            let message = match unloaded {
                Unloaded::Unmapped => String::new(),
                Unloaded::Retained { reason } => format!("retained: {reason}"),
            };
            (subject, message)
        });
    }

    /// Unloads every plugin, those that need others first, whatever hooks say.
    pub(crate) fn unload_all(&self) -> Vec<(PluginName, Unloaded)> {
        let mut unloaded = Vec::new();
        for plugin in self.in_unload_order() {
            let Some(turn) = plugin.take_turn() else {
                continue;
            };
            let _ = turn.sweep();
            let _ = turn.end_canary();
            let subject = plugin.subject(plugin.current().as_deref());
            if let Some(outcome) = turn.publish(None) {
                self.tell_unloaded(subject, outcome);
                self.record(Change::Unloaded, Why::Asked, plugin.name(), None);
                unloaded.push((plugin.name().clone(), outcome));
            }
        }
        unloaded
    }

    /// Unloads a plugin and before it those that need it, in order. Stops at the first that stays.
    pub(crate) fn unload_cascade(
        &self,
        plugin: &Arc<Plugin>,
    ) -> Result<Vec<(PluginName, Unloaded)>, Error> {
        let mut unloaded = Vec::new();
        for name in self.dependants(plugin.name()) {
            if let Some(dependant) = self.catalog.find(name.as_str()).cloned() {
                unloaded.push((name, self.unload(&dependant, Why::Cascade)?));
            }
        }
        unloaded.push((plugin.name().clone(), self.unload(plugin, Why::Asked)?));
        Ok(unloaded)
    }
}
