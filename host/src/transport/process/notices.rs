//! What the host's hooks and events are told of children. Telling waits for nobody.

use super::error::ProcessError;
use super::launch::Running;
use super::supervisor::{Process, State};
use crate::events::{Phase, Step, Subject};

impl Process {
    /// A child takes calls.
    pub(super) fn tell_started(&self, state: &State, running: &Running) {
        let number = running.child.fate.number().unwrap_or_default();
        let (code, message) = match (state.begun, &state.last) {
            (0 | 1, _) => ("proc.started", format!("its process {number} was started")),
            (begun, last) => {
                let last = last.as_deref().unwrap_or("the one before ended");
                let message =
                    format!("its process {number} was started, start number {begun}: {last}");
                ("proc.restarted", message)
            }
        };
        self.tell(Phase::Done, code, message);
    }

    /// A child has ended.
    pub(super) fn tell_ended(&self, why: &str) {
        self.tell(Phase::Done, "proc.ended", why.to_owned());
    }

    /// A child is not well and is about to be killed.
    pub(super) fn tell_unhealthy(&self, why: &str) {
        let plugin = self.build.name.as_str();
        tracing::warn!(plugin, "{why}");
        self.tell(Phase::Done, "proc.unhealthy", why.to_owned());
    }

    /// No child could be started, or none will be any more.
    pub(super) fn tell_failed(&self, error: &ProcessError) {
        self.tell(Phase::Failed, error.code(), error.to_string());
    }

    fn tell(&self, phase: Phase, code: &'static str, message: String) {
        let build = &self.build;
        build.hooks.tell(Step::Notice, phase, Some(code), || {
            let subject = Subject {
                version: Some(build.version.clone()),
                digest: Some(build.digest),
                generation: Some(build.generation),
                ..Subject::plugin(&build.name)
            };
            (subject, message)
        });
    }
}
