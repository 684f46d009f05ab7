//! Preparing libraries while others are mapped.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, Scope, ScopedJoinHandle};

use super::LoadError;
use super::load::{Loader, Prepared, Ready};
use crate::discovery::Candidate;

/// More threads than this wait for each other in the kernel.
const THREADS: usize = 4;
/// Starting threads for fewer takes longer than they save.
const WORTHWHILE: usize = 4;

/// A thread that prepares some of the candidates, and holds one until it is asked for.
struct Worker<'scope> {
    prepared: Receiver<Box<Result<Prepared, LoadError>>>,
    thread: ScopedJoinHandle<'scope, ()>,
}

impl Loader {
    /// Gives every candidate to `load`, in order and on this thread: libraries are mapped one by one.
    /// Meanwhile other threads read, check and seal those to come that are `missing`.
    pub(crate) fn ahead(
        &self,
        candidates: &[Candidate],
        missing: impl Fn(&Candidate) -> bool,
        mut load: impl FnMut(&Candidate, Ready),
    ) {
        let missing: Vec<bool> = candidates.iter().map(missing).collect();
        let all = || candidates.iter().zip(&missing);
        let to_prepare: Vec<&Candidate> = all()
            .filter_map(|(candidate, missing)| missing.then_some(candidate))
            .collect();
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let threads = match to_prepare.len() {
            ..WORTHWHILE => 0,
            _ => threads.min(THREADS),
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|first| {
                    let share = to_prepare.iter().copied().skip(first).step_by(threads);
                    self.work(scope, share)
                })
                .collect();
            let mut turns = workers.iter().cycle();
            for (candidate, missing) in all() {
                let worker = if *missing { turns.next() } else { None };
                let prepared = worker.and_then(|worker| worker.as_ref()?.prepared.recv().ok());
                let ready = prepared.map_or(Ready::ToCheck(None, None), Ready::Ahead);
                load(candidate, ready);
            }
            for worker in workers.into_iter().flatten() {
                drop(worker.prepared);
                // One that panicked stopped preparing, and its share was read here instead.
                let _ = worker.thread.join();
            }
        });
    }

    /// Starts a thread that prepares these; `None` when that cannot be done.
    fn work<'scope, 'all>(
        &'all self,
        scope: &'scope Scope<'scope, 'all>,
        share: impl Iterator<Item = &'all Candidate> + Send + 'scope,
    ) -> Option<Worker<'scope>> {
        let (sender, prepared) = sync_channel(0);
        let prepare = move || {
            for candidate in share {
                let prepared = Box::new(self.prepare(candidate, None, None));
                if sender.send(prepared).is_err() {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().spawn_scoped(scope, prepare).ok()?;
        Some(Worker { prepared, thread })
    }
}
