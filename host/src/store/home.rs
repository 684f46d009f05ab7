//! The directory of a store, and what is where in it.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use plg_packaging::Digest;
use rustix::process::geteuid;

use super::disk::Disk;
use super::error::StoreError;
use super::step::Step;
use crate::discovery::{self, DiscoverError};
use crate::limits::Limits;

/// The directory of a store.
#[derive(Clone, Debug)]
pub(super) struct Home {
    path: PathBuf,
}

/// The directories in it.
const DIRECTORIES: [&str; 4] = ["builds", "in-use", "sets", "staging"];

const WRITABLE_BY_OTHERS: u32 = 0o022;

impl Home {
    /// The store at `path`, which need not be there yet.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let path = std::path::absolute(path).map_err(|source| StoreError::read(path, source))?;
        let home = Self { path };
        home.check()?;
        Ok(home)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether anybody made it yet. Only what installs something does.
    pub(super) fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// What processes take turns with.
    pub(super) fn turn(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// What is installed; the change of this file is the moment of every change.
    pub(super) fn lock(&self) -> PathBuf {
        self.path.join("plg.lock")
    }

    pub(super) fn builds(&self) -> PathBuf {
        self.path.join("builds")
    }

    pub(super) fn build(&self, digest: &Digest) -> PathBuf {
        self.builds().join(digest.hex())
    }

    pub(super) fn sets(&self) -> PathBuf {
        self.path.join("sets")
    }

    pub(super) fn set(&self, number: u64) -> PathBuf {
        self.sets().join(format!("{number}.json"))
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.path.join("staging")
    }

    pub(super) fn leases(&self) -> PathBuf {
        self.path.join("in-use")
    }

    pub(super) fn lease(&self, digest: &Digest) -> PathBuf {
        self.leases().join(digest.hex())
    }

    /// Makes what is not there, and refuses what others could change.
    pub(super) fn prepare(&self, disk: &Disk) -> Result<(), StoreError> {
        let missing = |path: &&Path| !path.exists();
        let missing: Vec<&Path> = self.path.ancestors().take_while(missing).collect();
        for path in missing.into_iter().rev() {
            made(disk.directory(Step::HomeDirectory, path, 0o700))?;
            disk.sync_directory(Step::HomeDirectory, path.parent().unwrap_or(path))?;
        }
        for name in DIRECTORIES {
            let path = self.path.join(name);
            if fs::symlink_metadata(&path).is_err() {
                made(disk.directory(Step::HomeDirectory, &path, 0o700))?;
                disk.sync_directory(Step::HomeDirectory, &self.path)?;
            }
        }
        self.check()
    }

    /// Refuses what others could change. What is not there nobody can.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if !is_own_directory(&self.path)? {
            return Ok(());
        }
        let rules = discovery::Rules::new(&Limits::default(), false);
        discovery::check_private(&self.path, &rules).map_err(|error| match error {
            DiscoverError::Unsafe { path, why } => StoreError::Unsafe { path, why },
            DiscoverError::Read { path, source } => StoreError::Read { path, source },
            other => StoreError::Unsafe {
                path: self.path.clone(),
                why: other.to_string(),
            },
        })?;
        for name in DIRECTORIES {
            is_own_directory(&self.path.join(name))?;
        }
        Ok(())
    }

    /// The digests with a build, and what else lies there.
    pub(super) fn digests(&self) -> Result<Vec<Digest>, StoreError> {
        let names = names(&self.builds())?;
        let digest = |name: &String| {
            name.parse()
                .ok()
                .filter(|digest: &Digest| digest.hex() == *name)
        };
        Ok(names.iter().filter_map(digest).collect())
    }

    /// The numbers of the sets, the oldest first.
    pub(super) fn numbers(&self) -> Result<Vec<u64>, StoreError> {
        let names = names(&self.sets())?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| number(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }
}

/// The highest number of a set: what every reader of JSON reads exactly, and there is always a next one.
pub(super) const NUMBERS: u64 = 1 << 53;

/// The number of a set, if that is how its file is called.
fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json")?;
    let number: u64 = digits.parse().ok()?;
    (number <= NUMBERS && number.to_string() == digits).then_some(number)
}

/// The names in a directory, in order; none where there is no directory.
pub(super) fn names(directory: &Path) -> Result<Vec<String>, StoreError> {
    let read = |source| StoreError::read(directory, source);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(source) => return Err(read(source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(read)?.file_name();
        names.push(OsStr::to_string_lossy(&name).into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether it is there. It must be a directory and no link to one, of this user or of root, and nobody else
/// may write to it.
fn is_own_directory(path: &Path) -> Result<bool, StoreError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if is_absent(&error) => return Ok(false),
        Err(source) => return Err(StoreError::read(path, source)),
    };
    let why = if metadata.is_symlink() {
        "it is a symbolic link: name the directory itself".to_owned()
    } else if !metadata.is_dir() {
        "it is no directory".to_owned()
    } else if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        "others can write to it: run `chmod go-w` on it".to_owned()
    } else if metadata.uid() != 0 && metadata.uid() != geteuid().as_raw() {
        format!("it belongs to user {}: run `chown` on it", metadata.uid())
    } else {
        return Ok(true);
    };
    let path = path.to_owned();
    Err(StoreError::Unsafe { path, why })
}

/// Whether an error says that nothing is there.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Another process may have made it first.
fn made(outcome: Result<(), StoreError>) -> Result<(), StoreError> {
    match outcome {
        Err(StoreError::Disk { source, .. }) if source.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}
