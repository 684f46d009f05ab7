//! The same build somewhere else: out of this process, or into it.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use plg_packaging::PluginName;

use crate::discovery::Candidate;
use crate::error::Error;
use crate::events::{Phase, Step};
use crate::history::{Change, Why};
use crate::inner::{Inner, take_turn};
use crate::loader::{Bytes, Known, LoadError};
use crate::plugin::generation::Generation;
use crate::plugin::record::Plugin;
use crate::plugin::turn::Turn;
use crate::policy::{Placed, Placement, PolicyError};
use crate::transport::Transport;
use crate::upgrade::{UpgradeError, Upgraded};

/// Where a build is to go.
#[derive(Clone, Debug)]
pub(crate) enum Move {
    /// Out of this process, because somebody asked.
    Apart,
    /// Out of this process, because of what it did there.
    Demotion(String),
    /// Into this process, because somebody asked.
    Inline,
    /// Back into this process, because it does nothing wrong any more.
    Promotion,
}

/// Why a plugin is apart that somebody wanted there.
const ASKED: &str = "somebody asked for it";

impl Inner {
    /// Where a candidate is to run: as the policy says, and further away if somebody asked for that.
    pub(crate) fn place(&self, candidate: &Candidate) -> Result<Placed, Error> {
        let placed = self.place_by_policy(candidate)?;
        let name = &candidate.manifest.name;
        let placed = if self.apart().contains(name) {
            placed.isolated(ASKED.to_owned())
        } else {
            placed
        };
        self.check_runner(candidate, &placed)?;
        Ok(placed)
    }

    fn place_by_policy(&self, candidate: &Candidate) -> Result<Placed, Error> {
        let installed = candidate.installed.as_deref();
        let policy = &self.setup.policy;
        Ok(policy.place(&candidate.manifest, installed, candidate.is_program())?)
    }

    fn check_runner(&self, candidate: &Candidate, placed: &Placed) -> Result<(), Error> {
        let needs_one = placed.placement != Placement::InProcess && !candidate.is_program();
        if needs_one && self.setup.loader.runner.is_none() {
            let name = candidate.manifest.name.clone();
            let why = placed.because.clone();
            return Err(PolicyError::NoRunner { name, why }.into());
        }
        Ok(())
    }

    /// Moves the build that answers while calls run; `None` if it is there already.
    pub(crate) fn relocate(
        &self,
        plugin: &Arc<Plugin>,
        to: &Move,
        only: Option<u64>,
        why: Why,
    ) -> Result<Option<Upgraded>, Error> {
        let subject = plugin.subject(plugin.current().as_deref());
        let outcome = self
            .ask(Step::Upgrade, &subject)
            .and_then(|()| self.relocate_allowed(plugin, to, only));
        match outcome {
            Ok(None) => Ok(None),
            Ok(Some(moved)) => {
                self.loaded(plugin, Change::Moved, why, Some(&moved.from));
                Ok(Some(moved))
            }
            Err(error) => {
                self.failed(Step::Upgrade, subject, &error);
                Err(error)
            }
        }
    }

    fn relocate_allowed(
        &self,
        plugin: &Arc<Plugin>,
        to: &Move,
        only: Option<u64>,
    ) -> Result<Option<Upgraded>, Error> {
        let turn = take_turn(plugin)?;
        let _ = turn.sweep();
        let name = plugin.name();
        let current = plugin.current().ok_or_else(|| self.not_loaded(plugin))?;
        if plugin.has_canary() {
            return Err(UpgradeError::Canary { name: name.clone() }.into());
        }
        if only.is_some_and(|only| only != current.number) {
            return Ok(None);
        }
        let candidate = current.candidate();
        if candidate.is_program() {
            return match to {
                Move::Inline => Err(PolicyError::Program { name: name.clone() }.into()),
                Move::Apart | Move::Demotion(_) | Move::Promotion => Ok(None),
            };
        }
        if matches!(current.transport, Transport::Builtin(_)) {
            return match to {
                Move::Apart => Err(PolicyError::Builtin { name: name.clone() }.into()),
                Move::Inline | Move::Demotion(_) | Move::Promotion => Ok(None),
            };
        }
        if matches!(to, Move::Promotion) && self.apart().contains(name) {
            return Ok(None);
        }
        let placed = self.place_by_policy(&candidate)?;
        let placed = match to {
            Move::Apart => placed.isolated(ASKED.to_owned()),
            Move::Demotion(why) => placed.isolated(why.clone()),
            Move::Inline | Move::Promotion => {
                self.setup.policy.check_inline(&placed, name)?;
                Placed {
                    insist: true,
                    ..placed
                }
            }
        };
        self.check_runner(&candidate, &placed)?;
        let is_there = current.transport.is_here() == (placed.placement == Placement::InProcess);
        if !is_there {
            let moved = self.move_to(plugin, &turn, (current, candidate), placed, to)?;
            self.remember(name, to);
            return Ok(Some(moved));
        }
        self.remember(name, to);
        Ok(None)
    }

    fn move_to(
        &self,
        plugin: &Arc<Plugin>,
        turn: &Turn<'_>,
        (current, candidate): (Arc<Generation>, Candidate),
        placed: Placed,
        to: &Move,
    ) -> Result<Upgraded, Error> {
        let is_demotion = matches!(to, Move::Demotion(_));
        let start = |current: Arc<Generation>| -> Result<Arc<Generation>, Error> {
            let known = known(&current)?;
            // Who holds it keeps it from going.
            drop(current);
            let generation = self.start_at(plugin, turn, &candidate, known, placed.clone())?;
            generation.demoted.store(is_demotion, Ordering::Relaxed);
            Ok(generation)
        };
        let generation = start(current)?;
        let version = candidate.manifest.version.clone();
        let mut number = generation.number;
        // It is the same build, so the one before it is still the one to go back to.
        let previous = turn.previous();
        let mut replaced = self.replace(plugin, turn, generation);
        if let Err(error) = &replaced
            && error.code() == "upgrade.state"
            && is_demotion
            && let Some(current) = plugin.current()
        {
            let name = plugin.name().as_str();
            tracing::warn!(
                plugin = name,
                "it goes without its state: {}",
                error.in_full()
            );
            // What harms the process does not stay for the sake of a state that it does not give away.
            replaced = start(current).map(|generation| {
                number = generation.number;
                turn.retire_swapped(turn.swap(Some(generation)))
            });
        }
        turn.put_previous(previous);
        Ok(Upgraded {
            from: version.clone(),
            to: version,
            generation: number,
            retired: replaced?,
        })
    }

    fn remember(&self, name: &PluginName, to: &Move) {
        let mut apart = self.apart();
        match to {
            Move::Apart => {
                apart.insert(name.clone());
            }
            Move::Inline => {
                apart.remove(name);
            }
            Move::Demotion(_) | Move::Promotion => {}
        }
    }

    /// The generation harmed this process, or would: it goes on in one of its own, if it may.
    pub(crate) fn demote(&self, name: &PluginName, generation: u64, why: &str) {
        let Some(plugin) = self.catalog.find(name.as_str()).cloned() else {
            return;
        };
        let may = |current: &Generation| current.number == generation && current.conduct.is_some();
        if !plugin.current().is_some_and(|current| may(&current)) {
            return;
        }
        let subject = plugin.subject(plugin.current().as_deref());
        let to = Move::Demotion(why.to_owned());
        match self.relocate(&plugin, &to, Some(generation), Why::Automatic) {
            Ok(None) => {}
            Ok(Some(_)) => {
                let hooks = &self.hooks;
                hooks.tell(Step::Notice, Phase::Done, Some("plugin.isolated"), || {
                    (
                        subject,
                        format!("{why}: it goes on in a process of its own"),
                    )
                });
            }
            Err(error) => tracing::error!(
                plugin = name.as_str(),
                "{why}, and it cannot go on in a process of its own: {}",
                error.in_full()
            ),
        }
    }

    /// Brings back what the host took out of this process, where the policy says so.
    pub(crate) fn promote_clean(&self) {
        let Some(clean) = self.setup.policy.clean_before_promotion() else {
            return;
        };
        for plugin in self.catalog.all() {
            let Some(current) = plugin.current() else {
                continue;
            };
            let number = current.number;
            // What somebody wants apart stays there, whatever the host thinks of it.
            let is_due = current.demoted.load(Ordering::Relaxed)
                && current.transport.clean_for() >= clean
                && !self.apart().contains(plugin.name());
            drop(current);
            if !is_due {
                continue;
            }
            let moved = self.relocate(&plugin, &Move::Promotion, Some(number), Why::Automatic);
            if let Err(error) = moved {
                tracing::warn!(
                    plugin = plugin.name().as_str(),
                    "it cannot be brought back: {}",
                    error.in_full()
                );
            }
        }
    }

    /// The plugins that somebody wants in processes of their own.
    fn apart(&self) -> MutexGuard<'_, BTreeSet<PluginName>> {
        self.apart.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of a build that is loaded.
fn known(generation: &Generation) -> Result<Known, Error> {
    let missing = || LoadError::Image {
        path: generation.origin.clone(),
        source: io::ErrorKind::NotFound.into(),
    };
    let image = generation.transport.library().ok_or_else(missing)?;
    Ok(Known {
        bytes: Some(Bytes::of(image)?),
        digest: None,
    })
}
