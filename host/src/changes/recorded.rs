//! What is written down about each change, and what it did to the process.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use plg_packaging::PluginName;

use crate::events::{Phase, Step, Subject};
use crate::history::{Build, Change, Revision, Why};
use crate::inner::Inner;
use crate::plugin::generation::Generation;
use crate::sentinel::Sentinel;

impl Inner {
    /// Adds to the history that another build of a plugin answers, or none.
    pub(crate) fn record(
        &self,
        change: Change,
        why: Why,
        plugin: &PluginName,
        current: Option<&Generation>,
    ) {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let before = recorded.remove(plugin);
        let from = before.as_ref().map(|build| Revision {
            version: build.version.clone(),
            digest: build.digest,
        });
        let current = current.and_then(|generation| {
            Some(Build {
                plugin: plugin.clone(),
                version: generation.manifest.version.clone(),
                digest: generation.digest()?,
                generation: generation.number,
                origin: generation.origin.clone(),
            })
        });
        if let Some(current) = &current {
            recorded.insert(plugin.clone(), current.clone());
        }
        // In the order of the changes; nothing of a plugin runs meanwhile.
        let history = &self.setup.history;
        match (current, before) {
            (Some(current), _) => history.record(change, why, current, from),
            (None, Some(before)) => history.record(change, why, before, None),
            (None, None) => return,
        };
    }

    /// Begins to look at the process now and then, before the first plugin runs.
    pub(crate) fn begin_rounds(&self) {
        if !self.began.swap(true, Ordering::Relaxed) {
            self.look_at_process(None);
            self.keeper.start(&self.own);
        }
    }

    /// Looks whether the process is still as it was, after a plugin was loaded or now and then.
    pub(crate) fn look_at_process(&self, loaded: Option<&PluginName>) {
        // Nobody would be told, so nobody has to wait for the look.
        if !self.hooks.are_listening() && !tracing::enabled!(tracing::Level::WARN) {
            return;
        }
        let now = Sentinel::take();
        let mut sentinel = self.sentinel.lock().unwrap_or_else(PoisonError::into_inner);
        let before = sentinel.replace(now.clone());
        drop(sentinel);
        let changes = before.map_or_else(Vec::new, |before| before.changes(&now));
        for change in changes {
            let suspects = match loaded {
                Some(plugin) => format!("since `{plugin}` was loaded"),
                None => "while plugins ran".to_owned(),
            };
            tracing::warn!("{change}, {suspects}");
            self.hooks
                .tell(Step::Notice, Phase::Done, Some(change.code()), || {
                    let subject = loaded.map(Subject::plugin).unwrap_or_default();
                    (subject, format!("{change}, {suspects}"))
                });
        }
    }
}
