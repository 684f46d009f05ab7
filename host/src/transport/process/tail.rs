//! What a child wrote last, for who asks while it runs.

use super::supervisor::Process;
use crate::control::{Position, Tail};

impl Process {
    /// What the child wrote to its standard error after `after`; all that is kept without, or when that was
    /// another child. `None` while there is none.
    pub(crate) fn tail(&self, after: Option<Position>) -> Option<Tail> {
        let state = self.lock();
        let kept = state.kept.as_ref();
        let (running, process) = kept.map(|kept| (kept.running.clone(), kept.number))?;
        // What is cloned here must not be dropped last under the lock.
        drop(state);
        let after = after.filter(|after| after.process == process);
        let (text, byte) = running
            .child
            .output
            .after(after.map_or(0, |after| after.byte));
        Some(Tail {
            next: Position { process, byte },
            text,
        })
    }
}
