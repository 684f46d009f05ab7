//! Who depends on whom, by number: orders and cycles. Nothing here recurses, so a chain may be as long
//! as it likes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// How many edges are looked at in search of ever shorter cycles. It is plenty for the cycles that people
/// make; of larger knots a short cycle is found and perhaps not the shortest.
const LOOKS: usize = 4_000_000;

/// Nodes by number; an edge leads from one to another that it depends on.
#[derive(Debug)]
pub(super) struct Graph {
    to: Vec<Vec<usize>>,
}

impl Graph {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            to: vec![Vec::new(); nodes],
        }
    }

    pub(super) fn connect(&mut self, from: usize, to: usize) {
        if let Some(edges) = self.to.get_mut(from) {
            edges.push(to);
        }
    }

    /// All nodes, each after those it depends on, and otherwise the smaller number first. In a cycle the
    /// smallest number goes first.
    pub(super) fn order(&self) -> Vec<usize> {
        let mut open: Vec<usize> = self.to.iter().map(Vec::len).collect();
        let mut from = vec![Vec::new(); self.to.len()];
        for (node, edges) in self.to.iter().enumerate() {
            edges.iter().for_each(|to| from[*to].push(node));
        }
        let is_ready = |node: &usize| open[*node] == 0;
        let mut ready: BinaryHeap<_> = (0..open.len()).filter(is_ready).map(Reverse).collect();
        let mut placed = vec![false; open.len()];
        let mut order = Vec::with_capacity(open.len());
        let mut rest = 0..open.len();
        while let Some(node) = ready
            .pop()
            .map(|Reverse(node)| node)
            .or_else(|| rest.find(|node| !placed[*node]))
        {
            if placed[node] {
                continue;
            }
            placed[node] = true;
            order.push(node);
            for &dependant in &from[node] {
                open[dependant] -= 1;
                if open[dependant] == 0 {
                    ready.push(Reverse(dependant));
                }
            }
        }
        order
    }

    /// The largest sets of nodes that all depend on each other, by way of each other; a node that depends
    /// on no other in a circle is in none of them. (Tarjan's algorithm.)
    pub(super) fn knots(&self) -> Vec<Vec<usize>> {
        const UNSEEN: usize = usize::MAX;
        let mut seen = vec![UNSEEN; self.to.len()];
        let mut low = vec![0; self.to.len()];
        let mut held = vec![false; self.to.len()];
        let (mut count, mut stack, mut knots) = (0, Vec::new(), Vec::new());
        for root in 0..self.to.len() {
            if seen[root] != UNSEEN {
                continue;
            }
            // Nodes on the way down, each with the edge that is next.
            let mut way = vec![(root, 0)];
            while let Some((node, edge)) = way.pop() {
                if edge == 0 {
                    (seen[node], low[node]) = (count, count);
                    count += 1;
                    stack.push(node);
                    held[node] = true;
                }
                if let Some(&to) = self.to[node].get(edge) {
                    way.push((node, edge + 1));
                    if seen[to] == UNSEEN {
                        way.push((to, 0));
                    } else if held[to] {
                        low[node] = low[node].min(seen[to]);
                    }
                    continue;
                }
                if let Some(&(above, _)) = way.last() {
                    low[above] = low[above].min(low[node]);
                }
                if low[node] == seen[node] {
                    let start = stack.iter().rposition(|held| *held == node);
                    let mut knot = stack.split_off(start.unwrap_or_default());
                    knot.iter().for_each(|node| held[*node] = false);
                    if knot.len() > 1 {
                        knot.sort_unstable();
                        knots.push(knot);
                    }
                }
            }
        }
        knots
    }

    /// The shortest cycle in each knot that has a node that is `through`, beginning with such a node.
    pub(super) fn cycles(&self, through: impl Fn(usize) -> bool) -> Vec<Vec<usize>> {
        let mut walk = Walk::new(self.to.len());
        let mut looks = LOOKS;
        let mut cycles = Vec::new();
        for knot in self.knots() {
            let mut shortest: Option<Vec<usize>> = None;
            for start in knot.into_iter().filter(|node| through(*node)) {
                if shortest.is_some() && looks == 0 {
                    break;
                }
                let limit = shortest.as_ref().map_or(usize::MAX, Vec::len);
                let edges = |node: usize| self.to[node].iter().copied();
                shortest = walk.back_to(start, limit, &mut looks, edges).or(shortest);
            }
            cycles.extend(shortest);
        }
        cycles
    }
}

/// Looks for ways through a graph, the shortest first. It can be used many times.
#[derive(Debug)]
pub(super) struct Walk {
    /// In which search a node was seen last.
    seen: Vec<usize>,
    before: Vec<usize>,
    search: usize,
}

impl Walk {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            seen: vec![0; nodes],
            before: vec![0; nodes],
            search: 0,
        }
    }

    /// The shortest way from `start` back to it that has fewer than `limit` nodes. Each edge costs one of
    /// `looks`; the search goes on when they are spent, so that the caller decides.
    pub(super) fn back_to<I: Iterator<Item = usize>>(
        &mut self,
        start: usize,
        limit: usize,
        looks: &mut usize,
        edges: impl Fn(usize) -> I,
    ) -> Option<Vec<usize>> {
        self.search += 1;
        let mut next = VecDeque::from([(start, 1)]);
        while let Some((node, length)) = next.pop_front() {
            if length >= limit {
                return None;
            }
            for to in edges(node) {
                *looks = looks.saturating_sub(1);
                if to == start {
                    return Some(self.way(start, node, length));
                }
                if self.seen[to] != self.search {
                    self.seen[to] = self.search;
                    self.before[to] = node;
                    next.push_back((to, length + 1));
                }
            }
        }
        None
    }

    fn way(&self, start: usize, end: usize, length: usize) -> Vec<usize> {
        let mut way = Vec::with_capacity(length);
        let mut node = end;
        while node != start {
            way.push(node);
            node = self.before[node];
        }
        way.push(start);
        way.reverse();
        way
    }
}
