//! Being told of changes below directories.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::time::Instant;

use notify::event::{AccessKind, AccessMode};
use notify::{Error, ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

/// Tells of changes in the directories it follows, without what is below those.
pub(super) struct Watcher {
    teller: RecommendedWatcher,
    followed: BTreeSet<PathBuf>,
}

/// Why a verb that waits for changes wakes up.
pub(super) enum Tiding {
    /// Something may be different about a path.
    Touched(PathBuf, Instant),
    /// Something may be different anywhere.
    Unsure(Instant),
    /// From now on nothing is told any more, for this reason.
    Deaf(Error),
    /// The user wants an end.
    Stop,
}

impl Watcher {
    /// Lets the system tell of changes.
    pub(super) fn new(tidings: Sender<Tiding>) -> Result<Self, Error> {
        Ok(Self {
            teller: notify::recommended_watcher(handler(tidings))?,
            followed: BTreeSet::new(),
        })
    }

    /// Follows those of `directories` that it does not follow yet; says whether there were any. What
    /// happened in them before is not told.
    pub(super) fn follow(&mut self, directories: &BTreeSet<PathBuf>) -> Result<bool, Error> {
        self.followed.retain(|path| directories.contains(path));
        let mut grown = false;
        for directory in directories {
            if self.followed.contains(directory) {
                continue;
            }
            match self.teller.watch(directory, RecursiveMode::NonRecursive) {
                Ok(()) => grown = true,
                // It went away meanwhile, and its parent tells when it is back; or it is a parent in which
                // nobody may look, and its children cannot come and go either.
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
            self.followed.insert(directory.clone());
        }
        Ok(grown)
    }

    /// Follows all directories anew: another one may have the name of one that went away.
    pub(super) fn follow_anew(&mut self, directories: &BTreeSet<PathBuf>) -> Result<(), Error> {
        self.followed.clear();
        self.follow(directories)?;
        Ok(())
    }
}

fn is_gone(error: &Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
        ),
        _ => false,
    }
}

fn handler(tidings: Sender<Tiding>) -> impl FnMut(notify::Result<Event>) + Send + 'static {
    move |event| {
        let now = Instant::now();
        let tell = |tiding| {
            // Whoever stopped listening is about to end.
            let _ = tidings.send(tiding);
        };
        match event {
            Ok(event) if event.need_rescan() => tell(Tiding::Unsure(now)),
            // Reading changes nothing; a compiler reads all day.
            Ok(Event {
                kind: EventKind::Access(access),
                ..
            }) if access != AccessKind::Close(AccessMode::Write) => {}
            Ok(event) => {
                for path in event.paths {
                    tell(Tiding::Touched(path, now));
                }
            }
            Err(error) if is_gone(&error) => tell(Tiding::Unsure(now)),
            Err(error) => tell(Tiding::Deaf(error)),
        }
    }
}
