//! The solver, for releases that do not simply go together in their newest versions.

use std::cell::{Cell, RefCell};

use pubgrub::{PubGrubError, resolve};

use super::alive::Alive;
use super::graph::Graph;
use super::index::Index;
use super::proof::Proof;
use super::question::{Attempt, Circle, Question};
use super::set::{ABSENT, Rank, Ranks};
use super::settled::Settled;
use super::steps::steps;

/// How many steps may be taken for all that is asked in one go. Versions can be made up for which any
/// solver takes for ever.
const STEPS: u64 = 3_000_000;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand<'d> {
    /// These must be there. What is loaded and may matter is among them, and nothing that is settled.
    pub(super) needed: &'d [usize],
    /// These may be there, and the earlier before the later.
    pub(super) hoped: &'d [usize],
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Found {
    /// The releases that are there.
    Releases(Vec<(usize, Rank)>),
    /// There are none that go together.
    Nothing(Proof),
    /// Too many steps.
    GaveUp,
}

#[derive(Debug)]
pub(super) struct Search<'i> {
    index: &'i Index<'i>,
    alive: &'i Alive,
    settled: Settled,
    /// How many steps may still be taken.
    left: Cell<u64>,
}

impl<'i> Search<'i> {
    pub(super) fn new(index: &'i Index<'i>, alive: &'i Alive) -> Self {
        Self {
            index,
            alive,
            settled: Settled::of(index, alive),
            left: Cell::new(STEPS),
        }
    }

    /// Whether a plugin is there in its newest release if it is wanted, whatever else is chosen. The solver
    /// is not asked about it.
    pub(super) fn settled(&self, id: usize) -> bool {
        self.settled.has(id)
    }

    /// The newest releases that meet the demand. A plugin is decided before what it depends on, and one
    /// that was decided before another is not made older for its sake.
    ///
    /// It may take half of the steps that are left, so that there are some for the next.
    pub(super) fn run(&self, demand: Demand<'_>) -> Found {
        let start = steps();
        let end = start.saturating_add(self.left.get() / 2);
        let found = self.run_until(demand, end);
        let left = self
            .left
            .get()
            .saturating_sub(steps().saturating_sub(start));
        self.left.set(left);
        found
    }

    /// A circle shows only in an answer. It is forbidden then, and the solver asked again.
    fn run_until(&self, demand: Demand<'_>, end: u64) -> Found {
        let mut circles: Vec<Circle> = Vec::new();
        loop {
            let attempt = Attempt {
                index: self.index,
                alive: self.alive,
                settled: &self.settled,
                demand,
                circles: &circles,
                end,
                decisions: RefCell::default(),
            };
            let chosen = match resolve(&attempt, Question::Start, ABSENT) {
                Ok(chosen) => chosen,
                Err(PubGrubError::NoSolution(tree)) => {
                    return Found::Nothing(Proof::new(&circles, tree));
                }
                Err(_) => return Found::GaveUp,
            };
            let mut releases: Vec<(usize, Rank)> = chosen
                .into_iter()
                .filter_map(|(question, rank)| match question {
                    Question::Release(id) if rank != ABSENT => Some((id, rank)),
                    _ => None,
                })
                .collect();
            releases.sort_unstable();
            let found = self.circles(&releases);
            if found.is_empty() {
                return Found::Releases(releases);
            }
            circles.extend(found);
        }
    }

    /// The circles among releases, but for those among what is loaded.
    fn circles(&self, releases: &[(usize, Rank)]) -> Vec<Circle> {
        let place = |id: usize| releases.binary_search_by_key(&id, |(id, _)| *id).ok();
        let mut graph = Graph::new(releases.len());
        for (from, (id, rank)) in releases.iter().enumerate() {
            let edges = self.index.edges(*id, *rank).iter();
            for to in edges.filter_map(|edge| place(edge.to?)) {
                graph.connect(from, to);
            }
        }
        let comes = |place: usize| !self.index.plugin(releases[place].0).loaded;
        let circle = |places: Vec<usize>| {
            let ids = places.iter().map(|place| releases[*place].0);
            let next = ids.clone().cycle().skip(1);
            ids.zip(next)
                .map(|(id, next)| (id, self.depending(id, next)))
                .collect()
        };
        graph.cycles(comes).into_iter().map(circle).collect()
    }

    /// The releases of a plugin that depend on another.
    fn depending(&self, id: usize, on: usize) -> Ranks {
        let all = 1..=self.index.newest(id);
        Ranks::of(all.map(|rank| self.index.edge(id, rank, on).is_some()))
    }
}
