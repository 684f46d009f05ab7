//! The host without its public face: what loading and upgrading do.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use plg_packaging::Digest;
use plg_plugin_api::abi::status;

use crate::builder::Setup;
use crate::catalog::Catalog;
use crate::context::Context;
use crate::context::frame::Call;
use crate::discovery::{self, Candidate};
use crate::error::{Error, distance};
use crate::host::HostError;
use crate::loader::{Known, LoadError};
use crate::plugin::generation::{Generation, Room};
use crate::plugin::record::{Others, Plugin, Turn};
use crate::plugin::thread::{HERE, Number};
use crate::plugin::{Handle, Unloaded};
use crate::transport::Transport;
use crate::upgrade::{UpgradeError, UpgradeOptions, Upgraded};

/// What a host is made of. Plugins hold it weakly, to call each other.
pub(crate) struct Inner {
    pub(crate) setup: Setup,
    pub(crate) catalog: Catalog,
    /// How many images are mapped or about to be.
    mapped: Arc<AtomicUsize>,
    pub(crate) closed: AtomicBool,
    own: Weak<Self>,
}

impl Inner {
    pub(crate) fn new(setup: Setup) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            setup,
            catalog: Catalog::default(),
            mapped: Arc::default(),
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

    pub(crate) fn read(&self, path: &Path) -> Result<(Candidate, Known), Error> {
        let (candidate, bytes) = discovery::read_candidate(path, &self.setup.discovery)?;
        let digest = None;
        Ok((candidate, Known { bytes, digest }))
    }

    pub(crate) fn load(&self, candidate: &Candidate, known: Known) -> Result<Handle, Error> {
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
            let bytes = self.setup.loader.read(&candidate.library, known)?;
            let same = current.digest() == Some(Digest::of(bytes.as_slice()));
            drop(turn);
            return if same {
                Ok(Handle::new(plugin))
            } else {
                let name = candidate.manifest.name.clone();
                Err(Error::Loaded { name })
            };
        }
        let generation = self.start(&plugin, &turn, candidate, known)?;
        // A shutdown that began meanwhile has passed this plugin by.
        if let Err(closed) = self.check_open() {
            let _ = turn.discard(generation);
            return Err(closed);
        }
        let _ = turn.publish(Some(generation));
        drop(turn);
        Ok(Handle::new(plugin))
    }

    pub(crate) fn upgrade(
        &self,
        plugin: &Plugin,
        candidate: &Candidate,
        known: Known,
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
        let generation = self.start(plugin, &turn, candidate, known)?;
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
        known: Known,
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
        let mapped = loader.map(candidate, known)?;
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

pub(crate) fn take_turn(plugin: &Plugin) -> Result<Turn<'_>, Error> {
    plugin.take_turn().ok_or_else(|| Error::Busy {
        name: plugin.name().clone(),
    })
}
