//! The directories that the system reports events of.
//!
//! Each is watched by itself and not with all below it: a plugin's directory may hold a source tree. An
//! event says no more than that something happened; what, is for the next look to find out.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{Config, ErrorKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::bell::Bell;
use super::picture::Identity;

/// Directories under watch.
pub(super) struct Sentries {
    watcher: Option<RecommendedWatcher>,
    bell: Arc<Bell>,
    posted: Arc<Posted>,
}

/// What [`Sentries::post`] came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// A directory is watched that was not before, and something may have happened there meanwhile.
    pub(super) is_new: bool,
    /// Why not all of them can be watched.
    pub(super) trouble: Option<String>,
}

/// Which directory stood under a path when it was posted there.
#[derive(Default)]
struct Posted(Mutex<HashMap<PathBuf, Identity>>);

impl Sentries {
    pub(super) fn new(bell: Arc<Bell>) -> Self {
        Self {
            watcher: None,
            bell,
            posted: Arc::default(),
        }
    }

    /// Has these directories watched, and no others.
    pub(super) fn post(&mut self, wanted: &BTreeSet<PathBuf>) -> Outcome {
        // The library expects its own thread to live and panics where it does not.
        let posted = panic::catch_unwind(AssertUnwindSafe(|| self.try_to_post(wanted)));
        posted.unwrap_or_else(|_| {
            // Its end would panic as well.
            std::mem::forget(self.watcher.take());
            self.posted.lock().clear();
            Outcome {
                is_new: false,
                trouble: Some("the thread for events is gone".to_owned()),
            }
        })
    }

    fn try_to_post(&mut self, wanted: &BTreeSet<PathBuf>) -> Outcome {
        let mut outcome = Outcome::default();
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            None => match begin(self.bell.clone(), self.posted.clone()) {
                Ok(watcher) => self.watcher.insert(watcher),
                Err(error) => {
                    outcome.trouble = Some(error.to_string());
                    return outcome;
                }
            },
        };
        let superfluous: Vec<PathBuf> = {
            let mut posted = self.posted.lock();
            let gone = posted.extract_if(|path, _| !wanted.contains(path));
            gone.map(|(path, _)| path).collect()
        };
        for path in superfluous {
            // One that is gone is not watched any more anyway.
            let _ = watcher.unwatch(&path);
        }
        for path in wanted {
            let Some(identity) = Identity::of(path) else {
                continue;
            };
            if self.posted.lock().get(path) == Some(&identity) {
                continue;
            }
            // What stood there before may still be watched under this name.
            let _ = watcher.unwatch(path);
            // It is noted first, so that its end is noticed from the first moment on.
            self.posted.lock().insert(path.clone(), identity);
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => outcome.is_new = true,
                Err(error) => {
                    self.posted.lock().remove(path);
                    if is_a_limit(&error) {
                        // The next one would be refused as well.
                        outcome.trouble = Some(error.to_string());
                        return outcome;
                    }
                    tracing::debug!("no events of `{}`: {error}", path.display());
                }
            }
        }
        outcome
    }
}

impl Posted {
    /// What stood there is gone; whatever stands there by now is not watched.
    fn forget(&self, path: &Path) {
        self.lock().remove(path);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Identity>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn begin(bell: Arc<Bell>, posted: Arc<Posted>) -> notify::Result<RecommendedWatcher> {
    let told = move |event: notify::Result<notify::Event>| {
        if let Ok(event) = &event {
            // A look opens and reads files itself.
            if is_reading(event.kind) {
                return;
            }
            if is_an_end(event.kind) {
                event.paths.iter().for_each(|path| posted.forget(path));
            }
            if event.need_rescan() {
                bell.ring_at_once();
                return;
            }
        }
        bell.ring();
    };
    RecommendedWatcher::new(told, Config::default().with_follow_symlinks(false))
}

fn is_reading(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        _ => false,
    }
}

fn is_an_end(kind: EventKind) -> bool {
    let left = |mode| matches!(mode, RenameMode::From | RenameMode::Any);
    match kind {
        EventKind::Remove(_) => true,
        EventKind::Modify(ModifyKind::Name(mode)) => left(mode),
        _ => false,
    }
}

/// Whether the system has no more of what watching takes.
fn is_a_limit(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::MaxFilesWatch => true,
        ErrorKind::Io(error) => {
            let limits = [
                rustix::io::Errno::MFILE,
                rustix::io::Errno::NFILE,
                rustix::io::Errno::NOMEM,
                rustix::io::Errno::NOSPC,
            ];
            error.kind() == io::ErrorKind::OutOfMemory
                || limits
                    .iter()
                    .any(|limit| error.raw_os_error() == Some(limit.raw_os_error()))
        }
        _ => false,
    }
}
