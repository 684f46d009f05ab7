//! What is installed, as something that can be loaded.

use std::sync::Arc;

use plg_packaging::PluginName;
use plg_packaging::sign::KeyId;

use crate::builder::Installation;
use crate::discovery::{Candidate, DiscoverError};
use crate::error::Error;
use crate::host::HostError;
use crate::inner::Inner;
use crate::store::{Build, Installed};
use crate::trust::{Level, Trust, TrustError};

impl Inner {
    pub(crate) fn installation(&self) -> Result<&Installation, Error> {
        let installation = self.setup.installed.as_ref();
        installation.ok_or_else(|| HostError::NoHome.into())
    }

    /// The installed build of that name. What turns out to have been changed is let in nowhere.
    pub(crate) fn installed(&self, name: &PluginName) -> Result<Candidate, Error> {
        let Installation { store, trust } = self.installation()?;
        let build = store.build(name).inspect_err(|error| {
            error.quarantine(&self.setup.loader.quarantine);
        })?;
        let signer = build.entry.signer.as_ref();
        let signed_for = match signer.and_then(|signer| signer.parse().ok()) {
            Some(signer) => Some(self.signed_for(trust, name, signer)?),
            None => None,
        };
        candidate(build, signed_for)
    }

    /// Where plugins that the key signed may run. A host that runs none in processes of their own has no use for a
    /// key that is trusted only for those.
    fn signed_for(
        &self,
        trust: &Trust,
        name: &PluginName,
        signer: KeyId,
    ) -> Result<Level, TrustError> {
        let refused = match trust.check_installed(name, signer, Level::InProcess) {
            Ok(()) => return Ok(Level::InProcess),
            Err(refused) => refused,
        };
        let apart = [Level::Isolated, Level::Sandboxed];
        let is_trusted = |level: &Level| trust.check_installed(name, signer, *level).is_ok();
        let found = apart.into_iter().find(is_trusted);
        let has_runner = self.setup.loader.runner.is_some();
        found.filter(|_| has_runner).ok_or(refused)
    }

    /// Every build that is installed and can be loaded, and what is wrong with the others.
    pub(crate) fn all_installed(&self) -> (Vec<Candidate>, Vec<Error>) {
        let (mut candidates, mut problems) = (Vec::new(), Vec::new());
        let Some(installation) = &self.setup.installed else {
            return (candidates, problems);
        };
        let set = match installation.store.current() {
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

fn candidate(build: Build, signed_for: Option<Level>) -> Result<Candidate, Error> {
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
        signed_for,
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
