//! The two files of a trust store, read as a whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use plg_packaging::{Digest, PluginName};
use rustix::io::Errno;
use rustix::process::geteuid;
use semver::Version;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{TrustError, TrustedKey};
use crate::discovery::{DiscoverError, Rules, check_base};
use crate::limits::Limits;
use crate::state::{Directory, read};

/// What the files say.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) keys: Keys,
    pub(super) seen: Seen,
}

/// `keys.json`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    format: u64,
    /// How many different keys have to sign an index.
    pub(super) threshold: usize,
    pub(super) keys: Vec<TrustedKey>,
}

/// `seen.json`: what each key signed that was highest, keys by their text.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seen {
    format: u64,
    pub(super) plugins: BTreeMap<PluginName, BTreeMap<String, Version>>,
    pub(super) indexes: BTreeMap<String, SeenIndex>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeenIndex {
    pub(super) number: u64,
    pub(super) digest: Digest,
}

/// The one field that is read before the others: a newer format may have fields that nobody here knows.
#[derive(Deserialize)]
struct FormatOnly {
    format: u64,
}

const FORMAT: u64 = 1;
const KEYS: &str = "keys.json";
const SEEN: &str = "seen.json";
pub(super) const LOCK: &str = "trust.lock";

/// No file of ours comes near.
const READABLE: u64 = 16 << 20;

impl Default for Keys {
    fn default() -> Self {
        Self {
            format: FORMAT,
            threshold: 1,
            keys: Vec::new(),
        }
    }
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            format: FORMAT,
            plugins: BTreeMap::new(),
            indexes: BTreeMap::new(),
        }
    }
}

/// The directory of a store, if it is there.
pub(super) fn directory(path: &Path) -> Result<Option<Directory>, TrustError> {
    let failed = |source| TrustError::Read {
        path: path.to_owned(),
        source,
    };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if metadata.is_symlink() {
        return Err(not_safe(path, "it is a link"));
    }
    if !metadata.is_dir() {
        return Err(not_safe(path, "it is no directory"));
    }
    check_way(path)?;
    check_owner(path, &metadata)?;
    Directory::open(path).map(Some).map_err(failed)
}

/// What the files of a directory say. There are both of them or none: without its memory a store takes old
/// files for new ones, and without its keys it takes unsigned ones.
pub(super) fn content(directory: Option<&Directory>) -> Result<Content, TrustError> {
    let Some(directory) = directory else {
        return Ok(Content::default());
    };
    let keys: Option<Keys> = document(directory, KEYS)?;
    let seen: Option<Seen> = document(directory, SEEN)?;
    match (keys, seen) {
        (Some(keys), Some(seen)) => {
            check_keys(&keys).map_err(|why| not_safe(&directory.path(KEYS), why))?;
            Ok(Content { keys, seen })
        }
        (None, None) => Ok(Content::default()),
        // A process that makes a store may have been killed here.
        (None, Some(seen)) if seen.plugins.is_empty() && seen.indexes.is_empty() => {
            Ok(Content::default())
        }
        (None, Some(_)) => Err(not_safe(&directory.path(KEYS), "it is missing")),
        (Some(_), None) => Err(not_safe(&directory.path(SEEN), "it is missing")),
    }
}

pub(super) fn write_keys(directory: &Directory, keys: &Keys) -> Result<(), TrustError> {
    write(directory, KEYS, keys)
}

pub(super) fn write_seen(directory: &Directory, seen: &Seen) -> Result<(), TrustError> {
    write(directory, SEEN, seen)
}

pub(super) fn has_seen(directory: &Directory) -> bool {
    fs::symlink_metadata(directory.path(SEEN)).is_ok()
}

fn write(directory: &Directory, name: &str, document: &impl Serialize) -> Result<(), TrustError> {
    let written = serde_json::to_vec_pretty(document).map_err(io::Error::from);
    let written = written.and_then(|mut bytes| {
        bytes.push(b'\n');
        directory.replace(name, &bytes)
    });
    written.map_err(|source| TrustError::Write {
        path: directory.path(name),
        source,
    })
}

fn document<T: DeserializeOwned>(
    directory: &Directory,
    name: &str,
) -> Result<Option<T>, TrustError> {
    let path = directory.path(name);
    let is_link = |error: &io::Error| Errno::from_io_error(error) == Some(Errno::LOOP);
    let failed = |source: io::Error| match source.kind() {
        _ if is_link(&source) => not_safe(&path, "it is a link"),
        ErrorKind::InvalidInput | ErrorKind::FileTooLarge => not_safe(&path, source.to_string()),
        _ => TrustError::Read {
            path: path.clone(),
            source,
        },
    };
    let file = match directory.file(name, OpenOptions::new().read(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    check_owner(&path, &file.metadata().map_err(failed)?)?;
    let bytes = read(&file, READABLE).map_err(failed)?;
    let damaged = |error: serde_json::Error| not_safe(&path, error.to_string());
    let FormatOnly { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if format != FORMAT {
        let why = format!("it has format {format}, and this version reads format {FORMAT}");
        return Err(not_safe(&path, why));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

fn check_keys(keys: &Keys) -> Result<(), &'static str> {
    if keys.threshold == 0 {
        return Err("an index that nobody has to sign is none");
    }
    for (place, one) in keys.keys.iter().enumerate() {
        let after = keys.keys.iter().skip(place + 1);
        if after.into_iter().any(|other| other.key == one.key) {
            return Err("a key stands there twice");
        }
    }
    Ok(())
}

/// Whoever can write to a directory on the way can put another store there.
fn check_way(path: &Path) -> Result<(), TrustError> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    check_base(parent, &Rules::new(&Limits::default(), false))
        .map(drop)
        .map_err(|error| match error {
            DiscoverError::Unsafe { path, why } => TrustError::Unsafe { path, why },
            DiscoverError::Read { path, source } => TrustError::Read { path, source },
            other => not_safe(path, other.to_string()),
        })
}

fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), TrustError> {
    const WRITABLE_BY_OTHERS: u32 = 0o022;
    if metadata.uid() != 0 && metadata.uid() != geteuid().as_raw() {
        let why = format!("it belongs to user {}", metadata.uid());
        return Err(not_safe(path, why));
    }
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        let why = "others can write to it: run `chmod go-w` on it, after a look at what it says";
        return Err(not_safe(path, why));
    }
    Ok(())
}

fn not_safe(path: &Path, why: impl Into<String>) -> TrustError {
    TrustError::Unsafe {
        path: PathBuf::from(path),
        why: why.into(),
    }
}
