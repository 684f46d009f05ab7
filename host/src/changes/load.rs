//! Loading a plugin that is not loaded.

use std::path::Path;
use std::sync::Arc;

use plg_packaging::{Digest, PluginName};

use crate::builder::Filter;
use crate::discovery::{self, Candidate, Discovery};
use crate::error::Error;
use crate::events::{Phase, Step, Subject};
use crate::history::{Change, Why};
use crate::host::LoadReport;
use crate::inner::{Inner, take_turn};
use crate::loader::Known;
use crate::plugin::Handle;
use crate::plugin::generation::Generation;
use crate::plugin::record::Plugin;
use crate::plugin::turn::Turn;

impl Inner {
    /// What the plugin directories hold, and which of them hooks had passed over.
    pub(crate) fn discover(&self) -> (Discovery, Vec<Error>) {
        let (mut all, mut vetoed) = (Discovery::default(), Vec::new());
        for directory in &self.setup.directories {
            let subject = Subject {
                path: Some(directory.clone()),
                ..Subject::default()
            };
            if let Err(error) = self.ask(Step::Discover, &subject) {
                tracing::warn!("`{}` is passed over: {error}", directory.display());
                self.failed(Step::Discover, subject, &error);
                vetoed.push(error);
                continue;
            }
            let found = discovery::discover(directory, &self.setup.discovery);
            self.hooks.tell(Step::Discover, Phase::Done, None, || {
                let (plugins, problems) = (found.candidates.len(), found.problems.len());
                (subject, format!("{plugins} plugins, {problems} problems"))
            });
            all.candidates.extend(found.candidates);
            all.problems.extend(found.problems);
        }
        all.candidates
            .retain(|candidate| self.is_wanted(&candidate.manifest.name));
        (all, vetoed)
    }

    /// Whether the app asked for plugins of that name.
    pub(crate) fn is_wanted(&self, name: &PluginName) -> bool {
        let filter = self.setup.filter.as_ref();
        filter.is_none_or(|Filter(wanted)| wanted(name.as_str()))
    }

    /// Loads every plugin of the plugin directories that is not loaded yet, those that others need first.
    pub(crate) fn load_all(&self) -> Result<LoadReport, Error> {
        let (found, vetoed) = self.discover();
        let problems = found.problems.into_iter().map(Error::from);
        let mut report = LoadReport {
            loaded: Vec::new(),
            failed: vetoed.into_iter().chain(problems).collect(),
        };
        let (installed, unfit) = self.all_installed();
        report.failed.extend(unfit);
        let mut candidates = found.candidates;
        candidates.extend(installed);
        let (programs, skipped) = self.contract_programs();
        candidates.extend(programs);
        report.failed.extend(skipped);
        let (order, refused) = self.plan(&candidates);
        report.failed.extend(refused);
        for candidate in order {
            match self.load(candidate, Known::default(), Why::Asked) {
                Ok(handle) => report.loaded.push(handle),
                Err(error) => report.failed.push(error),
            }
        }
        Ok(report)
    }

    /// The candidate at `path`, for a `step`, with its bytes if they had to be read.
    pub(crate) fn read(&self, step: Step, path: &Path) -> Result<(Candidate, Known), Error> {
        match discovery::read_candidate(path, &self.setup.discovery) {
            Ok((candidate, bytes)) => {
                let digest = None;
                Ok((candidate, Known { bytes, digest }))
            }
            Err(error) => {
                let subject = Subject {
                    path: Some(path.to_owned()),
                    ..Subject::default()
                };
                let error = error.into();
                self.failed(step, subject, &error);
                Err(error)
            }
        }
    }

    /// Loads a plugin whose dependencies are met; one that is loaded from the same bytes is what was
    /// asked for.
    pub(crate) fn load(
        &self,
        candidate: &Candidate,
        known: Known,
        why: Why,
    ) -> Result<Handle, Error> {
        let subject = Subject::of(candidate);
        let outcome = self
            .ask(Step::Load, &subject)
            .and_then(|()| self.load_allowed(candidate, known));
        match outcome {
            Ok((handle, false)) => Ok(handle),
            Ok((handle, true)) => {
                let plugin = handle.plugin();
                self.loaded(plugin, Change::Loaded, why, None);
                Ok(handle)
            }
            Err(error) => {
                self.failed(Step::Load, subject, &error);
                Err(error)
            }
        }
    }

    /// The plugin, and whether it was loaded just now.
    fn load_allowed(&self, candidate: &Candidate, known: Known) -> Result<(Handle, bool), Error> {
        let plugin = self.entry(candidate);
        let turn = take_turn(&plugin)?;
        let _ = turn.sweep();
        if let Some(current) = plugin.current() {
            let bytes = self.setup.loader.read(candidate, known)?;
            let same = current.digest() == Some(Digest::of(bytes.as_slice()));
            drop(turn);
            return if same {
                Ok((Handle::new(plugin), false))
            } else {
                let name = candidate.manifest.name.clone();
                Err(Error::Loaded { name })
            };
        }
        self.check_replacement(&[&candidate.manifest])?;
        self.begin_rounds();
        let generation = self.start(&plugin, &turn, candidate, known)?;
        self.publish(&turn, generation)?;
        drop(turn);
        Ok((Handle::new(plugin), true))
    }

    /// Lets a plugin that is not loaded answer from now on.
    pub(super) fn publish(
        &self,
        turn: &Turn<'_>,
        generation: Arc<Generation>,
    ) -> Result<(), Error> {
        let set = self.hold_set();
        // A shutdown that began meanwhile has passed this plugin by, and what it needs may be gone.
        let still = self
            .check_open()
            .and_then(|()| self.check_replacement(&[&generation.manifest]));
        if let Err(error) = still {
            drop(set);
            let _ = turn.discard(generation);
            return Err(error);
        }
        let remains = turn.swap(Some(generation));
        drop(set);
        let _ = turn.retire_swapped(remains);
        Ok(())
    }

    /// Tells and records that a plugin has another build now.
    pub(crate) fn loaded(
        &self,
        plugin: &Arc<Plugin>,
        change: Change,
        why: Why,
        from: Option<&semver::Version>,
    ) {
        let current = plugin.current();
        let step = match change {
            Change::Loaded => Step::Load,
            _ => Step::Upgrade,
        };
        self.hooks.tell(step, Phase::Done, None, || {
            let message = match from {
                Some(from) => format!("from {from}"),
                None => String::new(),
            };
            (plugin.subject(current.as_deref()), message)
        });
        self.record(change, why, plugin.name(), current.as_deref());
        self.look_at_process(Some(plugin.name()));
    }
}
