//! A new build that answers a share of the calls before it answers all.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::quality::FixedState;
use plg_packaging::Digest;
use semver::Version;

use super::gate::Gate;
use super::generation::Generation;
use super::trial::{Bounds, Trial};
use crate::metrics::{Counts, PLACES};

/// How a build goes from a share of the calls to all of them.
///
/// ```
/// use plg_host::CanaryOptions;
///
/// let careful = CanaryOptions { stages: vec![1, 5, 25], ..CanaryOptions::default() };
/// assert_eq!(careful.panics, 0);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CanaryOptions {
    /// The shares in percent, one after the other. After the last one the build answers all calls.
    pub stages: Vec<u32>,
    /// How many calls the new build answers in each stage before the next begins.
    pub calls: u64,
    /// The new build goes when more calls than this fail in one stage, panics included.
    pub errors: usize,
    /// The new build goes when more calls than this panic in one stage.
    pub panics: usize,
    /// Lets an older version be tried on a newer one.
    pub allow_downgrade: bool,
}

impl Default for CanaryOptions {
    /// 1, 10, 50 and 100 % with 1,000 calls each; 10 errors or one panic end it.
    fn default() -> Self {
        Self {
            stages: vec![1, 10, 50, 100],
            calls: 1_000,
            errors: 10,
            panics: 0,
            allow_downgrade: false,
        }
    }
}

/// The canary of a plugin at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CanarySnapshot {
    /// The number of its generation.
    pub generation: u64,
    /// Its version.
    pub version: Version,
    /// The SHA-256 of its file.
    pub digest: Option<Digest>,
    /// How much of the calls it is given, in percent.
    pub share: u32,
    /// Calls that it answered since it began.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
    /// Calls that the other build answered since.
    pub other_calls: u64,
    /// How many of them failed.
    pub other_failures: u64,
}

/// The place of a plugin's canary.
pub(super) struct Canary {
    /// Its calls are counted apart from those of the other build.
    pub(super) gate: Gate<Generation, Counts>,
    /// In percent; 0 without a canary.
    share: AtomicU32,
    course: Mutex<Option<Course>>,
}

/// A canary under way.
#[derive(Clone)]
pub(super) struct Course {
    pub(super) generation: Arc<Generation>,
    options: CanaryOptions,
    stage: usize,
    pub(super) trial: Arc<Trial>,
    /// What both gates had counted when it began.
    before: (Tally, Tally),
}

/// Calls and failures.
type Tally = (u64, u64);

/// What comes after a stage.
pub(super) enum Next {
    /// A larger share.
    Stage(u32),
    /// All calls, for good.
    Promote,
}

impl Canary {
    pub(super) fn new(lanes: usize) -> Self {
        Self {
            gate: Gate::new(lanes),
            share: AtomicU32::new(0),
            course: Mutex::default(),
        }
    }

    /// Whether a call with this key, or this number without one, goes to the canary. The same key goes
    /// the same way as long as the share only grows.
    pub(super) fn takes(&self, key: Option<&str>, number: u64) -> bool {
        let hasher = FixedState::with_seed(0x706c_675f_6361_6e61);
        let hash = match key {
            Some(key) => hasher.hash_one(key),
            None => hasher.hash_one(number),
        };
        hash % 100 < u64::from(self.share.load(Ordering::Relaxed))
    }

    pub(super) fn begin(&self, generation: Arc<Generation>, options: CanaryOptions, main: Tally) {
        let trial = trial(&options);
        let share = options.stages.first().copied().unwrap_or(100).min(100);
        let own = self.tally();
        *self.lock() = Some(Course {
            generation: generation.clone(),
            options,
            stage: 0,
            trial,
            before: (own, main),
        });
        let _ = self.gate.publish(Some(generation));
        self.share.store(share, Ordering::Relaxed);
    }

    /// The trial of the stage that goes on.
    pub(super) fn trial(&self) -> Option<Arc<Trial>> {
        self.lock().as_ref().map(|course| course.trial.clone())
    }

    /// The trial of this generation, if it is the canary.
    pub(super) fn trial_of(&self, generation: u64) -> Option<Arc<Trial>> {
        let course = self.lock();
        let course = course.as_ref()?;
        (course.generation.number == generation).then(|| course.trial.clone())
    }

    pub(super) fn generation(&self) -> Option<Arc<Generation>> {
        self.lock().as_ref().map(|course| course.generation.clone())
    }

    /// Whether the stage that `trial` belongs to has had its calls. Says so once.
    pub(super) fn count(&self, trial: &Trial) -> bool {
        let calls = self.lock().as_ref().map(|course| course.options.calls);
        calls.is_some_and(|calls| trial.call() == calls.max(1))
    }

    /// Goes on to the next stage, or says that there is none.
    pub(super) fn advance(&self) -> Option<Next> {
        let mut course = self.lock();
        let course = course.as_mut()?;
        course.trial.end();
        course.stage += 1;
        let Some(share) = course.options.stages.get(course.stage) else {
            return Some(Next::Promote);
        };
        let share = (*share).min(100);
        course.trial = trial(&course.options);
        self.share.store(share, Ordering::Relaxed);
        Some(Next::Stage(share))
    }

    /// Ends the course. The generation is still in the gate.
    pub(super) fn end(&self) -> Option<Course> {
        self.share.store(0, Ordering::Relaxed);
        let course = self.lock().take()?;
        course.trial.end();
        Some(course)
    }

    pub(super) fn snapshot(&self, main: Tally) -> Option<CanarySnapshot> {
        let course = self.lock().clone()?;
        let (own_before, main_before) = course.before;
        let own = self.tally();
        // The main build's tally may be from before a canary that began just now.
        let since = |now: Tally, before: Tally| {
            (
                now.0.saturating_sub(before.0),
                now.1.saturating_sub(before.1),
            )
        };
        let (own, main) = (since(own, own_before), since(main, main_before));
        Some(CanarySnapshot {
            generation: course.generation.number,
            version: course.generation.manifest.version.clone(),
            digest: course.generation.digest(),
            share: self.share.load(Ordering::Relaxed),
            calls: own.0,
            failures: own.1,
            other_calls: main.0,
            other_failures: main.1,
        })
    }

    fn tally(&self) -> Tally {
        tally(self.gate.locals())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Course>> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All calls and failures of a gate.
pub(super) fn tally<'a>(lanes: impl Iterator<Item = &'a Counts>) -> Tally {
    lanes
        .flat_map(|lane| (0..PLACES).map(|place| lane.read(place)))
        .fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1))
}

fn trial(options: &CanaryOptions) -> Arc<Trial> {
    Arc::new(Trial::new(Bounds {
        errors: Some(options.errors.saturating_add(1)),
        panics: Some(options.panics.saturating_add(1)),
        within: None,
        end: None,
    }))
}
