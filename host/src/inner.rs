//! The host without its public face: its plugins by name, and what they share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use plg_packaging::PluginName;

use crate::builder::Setup;
use crate::catalog::Catalog;
use crate::context::Context;
use crate::discovery::Candidate;
use crate::error::{Error, distance};
use crate::events::{Hooks, Phase, Step, Subject, Subscription};
use crate::failed_builds::FailedBuilds;
use crate::history;
use crate::host::HostError;
use crate::keeper::Keeper;
use crate::plugin::Unloaded;
use crate::plugin::record::{Others, Plugin, Ties};
use crate::plugin::trial::Tripped;
use crate::plugin::turn::Turn;
use crate::plugin::waits::Waits;
use crate::plugin::workers::Workers;
use crate::sentinel::Sentinel;

/// What a host is made of. Plugins hold it weakly, to call each other.
pub(crate) struct Inner {
    pub(crate) setup: Setup,
    pub(crate) catalog: Catalog,
    pub(crate) hooks: Arc<Hooks>,
    pub(crate) workers: Arc<Workers>,
    waits: Arc<Waits>,
    pub(crate) keeper: Keeper,
    pub(crate) failed_builds: FailedBuilds,
    /// How many images are mapped or about to be.
    pub(crate) mapped: Arc<AtomicUsize>,
    /// Held while the set of plugins that answer is looked at and then changed.
    pub(crate) set: Mutex<()>,
    /// What the history says of each plugin that is loaded.
    pub(crate) recorded: Mutex<BTreeMap<PluginName, history::Build>>,
    /// What the process looked like when it was last looked at.
    pub(crate) sentinel: Mutex<Option<Sentinel>>,
    /// The plugins that somebody wants in processes of their own, whatever build of them comes.
    pub(crate) apart: Mutex<BTreeSet<PluginName>>,
    /// Whether the rounds began.
    pub(crate) began: AtomicBool,
    /// The subscriptions that last as long as the host.
    subscriptions: Mutex<Vec<Subscription>>,
    closed: AtomicBool,
    pub(crate) own: Weak<Self>,
}

impl Inner {
    pub(crate) fn new(setup: Setup) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            hooks: setup.loader.hooks.clone(),
            workers: Workers::new(),
            waits: Arc::default(),
            setup,
            catalog: Catalog::default(),
            keeper: Keeper::default(),
            failed_builds: FailedBuilds::default(),
            mapped: Arc::default(),
            set: Mutex::default(),
            recorded: Mutex::default(),
            sentinel: Mutex::default(),
            apart: Mutex::default(),
            began: AtomicBool::new(false),
            subscriptions: Mutex::default(),
            closed: AtomicBool::new(false),
            own: own.clone(),
        })
    }

    #[inline]
    pub(crate) fn call(
        &self,
        plugin: &str,
        label: &str,
        context: &mut Context,
    ) -> Result<(), Error> {
        match self.catalog.find(plugin) {
            Some(plugin) => plugin.call(label, context),
            None => Err(self.not_found(plugin)),
        }
    }

    /// The plugin of that name, even one whose first load is under way.
    pub(crate) fn find_begun(&self, name: &str) -> Result<Arc<Plugin>, Error> {
        let found = self.catalog.find(name).cloned();
        found.ok_or_else(|| self.not_found(name))
    }

    pub(crate) fn not_loaded(&self, plugin: &Plugin) -> Error {
        let name = plugin.name();
        if plugin.was_published() {
            Error::NotLoaded { name: name.clone() }
        } else {
            self.not_found(name.as_str())
        }
    }

    pub(crate) fn find(&self, name: &str) -> Result<Arc<Plugin>, Error> {
        self.catalog
            .find(name)
            .filter(|plugin| plugin.was_published())
            .cloned()
            .ok_or_else(|| self.not_found(name))
    }

    /// The place of the candidate's plugin, made when there is none.
    pub(crate) fn entry(&self, candidate: &Candidate) -> Arc<Plugin> {
        let name = &candidate.manifest.name;
        let plugin = self.catalog.entry(name, || {
            let others: Weak<Self> = self.own.clone();
            let ties = Ties {
                limits: self.setup.loader.limits.clone(),
                faults: self.setup.faults,
                hooks: self.hooks.clone(),
                workers: self.workers.clone(),
                waits: self.waits.clone(),
                others,
            };
            Plugin::new(name.clone(), ties)
        });
        // Who subscribes now finds the plugin in the catalog, or is found here.
        fence(Ordering::SeqCst);
        if self.hooks.want_calls() {
            plugin.watch_calls();
        }
        plugin
    }

    #[cold]
    pub(crate) fn not_found(&self, name: &str) -> Error {
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

    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(HostError::Closed.into());
        }
        Ok(())
    }

    /// Closes the host; says whether it was open.
    pub(crate) fn close(&self) -> bool {
        let open = !self.closed.swap(true, Ordering::SeqCst);
        if open {
            self.keeper.stop();
        }
        open
    }

    /// Asks the hooks whether something may happen.
    pub(crate) fn ask(&self, step: Step, subject: &Subject) -> Result<(), Error> {
        self.hooks.ask(step, || subject.clone()).map_err(|vetoed| {
            let of = subject.plugin.as_ref().map(ToString::to_string);
            let path = subject.path.as_ref().map(|path| path.display().to_string());
            HostError::Vetoed {
                step,
                subject: of.or(path).unwrap_or_default(),
                reason: vetoed.reason,
            }
            .into()
        })
    }

    /// Tells the hooks that something did not happen.
    pub(crate) fn failed(&self, step: Step, subject: Subject, error: &Error) {
        self.hooks
            .tell(step, Phase::Failed, Some(error.code()), || {
                (subject, error.in_full())
            });
    }

    /// Keeps a subscription until the host goes.
    pub(crate) fn keep_subscription(&self, subscription: Subscription) {
        let mut subscriptions = self
            .subscriptions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        subscriptions.push(subscription);
    }

    /// What is done now and then.
    pub(crate) fn round(&self) {
        for plugin in self.catalog.all() {
            if plugin.retained() > 0
                && let Some(turn) = plugin.take_turn()
            {
                let _: Vec<(u64, Unloaded)> = turn.sweep();
            }
        }
        self.promote_clean();
        self.look_at_process(None);
    }
}

impl Others for Inner {
    fn call(&self, plugin: &str, label: &str, context: &mut Context) -> Result<(), Error> {
        Self::call(self, plugin, label, context)
    }

    fn tripped(&self, plugin: &PluginName, generation: u64, why: Tripped) {
        let plugin = plugin.clone();
        self.keeper.send(&self.own, move |host| {
            host.give_back(&plugin, generation, &why);
        });
    }

    fn misbehaved(&self, plugin: &PluginName, generation: u64, why: String) {
        let plugin = plugin.clone();
        self.keeper.send(&self.own, move |host| {
            host.demote(&plugin, generation, &why);
        });
    }

    fn stage_done(&self, plugin: &PluginName, generation: u64) {
        let plugin = plugin.clone();
        self.keeper.send(&self.own, move |host| {
            host.advance_canary(&plugin, generation);
        });
    }
}

pub(crate) fn take_turn(plugin: &Plugin) -> Result<Turn<'_>, Error> {
    plugin.take_turn().ok_or_else(|| Error::Busy {
        name: plugin.name().clone(),
    })
}
