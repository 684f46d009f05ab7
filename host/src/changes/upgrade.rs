//! Replacing a build while calls run.

use std::sync::Arc;

use semver::Version;

use crate::discovery::Candidate;
use crate::error::Error;
use crate::events::{Step, Subject};
use crate::history::{Change, Why};
use crate::inner::{Inner, take_turn};
use crate::loader::Known;
use crate::plugin::Unloaded;
use crate::plugin::generation::Generation;
use crate::plugin::record::Plugin;
use crate::plugin::trial::Trial;
use crate::plugin::turn::Turn;
use crate::upgrade::{UpgradeError, UpgradeOptions, Upgraded};

impl Inner {
    /// Replaces the plugin's build by the candidate.
    pub(crate) fn upgrade(
        &self,
        plugin: &Arc<Plugin>,
        candidate: &Candidate,
        known: Known,
        options: UpgradeOptions,
        why: Why,
    ) -> Result<Upgraded, Error> {
        let subject = Subject::of(candidate);
        let outcome = self
            .ask(Step::Upgrade, &subject)
            .and_then(|()| self.upgrade_allowed(plugin, candidate, known, options));
        match outcome {
            Ok(upgraded) => {
                self.loaded(plugin, Change::Upgraded, why, Some(&upgraded.from));
                Ok(upgraded)
            }
            Err(error) => {
                self.failed(Step::Upgrade, subject, &error);
                Err(error)
            }
        }
    }

    fn upgrade_allowed(
        &self,
        plugin: &Arc<Plugin>,
        candidate: &Candidate,
        known: Known,
        options: UpgradeOptions,
    ) -> Result<Upgraded, Error> {
        let turn = take_turn(plugin)?;
        let _ = turn.sweep();
        let from = self.check_upgrade(plugin, candidate, options.allow_downgrade)?;
        self.check_replacement(&[&candidate.manifest])?;
        let generation = self.start(plugin, &turn, candidate, known)?;
        self.put_on_trial(&generation);
        let number = generation.number;
        let retired = self.replace(plugin, &turn, generation)?;
        Ok(Upgraded {
            from,
            to: candidate.manifest.version.clone(),
            generation: number,
            retired,
        })
    }

    /// Whether the candidate may take the place of what answers; says which version that is.
    pub(crate) fn check_upgrade(
        &self,
        plugin: &Plugin,
        candidate: &Candidate,
        allow_downgrade: bool,
    ) -> Result<Version, Error> {
        let name = plugin.name();
        if candidate.manifest.name != *name {
            let (name, found) = (name.clone(), candidate.manifest.name.clone());
            return Err(UpgradeError::OtherPlugin { name, found }.into());
        }
        let Some(current) = plugin.current() else {
            return Err(self.not_loaded(plugin));
        };
        if plugin.has_canary() {
            let name = name.clone();
            return Err(UpgradeError::Canary { name }.into());
        }
        let from = current.manifest.version.clone();
        let to = candidate.manifest.version.clone();
        if to.cmp_precedence(&from).is_lt() && !allow_downgrade {
            let name = name.clone();
            return Err(UpgradeError::Downgrade { name, from, to }.into());
        }
        Ok(from)
    }

    /// From here on, failures of this generation bring the one before back.
    pub(crate) fn put_on_trial(&self, generation: &Generation) {
        if let Some(policy) = &self.setup.return_policy {
            generation.trial.get_or_init(|| Trial::of(policy));
        }
    }

    /// Puts `generation` in the place of the one that answers, with that one's state where it has some.
    pub(crate) fn replace(
        &self,
        plugin: &Arc<Plugin>,
        turn: &Turn<'_>,
        generation: Arc<Generation>,
    ) -> Result<Unloaded, Error> {
        let keeps_state = |current: &Arc<Generation>| current.transport.state_version().is_some();
        if plugin.current().as_ref().is_some_and(keeps_state) {
            return self.replace_with_state(plugin, turn, generation);
        }
        let set = self.hold_set();
        // What it needs may have gone while it was started.
        if let Err(error) = self.check_replacement(&[&generation.manifest]) {
            drop(set);
            let _ = turn.discard(generation);
            return Err(error);
        }
        let remains = turn.swap(Some(generation));
        drop(set);
        Ok(turn.retire_swapped(remains))
    }
}
