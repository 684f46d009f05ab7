//! Why plugins are not chosen: the shortest way from each to what is wrong.

use std::collections::{BTreeMap, VecDeque};

use plg_packaging::PluginName;

use super::alive::Alive;
use super::chain::Chain;
use super::choice::Choice;
use super::error::{DependencyError, Need};
use super::index::{Edge, Index, place};
use super::ring::{Link, Ring};
use super::set::{ABSENT, Rank, Ranks};

/// A release, by the number that it has here.
type Node = usize;

/// How far from the end of a way a release is remembered, so that the end of a long one is found at once.
const TAIL: usize = 8;

/// What is wrong with a release itself.
#[derive(Clone, Copy, Debug)]
enum Cause<'i> {
    /// It depends on itself.
    Itself,
    /// There is no such plugin.
    Missing(&'i Edge<'i>),
    /// No release is right for this and for those that are chosen.
    Unfit(&'i Edge<'i>),
    /// It is in that cycle, at that place.
    Cycle(usize, usize),
    /// That would have taken too long to find out.
    Undecided,
}

/// Where a way goes on from a release.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// How many steps there are from here.
    left: usize,
    next: Node,
    /// The release on the way that is [`TAIL`] steps from the end, or this one when that is passed.
    tail: Node,
}

/// Looks at releases that are not chosen, beside those that are.
pub(super) struct Explain<'i> {
    index: &'i Index<'i>,
    alive: &'i Alive,
    choice: &'i Choice,
    /// The plugin and rank of each node, and the first node of each plugin.
    nodes: Vec<(usize, Rank)>,
    first: Vec<Node>,
    /// The cycles, and for each plugin those that it would complete and where.
    rings: Vec<Ring<'i>>,
    member: Vec<Vec<(usize, usize)>>,
    /// Which releases those that are chosen leave to a plugin, where somebody asked.
    left: Vec<Option<Ranks>>,
    /// Who leaves what to a plugin, where somebody asked: two of all that leave the same.
    holders: BTreeMap<usize, Vec<(usize, &'i Edge<'i>)>>,
    causes: Vec<Option<Cause<'i>>>,
    steps: Vec<Option<Step>>,
}

impl<'i> Explain<'i> {
    pub(super) fn new(index: &'i Index<'i>, alive: &'i Alive, choice: &'i Choice) -> Self {
        let (mut nodes, mut first) = (Vec::new(), Vec::new());
        for (id, plugin) in index.plugins() {
            first.push(nodes.len());
            nodes.extend((1..).zip(&plugin.releases).map(|(rank, _)| (id, rank)));
        }
        let mut explain = Self {
            index,
            alive,
            choice,
            first,
            rings: Vec::new(),
            member: vec![Vec::new(); index.len()],
            left: vec![None; index.len()],
            holders: BTreeMap::new(),
            causes: vec![None; nodes.len()],
            steps: vec![None; nodes.len()],
            nodes,
        };
        explain.find_rings();
        explain
    }

    fn find_rings(&mut self) {
        let choice = self.choice;
        for cycle in &choice.cycles {
            let link = |id, next| self.link(id, self.presumed(id), next);
            let ring = Ring::new(cycle, link);
            let places = ring.places().filter(|place| !choice.has(cycle[*place]));
            places.for_each(|place| self.member[cycle[place]].push((self.rings.len(), place)));
            self.rings.push(ring);
        }
    }

    /// How a release depends on the next plugin of a cycle.
    fn link(&self, id: usize, rank: Rank, next: usize) -> Link {
        match self.index.edge(id, rank, next) {
            None => Link::None,
            Some(edge) if edge.optional && !self.choice.has(next) => Link::Loose,
            Some(_) => Link::Firm,
        }
    }

    /// The release that is chosen, or would be.
    fn presumed(&self, id: usize) -> Rank {
        match (self.choice.chosen[id], self.alive.newest(self.index, id)) {
            (ABSENT, ABSENT) => self.index.newest(id),
            (ABSENT, newest) => newest,
            (chosen, _) => chosen,
        }
    }

    /// The errors of plugins that are not chosen, in their order. What no single release explains is asked
    /// of `proof`.
    pub(super) fn errors(
        &mut self,
        refused: &[usize],
        mut proof: impl FnMut(usize) -> DependencyError,
    ) -> Vec<DependencyError> {
        let starts: Vec<Option<Node>> = refused.iter().map(|id| self.start(*id)).collect();
        self.find_ways(starts.iter().flatten().copied());
        let mut errors = Vec::with_capacity(refused.len());
        for (id, start) in refused.iter().zip(starts) {
            let error = match start {
                None => Some(self.unfit(None, *id, Chain::new(1, |_| self.name(*id)))),
                Some(start) => self.error(start),
            };
            errors.push(error.unwrap_or_else(|| proof(*id)));
        }
        errors
    }

    /// The release of a plugin that one would expect; `None` when those that are chosen leave it none.
    fn start(&mut self, id: usize) -> Option<Node> {
        if self.alive.count(id) == 0 {
            return Some(self.node(id, self.index.newest(id)));
        }
        let left = self.left(id, None);
        self.best(id, &left)
    }

    fn node(&self, id: usize, rank: Rank) -> Node {
        self.first[id] + place(rank).unwrap_or_default()
    }

    /// The newest of some releases, but rather one that could be loaded.
    fn best(&self, id: usize, among: &Ranks) -> Option<Node> {
        let alive = among.and(self.alive.ranks(id));
        let best = match self.index.highest(id, &alive) {
            ABSENT => self.index.highest(id, among),
            best => best,
        };
        (best != ABSENT).then(|| self.node(id, best))
    }

    /// The releases that those that are chosen leave to a plugin, all but one of them.
    fn left(&mut self, id: usize, but: Option<usize>) -> Ranks {
        let but = but.filter(|by| self.index.edge(*by, self.choice.chosen[*by], id).is_some());
        if let (None, Some(left)) = (but, &self.left[id]) {
            return left.clone();
        }
        let holders = self
            .choice
            .holders(self.index, id)
            .filter(|(by, _)| Some(*by) != but);
        let left = holders.fold(self.index.all(id), |left, (_, edge)| left.and(&edge.fits));
        if but.is_none() {
            self.left[id] = Some(left.clone());
        }
        left
    }

    /// Finds the shortest way to a cause from each release that the starts lead to.
    fn find_ways(&mut self, starts: impl Iterator<Item = Node>) {
        let mut back = vec![Vec::new(); self.nodes.len()];
        let mut seen = vec![false; self.nodes.len()];
        let mut open: Vec<Node> = starts.collect();
        while let Some(node) = open.pop() {
            if std::mem::replace(&mut seen[node], true) {
                continue;
            }
            for to in self.look_at(node) {
                back[to].push(node);
                open.push(to);
            }
        }
        let ends = (0..self.nodes.len()).filter(|node| self.causes[*node].is_some());
        let mut open: VecDeque<Node> = ends.collect();
        for &end in &open {
            self.steps[end] = Some(Step {
                left: 0,
                next: end,
                tail: end,
            });
        }
        while let Some(next) = open.pop_front() {
            let Some(step) = self.steps[next] else {
                continue;
            };
            for &node in &back[next] {
                if self.steps[node].is_none() {
                    let left = step.left + 1;
                    let tail = if left <= TAIL { node } else { step.tail };
                    self.steps[node] = Some(Step { left, next, tail });
                    open.push_back(node);
                }
            }
        }
    }

    /// Notes what is wrong with a release, and returns the releases that it needs and that are in the way.
    fn look_at(&mut self, node: Node) -> Vec<Node> {
        let (id, rank) = self.nodes[node];
        if self.choice.undecided.contains(&id) {
            self.causes[node] = Some(Cause::Undecided);
            return Vec::new();
        }
        let mut to = Vec::new();
        for edge in self.index.edges(id, rank) {
            match self.obstacle(id, rank, edge) {
                Some(Ok(next)) => to.push(next),
                Some(Err(cause)) => {
                    self.causes[node].get_or_insert(cause);
                }
                None => {}
            }
        }
        if self.causes[node].is_none() {
            let mut places = self.member[id].iter();
            let cycle = places.find(|(ring, place)| {
                let ids = self.rings[*ring].ids;
                self.link(id, rank, ids[(place + 1) % ids.len()]) == Link::Firm
            });
            self.causes[node] = cycle.map(|(cycle, place)| Cause::Cycle(*cycle, *place));
        }
        to
    }

    /// What a release lacks because of one edge: something that cannot be had, or another release.
    fn obstacle(
        &mut self,
        id: usize,
        rank: Rank,
        edge: &'i Edge<'i>,
    ) -> Option<Result<Node, Cause<'i>>> {
        let Some(to) = edge.to else {
            return (!edge.optional).then_some(Err(Cause::Missing(edge)));
        };
        if to == id {
            return Some(Err(Cause::Itself));
        }
        let chosen = self.choice.chosen[to];
        let left = if self.alive.ranks(id).has(rank) {
            if edge.fits.has(chosen) || (edge.optional && chosen == ABSENT) {
                return None;
            }
            self.left(to, Some(id)).and(&edge.fits)
        } else {
            // Nothing that is chosen matters to a release that can never be loaded.
            let fits = edge.fits.and(self.alive.ranks(to));
            if edge.optional || self.index.highest(to, &fits) != ABSENT {
                return None;
            }
            edge.fits.clone()
        };
        Some(self.best(to, &left).ok_or(Cause::Unfit(edge)))
    }

    /// The error of the release at the start of a way; `None` when there is no way from it.
    fn error(&mut self, start: Node) -> Option<DependencyError> {
        let length = self.steps[start]?.left + 1;
        let end = self.on_way(start, length - 1);
        let (id, rank) = self.nodes[end];
        let path = |on: Option<&PluginName>| {
            let name = |place| match on {
                Some(on) if place == length => on.clone(),
                _ => self.name(self.nodes[self.on_way(start, place)].0),
            };
            Chain::new(length + usize::from(on.is_some()), name)
        };
        Some(match self.causes[end]? {
            Cause::Itself => DependencyError::Itself {
                name: self.name(id),
                version: self.index.release(id, rank)?.version.clone(),
                path: path(None),
            },
            Cause::Missing(edge) => DependencyError::Missing {
                name: edge.on.clone(),
                need: self.index.need(id, rank, edge).map(Box::new),
                path: path(Some(edge.on)),
            },
            Cause::Unfit(edge) => {
                let path = path(Some(edge.on));
                self.unfit(Some((id, rank, edge)), edge.to?, path)
            }
            Cause::Cycle(cycle, place) => {
                let cycle = self.rings[cycle].ids;
                let name = |step| self.name(cycle[(place + step) % cycle.len()]);
                DependencyError::Cycle {
                    cycle: Chain::new(cycle.len() + 1, name),
                    path: path(None),
                }
            }
            Cause::Undecided => DependencyError::Undecided {
                name: self.name(self.nodes[start].0),
            },
        })
    }

    /// The error when no release of `on` is right for that edge of a release and for those that are chosen.
    fn unfit(
        &mut self,
        asking: Option<(usize, Rank, &Edge<'_>)>,
        on: usize,
        path: Chain,
    ) -> DependencyError {
        let mut needs: Vec<Need> = Vec::new();
        let mut left = self.index.all(on);
        if let Some((by, rank, edge)) = asking {
            needs.extend(self.index.need(by, rank, edge));
            left = edge.fits.clone();
        }
        let (index, choice) = (self.index, self.choice);
        for &(by, edge) in self.holders(on) {
            if index.highest(on, &left) == ABSENT {
                break;
            }
            // Only who leaves less than there was has a part in it.
            let rest = left.and(&edge.fits);
            if rest != left && asking.is_none_or(|(asking, ..)| asking != by) {
                needs.extend(index.need(by, choice.chosen[by], edge));
                left = rest;
            }
        }
        DependencyError::Unsatisfied {
            name: self.name(on),
            needs: needs.into_iter().collect(),
            available: self.alive.offers(self.index, on),
            path,
        }
    }

    fn holders(&mut self, on: usize) -> &[(usize, &'i Edge<'i>)] {
        let (index, choice) = (self.index, self.choice);
        self.holders.entry(on).or_insert_with(|| {
            let mut holders: Vec<(usize, &Edge<'_>)> = Vec::new();
            for (by, edge) in choice.holders(index, on) {
                let same = holders.iter().filter(|(_, other)| other.fits == edge.fits);
                if same.count() < 2 {
                    holders.push((by, edge));
                }
            }
            holders
        })
    }

    /// The release at that place of the way from `start`.
    fn on_way(&self, start: Node, place: usize) -> Node {
        let Some(step) = self.steps[start] else {
            return start;
        };
        let left = step.left.saturating_sub(place);
        let (mut node, mut hops) = (start, place);
        if left <= TAIL {
            (node, hops) = (step.tail, step.left.min(TAIL) - left);
        }
        while let (1.., Some(step)) = (hops, self.steps[node]) {
            (node, hops) = (step.next, hops - 1);
        }
        node
    }

    fn name(&self, id: usize) -> PluginName {
        self.index.plugin(id).name.clone()
    }
}
