//! Taking plugins out, those that need them first.

use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};

use plg_packaging::PluginName;

use crate::error::Error;
use crate::events::{Phase, Step, Subject};
use crate::history::{Change, Why};
use crate::inner::{Inner, take_turn};
use crate::plugin::Unloaded;
use crate::plugin::record::Plugin;
use crate::transport::Transport;

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

    /// Unloads every plugin, those that need others first, whatever hooks say. Programs that do not need each other
    /// are ended at the same time.
    pub(crate) fn unload_all(&self) -> Vec<(PluginName, Unloaded)> {
        let mut unloaded = Vec::new();
        for level in self.in_unload_levels() {
            for part in level.chunks(AT_ONCE) {
                unloaded.extend(self.unload_part(part).into_iter().flatten());
            }
        }
        unloaded
    }

    fn unload_part(&self, plugins: &[Arc<Plugin>]) -> Vec<Option<(PluginName, Unloaded)>> {
        let listener = tracing::dispatcher::get_default(Clone::clone);
        thread::scope(|scope| {
            let started: Vec<_> = plugins
                .iter()
                .map(|plugin| {
                    let listener = listener.clone();
                    let aside = is_program(plugin).then(|| {
                        let unload = move || {
                            tracing::dispatcher::with_default(&listener, || self.unload_one(plugin))
                        };
                        let thread = thread::Builder::new().name("plg-unload".to_owned());
                        thread.spawn_scoped(scope, unload).ok()
                    });
                    (plugin, aside.flatten())
                })
                .collect();
            let unload =
                |(plugin, aside): (&Arc<Plugin>, Option<ScopedJoinHandle<'_, _>>)| match aside {
                    // Who listens to the log may have panicked there.
                    Some(thread) => thread.join().ok().flatten(),
                    None => self.unload_one(plugin),
                };
            started.into_iter().map(unload).collect()
        })
    }

    fn unload_one(&self, plugin: &Arc<Plugin>) -> Option<(PluginName, Unloaded)> {
        let turn = plugin.take_turn()?;
        let _ = turn.sweep();
        let _ = turn.end_canary();
        let subject = plugin.subject(plugin.current().as_deref());
        let outcome = turn.publish(None)?;
        self.tell_unloaded(subject, outcome);
        self.record(Change::Unloaded, Why::Asked, plugin.name(), None);
        Some((plugin.name().clone(), outcome))
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

/// So many programs are ended at the same time.
const AT_ONCE: usize = 128;

fn is_program(plugin: &Plugin) -> bool {
    let current = plugin.current();
    current.is_some_and(|current| matches!(current.transport, Transport::Process(_)))
}
