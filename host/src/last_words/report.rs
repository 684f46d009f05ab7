//! Reading what dead hosts left.
//!
//! A host that dies of a plugin may have been scribbled over by it, so the file is read like any other
//! that comes from outside: every part of it may say anything.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::mem::offset_of;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use plg_packaging::{Digest, Label, PluginName};
use rustix::fs::OFlags;
use semver::Version;
use thiserror::Error;

use super::death::{Culprit, Death, Doing, Ending};
use super::format::{
    BUILDS, Crumb, EXIT, Entry, LABELS, MAGIC, SLOTS, Slot, TEXT, Text, VERSION, Words,
};
use super::map::EXTENSION;

/// Why a file says nothing.
#[derive(Debug, Error)]
pub(super) enum Unreadable {
    #[error("it cannot be read")]
    Read(#[from] io::Error),
    #[error("it is no file of a host")]
    Foreign,
    #[error("it has version {found}, expected {VERSION}")]
    Version { found: u64 },
    #[error("it has {found} bytes, expected {}", size_of::<Words>())]
    Length { found: u64 },
}

/// The deaths of the hosts that left a file in `directory`, the first one first. Their files are removed.
///
/// Files of living hosts are left alone, and so are those of other versions of plg. What cannot be read
/// is logged and removed.
pub(crate) fn collect(directory: &Path) -> Vec<Death> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!("failed to read `{}`: {error}", directory.display());
            }
            return Vec::new();
        }
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut deaths: Vec<Death> = paths
        .filter(|path| path.extension().is_some_and(|end| end == EXTENSION))
        .filter_map(|path| collect_one(&path))
        .collect();
    deaths.sort_by_key(|death| death.at);
    deaths
}

fn collect_one(path: &Path) -> Option<Death> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = match file {
        Ok(file) => file,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!("failed to read `{}`: {error}", path.display());
            }
            return None;
        }
    };
    // While its host lives there is no lock to have. It is kept until the file is removed, so that nobody
    // reads it twice; whoever had it before may have removed the file.
    file.try_lock().ok()?;
    if file.metadata().is_ok_and(|metadata| metadata.nlink() == 0) {
        return None;
    }
    let death = match read(&file) {
        Ok(death) => death,
        Err(Unreadable::Version { found }) => {
            tracing::debug!("left `{}` to version {found}", path.display());
            return None;
        }
        Err(error) => {
            tracing::warn!("dropped `{}`: {error}", path.display());
            None
        }
    };
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!("failed to remove `{}`: {error}", path.display());
    }
    death
}

fn read(file: &File) -> Result<Option<Death>, Unreadable> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Unreadable::Foreign);
    }
    // One byte more shows that it is too long.
    let mut bytes = Vec::new();
    let limit = size_of::<Words>() as u64 + 1;
    file.take(limit).read_to_end(&mut bytes)?;
    parse(&bytes, metadata.modified()?)
}

/// What a file says that was last written at `written`; `None` when its host ended as its app wanted, or
/// before it began.
pub(super) fn parse(bytes: &[u8], written: SystemTime) -> Result<Option<Death>, Unreadable> {
    let record = Record(bytes);
    match record.word(offset_of!(Words, header.magic)) {
        MAGIC => {}
        // It was made and not begun.
        0 if bytes.is_empty() || bytes.len() == size_of::<Words>() => return Ok(None),
        _ => return Err(Unreadable::Foreign),
    }
    let version = record.word(offset_of!(Words, header.version));
    if version != VERSION {
        return Err(Unreadable::Version { found: version });
    }
    let said = record.word(offset_of!(Words, header.length));
    for found in [bytes.len() as u64, said] {
        if found != size_of::<Words>() as u64 {
            return Err(Unreadable::Length { found });
        }
    }
    Ok(record.death(written))
}

/// The bytes of a file. What lies beyond their end reads as zero.
struct Record<'file>(&'file [u8]);

impl Record<'_> {
    fn word(&self, at: usize) -> u64 {
        let rest = self.0.get(at..).unwrap_or_default();
        rest.first_chunk()
            .map_or(0, |word| u64::from_ne_bytes(*word))
    }

    fn death(&self, written: SystemTime) -> Option<Death> {
        let ending = match self.word(offset_of!(Words, header.mark.ending)) {
            0 if self.word(offset_of!(Words, header.left)) == 1 => return None,
            EXIT => Ending::Exit,
            // As many as there are.
            signal @ 1..=64 => Ending::Signal(signal as i32),
            _ => Ending::Unknown,
        };
        let is_marked = ending != Ending::Unknown;
        let mark = |at| if is_marked { self.word(at) } else { 0 };
        let thread = mark(offset_of!(Words, header.mark.thread)).checked_sub(1);
        let crumb = Crumb::from_word(mark(offset_of!(Words, header.mark.crumb)));
        let instruction = mark(offset_of!(Words, header.mark.instruction));
        let time = Duration::from_secs(mark(offset_of!(Words, header.mark.time)));
        let at = SystemTime::UNIX_EPOCH.checked_add(time);
        Some(Death {
            pid: u32::try_from(self.word(offset_of!(Words, header.pid))).unwrap_or_default(),
            at: at.filter(|_| is_marked).unwrap_or(written),
            ending,
            culprit: self.inside(crumb).or_else(|| self.running(instruction)),
            suspects: self.suspects(thread),
        })
    }

    /// What every thread but one was inside.
    fn suspects(&self, dying: Option<u64>) -> Vec<Culprit> {
        let mut suspects = Vec::new();
        for thread in (0..SLOTS).filter(|thread| dying != Some(*thread as u64)) {
            let slot = offset_of!(Words, slots) + thread * size_of::<Slot>();
            let crumb = self.word(slot + offset_of!(Slot, crumb));
            let suspect = self.inside(Crumb::from_word(crumb));
            suspects.extend(suspect.filter(|suspect| !suspects.contains(suspect)));
        }
        suspects
    }

    /// The build that a crumb means, if it is the one that has the entry.
    fn inside(&self, crumb: Crumb) -> Option<Culprit> {
        let build = self.build(crumb.entry())?;
        if Crumb::of(Some((crumb.entry(), build.used))).used() != crumb.used() {
            return None;
        }
        let label = crumb.place().checked_sub(1).filter(|at| *at < LABELS);
        let label = label.and_then(|at| {
            let text = self.text(build.at + offset_of!(Entry, labels) + at * size_of::<Text>())?;
            Label::new(&text).ok()
        });
        Some(Culprit {
            label: label.map(|label| label.as_str().to_owned()),
            doing: crumb.doing()?,
            ..build.culprit
        })
    }

    /// The build whose code stands at an address.
    fn running(&self, instruction: u64) -> Option<Culprit> {
        let builds = (0..BUILDS).filter_map(|entry| self.build(entry));
        let mut running = builds.filter(|build| {
            let start = self.word(build.at + offset_of!(Entry, start));
            let end = self.word(build.at + offset_of!(Entry, end));
            (start..end).contains(&instruction)
        });
        running.next().map(|build| build.culprit)
    }

    /// The build that has an entry, whole.
    fn build(&self, entry: usize) -> Option<Build> {
        let entry = (entry < BUILDS).then_some(entry)?;
        let at = offset_of!(Words, builds) + entry * size_of::<Entry>();
        let state = self.word(at + offset_of!(Entry, state));
        if state.is_multiple_of(2) {
            return None;
        }
        let mut digest = [0; 32];
        let (words, _) = digest.as_chunks_mut();
        for (place, word) in words.iter_mut().enumerate() {
            let word_at = at + offset_of!(Entry, digest) + place * size_of::<u64>();
            *word = self.word(word_at).to_ne_bytes();
        }
        let name = self.text(at + offset_of!(Entry, name))?;
        let version = self.text(at + offset_of!(Entry, version))?;
        Some(Build {
            at,
            used: state / 2,
            culprit: Culprit {
                plugin: PluginName::new(&name).ok()?,
                version: Version::parse(&version).ok()?,
                digest: Digest::from_bytes(digest),
                generation: self.word(at + offset_of!(Entry, generation)),
                label: None,
                doing: Doing::Thread,
            },
        })
    }

    fn text(&self, at: usize) -> Option<String> {
        let bytes = self.0.get(at..)?.get(..TEXT)?;
        let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(TEXT);
        String::from_utf8(bytes[..length].to_vec()).ok()
    }
}

/// An entry that holds a build.
struct Build {
    at: usize,
    used: u64,
    /// The build, with nothing that it was doing.
    culprit: Culprit,
}
