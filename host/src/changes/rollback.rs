//! The build before comes back: when somebody asks, or when the new one fails on trial.

use std::sync::Arc;

use plg_packaging::{Digest, PluginName};

use crate::discovery::Candidate;
use crate::error::Error;
use crate::events::{Phase, Step};
use crate::history::{Change, Why};
use crate::inner::{Inner, take_turn};
use crate::loader::{Bytes, Known};
use crate::plugin::record::Plugin;
use crate::plugin::trial::Tripped;
use crate::plugin::turn::{Previous, Turn};
use crate::upgrade::{UpgradeError, Upgraded};

impl Inner {
    /// Brings the build before back. If `only` is given, then only while that generation answers.
    pub(crate) fn roll_back(
        &self,
        plugin: &Arc<Plugin>,
        only: Option<u64>,
        why: Why,
    ) -> Result<Upgraded, Error> {
        let subject = plugin.subject(plugin.current().as_deref());
        let outcome = self
            .ask(Step::Upgrade, &subject)
            .and_then(|()| self.roll_back_allowed(plugin, only));
        match outcome {
            Ok(upgraded) => {
                self.loaded(plugin, Change::RolledBack, why, Some(&upgraded.from));
                Ok(upgraded)
            }
            Err(error) => {
                self.failed(Step::Upgrade, subject, &error);
                Err(error)
            }
        }
    }

    fn roll_back_allowed(
        &self,
        plugin: &Arc<Plugin>,
        only: Option<u64>,
    ) -> Result<Upgraded, Error> {
        let turn = take_turn(plugin)?;
        let _ = turn.sweep();
        let name = plugin.name();
        let Some(current) = plugin.current() else {
            return Err(self.not_loaded(plugin));
        };
        if plugin.has_canary() {
            return Err(UpgradeError::Canary { name: name.clone() }.into());
        }
        let (number, from) = (current.number, current.manifest.version.clone());
        // Who holds it keeps it from going.
        drop(current);
        if only.is_some_and(|only| only != number) {
            return Err(UpgradeError::NoPrevious { name: name.clone() }.into());
        }
        let Some(mut previous) = turn.previous() else {
            return Err(UpgradeError::NoPrevious { name: name.clone() }.into());
        };
        let outcome = self.bring_back(plugin, &turn, &mut previous);
        if outcome.is_err() {
            turn.keep_previous(previous);
        }
        outcome.map(|upgraded| Upgraded { from, ..upgraded })
    }

    fn bring_back(
        &self,
        plugin: &Arc<Plugin>,
        turn: &Turn<'_>,
        previous: &mut Previous,
    ) -> Result<Upgraded, Error> {
        let candidate = Candidate {
            manifest: previous.manifest.clone(),
            library: previous.origin.clone(),
            directory: previous.directory.clone(),
            warnings: Vec::new(),
            installed: previous.installed.clone(),
        };
        self.check_replacement(&[&candidate.manifest])?;
        let known = Known {
            bytes: Some(Bytes::kept(&previous.origin, &mut previous.image)?),
            digest: previous.digest,
        };
        let generation = self.start(plugin, turn, &candidate, known)?;
        let number = generation.number;
        let retired = if generation.transport.state_version().is_some() {
            self.replace(plugin, turn, generation)?
        } else {
            // A build that never kept state lacks none, and must not be out of reach for a later one's.
            turn.retire_swapped(turn.swap(Some(generation)))
        };
        let version = candidate.manifest.version;
        Ok(Upgraded {
            from: version.clone(),
            to: version,
            generation: number,
            retired,
        })
    }

    /// A generation on trial failed: the one before comes back, or the canary goes.
    pub(crate) fn give_back(&self, name: &PluginName, generation: u64, why: &Tripped) {
        let Some(plugin) = self.catalog.find(name.as_str()).cloned() else {
            return;
        };
        if plugin.canary_generation() == Some(generation)
            && self.end_canary(&plugin, Some((generation, why))).is_some()
        {
            return;
        }
        let failed = plugin
            .current()
            .filter(|current| current.number == generation);
        let Some(failed) = failed else {
            return;
        };
        let (subject, digest) = (plugin.subject(Some(&failed)), failed.digest());
        drop(failed);
        // Another build on trial stands in the way, and the one that it was to replace goes anyway.
        let words = "the build that it was to replace failed on trial";
        let _ = self.take_canary_out(&plugin, None, None, words);
        match self.roll_back(&plugin, Some(generation), Why::Automatic) {
            Ok(upgraded) => {
                let Tripped(why) = why;
                let back_off = digest.map(|digest| self.back_off(digest));
                self.hooks
                    .tell(Step::Notice, Phase::Done, Some("upgrade.returned"), || {
                        let (from, to) = (&upgraded.from, &upgraded.to);
                        let mut message = format!("{why}: {to} answers again instead of {from}");
                        if let Some(back_off) = back_off {
                            message +=
                                &format!("; the watch leaves that build alone for {back_off:?}");
                        }
                        (subject, message)
                    });
            }
            Err(error) => {
                tracing::error!(
                    plugin = name.as_str(),
                    "the build before cannot come back: {error}"
                );
            }
        }
    }

    /// Leaves a build alone for a while, twice as long each time.
    pub(crate) fn back_off(&self, digest: Digest) -> std::time::Duration {
        let policy = self.setup.return_policy.unwrap_or_default();
        self.failed_builds.add(digest, policy.back_off)
    }
}
