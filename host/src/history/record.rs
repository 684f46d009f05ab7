//! The history of one host, which grows.

use std::error::Error as _;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use thiserror::Error;

use super::entry::{Build, Change, Entry, Revision, Set, Why};
use super::file::{Log, NAME};
use super::journal::{Journal, Line};
use crate::loader::io_code;
use crate::state::Directory;

/// What one host did to its set of plugins: the last ten thousand changes, and all of them in the file
/// of its state directory, if it has one.
pub struct History {
    state: Mutex<State>,
}

struct State {
    log: Option<Log>,
    journal: Journal,
    /// What is loaded.
    set: Set,
    run: u64,
    last: u64,
    /// Entries since the last one that was written.
    missing: u64,
    problem: Option<Arc<HistoryError>>,
}

/// What went wrong with the file of a history. No load fails of it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The file cannot be written to. Entries are kept in memory.
    #[error("failed to write to `{}`", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory or a file in it cannot be opened.
    #[error("failed to read the history in `{}`", path.display())]
    Read {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl HistoryError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unwritable { .. } => "history.unwritable",
            Self::Read { source, .. } => io_code(source),
        }
    }
}

impl History {
    /// A history without a file.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(None)
    }

    /// A history with a file in this directory, which is made for this user alone where there is none.
    /// It begins with nothing loaded; what earlier hosts did is for [`read`](Self::read).
    ///
    /// Whoever can write to the directory can write another history.
    /// [`Builder::state_dir`](crate::Builder::state_dir) sees to that.
    ///
    /// # Errors
    ///
    /// [`HistoryError::Read`] when there can be no such directory.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, HistoryError> {
        let path = directory.as_ref();
        let created = Directory::create(path).map_err(|source| HistoryError::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::at(created))
    }

    pub(crate) fn at(directory: Directory) -> Self {
        Self::new(Some(Log::new(directory)))
    }

    fn new(log: Option<Log>) -> Self {
        // Seeded by chance. Readers in other languages keep 53 bits of a number.
        let run = RandomState::new().build_hasher().finish() >> 11;
        Self {
            state: Mutex::new(State {
                log,
                journal: Journal::default(),
                set: Set::new(),
                run,
                last: 0,
                missing: 0,
                problem: None,
            }),
        }
    }

    /// What all hosts of this directory did, as far as its files go back. Nothing there is changed, and
    /// hosts that write meanwhile are not held up.
    ///
    /// # Errors
    ///
    /// [`HistoryError::Read`] when the directory or a file in it cannot be read. That there is no file
    /// is no error.
    pub fn read(directory: impl AsRef<Path>) -> Result<Journal, HistoryError> {
        let path = directory.as_ref();
        let journal = Directory::open(path).and_then(|opened| Log::new(opened).read());
        journal.map_err(|source| HistoryError::Read {
            path: path.to_owned(),
            source,
        })
    }

    /// Adds an entry, in memory and in the file. It is returned with its number.
    ///
    /// A file that cannot be written to is a warning in the log and a [`problem`](Self::problem).
    pub fn record(&self, change: Change, why: Why, build: Build, from: Option<Revision>) -> Entry {
        let mut state = self.state();
        let mut entry = Entry {
            number: state.last + 1,
            at: SystemTime::now(),
            host: process::id(),
            run: state.run,
            change,
            why,
            build,
            from,
            missing: state.missing,
        };
        let mut warning = None;
        match state.append(&entry) {
            Ok(number) => {
                entry.number = number;
                state.missing = 0;
                state.problem = None;
            }
            Err(problem) => {
                state.missing += 1;
                // Once, until it works again.
                let problem = Arc::new(problem);
                if state.problem.replace(problem.clone()).is_none() {
                    warning = Some(problem);
                }
            }
        }
        state.last = entry.number;
        let State { set, journal, .. } = &mut *state;
        entry.apply(set);
        journal.push(entry.clone());
        drop(state);
        if let Some(problem) = warning {
            let cause = problem.source().map(ToString::to_string);
            let cause = cause.unwrap_or_default();
            tracing::warn!(code = problem.code(), "{problem}: {cause}");
        }
        entry
    }

    /// What this host did, the oldest first.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.state().journal.entries().cloned().collect()
    }

    /// What was loaded right after the entry of this number, by this host. `None` when it has no such
    /// entry, or not any more.
    #[must_use]
    pub fn set_at(&self, number: u64) -> Option<Set> {
        self.state().journal.set_at(number)
    }

    /// What this host had loaded at this time. `None` when it has no entry of that time or before it, or
    /// not any more.
    #[must_use]
    pub fn set_at_time(&self, at: SystemTime) -> Option<Set> {
        self.state().journal.set_at_time(at)
    }

    /// Why the last entry is not in the file, if it is not.
    #[must_use]
    pub fn problem(&self) -> Option<Arc<HistoryError>> {
        self.state().problem.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes the entry to the file, if there is one, and says which number it has got.
    fn append(&mut self, entry: &Entry) -> Result<u64, HistoryError> {
        // Who failed once does not hold up the next loads.
        let patience = match self.problem {
            None => Duration::from_secs(2),
            Some(_) => Duration::ZERO,
        };
        let Some(log) = &mut self.log else {
            return Ok(entry.number);
        };
        let set = &self.set;
        let written = log.append(patience, self.last, |number, fresh| {
            let entry = Entry {
                number,
                ..entry.clone()
            };
            // Where it does not follow from the lines before.
            let is_needed = fresh && !set.is_empty() || entry.missing > 0;
            let set = is_needed.then(|| set.clone());
            let mut line = serde_json::to_vec(&Line { entry, set })?;
            line.push(b'\n');
            Ok(line)
        });
        let path = log.directory().path(NAME);
        written.map_err(|source| HistoryError::Unwritable { path, source })
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").finish_non_exhaustive()
    }
}
