//! The plugins of one host, by name.

use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use foldhash::quality::RandomState;
use plg_packaging::PluginName;

use crate::plugin::record::Plugin;

/// Plugins by name. Looking one up takes no lock and writes nothing; entries are added and never
/// removed, so a handle stays good over an unload and the next load.
///
/// The hasher is seeded per catalog, and names come from manifests that an operator chose.
#[derive(Default)]
pub(crate) struct Catalog {
    /// Each has twice as many places as the one before, and is begun when that one is half full. A
    /// plugin stands at the place that its hash says or at the next free one.
    tables: [OnceLock<Table>; TABLES],
    hasher: RandomState,
    /// How many plugins there are.
    adding: Mutex<usize>,
}

type Table = Box<[OnceLock<Arc<Plugin>>]>;

const TABLES: usize = 24;
const FIRST_TABLE: usize = 64;

impl Catalog {
    #[inline]
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Plugin>> {
        let hash = self.hash(name);
        for table in &self.tables {
            for place in probe(table.get()?, hash) {
                match place.get() {
                    Some(plugin) if *plugin.name() == *name => return Some(plugin),
                    Some(_) => {}
                    None => break,
                }
            }
        }
        None
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Plugin>> {
        let tables = self.tables.iter().filter_map(OnceLock::get);
        let mut all: Vec<_> = tables
            .flat_map(|table| table.iter().filter_map(OnceLock::get).cloned())
            .collect();
        all.sort_by(|left, right| left.name().cmp(right.name()));
        all
    }

    /// The plugin of that name, added with `make` when there is none.
    pub(crate) fn entry(
        &self,
        name: &PluginName,
        make: impl FnOnce() -> Arc<Plugin>,
    ) -> Arc<Plugin> {
        let mut count = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plugin) = self.find(name.as_str()) {
            return plugin.clone();
        }
        let plugin = make();
        let (mut room, mut places) = (FIRST_TABLE / 2, FIRST_TABLE);
        for table in &self.tables {
            if *count < room {
                let table = table.get_or_init(|| (0..places).map(|_| OnceLock::new()).collect());
                let free = probe(table, self.hash(name.as_str())).find(|p| p.get().is_none());
                if let Some(free) = free {
                    *count += 1;
                    return free.get_or_init(|| plugin).clone();
                }
            }
            places *= 2;
            room += places / 2;
        }
        // More names than memory holds.
        plugin
    }

    #[inline]
    fn hash(&self, name: &str) -> usize {
        self.hasher.hash_one(name) as usize
    }
}

/// The places of a table from the one that the hash says.
#[inline]
fn probe(
    table: &[OnceLock<Arc<Plugin>>],
    hash: usize,
) -> impl Iterator<Item = &OnceLock<Arc<Plugin>>> {
    // The length is a power of two.
    let (before, from) = table.split_at(hash & (table.len() - 1));
    from.iter().chain(before)
}
