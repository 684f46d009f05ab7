//! Which plugins need no search.

use super::alive::Alive;
use super::index::Index;

/// Plugins of which the newest release is right for everybody and needs only such plugins: whatever else
/// is chosen, that release can be. Most plugins that others share are of this kind, so that the search is
/// left with a few.
#[derive(Debug)]
pub(super) struct Settled(Vec<bool>);

impl Settled {
    pub(super) fn of(index: &Index<'_>, alive: &Alive) -> Self {
        let mut settled = vec![false; index.len()];
        let newest = |id: usize| alive.newest(index, id);
        let matters = |id: &usize| alive.count(*id) > 0;
        // How many plugins that its newest release may meet are not settled.
        let mut open: Vec<usize> = (0..index.len())
            .map(|id| {
                let edges = index.edges(id, newest(id)).iter();
                edges.filter_map(|edge| edge.to).filter(matters).count()
            })
            .collect();
        let is_free = |id: usize| matters(&id) && suits_all(index, alive, id);
        let free: Vec<bool> = (0..index.len()).map(is_free).collect();
        let mut ready: Vec<usize> = (0..index.len())
            .filter(|id| free[*id] && open[*id] == 0)
            .collect();
        while let Some(id) = ready.pop() {
            settled[id] = true;
            for &by in &index.plugin(id).dependants {
                if index.edge(by, newest(by), id).is_some() {
                    open[by] -= 1;
                    if open[by] == 0 && free[by] {
                        ready.push(by);
                    }
                }
            }
        }
        Self(settled)
    }

    pub(super) fn has(&self, id: usize) -> bool {
        self.0[id]
    }
}

/// Whether everybody who may depend on a plugin can do with its newest release.
fn suits_all(index: &Index<'_>, alive: &Alive, id: usize) -> bool {
    let newest = alive.newest(index, id);
    index.plugin(id).dependants.iter().all(|by| {
        let ranks = (1..=index.newest(*by)).filter(|rank| alive.ranks(*by).has(*rank));
        let mut edges = ranks.filter_map(|rank| index.edge(*by, rank, id));
        edges.all(|edge| edge.fits.has(newest))
    })
}
