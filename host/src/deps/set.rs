//! Some releases of a plugin, as a set that the solver can work with.

use std::fmt;

use pubgrub::{Ranges, VersionSet};

use super::steps::add_steps;

/// The place of a release among those of its plugin: 1 is the oldest.
pub(super) type Rank = u32;

/// The rank of a plugin that is not chosen.
pub(super) const ABSENT: Rank = 0;

/// Some releases of a plugin, and perhaps [`ABSENT`].
///
/// All bounds are of one kind, so that there is nothing between a number and the next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Ranks(Ranges<Rank>);

impl Ranks {
    /// The ranks from `first` to the one before `end`.
    pub(super) fn between(first: Rank, end: Rank) -> Self {
        Self(Ranges::between(first, end))
    }

    /// The releases of which each says, the oldest first, whether it is in.
    pub(super) fn of(is_in: impl Iterator<Item = bool>) -> Self {
        let mut all = Ranges::empty();
        let mut run: Option<Rank> = None;
        for (rank, is_in) in (1..).zip(is_in.chain([false])) {
            match (run, is_in) {
                (None, true) => run = Some(rank),
                (Some(first), false) => {
                    all = all.union(&Ranges::between(first, rank));
                    run = None;
                }
                _ => {}
            }
        }
        Self(all)
    }

    pub(super) fn one(rank: Rank) -> Self {
        Self::between(rank, rank + 1)
    }

    pub(super) fn none() -> Self {
        Self(Ranges::empty())
    }

    pub(super) fn has(&self, rank: Rank) -> bool {
        self.0.contains(&rank)
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        add_steps(1);
        Self(self.0.intersection(&other.0))
    }

    pub(super) fn or(&self, other: &Self) -> Self {
        add_steps(1);
        Self(self.0.union(&other.0))
    }

    pub(super) fn others(&self) -> Self {
        add_steps(1);
        Self(self.0.complement())
    }
}

impl VersionSet for Ranks {
    type V = Rank;

    fn empty() -> Self {
        Self::none()
    }

    fn singleton(rank: Rank) -> Self {
        Self::one(rank)
    }

    fn complement(&self) -> Self {
        self.others()
    }

    fn intersection(&self, other: &Self) -> Self {
        self.and(other)
    }

    fn contains(&self, rank: &Rank) -> bool {
        self.has(*rank)
    }

    fn union(&self, other: &Self) -> Self {
        self.or(other)
    }

    fn is_disjoint(&self, other: &Self) -> bool {
        add_steps(1);
        self.0.is_disjoint(&other.0)
    }

    fn subset_of(&self, other: &Self) -> bool {
        add_steps(1);
        self.0.subset_of(&other.0)
    }
}

impl fmt::Display for Ranks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
