//! Calls from inside one plugin that wait for a place in another: when all wait for each other, the last
//! one is told so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bulkhead::Wait;
use super::record::Plugin;

/// Which thread waits for a place in which plugin, while it holds a place in others.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    waiting: Mutex<BTreeMap<usize, Arc<Plugin>>>,
}

/// The wait of one thread.
pub(super) struct Waiting<'a> {
    pub(super) waits: &'a Waits,
    pub(super) thread: usize,
    pub(super) plugin: &'a Plugin,
}

impl Wait for Waiting<'_> {
    fn begin(&self) -> bool {
        // The host goes, and with it what it would wait for.
        let Some(plugin) = self.plugin.own.upgrade() else {
            return false;
        };
        let mut waiting = self.waits.lock();
        waiting.insert(self.thread, plugin.clone());
        can_end(&waiting, plugin)
    }

    fn end(&self) {
        let waited = self.waits.lock().remove(&self.thread);
        drop(waited);
    }
}

impl Waits {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Arc<Plugin>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a place in `plugin` can become free: some thread inside does not wait, or waits for a place that
/// can. Every wait is looked at when it begins, so the one that would close a circle finds it.
fn can_end(waiting: &BTreeMap<usize, Arc<Plugin>>, plugin: Arc<Plugin>) -> bool {
    let mut seen: Vec<Arc<Plugin>> = Vec::new();
    let mut next = vec![plugin];
    while let Some(plugin) = next.pop() {
        if seen.iter().any(|seen| Arc::ptr_eq(seen, &plugin)) {
            continue;
        }
        let Some(inside) = plugin.full_of() else {
            return true;
        };
        for thread in inside {
            match waiting.get(&thread) {
                // One that waits for what it has was let in just now.
                Some(other) if !Arc::ptr_eq(other, &plugin) => next.push(other.clone()),
                _ => return true,
            }
        }
        seen.push(plugin);
    }
    false
}
