//! A new build that answers a share of the calls before it answers all.

use std::sync::Arc;

use plg_packaging::PluginName;

use crate::discovery::Candidate;
use crate::error::Error;
use crate::events::{Phase, Step, Subject};
use crate::history::{Change, Why};
use crate::inner::{Inner, take_turn};
use crate::loader::Known;
use crate::plugin::record::Plugin;
use crate::plugin::trial::Tripped;
use crate::plugin::{CanaryOptions, Unloaded};
use crate::upgrade::{UpgradeError, Upgraded};

impl Inner {
    /// Starts the candidate and gives it its first share of the calls; returns its generation.
    pub(crate) fn begin_canary(
        &self,
        plugin: &Arc<Plugin>,
        candidate: &Candidate,
        known: Known,
        options: CanaryOptions,
    ) -> Result<u64, Error> {
        let subject = Subject::of(candidate);
        let outcome = self
            .ask(Step::Upgrade, &subject)
            .and_then(|()| self.begin_canary_allowed(plugin, candidate, known, options));
        match &outcome {
            Ok(number) => self.tell_canary(plugin, *number, "begins".to_owned()),
            Err(error) => self.failed(Step::Upgrade, subject, error),
        }
        outcome
    }

    fn begin_canary_allowed(
        &self,
        plugin: &Arc<Plugin>,
        candidate: &Candidate,
        known: Known,
        options: CanaryOptions,
    ) -> Result<u64, Error> {
        let turn = take_turn(plugin)?;
        let _ = turn.sweep();
        self.check_upgrade(plugin, candidate, options.allow_downgrade)?;
        self.check_replacement(&[&candidate.manifest])?;
        let generation = self.start(plugin, &turn, candidate, known)?;
        let state = plugin
            .current()
            .and_then(|current| current.transport.state_version());
        if state.is_some() {
            // Two builds that each have a part of the state would both be wrong.
            let _ = turn.discard(generation);
            return Err(UpgradeError::State {
                name: plugin.name().clone(),
                stage: "share calls",
                code: "upgrade.state".to_owned(),
                message: "a plugin that keeps state cannot be two builds at once".to_owned(),
            }
            .into());
        }
        let number = generation.number;
        turn.begin_canary(generation, options);
        Ok(number)
    }

    /// The canary had the calls of its stage.
    pub(crate) fn advance_canary(&self, name: &PluginName, generation: u64) {
        let Some(plugin) = self.catalog.find(name.as_str()).cloned() else {
            return;
        };
        let Some(turn) = plugin.take_turn() else {
            return;
        };
        if plugin.canary_generation() != Some(generation) {
            return;
        }
        match turn.advance_canary() {
            Some(Some(share)) => {
                drop(turn);
                self.tell_canary(
                    &plugin,
                    generation,
                    format!("answers {share} % of the calls"),
                );
            }
            Some(None) => {
                drop(turn);
                // It is told as any upgrade that fails.
                let _ = self.promote_canary(&plugin, Why::Canary);
            }
            None => {}
        }
    }

    /// Gives the canary all calls.
    pub(crate) fn promote_canary(&self, plugin: &Arc<Plugin>, why: Why) -> Result<Upgraded, Error> {
        let turn = take_turn(plugin)?;
        let from = plugin.current();
        let from = from.map(|current| current.manifest.version.clone());
        let (Some((generation, unloaded)), Some(from)) = (turn.promote_canary(), from) else {
            let name = plugin.name().clone();
            return Err(UpgradeError::NoCanary { name }.into());
        };
        drop(turn);
        self.put_on_trial(&generation);
        self.loaded(plugin, Change::Upgraded, why, Some(&from));
        Ok(Upgraded {
            from,
            to: generation.manifest.version.clone(),
            generation: generation.number,
            retired: unloaded.unwrap_or(Unloaded::Unmapped),
        })
    }

    /// Takes the canary out, because it failed or because somebody asked.
    pub(crate) fn end_canary(
        &self,
        plugin: &Arc<Plugin>,
        why: Option<&Tripped>,
    ) -> Option<Unloaded> {
        let turn = plugin.take_turn()?;
        let canary = plugin.canary_snapshot()?;
        let (number, unloaded) = turn.end_canary()?;
        drop(turn);
        let (code, words) = match why {
            Some(Tripped(why)) => (Some("upgrade.returned"), why.as_str()),
            None => (None, "asked for"),
        };
        self.hooks.tell(Step::Notice, Phase::Done, code, || {
            let subject = Subject {
                version: Some(canary.version.clone()),
                digest: canary.digest,
                generation: Some(number),
                ..Subject::plugin(plugin.name())
            };
            let (calls, failures) = (canary.calls, canary.failures);
            let message = format!("canary ended after {calls} calls, {failures} failed: {words}");
            (subject, message)
        });
        if let (Some(_), Some(digest)) = (why, canary.digest) {
            self.back_off(digest);
        }
        Some(unloaded)
    }

    fn tell_canary(&self, plugin: &Plugin, generation: u64, what: String) {
        self.hooks.tell(Step::Notice, Phase::Done, None, || {
            let subject = Subject {
                generation: Some(generation),
                ..Subject::plugin(plugin.name())
            };
            (subject, format!("canary {what}"))
        });
    }
}
