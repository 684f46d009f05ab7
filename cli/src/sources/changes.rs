//! Waiting for a plugin's sources to change.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime};

use notify::Error;

use super::files::{By, Sources};
use super::watcher::{Tiding, Watcher};
use crate::crates::Origins;
use crate::problem::Problem;

/// The sources of a plugin, watched.
pub(crate) struct Changes {
    sources: Sources,
    /// `None` where the files are looked at again and again instead.
    watcher: Option<Watcher>,
    tidings: Receiver<Tiding>,
    sender: Sender<Tiding>,
    /// When the files were looked at last.
    looked: Instant,
    warnings: Vec<Problem>,
}

/// What changed.
pub(crate) struct Change {
    pub(crate) files: Vec<PathBuf>,
    /// When that was seen first.
    pub(crate) seen: Instant,
}

/// What a wait came to.
enum Heard {
    /// Something that may be a change was seen at this time.
    Something(Instant),
    Nothing,
    Stop,
}

/// An editor that saves a file does several things in a row; after this long without one it is done.
const QUIET: Duration = Duration::from_millis(25);
/// How often one looks where the system does not tell.
const INTERVAL: Duration = Duration::from_millis(500);
/// Who writes all the time is not waited for any longer than this.
const LONGEST: Duration = Duration::from_millis(500);

impl Changes {
    /// Watches the files of these origins. `told` is whether the system is asked to tell of changes,
    /// which it cannot do on every file system.
    pub(crate) fn watch(origins: Origins, told: bool) -> Self {
        let (sender, tidings) = mpsc::channel();
        let watcher = told.then(|| Watcher::new(sender.clone())).transpose();
        let mut changes = Self {
            sources: Sources::of(origins),
            watcher: None,
            tidings,
            sender,
            looked: Instant::now(),
            warnings: Vec::new(),
        };
        match watcher {
            Ok(watcher) => changes.watcher = watcher,
            Err(error) => changes.fall_back(&error),
        }
        changes.look(By::Writing);
        changes
    }

    /// Ends the waiting, also one that has not begun yet.
    pub(crate) fn stopper(&self) -> impl FnOnce() + Send + 'static {
        let sender = self.sender.clone();
        move || {
            // Nobody waits any more when all has ended.
            let _ = sender.send(Tiding::Stop);
        }
    }

    /// What there is to warn of since this was asked last.
    pub(crate) fn warnings(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.warnings)
    }

    /// Watches the files of other origins of the same plugin, as they are now.
    pub(crate) fn become_of(&mut self, origins: Origins) {
        self.sources.become_of(origins);
        self.look(By::Writing);
    }

    /// Waits for the next change, which may have come while something was built until `built`: what the build
    /// wrote as it was before is none. `None` when it is time to stop.
    pub(crate) fn next(&mut self, built: SystemTime) -> Option<Change> {
        let directories = self.sources.directories();
        if let Some(watcher) = &mut self.watcher
            && let Err(error) = watcher.follow_anew(directories)
        {
            self.fall_back(&error);
        }
        let mut files: BTreeSet<_> = self.look(By::Contents(built)).into_iter().collect();
        let mut seen = Instant::now();
        loop {
            if files.is_empty() {
                let Heard::Something(told) = self.hear(None) else {
                    return None;
                };
                seen = told;
            }
            // What was found may be half written.
            while seen.elapsed() < LONGEST {
                match self.hear(Some(QUIET)) {
                    Heard::Something(_) => {}
                    Heard::Nothing => break,
                    Heard::Stop => return None,
                }
            }
            files.extend(self.look(By::Writing));
            if !files.is_empty() {
                let files = files.into_iter().collect();
                return Some(Change { files, seen });
            }
        }
    }

    /// Waits for something that concerns the sources, no longer than `limit`.
    fn hear(&mut self, limit: Option<Duration>) -> Heard {
        loop {
            let tiding = match (limit, &self.watcher) {
                (Some(limit), _) => self.tidings.recv_timeout(limit),
                (None, Some(_)) => self.tidings.recv().map_err(RecvTimeoutError::from),
                (None, None) => self.tidings.recv_timeout(INTERVAL),
            };
            match tiding {
                // What was told before the files were looked at was seen then.
                Ok(Tiding::Touched(_, told) | Tiding::Unsure(told)) if told < self.looked => {}
                Ok(Tiding::Touched(path, _)) if !self.sources.concerns(&path) => {}
                Ok(Tiding::Touched(_, told) | Tiding::Unsure(told)) => {
                    return Heard::Something(told);
                }
                Ok(Tiding::Deaf(_)) if self.watcher.is_none() => {}
                Ok(Tiding::Deaf(error)) => {
                    self.fall_back(&error);
                    return Heard::Something(Instant::now());
                }
                Ok(Tiding::Stop) | Err(RecvTimeoutError::Disconnected) => return Heard::Stop,
                Err(RecvTimeoutError::Timeout) if limit.is_some() => return Heard::Nothing,
                Err(RecvTimeoutError::Timeout) => return Heard::Something(Instant::now()),
            }
        }
    }

    /// Looks at all files and follows the directories they are in.
    fn look(&mut self, by: By) -> Vec<PathBuf> {
        self.looked = Instant::now();
        let mut changed = self.sources.scan(by);
        while let Some(watcher) = &mut self.watcher {
            match watcher.follow(self.sources.directories()) {
                Ok(false) => break,
                // What came between the look and the watch is told by nobody.
                Ok(true) => changed.extend(self.sources.scan(by)),
                Err(error) => self.fall_back(&error),
            }
        }
        changed
    }

    /// Looks by itself from now on, since the system does not tell.
    fn fall_back(&mut self, reason: &Error) {
        self.watcher = None;
        let detail = format!(
            "the system does not tell of changes: looking every {}",
            humantime::format_duration(INTERVAL)
        );
        self.warnings
            .push(Problem::new("dev.polling", detail).because(reason));
    }
}
