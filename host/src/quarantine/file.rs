//! The digests in force, and the file that several hosts share.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use plg_packaging::Digest;

use super::error::QuarantineError;
use super::format::{self, Content, Entries, Entry};
use crate::state::Directory;

/// What a host knows of its quarantine.
#[derive(Default)]
pub(super) struct State {
    directory: Option<Directory>,
    /// What is in force.
    pub(super) entries: Entries,
    /// What the file was when it was read last; its bytes, where there was one.
    seen: Option<Option<Vec<u8>>>,
    /// What the file does not know yet.
    pending: Vec<Step>,
    pub(super) unreadable: Option<Arc<QuarantineError>>,
    pub(super) unwritable: Option<Arc<QuarantineError>>,
    /// What nobody was warned of yet: whoever is may ask the quarantine in turn.
    pub(super) untold: Vec<Arc<QuarantineError>>,
}

/// One change of the quarantine.
pub(super) enum Step {
    Add(Digest, Entry),
    Remove(Digest),
    Clear,
}

const NAME: &str = "quarantine.json";
const LOCK: &str = "quarantine.lock";

/// How many digests are kept; beyond them the oldest goes.
const ENTRIES: usize = 10_000;

/// No file of ours comes near.
const READABLE: u64 = 32 << 20;

impl State {
    pub(super) fn of(directory: Option<Directory>) -> Self {
        Self {
            directory,
            ..Self::default()
        }
    }

    /// Reads the file, if it is another than before.
    pub(super) fn refresh(&mut self) {
        let Some(directory) = &self.directory else {
            return;
        };
        let bytes = match directory.read(NAME, READABLE) {
            Ok(bytes) => bytes,
            Err(error) => return self.is_unreadable(error.to_string(), None),
        };
        if self.seen.as_ref() == Some(&bytes) {
            return;
        }
        match content(bytes.as_deref()) {
            Content::Whole(entries) => self.adopt(bytes, entries),
            Content::Newer(format) => self.is_unreadable(newer(format), None),
            Content::Damaged(entries, _) => {
                self.adopt(bytes, entries);
                // It is set aside under the lock, if it is still damaged then.
                self.write();
            }
        }
    }

    pub(super) fn change(&mut self, step: Step) {
        step.apply(&mut self.entries);
        if self.directory.is_some() {
            self.pending.retain(|earlier| !step.replaces(earlier));
            self.pending.push(step);
            self.write();
        }
    }

    /// Brings what is pending into the file.
    fn write(&mut self) {
        match self.try_write() {
            Ok(()) => self.unwritable = None,
            Err(source) => {
                let path = self.path();
                let problem = QuarantineError::Unwritable { path, source };
                tell(&mut self.unwritable, &mut self.untold, problem);
            }
        }
    }

    fn try_write(&mut self) -> io::Result<()> {
        let Some(directory) = self.directory.clone() else {
            return Ok(());
        };
        // Who failed once does not hold up the next loads.
        let patience = match self.unwritable {
            None => Duration::from_secs(2),
            Some(_) => Duration::ZERO,
        };
        let _lock = directory.lock(LOCK, patience)?;
        let bytes = directory.read(NAME, READABLE)?;
        let mut entries = match content(bytes.as_deref()) {
            Content::Whole(entries) => entries,
            Content::Damaged(entries, why) => {
                let kept = set_aside(&directory);
                self.is_unreadable(why, kept.as_ref().ok().cloned());
                kept?;
                entries
            }
            // What is not understood is not overwritten.
            Content::Newer(format) => return Err(io::Error::other(newer(format))),
        };
        for step in &self.pending {
            step.apply(&mut entries);
        }
        let bytes = format::write(&entries)?;
        directory.replace(NAME, &bytes)?;
        self.pending.clear();
        self.adopt(Some(bytes), entries);
        Ok(())
    }

    fn adopt(&mut self, bytes: Option<Vec<u8>>, entries: Entries) {
        self.seen = Some(bytes);
        // That a file was set aside stays worth knowing.
        let stays = |problem: &Arc<QuarantineError>| problem.is_set_aside();
        self.unreadable = self.unreadable.take().filter(stays);
        self.entries = entries;
        for step in &self.pending {
            step.apply(&mut self.entries);
        }
    }

    fn is_unreadable(&mut self, why: String, kept: Option<PathBuf>) {
        self.seen = None;
        let path = self.path();
        let problem = QuarantineError::Unreadable { path, why, kept };
        tell(&mut self.unreadable, &mut self.untold, problem);
    }

    fn path(&self) -> PathBuf {
        let directory = self.directory.as_ref();
        directory.map_or(PathBuf::from(NAME), |directory| directory.path(NAME))
    }
}

impl Step {
    fn apply(&self, entries: &mut Entries) {
        match self {
            Self::Add(digest, entry) => {
                entries.insert(*digest, entry.clone());
                if entries.len() > ENTRIES {
                    let oldest = entries.iter().min_by_key(|(_, entry)| entry.since);
                    let oldest = oldest.map(|(digest, _)| *digest);
                    oldest.and_then(|digest| entries.remove(&digest));
                }
            }
            Self::Remove(digest) => {
                entries.remove(digest);
            }
            Self::Clear => entries.clear(),
        }
    }

    /// Whether an earlier step makes no difference before this one.
    fn replaces(&self, earlier: &Self) -> bool {
        let digest = |step: &Self| match step {
            Self::Add(digest, _) | Self::Remove(digest) => Some(*digest),
            Self::Clear => None,
        };
        matches!(self, Self::Clear) || digest(self) == digest(earlier)
    }
}

/// That there is no file is as good as an empty one.
fn content(bytes: Option<&[u8]>) -> Content {
    bytes.map_or_else(|| Content::Whole(Entries::new()), format::parse)
}

/// Gives the file a second name, which it keeps when another takes the first. It may have one already.
fn set_aside(directory: &Directory) -> io::Result<PathBuf> {
    let mut number = 1;
    loop {
        let name = format!("quarantine.unreadable-{number}.json");
        match directory.link(NAME, &name) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            outcome => return outcome.map(|()| directory.path(&name)),
        }
        if directory.is_same(NAME, &name)? {
            return Ok(directory.path(&name));
        }
        number += 1;
    }
}

/// Keeps a problem, and tells of it if it is another than before.
fn tell(
    place: &mut Option<Arc<QuarantineError>>,
    untold: &mut Vec<Arc<QuarantineError>>,
    problem: QuarantineError,
) {
    let is_known = place.as_deref().map(QuarantineError::words) == Some(problem.words());
    let problem = place.insert(Arc::new(problem));
    if !is_known {
        untold.push(problem.clone());
    }
}

fn newer(format: u64) -> String {
    format!("it has the format {format}, of a newer version of plg")
}
