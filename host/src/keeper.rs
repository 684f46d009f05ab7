//! The thread of a host for what nobody waits for: builds that come back, canaries that go on, and a
//! regular round.

use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::inner::Inner;

/// Does what it is given, one thing after the other, and the round in between.
#[derive(Default)]
pub(crate) struct Keeper {
    running: Mutex<Option<Running>>,
}

struct Running {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

type Job = Box<dyn FnOnce(&Inner) + Send>;

impl Keeper {
    /// Has `job` done soon. Starts the thread if there is none.
    pub(crate) fn send(&self, host: &Weak<Inner>, job: impl FnOnce(&Inner) + Send + 'static) {
        if let Some(running) = &*self.started(host) {
            // The thread ends only when the host does, and then nothing is to be done any more.
            let _ = running.jobs.send(Box::new(job));
        }
    }

    /// Begins the regular rounds.
    pub(crate) fn start(&self, host: &Weak<Inner>) {
        drop(self.started(host));
    }

    /// Ends the thread after what it does now.
    pub(crate) fn stop(&self) {
        let Some(running) = self.lock().take() else {
            return;
        };
        drop(running.jobs);
        if running.thread.thread().id() != thread::current().id() {
            // It logs its own panics.
            let _ = running.thread.join();
        }
    }

    fn started(&self, host: &Weak<Inner>) -> MutexGuard<'_, Option<Running>> {
        let mut running = self.lock();
        let open = host.upgrade().filter(|host| host.check_open().is_ok());
        if running.is_none()
            && let Some(open) = open
        {
            let round = open.setup.loader.limits.round;
            let host = host.clone();
            let (jobs, received) = mpsc::channel();
            let keep = move || keep(&host, &received, round);
            match thread::Builder::new()
                .name("plg-keeper".to_owned())
                .spawn(keep)
            {
                Ok(thread) => *running = Some(Running { jobs, thread }),
                Err(error) => tracing::error!("no thread for the host's own work: {error}"),
            }
        }
        running
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep(host: &Weak<Inner>, jobs: &Receiver<Job>, round: Duration) {
    loop {
        let job: Job = match jobs.recv_timeout(round) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => Box::new(Inner::round),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let host: Option<Arc<Inner>> = host.upgrade();
        match host {
            Some(host) if host.check_open().is_ok() => {
                // Who listens to the log runs here as well, and what else is to be done must not end with
                // it. The panic was reported when it began; a line in the log could be the next one.
                if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| job(&host))) {
                    // Its drop could panic as well.
                    std::mem::forget(payload);
                }
            }
            _ => return,
        }
    }
}
