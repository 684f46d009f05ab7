//! The host: plugins by name, and everything that changes them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use plg_packaging::{Digest, PluginName};
use thiserror::Error as ThisError;

use crate::builder::{Builder, Setup};
use crate::census::Census;
use crate::changes::{Member, Move};
use crate::context::Context;
use crate::discovery::{self, Candidate, Discovery};
use crate::error::Error;
use crate::events::{Events, Hook, HookOptions, Phase, Step, Subject, Subscription};
use crate::history::{History, Why};
use crate::inner::Inner;
use crate::last_words::Death;
use crate::loader::preflight::{self, Report};
use crate::plugin::record::Plugin;
use crate::plugin::{CanaryOptions, Handle, PluginSnapshot, Unloaded};
use crate::quarantine::Quarantine;
use crate::upgrade::{UpgradeError, UpgradeOptions, Upgraded};
#[cfg(feature = "watch")]
use crate::watch::{Watch, WatchOptions};

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
    pub(crate) inner: Arc<Inner>,
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
    /// The state directory cannot be made.
    #[error("failed to make the state directory `{}`", path.display())]
    State {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It was given no home, so there is no store.
    #[error("the host has no store: it was given no home")]
    NoHome,
    /// The host was shut down.
    #[error("the host was shut down")]
    Closed,
    /// A hook objected to what was asked for.
    #[error("a hook vetoed to {step} `{subject}`: {reason}")]
    Vetoed {
        /// What was asked for.
        step: Step,
        /// The plugin or directory.
        subject: String,
        /// The hook's reason.
        reason: String,
    },
    /// The system has no thread for it.
    #[error("failed to start a thread for {what}")]
    Thread {
        /// What it was for.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl HostError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Images { .. } => "host.images",
            Self::State { .. } => "host.state",
            Self::NoHome => "host.no_home",
            Self::Closed => "host.closed",
            Self::Vetoed { .. } => "hook.vetoed",
            Self::Thread { .. } => "host.threads",
        }
    }
}

impl Host {
    /// Sets up a host.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(setup: Setup) -> Self {
        Self {
            inner: Inner::new(setup),
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
        self.inner.discover().0
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
        self.inner.load_all()
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
        let (candidate, known) = self.inner.read(Step::Load, path.as_ref())?;
        self.inner.load(&candidate, known, Why::Asked)
    }

    /// Like [`load`](Self::load), if the library's bytes have this SHA-256.
    ///
    /// # Errors
    ///
    /// As for `load`, and `native.hash` when they have another.
    pub fn load_pinned(&self, path: impl AsRef<Path>, digest: Digest) -> Result<Handle, Error> {
        self.inner.check_open()?;
        let (candidate, mut known) = self.inner.read(Step::Load, path.as_ref())?;
        known.digest = Some(digest);
        self.inner.load(&candidate, known, Why::Asked)
    }

    /// Adds a hook, until the subscription is dropped.
    ///
    /// # Errors
    ///
    /// `host.threads` when the system has no thread for it.
    pub fn subscribe(&self, options: HookOptions, hook: impl Hook) -> Result<Subscription, Error> {
        let subscription = self.inner.hooks.subscribe(options, hook);
        let subscription = subscription.map_err(|source| HostError::Thread {
            what: "a hook",
            source,
        })?;
        fence(Ordering::SeqCst);
        if self.inner.hooks.want_calls() {
            for plugin in self.inner.catalog.all() {
                plugin.watch_calls();
            }
        }
        Ok(subscription)
    }

    /// Adds a hook for as long as the host lives.
    pub(crate) fn subscribe_for_good(
        &self,
        options: HookOptions,
        hook: impl Hook,
    ) -> Result<(), Error> {
        let subscription = self.subscribe(options, hook)?;
        self.inner.keep_subscription(subscription);
        Ok(())
    }

    /// What this host does from now on, as an iterator that waits for the next event.
    ///
    /// ```
    /// # let host = plg_host::Host::builder().plugin_dir("plugins").build()?;
    /// let mut events = host.events();
    /// host.load_all()?;
    /// assert_eq!(events.try_next().map(|event| event.step), Some(plg_host::Step::Discover));
    /// # Ok::<(), plg_host::Error>(())
    /// ```
    #[must_use]
    pub fn events(&self) -> Events {
        self.inner.hooks.events()
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
        let (candidate, known) = self.inner.read(Step::Upgrade, path.as_ref())?;
        self.inner
            .upgrade(&plugin, &candidate, known, options, Why::Asked)
    }

    /// Upgrades several plugins as one change: all or none. For builds that need each other's newer
    /// versions. A plugin's dependencies answer before it does.
    ///
    /// # Errors
    ///
    /// As for [`upgrade_with`](Self::upgrade_with), and `deps.breaks` when a plugin that is loaded would be left
    /// without what it needs.
    pub fn upgrade_together(
        &self,
        upgrades: &[(&str, &Path)],
        options: UpgradeOptions,
    ) -> Result<Vec<(PluginName, Upgraded)>, Error> {
        self.inner.check_open()?;
        let mut members = Vec::new();
        for (name, path) in upgrades {
            let plugin = self.inner.find_begun(name)?;
            let (candidate, known) = self.inner.read(Step::Upgrade, path)?;
            members.push(Member {
                plugin,
                candidate,
                known,
            });
        }
        self.inner.upgrade_together(members, options)
    }

    /// Moves a plugin out of this process while calls run: the very bytes that are loaded go on in a process of
    /// their own, with the plugin's state where it hands one over. Says what became of the code here; `None` when
    /// the plugin was in a process of its own already. Later builds of it run there as well, until
    /// [`inline`](Self::inline).
    ///
    /// # Errors
    ///
    /// `policy.no_runner` for a host without a [runner](Builder::runner); `proc.*` when the process cannot be started;
    /// and as for [`upgrade`](Self::upgrade). Whatever goes wrong leaves the plugin answering where it is.
    pub fn isolate(&self, name: &str) -> Result<Option<Upgraded>, Error> {
        self.relocate(name, &Move::Apart)
    }

    /// Moves a plugin into this process while calls run; `None` when it was here already. The reverse of
    /// [`isolate`](Self::isolate).
    ///
    /// # Errors
    ///
    /// `policy.denied` when the policy or the manifest keeps the plugin out of this process; `policy.program` for a
    /// plugin that is a program; and as for [`upgrade`](Self::upgrade).
    pub fn inline(&self, name: &str) -> Result<Option<Upgraded>, Error> {
        self.relocate(name, &Move::Inline)
    }

    fn relocate(&self, name: &str, to: &Move) -> Result<Option<Upgraded>, Error> {
        self.inner.check_open()?;
        let plugin = self.inner.find_begun(name)?;
        self.inner.relocate(&plugin, to, None, Why::Asked)
    }

    /// Brings back the build that answered before the last upgrade, from its own bytes; what stands in
    /// its file by now does not matter. Rolling back once more goes forth again.
    ///
    /// # Errors
    ///
    /// `upgrade.no_previous` when there was none since the plugin was loaded, and what an upgrade can
    /// fail with.
    pub fn rollback(&self, name: &str) -> Result<Upgraded, Error> {
        self.inner.check_open()?;
        let plugin = self.inner.find_begun(name)?;
        self.inner.roll_back(&plugin, None, Why::Asked)
    }

    /// Gives the build at `path` a share of the plugin's calls, which grows while it does well. It is
    /// promoted to all calls, or taken out again when too many fail; events say which. Calls with the
    /// same [`sticky`](Context::sticky) key stay with the same build. Returns the number of its generation.
    ///
    /// # Errors
    ///
    /// As for [`upgrade_with`](Self::upgrade_with), `upgrade.canary` when there is one already, and
    /// `upgrade.state` for a plugin that keeps state.
    pub fn canary(
        &self,
        name: &str,
        path: impl AsRef<Path>,
        options: CanaryOptions,
    ) -> Result<u64, Error> {
        self.inner.check_open()?;
        let plugin = self.inner.find_begun(name)?;
        let (candidate, known) = self.inner.read(Step::Upgrade, path.as_ref())?;
        self.inner.begin_canary(&plugin, &candidate, known, options)
    }

    /// Gives the canary all calls now.
    ///
    /// # Errors
    ///
    /// `upgrade.no_canary` when there is none.
    pub fn promote_canary(&self, name: &str) -> Result<Upgraded, Error> {
        let plugin = self.inner.find_begun(name)?;
        self.inner.promote_canary(&plugin, Why::Asked)
    }

    /// Takes the canary out. All calls go to the other build again.
    ///
    /// # Errors
    ///
    /// `upgrade.no_canary` when there is none.
    pub fn end_canary(&self, name: &str) -> Result<Unloaded, Error> {
        let plugin = self.inner.find_begun(name)?;
        let ended = self.inner.end_canary(&plugin, None);
        ended.ok_or_else(|| {
            let name = plugin.name().clone();
            UpgradeError::NoCanary { name }.into()
        })
    }

    /// Unloads the plugin of that name and says what became of its code. Its calls fail with
    /// `plugin.unloaded` from now on.
    ///
    /// # Errors
    ///
    /// `plugin.not_found`, `plugin.unloaded` when it is not loaded, and `deps.in_use` when a plugin that is
    /// loaded needs it.
    pub fn unload(&self, name: &str) -> Result<Unloaded, Error> {
        let plugin = self.inner.find_begun(name)?;
        self.inner.unload(&plugin, Why::Asked)
    }

    /// Unloads the plugin of that name, and before it the plugins that need it, in order. Says what
    /// became of each. When one of them stays, so do those that it needs.
    ///
    /// # Errors
    ///
    /// As for [`unload`](Self::unload).
    pub fn unload_cascade(&self, name: &str) -> Result<Vec<(PluginName, Unloaded)>, Error> {
        let plugin = self.inner.find_begun(name)?;
        self.inner.unload_cascade(&plugin)
    }

    /// Follows the plugin directories from now on, on a thread of its own: what is added is loaded, what
    /// changes replaces what is loaded, and what is removed is unloaded, while calls run. What is there
    /// already is loaded as well, unless its bytes are. Events say what happens.
    ///
    /// A change is one of the bytes or the manifest, not of the time. A file is taken when it has not
    /// changed for [`WatchOptions::settle`] and is whole. A build that cannot be loaded is left alone until
    /// its files change, and what is changed by other means, such as a [`rollback`](Self::rollback), stays.
    ///
    /// ```no_run
    /// use plg_host::{Host, WatchOptions};
    ///
    /// let host = Host::builder().plugin_dir("plugins").build()?;
    /// let mut events = host.events();
    /// let watch = host.watch(WatchOptions::default())?;
    /// while let Some(event) = events.next() {
    ///     println!("{event}");
    /// }
    /// drop(watch);
    /// # Ok::<(), plg_host::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `host.closed` after a shutdown, `host.threads` when the system has no thread for it. What is wrong
    /// with plugins and directories is in the events.
    #[cfg(feature = "watch")]
    pub fn watch(&self, options: WatchOptions) -> Result<Watch, Error> {
        self.inner.check_open()?;
        Watch::begin(&self.inner.own, options)
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

    /// How earlier hosts with this state directory died, found when this one was made. The builds that
    /// are to blame are in [`quarantine`](Self::quarantine) now.
    #[must_use]
    pub fn deaths(&self) -> &[Death] {
        &self.inner.setup.deaths
    }

    /// Tells the hooks what earlier hosts died of.
    pub(crate) fn tell_deaths(&self) {
        for death in self.deaths() {
            let Some(culprit) = &death.culprit else {
                continue;
            };
            let hooks = &self.inner.hooks;
            hooks.tell(Step::Crash, Phase::Done, Some("plugin.crashed"), || {
                let subject = Subject {
                    version: Some(culprit.version.clone()),
                    digest: Some(culprit.digest),
                    generation: Some(culprit.generation),
                    label: culprit.label.clone(),
                    ..Subject::plugin(&culprit.plugin)
                };
                (subject, death.to_string())
            });
        }
    }

    /// What was loaded when, and why.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.inner.setup.history
    }

    /// Digests that are not loaded because they crashed, with the reason; they can be cleared there.
    #[must_use]
    pub fn quarantine(&self) -> &Quarantine {
        &self.inner.setup.loader.quarantine
    }

    /// Unloads everything and lets nothing be loaded any more. Says what became of each plugin.
    ///
    /// # Errors
    ///
    /// `host.closed` when it was shut down before.
    pub fn shutdown(&self) -> Result<Vec<(PluginName, Unloaded)>, Error> {
        if !self.inner.close() {
            return Err(HostError::Closed.into());
        }
        let unloaded = self.inner.unload_all();
        self.inner.workers.close();
        Ok(unloaded)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Shut down before is as good.
        let _ = self.shutdown();
        self.inner.hooks.end_streams();
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("directories", &self.inner.setup.directories)
            .finish_non_exhaustive()
    }
}
