//! What is installed, as something that can be loaded.

use std::sync::Arc;

use plg_packaging::PluginName;

use crate::discovery::{Candidate, DiscoverError};
use crate::error::Error;
use crate::host::HostError;
use crate::inner::Inner;
use crate::store::{Build, Installed, Store};

impl Inner {
    pub(crate) fn store(&self) -> Result<&Store, Error> {
        let store = self.setup.store.as_ref();
        store.ok_or_else(|| HostError::NoHome.into())
    }

    /// The installed build of that name. What turns out to have been changed is let in nowhere.
    pub(crate) fn installed(&self, name: &PluginName) -> Result<Candidate, Error> {
        let build = self.store()?.build(name).inspect_err(|error| {
            error.quarantine(&self.setup.loader.quarantine);
        })?;
        candidate(build)
    }

    /// Every build that is installed and can be loaded, and what is wrong with the others.
    pub(crate) fn all_installed(&self) -> (Vec<Candidate>, Vec<Error>) {
        let (mut candidates, mut problems) = (Vec::new(), Vec::new());
        let Some(store) = &self.setup.store else {
            return (candidates, problems);
        };
        let set = match store.current() {
            Ok(set) => set,
            Err(error) => return (candidates, vec![error.into()]),
        };
        for entry in set.plugins {
            if !self.is_wanted(&entry.name) {
                continue;
            }
            match self.installed(&entry.name) {
                Ok(candidate) => candidates.push(candidate),
                Err(error) => problems.push(error),
            }
        }
        (candidates, problems)
    }
}

fn candidate(build: Build) -> Result<Candidate, Error> {
    let Build {
        entry,
        manifest,
        directory,
        library,
        lease,
        ..
    } = build;
    let Some((library, digest)) = library else {
        let looked_for = vec!["a library for this machine".to_owned()];
        let path = directory;
        return Err(DiscoverError::NoLibrary { path, looked_for }.into());
    };
    let installed = Installed {
        name: entry.name,
        version: entry.version,
        library: digest,
        _lease: lease,
    };
    Ok(Candidate {
        manifest,
        library,
        directory: Some(directory),
        warnings: Vec::new(),
        installed: Some(Arc::new(installed)),
    })
}
