//! What the files of a store say together: the lock file, and the sets it may name.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use plg_packaging::Digest;
use rustix::fs::OFlags;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::home::{Home, NUMBERS, is_absent};
use super::pins::Pins;
use super::set::Set;
use crate::state;

/// What is in force, and what there is besides.
#[derive(Clone, Debug)]
pub(super) struct Records {
    /// The set in force.
    pub(super) current: Set,
    /// The digest of its file, if it has one.
    pub(super) digest: Option<Digest>,
    /// The numbers of all sets with a file, the oldest first.
    pub(super) numbers: Vec<u64>,
    /// Whether there is a lock file: not before the first change.
    pub(super) is_locked: bool,
    /// Whether the lock file says so, and it was not found out in another way.
    pub(super) in_order: bool,
}

/// No file of ours comes near.
pub(super) const READABLE: u64 = 32 << 20;

/// How often a reader begins again because a writer was faster.
const ATTEMPTS: usize = 16;

impl Records {
    /// Reads what is in force. Who does not hold the lock may meet a writer and looks again then.
    pub(super) fn read(home: &Home) -> Result<Self, StoreError> {
        let mut outcome = Self::attempt(home);
        for _ in 1..ATTEMPTS {
            if outcome.is_ok() {
                break;
            }
            let before = bytes(&home.lock(), READABLE);
            let again = Self::attempt(home);
            let is_settled = matches!(
                (before, bytes(&home.lock(), READABLE)),
                (Ok(before), Ok(after)) if before == after
            );
            outcome = again;
            if is_settled {
                break;
            }
        }
        outcome
    }

    fn attempt(home: &Home) -> Result<Self, StoreError> {
        let pins = pins(home)?;
        let numbers = home.numbers()?;
        let mismatch = |why| StoreError::Mismatch {
            path: home.lock(),
            why,
        };
        let Some(pins) = pins else {
            // It is made before anything else, so it was lost.
            if !numbers.is_empty() || !home.digests()?.is_empty() {
                return Err(mismatch("it is gone, and there are plugins".to_owned()));
            }
            return Ok(Self {
                current: Set::empty(),
                digest: None,
                numbers,
                is_locked: false,
                in_order: true,
            });
        };
        let number = pins.generation;
        // The next one may be of a process that was killed before it came into force.
        if let Some(last) = numbers.last().filter(|last| **last > number + 1) {
            let why = format!("it is of the set {number}, and there is a set {last}");
            return Err(mismatch(why));
        }
        let (current, digest) = match number {
            0 => (Set::empty(), None),
            number => match file(home, number) {
                Ok(file) => file,
                Err(error @ StoreError::Format { .. }) => return Err(error),
                Err(StoreError::NoSet { .. }) => {
                    return Err(mismatch(format!(
                        "it is of the set {number}, which is gone"
                    )));
                }
                Err(error) => {
                    let why = format!("it is of the set {number}, and {error}");
                    return Err(mismatch(why));
                }
            },
        };
        match pins.difference(&current, digest) {
            Some(why) => Err(mismatch(why)),
            None => Ok(Self {
                current,
                digest,
                numbers,
                is_locked: true,
                in_order: true,
            }),
        }
    }

    /// What was in force as far as can be told, where the lock file does not say: the set whose plugins it has,
    /// else the one it names, else the newest that can be read.
    pub(super) fn recover(home: &Home) -> Result<Self, StoreError> {
        let numbers = home.numbers()?;
        let last = numbers.last().copied().unwrap_or_default();
        let pins = match pins(home) {
            Ok(pins) => pins.filter(|pins| pins.generation + 1 >= last),
            Err(error @ StoreError::Format { .. }) => return Err(error),
            Err(_) => None,
        };
        // The newest may never have come into force.
        let newest = file(home, last).ok();
        let is_alike = |set: &Set| pins.as_ref().is_some_and(|pins| pins.has_plugins_of(set));
        let alike = newest.filter(|(set, _)| is_alike(set));
        let named = pins.as_ref().map(|pins| pins.generation);
        let candidates = named.into_iter().chain(numbers.iter().rev().copied());
        let readable = || {
            candidates
                .filter_map(|number| file(home, number).ok())
                .next()
        };
        let (current, digest) = alike.or_else(readable).unwrap_or((Set::empty(), None));
        Ok(Self {
            current,
            digest,
            numbers,
            is_locked: true,
            in_order: false,
        })
    }
}

/// What the lock file says; `None` when there is none.
pub(super) fn pins(home: &Home) -> Result<Option<Pins>, StoreError> {
    let path = home.lock();
    let damaged = |why| StoreError::Damaged {
        path: path.clone(),
        why,
    };
    let Some(bytes) = bytes(&path, READABLE)? else {
        return Ok(None);
    };
    let pins: Pins = parse(&path, &bytes, Pins::FORMAT, damaged)?;
    if pins.generation > NUMBERS {
        return Err(damaged(format!(
            "no set has the number {}",
            pins.generation
        )));
    }
    Ok(Some(pins))
}

/// The set of that number.
pub(super) fn set(home: &Home, number: u64) -> Result<Set, StoreError> {
    file(home, number).map(|(set, _)| set)
}

/// The set of that number, and the digest of its file; the first has none.
fn file(home: &Home, number: u64) -> Result<(Set, Option<Digest>), StoreError> {
    if number == 0 {
        return Ok((Set::empty(), None));
    }
    let path = home.set(number);
    let damaged = |why| StoreError::Damaged {
        path: path.clone(),
        why,
    };
    let Some(bytes) = bytes(&path, READABLE)? else {
        return Err(StoreError::NoSet { number });
    };
    let set: Set = parse(&path, &bytes, Set::FORMAT, damaged)?;
    let is_sorted = set.plugins.is_sorted_by(|one, other| one.name < other.name);
    let is_later = set.before.is_none_or(|before| before < number);
    if set.number != number || !is_sorted || !is_later {
        return Err(damaged(format!("it is not the set {number}")));
    }
    Ok((set, Some(Digest::of(&bytes))))
}

/// The bytes of a regular file of at most `limit` of them, `None` where there is none.
pub(super) fn bytes(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = File::options();
    options.read(true).custom_flags(flags.bits().cast_signed());
    let read = |source| StoreError::read(path, source);
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(source) => return Err(read(source)),
    };
    if !file.metadata().map_err(read)?.is_file() {
        return Err(read(io::Error::new(
            ErrorKind::InvalidInput,
            "it is no file",
        )));
    }
    state::read(&file, limit).map(Some).map_err(read)
}

/// The one field that is read before the others: a newer format may have fields that nobody here knows.
#[derive(Deserialize)]
struct FormatOnly {
    format: u64,
}

fn parse<T: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
    known: u64,
    damaged: impl Fn(String) -> StoreError,
) -> Result<T, StoreError> {
    let no_json = |error: serde_json::Error| damaged(error.to_string());
    let FormatOnly { format: found } = serde_json::from_slice(bytes).map_err(no_json)?;
    if found > known {
        let path = path.to_owned();
        return Err(StoreError::Format { path, found, known });
    }
    if found == 0 {
        return Err(damaged("it has no format".to_owned()));
    }
    serde_json::from_slice(bytes).map_err(no_json)
}

/// A document as it stands in its file.
pub(super) fn write(document: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(document)?;
    bytes.push(b'\n');
    Ok(bytes)
}
