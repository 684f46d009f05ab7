//! One release each, and whether it can stand beside the others.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{Graph, Walk};
use super::index::{Edge, Index};
use super::set::{ABSENT, Rank};

/// How many edges are looked at to find out whether optional dependencies close cycles.
const LOOKS: usize = 10_000_000;

/// What is chosen so far.
#[derive(Debug)]
pub(super) struct Choice {
    /// The chosen release of each plugin.
    pub(super) chosen: Vec<Rank>,
    /// Cycles that kept plugins out, or would have.
    pub(super) cycles: Vec<Vec<usize>>,
    /// Plugins that are left out because finding out took too long.
    pub(super) undecided: BTreeSet<usize>,
}

impl Choice {
    /// What is loaded, and nothing else.
    pub(super) fn new(index: &Index<'_>) -> Self {
        let rank = |loaded| if loaded { 1 } else { ABSENT };
        Self {
            chosen: index
                .plugins()
                .map(|(_, plugin)| rank(plugin.loaded))
                .collect(),
            cycles: Vec::new(),
            undecided: BTreeSet::new(),
        }
    }

    pub(super) fn has(&self, id: usize) -> bool {
        self.chosen[id] != ABSENT
    }

    /// Chooses these releases of `members`, and no others of them.
    pub(super) fn replace(&mut self, members: &[usize], releases: &BTreeMap<usize, Rank>) {
        for id in members {
            self.chosen[*id] = ABSENT;
            self.undecided.remove(id);
        }
        for (id, rank) in releases {
            self.chosen[*id] = *rank;
        }
    }

    /// What is chosen of `members`.
    pub(super) fn of(&self, members: &[usize]) -> BTreeMap<usize, Rank> {
        let chosen = members.iter().filter(|id| self.has(**id));
        chosen.map(|id| (*id, self.chosen[*id])).collect()
    }

    /// What is chosen and not loaded yet, by its place among the available packages: what is depended on
    /// comes first, and otherwise the first by name.
    pub(super) fn load_order(&self, index: &Index<'_>) -> Vec<usize> {
        let comes = |id: usize| self.has(id) && !index.plugin(id).loaded;
        let mut graph = Graph::new(index.len());
        for id in (0..index.len()).filter(|id| comes(*id)) {
            let edges = index.edges(id, self.chosen[id]).iter();
            let before = edges.filter_map(|edge| edge.to).filter(|to| comes(*to));
            before.for_each(|to| graph.connect(id, to));
        }
        let order = graph.order().into_iter().filter(|id| comes(*id));
        order
            .filter_map(|id| Some(index.release(id, self.chosen[id])?.place))
            .collect()
    }

    /// Whether the release has what it needs, and is what others need.
    fn fits(&self, index: &Index<'_>, id: usize, rank: Rank) -> bool {
        let own = index.edges(id, rank).iter().all(|edge| {
            let other = edge.to.map_or(ABSENT, |to| self.chosen[to]);
            (edge.optional && other == ABSENT) || edge.fits.has(other)
        });
        own && self.holders(index, id).all(|(_, edge)| edge.fits.has(rank))
    }

    /// Who is chosen and depends on `id`, and how.
    pub(super) fn holders<'i>(
        &self,
        index: &'i Index<'i>,
        id: usize,
    ) -> impl Iterator<Item = (usize, &'i Edge<'i>)> {
        let dependants = index.plugin(id).dependants.iter().copied();
        dependants.filter_map(move |by| Some((by, index.edge(by, self.chosen[by], id)?)))
    }
}

/// Adds each member in the given release, if that can be loaded beside what is chosen, and says which
/// members stay out.
///
/// It is one pass: a plugin is looked at when all that it depends on was. Where optional dependencies
/// make a circle, the first by name among those that lack nothing they need is looked at first, and who
/// would close the circle is left out.
pub(super) fn choose(
    index: &Index<'_>,
    members: &[usize],
    release: impl Fn(usize) -> Rank,
    choice: &mut Choice,
) -> Vec<usize> {
    let mut pass = Pass::new(index, members, release);
    while let Some(id) = pass.next() {
        if pass.accepts(id, choice) {
            choice.chosen[id] = pass.ranks[id];
        }
    }
    pass.find_circles(choice);
    let out = members.iter().copied().filter(|id| !choice.has(*id));
    out.collect()
}

struct Pass<'i> {
    index: &'i Index<'i>,
    /// The releases that it is about.
    ranks: Vec<Rank>,
    /// How many of the members that a plugin needs were not looked at yet, and how many of those that it
    /// depends on at all.
    open: Vec<(usize, usize)>,
    looked_at: Vec<bool>,
    /// Those for which nothing is open, and those that can do without what is.
    ready: BTreeSet<usize>,
    possible: BTreeSet<usize>,
    walk: Walk,
    looks: usize,
}

impl<'i> Pass<'i> {
    fn new(index: &'i Index<'i>, members: &[usize], release: impl Fn(usize) -> Rank) -> Self {
        let mut ranks = vec![ABSENT; index.len()];
        for &id in members.iter().filter(|id| !index.plugin(**id).loaded) {
            ranks[id] = release(id);
        }
        let mut pass = Self {
            index,
            open: vec![(0, 0); ranks.len()],
            looked_at: ranks.iter().map(|rank| *rank == ABSENT).collect(),
            ready: BTreeSet::new(),
            possible: BTreeSet::new(),
            walk: Walk::new(ranks.len()),
            looks: LOOKS,
            ranks,
        };
        for id in 0..index.len() {
            let edges = index.edges(id, pass.ranks[id]).iter();
            for edge in edges.filter(|edge| edge.to.is_some_and(|to| !pass.looked_at[to])) {
                pass.open[id].0 += usize::from(!edge.optional);
                pass.open[id].1 += 1;
            }
            pass.line_up(id);
        }
        pass
    }

    fn line_up(&mut self, id: usize) {
        if self.looked_at[id] {
            return;
        }
        let (needed, all) = self.open[id];
        if needed == 0 {
            self.possible.insert(id);
        }
        if all == 0 {
            self.ready.insert(id);
        }
    }

    fn next(&mut self) -> Option<usize> {
        let id = *self.ready.first().or(self.possible.first())?;
        self.ready.remove(&id);
        self.possible.remove(&id);
        self.looked_at[id] = true;
        for &dependant in &self.index.plugin(id).dependants {
            if let Some(edge) = self.index.edge(dependant, self.ranks[dependant], id) {
                self.open[dependant].0 -= usize::from(!edge.optional);
                self.open[dependant].1 -= 1;
                self.line_up(dependant);
            }
        }
        Some(id)
    }

    fn accepts(&mut self, id: usize, choice: &mut Choice) -> bool {
        let (index, rank) = (self.index, self.ranks[id]);
        if !choice.fits(index, id, rank) {
            return false;
        }
        if choice.holders(index, id).next().is_none() {
            return true;
        }
        // Somebody who was looked at first can use it; does it depend on them?
        if self.looks == 0 {
            choice.undecided.insert(id);
            return false;
        }
        let present = |to: &usize| *to == id || choice.has(*to);
        let edges = |node: usize| {
            let rank = if node == id {
                rank
            } else {
                choice.chosen[node]
            };
            index
                .edges(node, rank)
                .iter()
                .filter_map(|edge| edge.to)
                .filter(present)
        };
        let circle = self.walk.back_to(id, usize::MAX, &mut self.looks, edges);
        let is_free = circle.is_none();
        choice.cycles.extend(circle);
        is_free
    }

    /// Who was never looked at needs others in a circle, in these releases.
    fn find_circles(&self, choice: &mut Choice) {
        if self.looked_at.iter().all(|looked_at| *looked_at) {
            return;
        }
        let mut graph = Graph::new(self.index.len());
        for id in (0..self.index.len()).filter(|id| !self.looked_at[*id]) {
            let edges = self.index.edges(id, self.ranks[id]).iter();
            let needed = edges
                .filter(|edge| !edge.optional)
                .filter_map(|edge| edge.to);
            needed
                .filter(|to| !self.looked_at[*to])
                .for_each(|to| graph.connect(id, to));
        }
        choice.cycles.extend(graph.cycles(|_| true));
    }
}
