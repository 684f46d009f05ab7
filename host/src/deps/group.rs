//! Plugins that have to do with each other.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::alive::Alive;
use super::graph::Graph;
use super::index::Index;
use super::set::{ABSENT, Rank, Ranks};

/// Plugins in groups that do not depend on each other, so that what is entangled in one says nothing about
/// the others.
#[derive(Debug)]
pub(super) struct Groups {
    /// The group of each plugin; of one that is out, none.
    numbers: Vec<usize>,
    members: Vec<Vec<usize>>,
}

impl Groups {
    /// Who is out is in no group and connects nobody.
    pub(super) fn of(index: &Index<'_>, is_out: impl Fn(usize) -> bool) -> Self {
        const NONE: usize = usize::MAX;
        let mut numbers = vec![NONE; index.len()];
        let mut members: Vec<Vec<usize>> = Vec::new();
        for start in 0..index.len() {
            if numbers[start] != NONE || is_out(start) {
                continue;
            }
            let number = members.len();
            numbers[start] = number;
            // Those from here on have not said yet whom they know.
            let (mut group, mut next) = (vec![start], 0);
            while let Some(&id) = group.get(next) {
                next += 1;
                let plugin = index.plugin(id);
                let edges = plugin.releases.iter().flat_map(|release| &release.edges);
                let known = edges
                    .filter_map(|edge| edge.to)
                    .chain(plugin.dependants.iter().copied());
                for other in known {
                    if numbers[other] == NONE && !is_out(other) {
                        numbers[other] = number;
                        group.push(other);
                    }
                }
            }
            group.sort_unstable();
            members.push(group);
        }
        Self { numbers, members }
    }

    /// The group that a plugin is in, by name.
    pub(super) fn around(&self, id: usize) -> &[usize] {
        let members = self.members.get(self.numbers[id]);
        members.map_or(&[], Vec::as_slice)
    }

    /// The groups that these plugins are in, the smallest first.
    pub(super) fn with(&self, ids: impl Iterator<Item = usize>) -> Vec<&[usize]> {
        let numbers: BTreeSet<usize> = ids.map(|id| self.numbers[id]).collect();
        let members = numbers
            .into_iter()
            .filter_map(|number| self.members.get(number));
        let mut groups: Vec<&[usize]> = members.map(Vec::as_slice).collect();
        groups.sort_by_key(|group| group.len());
        groups
    }
}

/// The members of a group that can be loaded and are not, each after those that its newest release depends
/// on.
pub(super) fn dependencies_first(index: &Index<'_>, alive: &Alive, group: &[usize]) -> Vec<usize> {
    let comes = |id: &usize| alive.count(*id) > 0 && !index.plugin(*id).loaded;
    let members: Vec<usize> = group.iter().copied().filter(comes).collect();
    let mut graph = Graph::new(members.len());
    for (from, id) in members.iter().enumerate() {
        let edges = index.edges(*id, alive.newest(index, *id)).iter();
        let places = edges.filter_map(|edge| members.binary_search(&edge.to?).ok());
        places.for_each(|to| graph.connect(from, to));
    }
    let order = graph.order().into_iter();
    order.map(|place| members[place]).collect()
}

/// The release that is left and that the fewest others cannot do with; of several, the newest.
pub(super) fn favourite(index: &Index<'_>, alive: &Alive, id: usize) -> Rank {
    let against = (1..).zip(against(index, alive, id));
    let left = against.filter(|(rank, _)| alive.ranks(id).has(*rank));
    let favourite = left.min_by_key(|(rank, against)| (*against, Reverse(*rank)));
    favourite.map_or(ABSENT, |(rank, _)| rank)
}

/// How many others cannot do with each release of a plugin.
fn against(index: &Index<'_>, alive: &Alive, id: usize) -> Vec<usize> {
    let plugin = index.plugin(id);
    let mut against = vec![plugin.dependants.len(); plugin.releases.len()];
    for &by in &plugin.dependants {
        let ranks = (1..=index.newest(by)).filter(|rank| alive.ranks(by).has(*rank));
        let edges = ranks.filter_map(|rank| index.edge(by, rank, id));
        let accepted = edges.fold(Ranks::none(), |all, edge| all.or(&edge.fits));
        for (against, _) in against
            .iter_mut()
            .zip(1..)
            .filter(|(_, rank)| accepted.has(*rank))
        {
            *against -= 1;
        }
    }
    against
}
