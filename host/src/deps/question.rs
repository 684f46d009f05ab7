//! What the solver is told.
//!
//! Every plugin has one release more for the solver, [`ABSENT`]. Whoever can do without a plugin also
//! takes that one, and it is taken where nobody asks for more.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::convert::Infallible;
use std::fmt;

use pubgrub::{
    Dependencies, DependencyConstraints, DependencyProvider, DerivationTree,
    PackageResolutionStatistics,
};
use thiserror::Error;

use super::alive::Alive;
use super::index::Index;
use super::search::Demand;
use super::set::{ABSENT, Rank, Ranks};
use super::settled::Settled;
use super::steps::{Decisions, steps};

/// What the solver decides.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Question {
    /// Begins it all.
    Start,
    /// Whether the plugin at that place of those that are hoped for is there: 0 or 1.
    Hope(usize),
    /// Which release of a plugin is there.
    Release(usize),
    /// In which half of a part of a circle that is cut: the circle, and where the part begins and ends. A
    /// long circle is halved and not cut at once, because the solver's work grows with the square of the
    /// number of answers.
    Cut(usize, usize, usize),
}

/// Why there is no answer, as the solver has it.
pub(super) type Tree = DerivationTree<Question, Ranks, Infallible>;

/// Plugins that depend on each other in a circle, each with the releases that do.
pub(super) type Circle = Vec<(usize, Ranks)>;

type Constraints = DependencyConstraints<Question, Ranks>;

/// One try of the solver.
pub(super) struct Attempt<'s> {
    pub(super) index: &'s Index<'s>,
    pub(super) alive: &'s Alive,
    pub(super) settled: &'s Settled,
    pub(super) demand: Demand<'s>,
    /// One place of each has to stay free.
    pub(super) circles: &'s [Circle],
    /// The step to stop at.
    pub(super) end: u64,
    /// What was decided.
    pub(super) decisions: RefCell<Decisions<Question>>,
}

/// The steps are taken.
#[derive(Debug, Error)]
#[error("too many steps")]
pub(super) struct Spent;

impl Attempt<'_> {
    fn at_the_start(&self) -> Constraints {
        let needed = self.demand.needed.iter();
        let needed = needed.map(|id| (Question::Release(*id), self.alive.ranks(*id).clone()));
        let hoped = 0..self.demand.hoped.len();
        let hoped = hoped.map(|place| (Question::Hope(place), Ranks::between(0, 2)));
        let cuts = (0..).zip(self.circles);
        let cuts = cuts.map(|(place, circle)| (Question::Cut(place, 0, circle.len()), halves()));
        needed.chain(hoped).chain(cuts).collect()
    }

    /// A plugin that is there needs at least what all of its releases need. That follows from each of
    /// them as well, but so it is seen before one is chosen.
    fn of_hope(&self, id: usize, is_there: bool) -> Constraints {
        if !is_there {
            return [(Question::Release(id), Ranks::one(ABSENT))]
                .into_iter()
                .collect();
        }
        let alive = self.alive.ranks(id);
        let ranks = (1..=self.index.newest(id)).filter(|rank| alive.has(*rank));
        let newest = self
            .index
            .edges(id, self.alive.newest(self.index, id))
            .iter();
        let needed = newest.filter(|edge| !edge.optional).filter_map(|edge| {
            let to = edge.to.filter(|to| !self.settled.has(*to))?;
            let fits = ranks.clone().try_fold(Ranks::none(), |fits, rank| {
                let edge = self
                    .index
                    .edge(id, rank, to)
                    .filter(|edge| !edge.optional)?;
                Some(fits.or(&edge.fits))
            });
            Some((Question::Release(to), fits?.and(self.alive.ranks(to))))
        });
        [(Question::Release(id), alive.clone())]
            .into_iter()
            .chain(needed)
            .collect()
    }

    /// Nothing has to be asked of what is settled, and what is loaded asks nothing of what is loaded.
    fn of_release(&self, id: usize, rank: Rank) -> Constraints {
        let is_loaded = |id: usize| self.index.plugin(id).loaded;
        let edges = self.index.edges(id, rank).iter();
        let asked = edges.filter_map(|edge| {
            let to = edge.to.filter(|to| !self.settled.has(*to))?;
            if is_loaded(id) && is_loaded(to) {
                return None;
            }
            let fits = edge.fits.and(self.alive.ranks(to));
            let fits = match edge.optional {
                true => fits.or(&Ranks::one(ABSENT)),
                false => fits,
            };
            Some((Question::Release(to), fits))
        });
        asked.collect()
    }

    /// Whoever is cut out may be there in a release that is no part of the circle.
    fn of_cut(&self, circle: usize, start: usize, end: usize, half: Rank) -> Constraints {
        let middle = start.midpoint(end);
        let (start, end) = if half == 1 {
            (start, middle)
        } else {
            (middle, end)
        };
        let cut = match &self.circles[circle][start..end] {
            [(id, part)] => (Question::Release(*id), part.others()),
            _ => (Question::Cut(circle, start, end), halves()),
        };
        [cut].into_iter().collect()
    }
}

fn halves() -> Ranks {
    Ranks::between(1, 3)
}

impl DependencyProvider for Attempt<'_> {
    type P = Question;
    type V = Rank;
    type VS = Ranks;
    type Priority = (u8, Reverse<usize>);
    type M = Infallible;
    type Err = Spent;

    /// What leaves no choice is decided first, then who is there, then the releases, then where circles
    /// are cut; what nobody needs is left out at the end. Otherwise it is first come, first served.
    fn prioritize(
        &self,
        question: &Question,
        range: &Ranks,
        _: &PackageResolutionStatistics,
    ) -> Self::Priority {
        match question {
            Question::Start => (5, Reverse(0)),
            Question::Release(_) if range.has(ABSENT) => (0, Reverse(0)),
            Question::Release(id) if self.alive.count(*id) == 1 => (4, Reverse(0)),
            Question::Hope(place) => (3, Reverse(*place)),
            Question::Release(_) => (2, Reverse(0)),
            Question::Cut(..) => (1, Reverse(0)),
        }
    }

    fn choose_version(&self, question: &Question, range: &Ranks) -> Result<Option<Rank>, Spent> {
        self.decisions.borrow_mut().note(*question);
        let mut newest_first = match question {
            Question::Start => 0..=0,
            Question::Hope(_) => 0..=1,
            Question::Release(_) if range.has(ABSENT) => ABSENT..=ABSENT,
            Question::Release(id) => 1..=self.index.newest(*id),
            Question::Cut(..) => 1..=2,
        }
        .rev();
        Ok(newest_first.find(|rank| range.has(*rank)))
    }

    fn get_dependencies(
        &self,
        question: &Question,
        rank: &Rank,
    ) -> Result<Dependencies<Question, Ranks, Infallible>, Spent> {
        Ok(Dependencies::Available(match question {
            Question::Start => self.at_the_start(),
            Question::Hope(place) => self.of_hope(self.demand.hoped[*place], *rank != ABSENT),
            Question::Release(id) => self.of_release(*id, *rank),
            Question::Cut(circle, start, end) => self.of_cut(*circle, *start, *end, *rank),
        }))
    }

    fn should_cancel(&self) -> Result<(), Spent> {
        if steps() < self.end {
            Ok(())
        } else {
            Err(Spent)
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
