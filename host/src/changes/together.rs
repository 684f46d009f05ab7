//! Several upgrades as one change: all builds stand before one of them answers, and either all of them
//! answer or none.

use std::sync::Arc;

use plg_packaging::PluginName;

use crate::discovery::Candidate;
use crate::error::Error;
use crate::events::{Step, Subject};
use crate::history::{Change, Why};
use crate::inner::{Inner, take_turn};
use crate::loader::Known;
use crate::plugin::generation::Generation;
use crate::plugin::record::Plugin;
use crate::plugin::turn::{Held, Remains, Turn};
use crate::upgrade::{UpgradeOptions, Upgraded};

/// One of the upgrades.
pub(crate) struct Member {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) candidate: Candidate,
    pub(crate) known: Known,
}

/// One whose new build stands.
struct Standing<'plugin> {
    /// The old build, when new calls are held back from it. They go on before the turn ends.
    held: Option<Held<'plugin>>,
    turn: Turn<'plugin>,
    plugin: &'plugin Arc<Plugin>,
    candidate: &'plugin Candidate,
    from: semver::Version,
    generation: Arc<Generation>,
}

impl Inner {
    /// Upgrades all of them or none. A plugin's dependencies answer before it does, so no new build ever
    /// calls an old one that is not enough for it.
    pub(crate) fn upgrade_together(
        &self,
        mut members: Vec<Member>,
        options: UpgradeOptions,
    ) -> Result<Vec<(PluginName, Upgraded)>, Error> {
        let manifests: Vec<_> = members.iter().map(|one| &one.candidate.manifest).collect();
        let order = self.order_of(&manifests);
        members.sort_by_key(|one| order.iter().position(|name| name == one.plugin.name()));
        let subjects: Vec<_> = members
            .iter()
            .map(|one| Subject::of(&one.candidate))
            .collect();
        let asked = subjects
            .iter()
            .try_for_each(|subject| self.ask(Step::Upgrade, subject));
        let plugins: Vec<_> = members.iter().map(|one| one.plugin.clone()).collect();
        match asked.and_then(|()| self.upgrade_together_allowed(members, options)) {
            Ok(upgraded) => {
                for (plugin, (_, upgraded)) in plugins.iter().zip(&upgraded) {
                    self.loaded(
                        plugin,
                        Change::Upgraded,
                        Why::Together,
                        Some(&upgraded.from),
                    );
                }
                Ok(upgraded)
            }
            Err(error) => {
                for subject in subjects {
                    self.failed(Step::Upgrade, subject, &error);
                }
                Err(error)
            }
        }
    }

    fn upgrade_together_allowed(
        &self,
        mut members: Vec<Member>,
        options: UpgradeOptions,
    ) -> Result<Vec<(PluginName, Upgraded)>, Error> {
        // Turns are taken by name, so that two such changes never wait for each other.
        let plugins: Vec<_> = members.iter().map(|one| one.plugin.clone()).collect();
        let mut by_name: Vec<usize> = (0..plugins.len()).collect();
        by_name.sort_by_key(|index| plugins[*index].name());
        let mut turns: Vec<Option<Turn<'_>>> = plugins.iter().map(|_| None).collect();
        for index in by_name {
            turns[index] = Some(take_turn(&plugins[index])?);
        }
        let manifests: Vec<_> = members.iter().map(|one| &one.candidate.manifest).collect();
        self.check_replacement(&manifests)?;
        let knowns: Vec<_> = members
            .iter_mut()
            .map(|one| std::mem::take(&mut one.known))
            .collect();
        let mut standing: Vec<Standing<'_>> = Vec::new();
        let parts = members.iter().zip(&plugins).zip(turns).zip(knowns);
        for (((member, plugin), turn), known) in parts {
            let Some(turn) = turn else {
                continue;
            };
            let _ = turn.sweep();
            let candidate = &member.candidate;
            let started = self
                .check_upgrade(plugin, candidate, options.allow_downgrade)
                .and_then(|from| Ok((from, self.start(plugin, &turn, candidate, known)?)));
            match started {
                Ok((from, generation)) => standing.push(Standing {
                    turn,
                    plugin,
                    candidate,
                    from,
                    generation,
                    held: None,
                }),
                Err(error) => {
                    discard(standing);
                    return Err(error);
                }
            }
        }
        if let Err(error) = self.hand_over_all(&mut standing) {
            discard(standing);
            return Err(error);
        }
        Ok(publish(standing, |generation| {
            self.put_on_trial(generation)
        }))
    }

    /// Holds calls back from those that keep state, those that call others first, and hands it over.
    fn hand_over_all(&self, standing: &mut [Standing<'_>]) -> Result<(), Error> {
        let patience = self.patience();
        for one in standing.iter_mut().rev() {
            let keeps = |current: Arc<Generation>| current.transport.state_version().is_some();
            if one.plugin.current().is_some_and(keeps) {
                one.held = Some(self.hold_back(one.plugin, &one.turn, patience)?);
            }
        }
        for one in standing.iter() {
            if let Some(held) = &one.held {
                self.hand_over(one.plugin, held, &one.generation, patience)?;
            }
        }
        Ok(())
    }
}

fn publish(
    standing: Vec<Standing<'_>>,
    put_on_trial: impl Fn(&Generation),
) -> Vec<(PluginName, Upgraded)> {
    let swapped: Vec<_> = standing
        .into_iter()
        .map(|one| {
            put_on_trial(&one.generation);
            let number = one.generation.number;
            let remains: Option<Remains> = match one.held {
                Some(held) => one.turn.replace_held(held, one.generation),
                None => one.turn.swap(Some(one.generation)),
            };
            (
                one.plugin,
                one.turn,
                remains,
                one.candidate,
                one.from,
                number,
            )
        })
        .collect();
    // Nobody is waited for before all of them answer.
    swapped
        .into_iter()
        .map(|(plugin, turn, remains, candidate, from, generation)| {
            let retired = turn.retire_swapped(remains);
            let to = candidate.manifest.version.clone();
            let upgraded = Upgraded {
                from,
                to,
                generation,
                retired,
            };
            (plugin.name().clone(), upgraded)
        })
        .collect()
}

/// Lets everything go on as it was.
fn discard(mut standing: Vec<Standing<'_>>) {
    // Calls go on everywhere before anything is waited for.
    for one in standing.iter_mut().rev() {
        one.held = None;
    }
    for one in standing.into_iter().rev() {
        let _ = one.turn.discard(one.generation);
    }
}
