//! Waiting for a plugin's sources to change.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime};

use notify::Error;

use super::files::{By, Sources};
use super::watcher::{Tiding, Watcher, polling, unable};
use crate::crates::Origins;
use crate::problem::Problem;

/// The sources of a plugin, watched.
pub(crate) struct Changes {
    sources: Sources,
    watcher: Watcher,
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
/// Who writes all the time is not waited for any longer than this.
const LONGEST: Duration = Duration::from_millis(500);

impl Changes {
    /// Watches the files of these origins. `told` is whether the system is asked to tell of changes,
    /// which it cannot do on every file system.
    pub(crate) fn watch(origins: Origins, told: bool) -> Result<Self, Problem> {
        let (sender, tidings) = mpsc::channel();
        let mut warnings = Vec::new();
        let watcher = match told.then(|| Watcher::told(sender.clone())) {
            Some(Ok(watcher)) => Ok(watcher),
            Some(Err(error)) => {
                warnings.push(polling(&error));
                Watcher::looking(sender.clone())
            }
            None => Watcher::looking(sender.clone()),
        };
        let mut changes = Self {
            sources: Sources::of(origins),
            watcher: watcher.map_err(|error| unable(&error))?,
            tidings,
            sender,
            looked: Instant::now(),
            warnings,
        };
        changes.look(By::Writing)?;
        Ok(changes)
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
    pub(crate) fn become_of(&mut self, origins: Origins) -> Result<(), Problem> {
        self.sources.become_of(origins);
        self.look(By::Writing)?;
        Ok(())
    }

    /// Waits for the next change, which may have come while something was built until `built`: what the build
    /// wrote as it was before is none. `None` when it is time to stop.
    pub(crate) fn next(&mut self, built: SystemTime) -> Result<Option<Change>, Problem> {
        if let Err(error) = self.watcher.follow_anew(self.sources.directories()) {
            self.fall_back(&error)?;
        }
        let mut files: BTreeSet<_> = self.look(By::Contents(built))?.into_iter().collect();
        let mut seen = Instant::now();
        loop {
            if files.is_empty() {
                let Heard::Something(told) = self.hear(None)? else {
                    return Ok(None);
                };
                seen = told;
            }
            // What was found may be half written.
            if !self.settle(seen)? {
                return Ok(None);
            }
            files.extend(self.look(By::Writing)?);
            if !files.is_empty() {
                let files = files.into_iter().collect();
                return Ok(Some(Change { files, seen }));
            }
        }
    }

    /// Waits until nothing more is told of. Says no when it is time to stop.
    fn settle(&mut self, seen: Instant) -> Result<bool, Problem> {
        while seen.elapsed() < LONGEST {
            match self.hear(Some(QUIET))? {
                Heard::Something(_) => {}
                Heard::Nothing => break,
                Heard::Stop => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Waits for something that concerns the sources, no longer than `limit`.
    fn hear(&mut self, limit: Option<Duration>) -> Result<Heard, Problem> {
        loop {
            let tiding = match limit {
                Some(limit) => self.tidings.recv_timeout(limit),
                None => self.tidings.recv().map_err(RecvTimeoutError::from),
            };
            match tiding {
                // What was told before the files were looked at was seen then.
                Ok(Tiding::Touched(_, told) | Tiding::Unsure(told)) if told < self.looked => {}
                Ok(Tiding::Touched(path, _)) if !self.sources.concerns(&path) => {}
                Ok(Tiding::Touched(_, told) | Tiding::Unsure(told)) => {
                    return Ok(Heard::Something(told));
                }
                Ok(Tiding::Deaf(error)) => {
                    self.fall_back(&error)?;
                    return Ok(Heard::Something(Instant::now()));
                }
                Ok(Tiding::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(Heard::Stop),
                Err(RecvTimeoutError::Timeout) => return Ok(Heard::Nothing),
            }
        }
    }

    /// Looks at all files and follows the directories they are in.
    fn look(&mut self, by: By) -> Result<Vec<PathBuf>, Problem> {
        self.looked = Instant::now();
        let mut changed = self.sources.scan(by);
        loop {
            match self.watcher.follow(self.sources.directories()) {
                Ok(false) => return Ok(changed),
                // What came between the look and the watch is told by nobody.
                Ok(true) => changed.extend(self.sources.scan(by)),
                Err(error) => self.fall_back(&error)?,
            }
        }
    }

    fn fall_back(&mut self, reason: &Error) -> Result<(), Problem> {
        let warning = self.watcher.fall_back(reason)?;
        self.warnings.extend(warning);
        Ok(())
    }
}
