//! The host: plugins by name, and everything that changes them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, Weak};

use plg_packaging::{Digest, PluginName};
use plg_plugin_api::abi::status;
use thiserror::Error as ThisError;

use crate::builder::Builder;
use crate::catalog::Catalog;
use crate::census::Census;
use crate::context::Context;
use crate::context::frame::Call;
use crate::discovery::{self, Candidate, Discovery};
use crate::error::{Error, distance};
use crate::loader::image::Bytes;
use crate::loader::preflight::{self, Report};
use crate::loader::{LoadError, Loader, Ready};
use crate::plugin::generation::{Generation, Room};
use crate::plugin::record::{Others, Plugin, Turn};
use crate::plugin::thread::{HERE, Number};
use crate::plugin::{Handle, PluginSnapshot, Unloaded};
use crate::transport::Transport;
use crate::upgrade::{UpgradeError, UpgradeOptions, Upgraded};

/// Finds, loads, calls, upgrades and unloads plugins.
///
/// A host has no global state: two in one process know nothing of each other. All of its methods can be
/// called from any thread at any time; calls to plugins take no lock. Dropping it unloads what is
/// loaded, as [`shutdown`](Self::shutdown) does.
///
/// ```no_run
/// use plg_host::{Context, Host};
///
/// let host = Host::builder().plugin_dir("plugins").build()?;
/// let report = host.load_all()?;
/// for failed in &report.failed {
///     eprintln!("{}: {}", failed.code(), failed);
/// }
/// let mut ctx = Context::new().with("name", "Ada");
/// host.plugin("hello")?.call("greet", &mut ctx)?;
/// assert_eq!(ctx.text("reply"), Some("Hello, Ada!"));
/// # Ok::<(), plg_host::Error>(())
/// ```
pub struct Host {
    inner: Arc<Inner>,
}

/// What [`Host::load_all`] did. One bad plugin never stops the others.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct LoadReport {
    /// The plugins that are loaded now, in the order they were found.
    pub loaded: Vec<Handle>,
    /// Why others are not.
    pub failed: Vec<Error>,
}

/// What the host itself cannot do.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum HostError {
    /// The directory for images cannot be made.
    #[error("failed to make a directory for images in `{}`", parent.display())]
    Images {
        /// The directory it was to be in.
        parent: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The host was shut down.
    #[error("the host was shut down")]
    Closed,
    /// A text that cannot be a plugin's name.
    #[error("{name:?} is no name of a plugin")]
    Name {
        /// The text.
        name: String,
        /// What is wrong with it.
        source: plg_packaging::TextError,
    },
}

impl HostError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Images { .. } => "host.images",
            Self::Closed => "host.closed",
            Self::Name { .. } => "plugin.not_found",
        }
    }
}

/// Faults that tests inject. Never set one in an app.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Unmaps a generation without waiting for the calls inside it.
    pub skip_drain: bool,
    /// Does not ask the kernel for its barrier.
    pub no_membarrier: bool,
}

/// Which plugins are wanted, by name.
pub(crate) struct Filter(pub(crate) Box<dyn Fn(&str) -> bool + Send + Sync>);

/// What the builder collected.
pub(crate) struct Setup {
    pub(crate) directories: Vec<PathBuf>,
    pub(crate) filter: Option<Filter>,
    pub(crate) discovery: discovery::Rules,
    pub(crate) loader: Loader,
    pub(crate) faults: Faults,
}

struct Inner {
    setup: Setup,
    catalog: Catalog,
    /// How many images are mapped or about to be.
    mapped: Arc<AtomicUsize>,
    closed: AtomicBool,
    own: Weak<Self>,
}

impl Host {
    /// Sets up a host.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(setup: Setup) -> Self {
        Self {
            inner: Arc::new_cyclic(|own| Inner {
                setup,
                catalog: Catalog::default(),
                mapped: Arc::default(),
                closed: AtomicBool::new(false),
                own: own.clone(),
            }),
        }
    }

    /// Looks through the plugin directories without loading anything.
    ///
    /// ```
    /// # let host = plg_host::Host::builder().build()?;
    /// assert!(host.discover().candidates.is_empty());
    /// # Ok::<(), plg_host::Error>(())
    /// ```
    #[must_use]
    pub fn discover(&self) -> Discovery {
        let setup = &self.inner.setup;
        let mut all = Discovery::default();
        for directory in &setup.directories {
            let found = discovery::discover(directory, &setup.discovery);
            all.candidates.extend(found.candidates);
            all.problems.extend(found.problems);
        }
        if let Some(Filter(wanted)) = &setup.filter {
            all.candidates
                .retain(|candidate| wanted(candidate.manifest.name.as_str()));
        }
        all
    }

    /// Looks at one path as [`load`](Self::load) would, without loading it: a directory with a
    /// `plugin.json`, or a library.
    ///
    /// # Errors
    ///
    /// [`Error::Discover`] when it is no plugin.
    pub fn candidate(&self, path: impl AsRef<Path>) -> Result<Candidate, Error> {
        let rules = &self.inner.setup.discovery;
        Ok(discovery::candidate(path.as_ref(), rules)?)
    }

    /// Says everything that speaks against loading these bytes, by the rules of this host. Nothing is
    /// mapped.
    #[must_use]
    pub fn preflight(&self, bytes: &[u8]) -> Report {
        preflight::preflight(bytes, &self.inner.setup.loader.rules)
    }

    /// Loads every plugin in the plugin directories that is not loaded yet.
    ///
    /// # Errors
    ///
    /// `host.closed` after a shutdown. What is wrong with single plugins is in the report.
    pub fn load_all(&self) -> Result<LoadReport, Error> {
        self.inner.check_open()?;
        let found = self.discover();
        let mut report = LoadReport {
            loaded: Vec::new(),
            failed: found.problems.into_iter().map(Error::from).collect(),
        };
        let loader = &self.inner.setup.loader;
        let missing = |candidate: &Candidate| !self.inner.catalog.has(&candidate.manifest.name);
        loader.ahead(&found.candidates, missing, |candidate, ready| {
            match self.inner.load(candidate, ready) {
                Ok(handle) => report.loaded.push(handle),
                Err(error) => report.failed.push(error),
            }
        });
        Ok(report)
    }

    /// Loads the plugin at `path`: a directory with a `plugin.json`, or a library. Loading the same
    /// bytes again returns the plugin that is loaded.
    ///
    /// # Errors
    ///
    /// [`Error::Discover`] and [`Error::Load`] when it cannot be loaded, `plugin.loaded` when other
    /// bytes of that name are.
    pub fn load(&self, path: impl AsRef<Path>) -> Result<Handle, Error> {
        self.inner.check_open()?;
        let (candidate, bytes) = self.inner.read(path.as_ref())?;
        self.inner.load(&candidate, Ready::ToCheck(bytes, None))
    }

    /// Like [`load`](Self::load), if the library's bytes have this SHA-256.
    ///
    /// # Errors
    ///
    /// As for `load`, and `native.hash` when they have another.
    pub fn load_pinned(&self, path: impl AsRef<Path>, digest: Digest) -> Result<Handle, Error> {
        self.inner.check_open()?;
        let (candidate, bytes) = self.inner.read(path.as_ref())?;
        self.inner
            .load(&candidate, Ready::ToCheck(bytes, Some(digest)))
    }

    /// The plugin of that name.
    ///
    /// # Errors
    ///
    /// `plugin.not_found` when none of that name was ever loaded.
    pub fn plugin(&self, name: &str) -> Result<Handle, Error> {
        Ok(Handle::new(self.inner.find(name)?))
    }

    /// Calls `label` of the plugin of that name.
    ///
    /// # Errors
    ///
    /// `plugin.not_found`, and what [`Handle::call`] returns.
    #[inline]
    pub fn call(&self, plugin: &str, label: &str, context: &mut Context) -> Result<(), Error> {
        self.inner.call(plugin, label, context)
    }

    /// Replaces the plugin of that name by the build at `path`, while calls run: the new build stands
    /// before the old one goes, calls that are inside the old one end there, and every call that starts
    /// after this returned runs in the new one. Any failure leaves the old build answering.
    ///
    /// # Errors
    ///
    /// As for [`load`](Self::load), and the codes `upgrade.*`.
    pub fn upgrade(&self, name: &str, path: impl AsRef<Path>) -> Result<Upgraded, Error> {
        self.upgrade_with(name, path, UpgradeOptions::default())
    }

    /// Like [`upgrade`](Self::upgrade), with options.
    ///
    /// # Errors
    ///
    /// As for `upgrade`.
    pub fn upgrade_with(
        &self,
        name: &str,
        path: impl AsRef<Path>,
        options: UpgradeOptions,
    ) -> Result<Upgraded, Error> {
        self.inner.check_open()?;
        let plugin = self.inner.find_begun(name)?;
        let (candidate, bytes) = self.inner.read(path.as_ref())?;
        self.inner.upgrade(&plugin, &candidate, bytes, options)
    }

    /// Unloads the plugin of that name and says what became of its code. Its calls fail with
    /// `plugin.unloaded` from now on.
    ///
    /// # Errors
    ///
    /// `plugin.not_found`, and `plugin.unloaded` when it is not loaded.
    pub fn unload(&self, name: &str) -> Result<Unloaded, Error> {
        let plugin = self.inner.find_begun(name)?;
        let turn = take_turn(&plugin)?;
        let _ = turn.sweep();
        match turn.publish(None) {
            Some(unloaded) => Ok(unloaded),
            None => Err(self.inner.not_loaded(&plugin)),
        }
    }

    /// Tries again to let go of retained code, and says what became of each generation.
    pub fn sweep(&self) -> Vec<(PluginName, u64, Unloaded)> {
        let mut swept = Vec::new();
        for plugin in self.inner.catalog.all() {
            let Some(turn) = plugin.take_turn() else {
                continue;
            };
            for (generation, unloaded) in turn.sweep() {
                swept.push((plugin.name().clone(), generation, unloaded));
            }
        }
        swept
    }

    /// What an operator sees of every plugin that is loaded or has code retained, by name.
    #[must_use]
    pub fn snapshots(&self) -> Vec<PluginSnapshot> {
        let plugins = self.inner.catalog.all();
        plugins
            .iter()
            .map(|plugin| PluginSnapshot::of(plugin))
            .filter(|plugin| plugin.current.is_some() || !plugin.retained.is_empty())
            .collect()
    }

    /// What the process and this host hold.
    #[must_use]
    pub fn census(&self) -> Census {
        let plugins = self.inner.catalog.all();
        let current = |plugin: &&Arc<Plugin>| plugin.current().is_some();
        let generations = plugins.iter().filter(current).count();
        let retained: usize = plugins.iter().map(|plugin| plugin.retained()).sum();
        let scratch = self.inner.setup.loader.scratch.as_ref();
        let images = scratch.map(|scratch| scratch.directory());
        Census::take(generations, retained, images)
    }

    /// Digests that are not loaded because they crashed, with the reason.
    #[must_use]
    pub fn quarantine(&self) -> Vec<(Digest, String)> {
        let quarantine = &self.inner.setup.loader.quarantine;
        let quarantine = quarantine.lock().unwrap_or_else(PoisonError::into_inner);
        quarantine
            .iter()
            .map(|(digest, reason)| (*digest, reason.clone()))
            .collect()
    }

    /// Lets a quarantined digest be loaded again; says whether it was quarantined.
    pub fn clear_quarantine(&self, digest: Digest) -> bool {
        let quarantine = &self.inner.setup.loader.quarantine;
        let mut quarantine = quarantine.lock().unwrap_or_else(PoisonError::into_inner);
        quarantine.remove(&digest).is_some()
    }

    /// Unloads everything and lets nothing be loaded any more. Says what became of each plugin.
    ///
    /// # Errors
    ///
    /// `host.closed` when it was shut down before.
    pub fn shutdown(&self) -> Result<Vec<(PluginName, Unloaded)>, Error> {
        if self.inner.closed.swap(true, Ordering::SeqCst) {
            return Err(HostError::Closed.into());
        }
        let mut unloaded = Vec::new();
        for plugin in self.inner.catalog.all() {
            let Some(turn) = plugin.take_turn() else {
                continue;
            };
            let _ = turn.sweep();
            if let Some(outcome) = turn.publish(None) {
                unloaded.push((plugin.name().clone(), outcome));
            }
        }
        Ok(unloaded)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Shut down before is as good.
        let _ = self.shutdown();
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("directories", &self.inner.setup.directories)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter")
    }
}

impl Inner {
    #[inline]
    fn call(&self, plugin: &str, label: &str, context: &mut Context) -> Result<(), Error> {
        match self.catalog.find(plugin) {
            Some(plugin) => plugin.call(label, context),
            None => Err(self.not_found(plugin)),
        }
    }

    /// The plugin of that name, even one whose first load is under way.
    fn find_begun(&self, name: &str) -> Result<Arc<Plugin>, Error> {
        let found = self.catalog.find(name).cloned();
        found.ok_or_else(|| self.not_found(name))
    }

    fn not_loaded(&self, plugin: &Plugin) -> Error {
        let name = plugin.name();
        if plugin.was_published() {
            Error::NotLoaded { name: name.clone() }
        } else {
            self.not_found(name.as_str())
        }
    }

    fn find(&self, name: &str) -> Result<Arc<Plugin>, Error> {
        self.catalog
            .find(name)
            .filter(|plugin| plugin.was_published())
            .cloned()
            .ok_or_else(|| self.not_found(name))
    }

    #[cold]
    fn not_found(&self, name: &str) -> Error {
        let all = self.catalog.all();
        let similar = all
            .iter()
            .filter(|plugin| plugin.was_published())
            .map(|plugin| plugin.name())
            .filter(|known| known.as_str() != name)
            .min_by_key(|known| distance(known.as_str(), name))
            .filter(|known| distance(known.as_str(), name) <= 2);
        Error::NotFound {
            name: name.chars().take(64).collect(),
            similar: similar.cloned(),
        }
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(HostError::Closed.into());
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> Result<(Candidate, Option<Bytes>), Error> {
        Ok(discovery::read_candidate(path, &self.setup.discovery)?)
    }

    fn load(&self, candidate: &Candidate, ready: Ready) -> Result<Handle, Error> {
        let plugin = self.catalog.entry(&candidate.manifest.name, || {
            let others: Weak<Self> = self.own.clone();
            Arc::new(Plugin::new(
                candidate.manifest.name.clone(),
                self.setup.loader.limits.clone(),
                self.setup.faults,
                others,
            ))
        });
        let turn = take_turn(&plugin)?;
        let _ = turn.sweep();
        if let Some(current) = plugin.current() {
            let found = self.setup.loader.digest(candidate, ready)?;
            let same = current.digest() == Some(found);
            drop(turn);
            return if same {
                Ok(Handle::new(plugin))
            } else {
                let name = candidate.manifest.name.clone();
                Err(Error::Loaded { name })
            };
        }
        let generation = self.start(&plugin, &turn, candidate, ready)?;
        // A shutdown that began meanwhile has passed this plugin by.
        if let Err(closed) = self.check_open() {
            let _ = turn.discard(generation);
            return Err(closed);
        }
        let _ = turn.publish(Some(generation));
        drop(turn);
        Ok(Handle::new(plugin))
    }

    fn upgrade(
        &self,
        plugin: &Plugin,
        candidate: &Candidate,
        bytes: Option<Bytes>,
        options: UpgradeOptions,
    ) -> Result<Upgraded, Error> {
        let name = plugin.name();
        if candidate.manifest.name != *name {
            let (name, found) = (name.clone(), candidate.manifest.name.clone());
            return Err(UpgradeError::OtherPlugin { name, found }.into());
        }
        let turn = take_turn(plugin)?;
        let _ = turn.sweep();
        let Some(current) = plugin.current() else {
            return Err(self.not_loaded(plugin));
        };
        let (from, to) = (
            current.manifest.version.clone(),
            candidate.manifest.version.clone(),
        );
        drop(current);
        if to.cmp_precedence(&from).is_lt() && !options.allow_downgrade {
            let name = name.clone();
            return Err(UpgradeError::Downgrade { name, from, to }.into());
        }
        let generation = self.start(plugin, &turn, candidate, Ready::ToCheck(bytes, None))?;
        let number = generation.number;
        let retired = turn.publish(Some(generation)).unwrap_or(Unloaded::Unmapped);
        Ok(Upgraded {
            from,
            to,
            generation: number,
            retired,
        })
    }

    /// Maps the candidate's library and runs its `init`. It is whole and ready, and nobody calls it yet.
    fn start(
        &self,
        plugin: &Plugin,
        turn: &Turn<'_>,
        candidate: &Candidate,
        ready: Ready,
    ) -> Result<Generation, Error> {
        let loader = &self.setup.loader;
        let (retained, limit) = (plugin.retained(), loader.limits.retained);
        if retained >= limit {
            let name = plugin.name().clone();
            return Err(UpgradeError::NeedsRestart {
                name,
                retained,
                limit,
            }
            .into());
        }
        let limit = loader.limits.plugins;
        let room = Room::take(&self.mapped, limit);
        let room = room.map_err(|mapped| LoadError::TooMany { mapped, limit })?;
        let mapped = loader.map(candidate, ready)?;
        let mut context = Context::new();
        let call = Call {
            callee: plugin,
            label: "",
        };
        let answer = HERE.with(|here| {
            // What `init` leaves in thread-locals of this thread makes the thread one that later
            // unloads have to know.
            Number::of(here);
            mapped.code.init(here, &mut context, &call)
        });
        let generation = Generation::new(
            turn.next_number(),
            mapped.manifest,
            &candidate.library,
            Transport::InProcess(mapped.code),
            room,
        );
        if answer == Some(status::OK) {
            return Ok(generation);
        }
        let said = context.take_failure();
        let _ = turn.discard(generation);
        let (code, message) = match said {
            Some(failure) => (failure.code, failure.message),
            None => ("call.failed".to_owned(), "it did not say why".to_owned()),
        };
        Err(LoadError::Init {
            path: candidate.library.clone(),
            code,
            message,
        }
        .into())
    }
}

impl Others for Inner {
    fn call(&self, plugin: &str, label: &str, context: &mut Context) -> Result<(), Error> {
        Self::call(self, plugin, label, context)
    }
}

fn take_turn(plugin: &Plugin) -> Result<Turn<'_>, Error> {
    plugin.take_turn().ok_or_else(|| Error::Busy {
        name: plugin.name().clone(),
    })
}
