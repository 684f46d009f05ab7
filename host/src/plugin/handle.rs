//! What an app holds of a plugin.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use plg_packaging::Manifest;

use super::generation::Generation;
use super::labels::Entry;
use super::record::Plugin;
use super::snapshot::PluginSnapshot;
use crate::context::Context;
use crate::endpoint::{HttpRequest, HttpResponse};
use crate::error::Error;

/// A plugin, always its newest generation. Cheap to clone, and usable from many threads at once.
///
/// It outlives the plugin: after an unload its calls fail with `plugin.unloaded`, and after the plugin
/// was loaded again they work again.
#[derive(Clone)]
pub struct Handle {
    plugin: Arc<Plugin>,
}

/// One label of a plugin, resolved once: calling it looks nothing up.
#[derive(Clone)]
pub struct LabelHandle {
    plugin: Arc<Plugin>,
    entry: Arc<Entry>,
}

/// One generation of a plugin, kept whole and callable until this is dropped, whatever is published
/// meanwhile. For streams and other long users; a call needs none.
pub struct Lease {
    plugin: Arc<Plugin>,
    generation: Arc<Generation>,
}

impl Handle {
    pub(crate) fn new(plugin: Arc<Plugin>) -> Self {
        Self { plugin }
    }

    pub(crate) fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// The plugin's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.plugin.name().as_str()
    }

    /// Calls `label` with these values; what the plugin set is in `context` afterwards.
    ///
    /// A label that no generation ever listed is refused here when the plugin lists its labels; one that
    /// an earlier generation had reaches the plugin, which says that it has it no more.
    ///
    /// # Errors
    ///
    /// [`Error::Call`] with the codes `call.*`, `ctx.*` or `plugin.unloaded`.
    #[inline]
    pub fn call(&self, label: &str, context: &mut Context) -> Result<(), Error> {
        self.plugin.call(label, context)
    }

    /// Resolves `label` for many calls.
    ///
    /// # Errors
    ///
    /// `call.no_route` when the plugin says which labels it has and this is none of them.
    pub fn label(&self, label: &str) -> Result<LabelHandle, Error> {
        Ok(LabelHandle {
            entry: self.plugin.resolve(label)?,
            plugin: self.plugin.clone(),
        })
    }

    /// Asks the plugin's own HTTP endpoints, if it runs in a process of its own. Counts as a call: it is one of those
    /// that may be inside at once, an upgrade waits for its end, and calls that nobody listens to any more are
    /// given up at the request's timeout. An answer with any status is an answer.
    ///
    /// ```no_run
    /// use plg_host::{Host, HttpRequest};
    ///
    /// let host = Host::builder().plugin_dir("plugins").build()?;
    /// host.load_all()?;
    /// let page = host.plugin("reader")?.http(&HttpRequest::new("GET", "/pages/1"))?;
    /// println!("{} {}", page.status, String::from_utf8_lossy(&page.body));
    /// # Ok::<(), plg_host::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `http.no_endpoints` when it runs in this process, `http.request` for what cannot be passed on, such as the
    /// protocol's own paths, and as for [`call`](Self::call).
    pub fn http(&self, request: &HttpRequest) -> Result<HttpResponse, Error> {
        self.plugin.http(request)
    }

    /// Keeps the current generation whole until the lease is dropped.
    ///
    /// # Errors
    ///
    /// `plugin.unloaded` when there is none.
    pub fn lease(&self) -> Result<Lease, Error> {
        let generation = self.plugin.lease()?;
        Ok(Lease {
            plugin: self.plugin.clone(),
            generation,
        })
    }

    /// The manifest of the current generation; `None` after an unload.
    #[must_use]
    pub fn manifest(&self) -> Option<Manifest> {
        Some(self.plugin.current()?.manifest.clone())
    }

    /// The number of the current generation; `None` after an unload.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        Some(self.plugin.current()?.number)
    }

    /// What a plugin of the next minor appends, if the current generation has it.
    #[cfg(feature = "next-minor")]
    #[doc(hidden)]
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.plugin.current()?.next()
    }

    /// What an operator sees of the plugin now.
    #[must_use]
    pub fn snapshot(&self) -> PluginSnapshot {
        PluginSnapshot::of(&self.plugin)
    }
}

impl LabelHandle {
    /// The label.
    #[must_use]
    pub fn name(&self) -> &str {
        self.entry.name()
    }

    /// Calls the label with these values; what the plugin set is in `context` afterwards.
    ///
    /// # Errors
    ///
    /// As for [`Handle::call`].
    #[inline]
    pub fn call(&self, context: &mut Context) -> Result<(), Error> {
        self.plugin
            .call_entry(&self.entry, self.entry.name(), context)
    }
}

impl Lease {
    /// The number of the generation.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.number
    }

    /// Calls `label` of this generation.
    ///
    /// # Errors
    ///
    /// As for [`Handle::call`].
    pub fn call(&self, label: &str, context: &mut Context) -> Result<(), Error> {
        self.plugin.call_leased(&self.generation, label, context)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.generation.leases.fetch_sub(1, Ordering::SeqCst);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.name()).finish()
    }
}

impl fmt::Debug for LabelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LabelHandle")
            .field("plugin", &self.plugin.name())
            .field("label", &self.name())
            .finish()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("plugin", &self.plugin.name())
            .field("generation", &self.generation())
            .finish()
    }
}
