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
use crate::plugin::turn::Turn;
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
        let state = plugin
            .current()
            .and_then(|current| current.transport.state_version());
        if state.is_some() {
            // Two builds that each have a part of the state would both be wrong.
            return Err(UpgradeError::State {
                name: plugin.name().clone(),
                stage: "share calls",
                code: "upgrade.state".to_owned(),
                message: "a plugin that keeps state cannot be two builds at once".to_owned(),
            }
            .into());
        }
        let generation = self.start(plugin, &turn, candidate, known)?;
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
                let what = format!("answers {share} % of the calls");
                self.tell_canary(&plugin, generation, what);
            }
            Some(None) => {
                if let Err(error) = self.promote_canary_now(&plugin, turn, Why::Canary) {
                    let subject = plugin.subject(None);
                    self.failed(Step::Upgrade, subject, &error);
                    let words = format!("it cannot be promoted: {error}");
                    let _ = self.take_canary_out(&plugin, Some(generation), None, &words);
                }
            }
            None => {}
        }
    }

    /// Gives the canary all calls.
    pub(crate) fn promote_canary(&self, plugin: &Arc<Plugin>, why: Why) -> Result<Upgraded, Error> {
        let turn = take_turn(plugin)?;
        self.promote_canary_now(plugin, turn, why)
    }

    fn promote_canary_now(
        &self,
        plugin: &Arc<Plugin>,
        turn: Turn<'_>,
        why: Why,
    ) -> Result<Upgraded, Error> {
        let no_canary = || UpgradeError::NoCanary {
            name: plugin.name().clone(),
        };
        let (Some(current), Some(generation)) = (plugin.current(), turn.canary()) else {
            return Err(no_canary().into());
        };
        // Others may have been loaded since it began.
        self.check_replacement(&[&generation.manifest])?;
        self.put_on_trial(&generation);
        let from = current.manifest.version.clone();
        let to = generation.manifest.version.clone();
        let number = generation.number;
        drop((current, generation));
        let retired = turn.promote_canary().ok_or_else(no_canary)?;
        drop(turn);
        self.loaded(plugin, Change::Upgraded, why, Some(&from));
        Ok(Upgraded {
            from,
            to,
            generation: number,
            retired,
        })
    }

    /// Takes the canary out, because this generation of it failed or because somebody asked.
    pub(crate) fn end_canary(
        &self,
        plugin: &Plugin,
        failed: Option<(u64, &Tripped)>,
    ) -> Option<Unloaded> {
        let Some((generation, Tripped(why))) = failed else {
            return self.take_canary_out(plugin, None, None, "asked for");
        };
        self.take_canary_out(plugin, Some(generation), Some("upgrade.returned"), why)
    }

    /// Takes the canary out; if `only` is given, then only while it is that generation. A code says that it
    /// failed.
    pub(super) fn take_canary_out(
        &self,
        plugin: &Plugin,
        only: Option<u64>,
        code: Option<&'static str>,
        why: &str,
    ) -> Option<Unloaded> {
        let turn = plugin.take_turn()?;
        let canary = plugin.canary_snapshot()?;
        if only.is_some_and(|only| only != canary.generation) {
            return None;
        }
        let (number, unloaded) = turn.end_canary()?;
        drop(turn);
        self.hooks.tell(Step::Notice, Phase::Done, code, || {
            let subject = Subject {
                version: Some(canary.version.clone()),
                digest: canary.digest,
                generation: Some(number),
                ..Subject::plugin(plugin.name())
            };
            let (calls, failures) = (canary.calls, canary.failures);
            let message = format!("canary ended after {calls} calls, {failures} failed: {why}");
            (subject, message)
        });
        if let (Some(_), Some(digest)) = (code, canary.digest) {
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
