//! The thread of a host that looks at its children: one for all of them, asleep until one is due.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::supervisor::Process;

/// Looks at each child when it is due. The thread begins with the first of them.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What is due when; the second number tells those of one moment apart.
    due: BTreeMap<(Instant, u64), (Weak<Process>, u64)>,
    next: u64,
    closed: bool,
}

impl Pulse {
    /// Has `process` look at its child of that number at `when`.
    pub(super) fn look_at(&self, when: Instant, process: &Weak<Process>, child: u64) {
        let mut state = self.queue.lock();
        let number = state.next;
        state.next += 1;
        state.due.insert((when, number), (process.clone(), child));
        let is_first = state
            .due
            .first_key_value()
            .is_some_and(|(key, _)| key.1 == number);
        drop(state);
        self.begin();
        if is_first {
            self.queue.changed.notify_one();
        }
    }

    fn begin(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_some() {
            return;
        }
        let queue = self.queue.clone();
        let listener = tracing::dispatcher::get_default(Clone::clone);
        let watch = move || tracing::dispatcher::with_default(&listener, || queue.watch());
        match thread::Builder::new()
            .name("plg-pulse".to_owned())
            .spawn(watch)
        {
            Ok(started) => *thread = Some(started),
            // It is tried again with the next call.
            Err(error) => tracing::warn!("no thread that looks at processes: {error}"),
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_one();
        let thread = self
            .thread
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take()
            // The last process of a host may be dropped by a look at it.
            && thread.thread().id() != thread::current().id()
        {
            // It has nothing left to do.
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn watch(&self) {
        let mut state = self.lock();
        while !state.closed {
            let now = Instant::now();
            let first = state.due.first_key_value().map(|((when, _), _)| *when);
            state = match first {
                None => {
                    let waited = self.changed.wait(state);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
                Some(when) if when > now => {
                    let waited = self.changed.wait_timeout(state, when - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                Some(_) => {
                    let due = state.due.pop_first();
                    drop(state);
                    if let Some((_, (process, child))) = due
                        && let Some(process) = process.upgrade()
                    {
                        process.look(child);
                    }
                    self.lock()
                }
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
