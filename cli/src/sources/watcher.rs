//! Being told of changes below directories.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{Config, Error, ErrorKind, Event, EventKind, PollWatcher, RecursiveMode};

use crate::problem::Problem;

/// Tells of changes in the directories it follows, without what is below those.
pub(super) struct Watcher {
    teller: Box<dyn notify::Watcher>,
    followed: BTreeSet<PathBuf>,
    tidings: Sender<Tiding>,
    /// Whether the system tells, or this looks.
    is_told: bool,
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

/// How often one looks where the system does not tell.
const INTERVAL: Duration = Duration::from_millis(500);

impl Watcher {
    /// A watcher that the system tells of changes.
    pub(super) fn told(tidings: Sender<Tiding>) -> Result<Self, Error> {
        let handler = handler(tidings.clone());
        let teller = notify::recommended_watcher(handler)?;
        Ok(Self {
            teller: Box::new(teller),
            followed: BTreeSet::new(),
            tidings,
            is_told: true,
        })
    }

    /// A watcher that looks by itself again and again.
    pub(super) fn looking(tidings: Sender<Tiding>) -> Result<Self, Error> {
        let config = Config::default().with_poll_interval(INTERVAL);
        let teller = PollWatcher::new(handler(tidings.clone()), config)?;
        Ok(Self {
            teller: Box::new(teller),
            followed: BTreeSet::new(),
            tidings,
            is_told: false,
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
                // It went away meanwhile, and its parent tells when it is back; or nobody may look in.
                Err(error) if is_gone(&error) || !self.is_told => {}
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

    /// Looks by itself from now on, since the system does not tell. Returns what to warn of, if it did
    /// not before.
    pub(super) fn fall_back(&mut self, reason: &Error) -> Result<Option<Problem>, Problem> {
        if !self.is_told {
            return Ok(None);
        }
        *self = Self::looking(self.tidings.clone()).map_err(|error| unable(&error))?;
        Ok(Some(polling(reason)))
    }
}

/// That the system cannot tell of changes.
pub(super) fn polling(reason: &Error) -> Problem {
    let detail = format!(
        "the system does not tell of changes: looking every {}",
        humantime::format_duration(INTERVAL)
    );
    Problem::new("dev.polling", detail).because(reason)
}

/// That there is no way to see changes.
pub(super) fn unable(error: &Error) -> Problem {
    Problem::new("io.failed", "failed to watch for changes").because(error)
}

fn is_gone(error: &Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
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
