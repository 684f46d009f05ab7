//! Loading what is compiled into the app.

use std::sync::Arc;

use crate::builtin;
use crate::discovery::Candidate;
use crate::error::Error;
use crate::events::{Step, Subject};
use crate::history::{Change, Why};
use crate::inner::{Inner, take_turn};
use crate::loader::Mapped;
use crate::plugin::Handle;
use crate::plugin::generation::Generation;
use crate::policy::{Placed, Placement};
use crate::transport::process::sandbox::Resources;
use crate::transport::{Builtin, Transport};

impl Inner {
    /// Loads the code under the candidate's name, if nothing is loaded there.
    pub(crate) fn register(
        &self,
        candidate: &Candidate,
        code: Arc<dyn builtin::Builtin>,
        why: Why,
    ) -> Result<Handle, Error> {
        let subject = Subject::of(candidate);
        let outcome = self
            .ask(Step::Load, &subject)
            .and_then(|()| self.register_allowed(candidate, code));
        match outcome {
            Ok(handle) => {
                self.loaded(handle.plugin(), Change::Loaded, why, None);
                Ok(handle)
            }
            Err(error) => {
                self.failed(Step::Load, subject, &error);
                Err(error)
            }
        }
    }

    fn register_allowed(
        &self,
        candidate: &Candidate,
        code: Arc<dyn builtin::Builtin>,
    ) -> Result<Handle, Error> {
        let manifest = &candidate.manifest;
        self.setup.policy.check_denied(&manifest.name)?;
        let plugin = self.entry(candidate);
        let turn = take_turn(&plugin)?;
        let _ = turn.sweep();
        if plugin.current().is_some() {
            let name = manifest.name.clone();
            return Err(Error::Loaded { name });
        }
        self.check_replacement(&[manifest])?;
        self.begin_rounds();
        let room = self.room(&plugin)?;
        let mapped = Mapped {
            manifest: manifest.clone(),
            code: Transport::Builtin(Box::new(Builtin::new(manifest.name.clone(), code))),
            recorded: None,
            placed: Placed {
                placement: Placement::InProcess,
                because: String::new(),
                fallback: false,
                insist: true,
                grants: Vec::new(),
                resources: Resources::NONE,
            },
            conduct: None,
        };
        let generation = Generation::new(turn.next_number(), candidate, mapped, room);
        let generation = self.make_ready(&plugin, &turn, candidate, Arc::new(generation))?;
        self.publish(&turn, generation)?;
        drop(turn);
        Ok(Handle::new(plugin))
    }
}
