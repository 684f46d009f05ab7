//! Why no releases go together, in words.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};
use std::iter::successors;
use std::sync::Arc;

use pubgrub::{DerivationTree, External};

use super::alive::Alive;
use super::chain::Chain;
use super::error::{DependencyError, Need};
use super::index::Index;
use super::question::{Circle, Question, Tree};
use super::set::{ABSENT, Ranks};

/// What cannot all be had at once.
#[derive(Debug)]
pub(super) struct Proof {
    /// Releases of one plugin that ask for releases of another.
    asks: Vec<Ask>,
    /// Circles that are in the way as well.
    circle: Option<Vec<usize>>,
}

#[derive(Debug)]
struct Ask {
    by: usize,
    releases: Ranks,
    on: usize,
    fits: Ranks,
}

impl Proof {
    /// Takes the tree apart: only its leaves say something about plugins. It is as deep as the solver went
    /// astray, so it is not left to drop itself.
    pub(super) fn new(circles: &[Circle], tree: Tree) -> Self {
        let (mut asks, mut circle) = (Vec::new(), None);
        let mut rest = vec![tree];
        while let Some(tree) = rest.pop() {
            match tree {
                DerivationTree::Derived(derived) => {
                    let causes = [derived.cause1, derived.cause2];
                    rest.extend(causes.into_iter().filter_map(Arc::into_inner));
                }
                DerivationTree::External(External::FromDependencyOf(by, releases, on, fits)) => {
                    match (by, on) {
                        (Question::Release(by), Question::Release(on)) => {
                            asks.push(Ask {
                                by,
                                releases,
                                on,
                                fits,
                            });
                        }
                        (Question::Cut(place, ..), _) => circle = circles.get(place),
                        _ => {}
                    }
                }
                DerivationTree::External(_) => {}
            }
        }
        asks.sort_by_key(|ask| (ask.on, ask.by));
        let circle = circle.map(|circle| circle.iter().map(|(id, _)| *id).collect());
        Self { asks, circle }
    }

    /// The error of whoever is `refused` because of it; of several, the one that is nearest.
    pub(super) fn error(
        self,
        index: &Index<'_>,
        alive: &Alive,
        refused: &[usize],
    ) -> DependencyError {
        let name = |id: usize| index.plugin(id).name.clone();
        let chain = |way: &[usize]| Chain::new(way.len(), |place| name(way[place]));
        if let Some(mut circle) = self.circle.clone() {
            let path = self.way(refused, |id| circle.contains(&id));
            let first = circle.iter().position(|id| path.last() == Some(id));
            circle.rotate_left(first.unwrap_or_default());
            circle.extend(circle.first().copied());
            return DependencyError::Cycle {
                cycle: chain(&circle),
                path: chain(&path),
            };
        }
        let on = self.contested(index);
        let (first, then): (Vec<&Ask>, Vec<&Ask>) = self.asks.iter().partition(|ask| ask.on == on);
        let needs = first
            .into_iter()
            .chain(then)
            .filter_map(|ask| ask.need(index));
        DependencyError::Unsatisfied {
            name: name(on),
            needs: needs.collect(),
            available: alive.offers(index, on),
            path: chain(&self.way(refused, |id| id == on)),
        }
    }

    /// The plugin that they do not agree on: one of which no release is right for all who ask, or else the
    /// one that most ask for.
    fn contested(&self, index: &Index<'_>) -> usize {
        let mut asked: BTreeMap<usize, (usize, Ranks)> = BTreeMap::new();
        for ask in &self.asks {
            let (count, fits) = asked
                .entry(ask.on)
                .or_insert_with(|| (0, index.all(ask.on)));
            (*count, *fits) = (*count + 1, fits.and(&ask.fits));
        }
        let most = asked.iter().max_by_key(|(on, (count, fits))| {
            let is_open = index.highest(**on, fits) != ABSENT;
            (!is_open, *count, Reverse(**on))
        });
        most.map_or(0, |(on, _)| *on)
    }

    /// The shortest way along what is asked for, from one of `starts` to an `end`; the first start alone
    /// when there is none.
    fn way(&self, starts: &[usize], end: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut asks: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for ask in &self.asks {
            asks.entry(ask.by).or_default().push(ask.on);
        }
        let mut before: BTreeMap<usize, usize> = starts.iter().map(|id| (*id, *id)).collect();
        let mut next = VecDeque::from_iter(starts.iter().copied());
        while let Some(id) = next.pop_front() {
            if end(id) {
                let step = |id: &usize| before.get(id).copied().filter(|before| before != id);
                let mut way: Vec<usize> = successors(Some(id), step).collect();
                way.reverse();
                return way;
            }
            for &on in asks.get(&id).into_iter().flatten() {
                if let Entry::Vacant(entry) = before.entry(on) {
                    entry.insert(id);
                    next.push_back(on);
                }
            }
        }
        starts.iter().take(1).copied().collect()
    }
}

impl Ask {
    /// As the newest of the releases says it.
    fn need(&self, index: &Index<'_>) -> Option<Need> {
        let mut newest_first = (1..=index.newest(self.by)).rev();
        newest_first.find_map(|rank| {
            let edge = index.edge(self.by, rank, self.on)?;
            index
                .need(self.by, rank, edge)
                .filter(|_| self.releases.has(rank))
        })
    }
}
