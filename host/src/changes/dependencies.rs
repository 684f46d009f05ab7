//! What changes may not break: plugins that depend on each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};

use plg_packaging::{Manifest, PluginName};

use crate::deps::{self, Package};
use crate::discovery::Candidate;
use crate::error::Error;
use crate::inner::Inner;
use crate::plugin::record::Plugin;

impl Inner {
    /// The candidates to load, each after those that it depends on, and why others are not. Of a plugin that
    /// is loaded every candidate stays: whether it is the loaded build shows when it is read.
    pub(crate) fn plan<'found>(
        &self,
        candidates: &'found [Candidate],
    ) -> (Vec<&'found Candidate>, Vec<Error>) {
        let loaded = self.loaded_packages();
        let is_loaded = |candidate: &&Candidate| {
            loaded
                .binary_search_by(|package| package.name.cmp(&candidate.manifest.name))
                .is_ok()
        };
        let (mut order, new): (Vec<_>, Vec<_>) = candidates.iter().partition(is_loaded);
        let packages: Vec<Package> = new.iter().map(|new| Package::from(&new.manifest)).collect();
        let plan = deps::plan(&packages, &loaded);
        // Whether one that is there twice is the same shows when it is read.
        let taken: BTreeSet<usize> = plan.order.iter().copied().collect();
        let chosen = taken.iter().filter_map(|place| packages.get(*place));
        let versions: BTreeSet<_> = chosen.map(|one| (&one.name, &one.version)).collect();
        let is_twice = |(place, one): &(usize, &Package)| {
            !taken.contains(place) && versions.contains(&(&one.name, &one.version))
        };
        let twice = packages.iter().enumerate().filter(is_twice);
        let places = plan.order.iter().copied();
        let places = places.chain(twice.map(|(place, _)| place));
        order.extend(places.filter_map(|place| new.get(place).copied()));
        let refused = plan.refused.into_iter();
        (order, refused.map(|(_, error)| error.into()).collect())
    }

    /// Keeps the set of plugins that answer as it is, from looking at it to changing it. Nothing of a plugin
    /// runs meanwhile.
    pub(crate) fn hold_set(&self) -> MutexGuard<'_, ()> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether these plugins, loaded together or in the place of what is loaded, leave every plugin with what
    /// it needs.
    pub(crate) fn check_replacement(&self, manifests: &[&Manifest]) -> Result<(), Error> {
        let changes = packages(manifests);
        Ok(deps::check_change(&self.loaded_packages(), &changes)?)
    }

    /// Whether nothing that is loaded needs this plugin.
    pub(crate) fn check_unload(&self, plugin: &PluginName) -> Result<(), Error> {
        let leaving = std::slice::from_ref(plugin);
        Ok(deps::check_unload(&self.loaded_packages(), leaving)?)
    }

    /// The plugins that need this one, directly or not, in the order to unload them.
    pub(crate) fn dependants(&self, plugin: &PluginName) -> Vec<PluginName> {
        deps::dependants(&self.loaded_packages(), plugin, true)
    }

    /// The names of these plugins, each after those that it will depend on.
    pub(crate) fn order_of(&self, manifests: &[&Manifest]) -> Vec<PluginName> {
        let order = deps::order(&self.loaded_packages(), &packages(manifests));
        let manifests = order.into_iter().filter_map(|place| manifests.get(place));
        manifests.map(|manifest| manifest.name.clone()).collect()
    }

    /// Every plugin there ever was, those that need others before them.
    pub(crate) fn in_unload_order(&self) -> Vec<Arc<Plugin>> {
        let loaded = self.loaded_packages();
        let mut plugins = self.catalog.all();
        let order = deps::order(&[], &loaded);
        let mut rank = vec![0; plugins.len()];
        for (rank_of, place) in order.into_iter().enumerate() {
            let name = &loaded[place].name;
            if let Ok(plugin) = plugins.binary_search_by(|plugin| plugin.name().cmp(name)) {
                rank[plugin] = rank_of + 1;
            }
        }
        let mut places: Vec<usize> = (0..plugins.len()).collect();
        places.sort_by_key(|place| std::cmp::Reverse(rank[*place]));
        let mut plugins: Vec<_> = plugins.drain(..).map(Some).collect();
        places
            .into_iter()
            .filter_map(|place| plugins[place].take())
            .collect()
    }

    /// Every plugin there ever was, in groups: each after all that need one of it, and no two of a group need each
    /// other.
    pub(crate) fn in_unload_levels(&self) -> Vec<Vec<Arc<Plugin>>> {
        let loaded = self.loaded_packages();
        let mut levels: Vec<Vec<Arc<Plugin>>> = Vec::new();
        let mut level_of: BTreeMap<PluginName, usize> = BTreeMap::new();
        for plugin in self.in_unload_order() {
            let needed_by = deps::dependants(&loaded, plugin.name(), true);
            let before = needed_by.iter().filter_map(|name| level_of.get(name));
            let level = before.max().map_or(0, |level| level + 1);
            level_of.insert(plugin.name().clone(), level);
            if levels.len() <= level {
                levels.resize_with(level + 1, Vec::new);
            }
            levels[level].push(plugin);
        }
        levels
    }

    /// What is loaded, by name.
    fn loaded_packages(&self) -> Vec<Package> {
        let plugins = self.catalog.all();
        let current = plugins.iter().filter_map(|plugin| plugin.current());
        current
            .map(|generation| Package::from(&generation.manifest))
            .collect()
    }
}

fn packages(manifests: &[&Manifest]) -> Vec<Package> {
    manifests
        .iter()
        .map(|manifest| Package::from(*manifest))
        .collect()
}
