//! Which releases can be loaded at all, whatever else is chosen.

use super::chain::Few;
use super::error::Offer;
use super::index::{Edge, Index, place};
use super::set::{Rank, Ranks};

/// The releases that nothing speaks against by itself. The others depend on themselves, or need what is not
/// there in a fitting version.
#[derive(Debug)]
pub(super) struct Alive {
    plugins: Vec<Ranks>,
    counts: Vec<usize>,
}

impl Alive {
    pub(super) fn of(index: &Index<'_>) -> Self {
        let mut sieve = Sieve::new(index);
        sieve.run();
        let plugins = sieve.alive.iter();
        Self {
            plugins: plugins
                .clone()
                .map(|alive| Ranks::of(alive.iter().copied()))
                .collect(),
            counts: plugins
                .map(|alive| alive.iter().filter(|is| **is).count())
                .collect(),
        }
    }

    /// The releases of a plugin that are left.
    pub(super) fn ranks(&self, id: usize) -> &Ranks {
        &self.plugins[id]
    }

    /// How many there are.
    pub(super) fn count(&self, id: usize) -> usize {
        self.counts[id]
    }

    /// All versions of a plugin, the newest first, and which are left.
    pub(super) fn offers(&self, index: &Index<'_>, id: usize) -> Few<Offer> {
        let newest_first = (1..=index.newest(id)).rev();
        let offer = |rank| {
            Some(Offer {
                version: index.release(id, rank)?.version.clone(),
                loadable: self.plugins[id].has(rank),
            })
        };
        newest_first.filter_map(offer).collect()
    }

    /// The newest of them; absent when there is none.
    pub(super) fn newest(&self, index: &Index<'_>, id: usize) -> Rank {
        index.highest(id, &self.plugins[id])
    }
}

/// Takes releases away until nothing more follows from it.
struct Sieve<'i> {
    index: &'i Index<'i>,
    /// Of each plugin, the oldest release first.
    alive: Vec<Vec<bool>>,
    /// Who needs a plugin.
    users: Vec<Vec<User<'i>>>,
    /// What was taken away and may take others with it.
    fallen: Vec<(usize, Rank)>,
}

struct User<'i> {
    id: usize,
    rank: Rank,
    edge: &'i Edge<'i>,
    /// How many releases that would do are left.
    left: usize,
}

impl<'i> Sieve<'i> {
    fn new(index: &'i Index<'i>) -> Self {
        let plugins = index.plugins();
        let alive = plugins.map(|(_, plugin)| vec![true; plugin.releases.len()]);
        let mut sieve = Self {
            index,
            alive: alive.collect(),
            users: (0..index.len()).map(|_| Vec::new()).collect(),
            fallen: Vec::new(),
        };
        for (id, plugin) in index.plugins().filter(|(_, plugin)| !plugin.loaded) {
            for (rank, release) in (1..).zip(&plugin.releases) {
                for edge in &release.edges {
                    sieve.look_at(id, rank, edge);
                }
            }
        }
        sieve
    }

    fn look_at(&mut self, id: usize, rank: Rank, edge: &'i Edge<'i>) {
        if edge.to == Some(id) {
            return self.discard(id, rank);
        }
        if edge.optional {
            return;
        }
        let Some(to) = edge.to else {
            return self.discard(id, rank);
        };
        let all = 1..=self.index.newest(to);
        let left = all.filter(|rank| edge.fits.has(*rank)).count();
        match left {
            0 => self.discard(id, rank),
            _ => self.users[to].push(User {
                id,
                rank,
                edge,
                left,
            }),
        }
    }

    fn discard(&mut self, id: usize, rank: Rank) {
        let alive = place(rank).and_then(|place| self.alive[id].get_mut(place));
        if alive.is_some_and(std::mem::take) {
            self.fallen.push((id, rank));
        }
    }

    fn run(&mut self) {
        while let Some((id, rank)) = self.fallen.pop() {
            let mut users = std::mem::take(&mut self.users[id]);
            for user in users.iter_mut().filter(|user| user.edge.fits.has(rank)) {
                user.left -= 1;
                if user.left == 0 {
                    self.discard(user.id, user.rank);
                }
            }
            self.users[id] = users;
        }
    }
}
