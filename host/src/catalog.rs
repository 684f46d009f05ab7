//! The plugins of one host, by name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use foldhash::quality::RandomState;
use plg_packaging::PluginName;

use crate::plugin::record::Plugin;

type Plugins = HashMap<PluginName, Arc<Plugin>, RandomState>;

/// Plugins by name. Looking one up takes no lock; entries are added and never removed, so a handle
/// stays good over an unload and the next load.
///
/// The hasher is seeded per catalog, and names come from manifests that an operator chose.
#[derive(Default)]
pub(crate) struct Catalog {
    plugins: ArcSwap<Plugins>,
    adding: Mutex<()>,
}

/// The plugins at one moment.
pub(crate) struct Plugged(Guard<Arc<Plugins>>);

impl Catalog {
    /// The plugins as they are now; kept unchanged for as long as the caller wants.
    #[inline]
    pub(crate) fn read(&self) -> Plugged {
        Plugged(self.plugins.load())
    }

    /// The plugin of that name, added with `make` when there is none.
    pub(crate) fn entry(
        &self,
        name: &PluginName,
        make: impl FnOnce() -> Arc<Plugin>,
    ) -> Arc<Plugin> {
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plugin) = self.read().find(name.as_str()) {
            return plugin.clone();
        }
        let mut plugins = Plugins::clone(&self.plugins.load());
        let plugin = make();
        plugins.insert(name.clone(), plugin.clone());
        self.plugins.store(Arc::new(plugins));
        plugin
    }
}

impl Plugged {
    #[inline]
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Plugin>> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Plugin>> {
        let mut all: Vec<_> = self.0.values().cloned().collect();
        all.sort_by(|left, right| left.name().cmp(right.name()));
        all
    }
}
