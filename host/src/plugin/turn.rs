//! Changing a plugin, one thread at a time: publish, hold back, retire, try again.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use plg_packaging::{Digest, Manifest};

use super::canary::{self, CanaryOptions, Next};
use super::care;
use super::gate::{Gate, Replaced};
use super::generation::Generation;
use super::record::Plugin;
use super::thread::{HERE, Number};
use super::workers::acting;
use crate::context::frame::Call;
use crate::metrics::Counts;
use crate::store::Installed;
use crate::transport::{Reason, wait};

/// What became of the code of a generation that is no longer called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Unloaded {
    /// It is gone: nothing of it is mapped.
    Unmapped,
    /// It is whole and stays mapped, for this reason. The host tries again on later loads, upgrades
    /// and unloads, now and then by itself, and on [`Host::sweep`](crate::Host::sweep).
    Retained {
        /// Why.
        reason: Reason,
    },
}

/// What changes of a plugin need to know of earlier ones.
#[derive(Default)]
pub(super) struct State {
    /// The number of the newest generation.
    pub(super) newest: u64,
    /// The thread that changes the plugin now. No lock is held meanwhile: a change calls the plugin.
    turn: Option<ThreadId>,
    pub(super) retained: Vec<Retained>,
    /// Passes of generations that went on answering: calls that began before may still be inside.
    passed: Vec<Passed>,
    previous: Option<Previous>,
}

/// The build before, kept so that it can come back.
#[derive(Debug)]
pub(crate) struct Previous {
    pub(crate) manifest: Manifest,
    pub(crate) directory: Option<PathBuf>,
    /// The file it was read from, which may be another build by now.
    pub(crate) origin: PathBuf,
    /// Its bytes.
    pub(crate) image: File,
    pub(crate) digest: Option<Digest>,
    pub(crate) installed: Option<Arc<Installed>>,
}

/// What is left of a generation that is no longer called.
pub(super) struct Retained {
    pub(super) number: u64,
    pub(super) version: semver::Version,
    pub(super) mapped_bytes: usize,
    pub(super) reason: Reason,
    remains: Remains,
}

/// A generation on its way out.
pub(crate) enum Remains {
    /// Calls may be inside it.
    Replaced(Passed),
    /// Nobody is inside it, but someone may hold it.
    Held(Arc<Generation>),
    /// Nobody holds it.
    Alone(Box<Generation>),
}

/// A generation that was in a gate, and which gate that was.
pub(crate) struct Passed {
    replaced: Replaced<Generation>,
    canary: bool,
}

/// The right to change a plugin, one thread at a time.
pub(crate) struct Turn<'plugin>(pub(super) &'plugin Plugin);

/// A generation that new calls are held back from and nobody is inside. Dropping this lets calls go on
/// in it, so that they never wait for a change that ended early.
pub(crate) struct Held<'plugin> {
    plugin: &'plugin Plugin,
    /// `None` once calls go on in another one.
    generation: Option<Arc<Generation>>,
}

impl Plugin {
    /// Waits until no other thread changes this plugin; `None` when the calling thread itself does,
    /// from inside the plugin's `init` or `stop`.
    pub(crate) fn take_turn(&self) -> Option<Turn<'_>> {
        let mut state = self.lock();
        while let Some(thread) = state.turn {
            if thread == acting() {
                return None;
            }
            state = self
                .turns
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.turn = Some(acting());
        Some(Turn(self))
    }
}

impl<'plugin> Turn<'plugin> {
    /// The number for the next generation.
    pub(crate) fn next_number(&self) -> u64 {
        let mut state = self.0.lock();
        state.newest += 1;
        state.newest
    }

    /// Makes `generation` the one that every call enters from now on, and retires the one before.
    pub(crate) fn publish(&self, generation: Option<Arc<Generation>>) -> Option<Unloaded> {
        let remains = self.swap(generation)?;
        Some(self.settle(remains, true))
    }

    /// Makes `generation` the one that every call enters from now on. The one before is to be given to
    /// [`retire_swapped`](Self::retire_swapped).
    pub(crate) fn swap(&self, generation: Option<Arc<Generation>>) -> Option<Remains> {
        let goes = generation.is_none();
        if let Some(generation) = &generation {
            self.announce(generation);
        }
        let replaced = self.0.gate.publish(generation);
        if goes {
            self.0.lock().previous = None;
        } else if let Some(replaced) = &replaced {
            self.keep(replaced.value());
        }
        self.0.look_at_lost();
        let replaced = replaced?;
        Some(if self.0.faults().skip_drain {
            Remains::Held(replaced.without_drain())
        } else {
            Remains::Replaced(Passed {
                replaced,
                canary: false,
            })
        })
    }

    /// Retires a generation that was swapped out, if there was one, and waits for it.
    pub(crate) fn retire_swapped(&self, remains: Option<Remains>) -> Unloaded {
        remains.map_or(Unloaded::Unmapped, |remains| self.settle(remains, true))
    }

    /// Retires a generation that was never published.
    pub(crate) fn discard(&self, generation: Arc<Generation>) -> Unloaded {
        self.settle(Remains::Held(generation), true)
    }

    /// Keeps what brings a build back that is being replaced. One that cannot be kept cannot come back,
    /// which is said when somebody asks for it.
    fn keep(&self, replaced: &Generation) {
        let previous = replaced.previous();
        if let Err(error) = &previous {
            tracing::warn!(
                plugin = self.0.name().as_str(),
                "the build before cannot be kept: {error}"
            );
        }
        self.0.lock().previous = previous.ok();
    }

    /// Takes what brings the build before the current one back, if there is one.
    pub(crate) fn previous(&self) -> Option<Previous> {
        self.0.lock().previous.take()
    }

    /// Makes this what brings a build back, whatever was kept meanwhile.
    pub(crate) fn put_previous(&self, previous: Option<Previous>) {
        self.0.lock().previous = previous;
    }

    /// Puts back what [`previous`](Self::previous) took.
    pub(crate) fn keep_previous(&self, previous: Previous) {
        self.0.lock().previous.get_or_insert(previous);
    }

    /// Holds new calls back and waits until nobody is inside the current generation but threads that are
    /// lost: those may never leave it, and were given up by their callers.
    ///
    /// # Errors
    ///
    /// Others are still inside after `limit`. They and new ones go on in the current generation.
    pub(crate) fn hold_back(&self, limit: Duration) -> Result<Held<'plugin>, HeldBack> {
        let Some(current) = self.0.current() else {
            return Err(HeldBack::Empty);
        };
        if HERE.with(|here| self.0.gate.is_inside(Number::of(here))) {
            return Err(HeldBack::Own);
        }
        self.0.pause(current.clone());
        let held = Held {
            plugin: self.0,
            generation: Some(current),
        };
        let Some(replaced) = self.0.gate.publish(None) else {
            return Err(HeldBack::Empty);
        };
        let mut passed = Passed {
            replaced,
            canary: false,
        };
        let gone = || passed.is_drained(self.0) || self.0.are_lost(passed.replaced.lanes());
        let drained = wait(limit, gone);
        let calls = passed.replaced.calls();
        self.0.lock().passed.push(passed);
        if drained {
            Ok(held)
        } else {
            Err(HeldBack::Calls(calls))
        }
    }

    /// Lets calls go on in `next`; the one that they were held back from is to be retired.
    pub(crate) fn replace_held(
        &self,
        mut held: Held<'_>,
        next: Arc<Generation>,
    ) -> Option<Remains> {
        let before = held.generation.take()?;
        self.announce(&next);
        self.keep(&before);
        let _ = self.0.gate.publish(Some(next));
        self.0.resume();
        self.0.look_at_lost();
        Some(Remains::Held(before))
    }

    /// Gives `generation` a share of the calls.
    pub(crate) fn begin_canary(&self, generation: Arc<Generation>, options: CanaryOptions) {
        self.announce(&generation);
        let main = canary::tally(self.0.gate.locals());
        self.0.canary.begin(generation, options, main);
        self.0.care.add(care::Reason::Canary);
    }

    /// Goes on to the canary's next stage; the share, or `None` when it is to be promoted.
    pub(crate) fn advance_canary(&self) -> Option<Option<u32>> {
        Some(match self.0.canary.advance()? {
            Next::Stage(share) => Some(share),
            Next::Promote => None,
        })
    }

    /// The build that answers a share of the calls.
    pub(crate) fn canary(&self) -> Option<Arc<Generation>> {
        self.0.canary.generation()
    }

    /// Gives the canary all calls and retires the other build.
    pub(crate) fn promote_canary(&self) -> Option<Unloaded> {
        let course = self.0.canary.end()?;
        let remains = self.swap(Some(course.generation));
        self.close_canary_gate();
        Some(self.retire_swapped(remains))
    }

    /// Takes the canary's calls away and retires it.
    pub(crate) fn end_canary(&self) -> Option<(u64, Unloaded)> {
        let course = self.0.canary.end()?;
        let number = course.generation.number;
        drop(course);
        self.0.care.remove(care::Reason::Canary);
        let replaced = self.0.canary.gate.publish(None)?;
        self.0.look_at_lost();
        let remains = Remains::Replaced(Passed {
            replaced,
            canary: true,
        });
        Some((number, self.settle(remains, true)))
    }

    fn close_canary_gate(&self) {
        self.0.care.remove(care::Reason::Canary);
        if let Some(replaced) = self.0.canary.gate.publish(None) {
            self.0.lock().passed.push(Passed {
                replaced,
                canary: true,
            });
        }
    }

    /// Tries again what earlier retirements left.
    pub(crate) fn sweep(&self) -> Vec<(u64, Unloaded)> {
        self.let_pass();
        let retained = std::mem::take(&mut self.0.lock().retained);
        retained
            .into_iter()
            .map(|retained| (retained.number, self.settle(retained.remains, false)))
            .collect()
    }

    /// Makes the generation's labels known before its first call.
    fn announce(&self, generation: &Generation) {
        for label in &generation.manifest.labels {
            let entry = self.0.labels.entry(label);
            if let Some(recorded) = &generation.recorded {
                recorded.set_label(entry.place, entry.name());
            }
        }
        self.0.published.store(true, Ordering::Release);
    }

    /// Forgets the passes that nobody is inside any more.
    fn let_pass(&self) {
        let passed = std::mem::take(&mut self.0.lock().passed);
        let inside: Vec<_> = passed
            .into_iter()
            .filter_map(|passed| passed.drained(self.0).err())
            .collect();
        self.0.lock().passed.extend(inside);
    }

    fn settle(&self, remains: Remains, patient: bool) -> Unloaded {
        match self.retire(remains, patient) {
            Ok(()) => Unloaded::Unmapped,
            Err((remains, reason)) => {
                let generation = remains.generation();
                let retained = Retained {
                    number: generation.number,
                    version: generation.manifest.version.clone(),
                    mapped_bytes: generation.transport.mapped_bytes(),
                    reason,
                    remains,
                };
                tracing::info!(
                    plugin = self.0.name().as_str(),
                    generation = retained.number,
                    "retained: {reason}"
                );
                self.0.lock().retained.push(retained);
                Unloaded::Retained { reason }
            }
        }
    }

    /// Waits until nobody is inside, then until nobody holds it, then ends it.
    fn retire(&self, remains: Remains, patient: bool) -> Result<(), (Remains, Reason)> {
        let limits = self.0.limits_of();
        // A sweep looks and does not wait: what it finds was waited for before.
        let (drain, patience) = if patient {
            (limits.drain, limits.stop)
        } else {
            (Duration::ZERO, Duration::ZERO)
        };
        let newest = (self.0.bulkhead.newest(), self.0.sent.newest());
        let remains = match remains {
            Remains::Replaced(passed) => match self.drain(passed, drain) {
                Ok(generation) => Remains::Held(generation),
                Err(passed) => {
                    // Whoever stays inside the old code takes no place from callers of the new.
                    for lane in passed.replaced.lanes() {
                        // Those of a canary took places, and its gate shows other sequences.
                        let lane = if passed.canary { (lane.0, 0) } else { lane };
                        self.0.bulkhead.forfeit(lane, newest.0);
                        self.0.sent.forfeit(lane, newest.1);
                    }
                    let reason = Reason::Calls(passed.replaced.calls());
                    return Err((Remains::Replaced(passed), reason));
                }
            },
            remains => remains,
        };
        let generation = match remains {
            Remains::Held(generation) => match self.sole_owner(generation, patience) {
                Ok(generation) => Box::new(generation),
                Err((generation, reason)) => return Err((Remains::Held(generation), reason)),
            },
            Remains::Alone(generation) => generation,
            remains @ Remains::Replaced(_) => return Err((remains, Reason::Calls(0))),
        };
        let call = Call {
            callee: self.0,
            label: "",
        };
        HERE.with(|here| {
            // The plugin's `stop` runs on this thread, which must be known to later unloads.
            Number::of(here);
            generation.retire(here, &call, patience)
        })
        .map_err(|(generation, reason)| (Remains::Alone(generation), reason))
    }

    /// Waits for calls inside, unless one of them is the calling thread's own: that one cannot end
    /// before this returns, so it is left to a later sweep.
    fn drain(&self, mut passed: Passed, limit: Duration) -> Result<Arc<Generation>, Passed> {
        let gate = passed.gate(self.0);
        let own = HERE.with(|here| gate.is_inside(Number::of(here)));
        let limit = if own { Duration::ZERO } else { limit };
        wait(limit, || passed.is_drained(self.0));
        passed.drained(self.0)
    }

    /// A snapshot may hold the generation for a moment. A lease does for longer, and so do calls from
    /// before it was held back or promoted, and a thread that did not come back from its `init`.
    fn sole_owner(
        &self,
        generation: Arc<Generation>,
        patience: Duration,
    ) -> Result<Generation, (Arc<Generation>, Reason)> {
        wait(patience, || {
            self.let_pass();
            Arc::strong_count(&generation) == 1 || generation.leases.load(Ordering::SeqCst) > 0
        });
        Arc::try_unwrap(generation).map_err(|generation| {
            let reason = match generation.leases.load(Ordering::SeqCst) {
                0 => {
                    let lost = self.0.lost_inside(generation.number);
                    Reason::Calls(self.calls_before(&generation).max(lost).max(1))
                }
                leases => Reason::Leases(leases),
            };
            (generation, reason)
        })
    }

    /// How many calls are inside that entered before the generation was held back or promoted.
    fn calls_before(&self, generation: &Generation) -> usize {
        let state = self.0.lock();
        let of_it = |passed: &&Passed| passed.replaced.value().number == generation.number;
        let passed = state.passed.iter().filter(of_it);
        passed.map(|passed| passed.replaced.calls()).sum()
    }
}

/// Why calls could not be held back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HeldBack {
    /// There is nothing to hold them back from.
    Empty,
    /// The calling thread is inside itself, and would wait for itself.
    Own,
    /// So many stayed inside.
    Calls(usize),
}

impl Held<'_> {
    /// The generation, unless calls go on in another one.
    pub(crate) fn generation(&self) -> Option<&Arc<Generation>> {
        self.generation.as_ref()
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(generation) = self.generation.take() {
            let _ = self.plugin.gate.publish(Some(generation));
            self.plugin.resume();
        }
    }
}

impl Passed {
    fn gate<'plugin>(&self, plugin: &'plugin Plugin) -> &'plugin Gate<Generation, Counts> {
        if self.canary {
            &plugin.canary.gate
        } else {
            &plugin.gate
        }
    }

    fn is_drained(&mut self, plugin: &Plugin) -> bool {
        let gate = self.gate(plugin);
        self.replaced.is_drained(gate)
    }

    fn drained(self, plugin: &Plugin) -> Result<Arc<Generation>, Self> {
        let gate = self.gate(plugin);
        let canary = self.canary;
        let drained = self.replaced.drained(gate);
        drained.map_err(|replaced| Self { replaced, canary })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().turn = None;
        self.0.turns.notify_one();
    }
}

impl Remains {
    fn generation(&self) -> &Generation {
        match self {
            Self::Replaced(passed) => passed.replaced.value(),
            Self::Held(generation) => generation,
            Self::Alone(generation) => generation,
        }
    }
}
