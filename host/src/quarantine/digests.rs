//! The digests as a host and its operator see them.

use std::fmt;
use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use plg_packaging::Digest;

use super::error::QuarantineError;
use super::file::{State, Step};
use super::format::Entry;
use crate::state::Directory;

/// The digests that a host does not load.
pub struct Quarantine {
    state: Mutex<State>,
}

/// How much of a reason is kept.
const REASON: usize = 1024;

impl Quarantine {
    /// A quarantine that ends with the host.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(None)
    }

    /// The quarantine in this directory, which is made for this user alone where there is none.
    ///
    /// Whoever can write to the directory can clear digests.
    /// [`Builder::state_dir`](crate::Builder::state_dir) sees to that.
    ///
    /// # Errors
    ///
    /// [`QuarantineError::Directory`] when there can be no such directory. A file that cannot be read is
    /// one of the [`problems`](Self::problems).
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, QuarantineError> {
        let path = directory.as_ref();
        let created = Directory::create(path).map_err(|source| QuarantineError::Directory {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::at(created))
    }

    pub(crate) fn at(directory: Directory) -> Self {
        Self::new(Some(directory))
    }

    fn new(directory: Option<Directory>) -> Self {
        let quarantine = Self {
            state: Mutex::new(State::of(directory)),
        };
        quarantine.with(|_| {});
        quarantine
    }

    /// Why the bytes of this digest are not loaded, if they are not.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> Option<Entry> {
        self.with(|state| state.entries.get(digest).cloned())
    }

    /// Whether everything may be loaded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.with(|state| state.entries.is_empty())
    }

    /// All digests.
    #[must_use]
    pub fn list(&self) -> Vec<(Digest, Entry)> {
        let pair = |(digest, entry): (&Digest, &Entry)| (*digest, entry.clone());
        self.with(|state| state.entries.iter().map(pair).collect())
    }

    /// Lets the bytes of this digest be loaded no more.
    pub fn add(&self, digest: Digest, mut entry: Entry) {
        let end = entry.reason.floor_char_boundary(REASON);
        entry.reason.truncate(end);
        self.with(|state| state.change(Step::Add(digest, entry)));
    }

    /// Lets the bytes of this digest be loaded again; says whether they were not.
    pub fn remove(&self, digest: &Digest) -> bool {
        self.with(|state| {
            let is_there = state.entries.contains_key(digest);
            if is_there {
                state.change(Step::Remove(*digest));
            }
            is_there
        })
    }

    /// Lets everything be loaded again; says how many digests were not.
    pub fn clear(&self) -> usize {
        self.with(|state| {
            let count = state.entries.len();
            if count > 0 {
                state.change(Step::Clear);
            }
            count
        })
    }

    /// What is wrong with the file: that it had to be set aside, is not read or is not written.
    #[must_use]
    pub fn problems(&self) -> Vec<Arc<QuarantineError>> {
        self.with(|state| {
            let problems = [&state.unreadable, &state.unwritable];
            problems.into_iter().flatten().cloned().collect()
        })
    }

    /// Looks at what other hosts did meanwhile, then does what is asked for.
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.refresh();
        let outcome = act(&mut state);
        let untold = mem::take(&mut state.untold);
        drop(state);
        for problem in untold {
            tracing::warn!(code = problem.code(), "{}", problem.words());
        }
        outcome
    }
}

impl fmt::Debug for Quarantine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quarantine").finish_non_exhaustive()
    }
}
