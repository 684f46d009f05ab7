//! Where the sockets of children are: a private directory of the host, with one for each child.
//!
//! A host holds a lock on its own for as long as it lives. One that nobody holds was left by a host that
//! was killed, and the next one removes it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::process::geteuid;
use rustix::rand::{GetRandomFlags, getrandom};

use super::ProcessError;
use super::remove::remove;

/// The directory of one host, made with its first child.
#[derive(Debug)]
pub(crate) struct RunRoot {
    /// Where the app wants it.
    parent: Option<PathBuf>,
    made: OnceLock<Made>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Made {
    path: PathBuf,
    _lock: File,
}

/// The directory of one child. It goes when this is dropped.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    path: PathBuf,
    /// The host's directory stands as long as one in it.
    _root: Arc<RunRoot>,
}

const PREFIX: &str = "plg-run-";
const LOCK: &str = "lock";
/// What the kernel takes as the path of a socket, without the zero at its end.
const SOCKET_BYTES: usize = 107;

impl RunRoot {
    pub(crate) fn new(parent: Option<PathBuf>) -> Self {
        Self {
            parent,
            made: OnceLock::new(),
            next: AtomicU64::new(1),
        }
    }

    /// The directory of the host, made when there is none yet.
    pub(crate) fn directory(&self) -> Result<PathBuf, ProcessError> {
        let made = match self.made.get() {
            Some(made) => made,
            None => {
                let parent = self.parent.clone().unwrap_or_else(parent);
                sweep(&parent);
                let made = make(&parent).map_err(failed(&parent))?;
                self.made.get_or_init(|| made)
            }
        };
        Ok(made.path.clone())
    }

    /// Makes a directory for a child, with one to work in.
    pub(crate) fn create(self: &Arc<Self>) -> Result<RunDirectory, ProcessError> {
        let directory = self.directory()?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(number.to_string());
        let socket = path.join("s");
        let bytes = socket.as_os_str().len();
        if bytes > SOCKET_BYTES {
            let path = socket;
            let limit = SOCKET_BYTES;
            return Err(ProcessError::SocketPath { path, bytes, limit });
        }
        private(&path).map_err(failed(&path))?;
        let directory = RunDirectory {
            path,
            _root: self.clone(),
        };
        let work = directory.work();
        private(&work).map_err(failed(&work))?;
        Ok(directory)
    }
}

/// Directories of hosts, below `parent` or else wherever hosts make them. Some may be of hosts that are gone.
pub(crate) fn run_directories(parent: Option<&Path>) -> Vec<PathBuf> {
    let parents = match parent {
        Some(parent) => vec![parent.to_owned()],
        None => {
            let mut usual = vec![self::parent(), std::env::temp_dir(), PathBuf::from("/tmp")];
            usual.dedup();
            usual
        }
    };
    let mut found: Vec<PathBuf> = parents
        .iter()
        .filter_map(|parent| fs::read_dir(parent).ok())
        .flat_map(|entries| entries.flatten())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found.dedup();
    found
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ProcessError {
    let path = path.to_owned();
    move |source| ProcessError::RunDirectory { path, source }
}

impl RunDirectory {
    /// All of it: the child may write here and nowhere else.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the child listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join("s")
    }

    /// The child's working directory.
    pub(crate) fn work(&self) -> PathBuf {
        self.path.join("w")
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!("failed to remove `{}`: {error}", self.path.display());
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // Another host that takes the lock from now on finds nothing to remove.
        let _ = remove(&self.path);
    }
}

/// What is this user's alone where the system has such a place, else the directory for temporary files.
pub(crate) fn parent() -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let own = own.filter(|path| {
        let metadata = fs::metadata(path);
        metadata.is_ok_and(|found| {
            found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0
        })
    });
    let temporary = || {
        let path = std::env::temp_dir();
        // The name of a socket has to fit behind it.
        let fits = path.is_absolute() && path.as_os_str().len() <= SOCKET_BYTES / 2;
        if fits { path } else { "/tmp".into() }
    };
    own.unwrap_or_else(temporary)
}

fn make(parent: &Path) -> io::Result<Made> {
    loop {
        let path = parent.join(format!("{PREFIX}{}", random()?));
        match private(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            outcome => outcome?,
        }
        match lock(&path) {
            Ok(Some(lock)) => return Ok(Made { path, _lock: lock }),
            // Another host took it for one that was left behind.
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let _ = remove(&path);
                return Err(error);
            }
        }
    }
}

/// Locks the directory at `path`; `None` when somebody has it, or it is not there any more.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let place = path.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&place)?;
    if file.try_lock().is_err() {
        return Ok(None);
    }
    let own = file.metadata()?.ino();
    let is_it = fs::symlink_metadata(&place).is_ok_and(|found| found.ino() == own);
    Ok(is_it.then_some(file))
}

/// Removes what hosts of this user left that do not live any more, and says what that was.
pub(crate) fn sweep(parent: &Path) -> Vec<PathBuf> {
    let mut removed = Vec::new();
    for path in roots(parent) {
        // One without a lock is about to get one, or was left empty.
        if !path.join(LOCK).exists() {
            if fs::remove_dir(&path).is_err() {
                continue;
            }
            removed.push(path);
        } else if let Ok(Some(lock)) = lock(&path) {
            match remove(&path) {
                Ok(()) => removed.push(path),
                Err(error) => tracing::warn!("failed to remove `{}`: {error}", path.display()),
            }
            drop(lock);
        }
    }
    removed
}

/// What would be removed.
pub(crate) fn stale(parent: &Path) -> Vec<PathBuf> {
    let mut roots = roots(parent);
    roots.retain(|path| match File::open(path.join(LOCK)) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(_) => fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none()),
    });
    roots
}

/// The directory of a host below `parent` that `path` is in, if it is in one. The kernel adds a word to the path of
/// what was removed.
pub(crate) fn root_of(parent: &Path, path: &Path) -> Option<PathBuf> {
    let name = path.strip_prefix(parent).ok()?.iter().next()?;
    let is_ours = name.to_str()?.starts_with(PREFIX);
    is_ours.then(|| parent.join(name))
}

/// The directories of hosts of this user.
fn roots(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| {
        entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.metadata().is_ok_and(|found| {
                found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0
            })
    });
    ours.map(|entry| entry.path()).collect()
}

fn private(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Twelve letters and digits that nobody can guess.
pub(crate) fn random() -> io::Result<String> {
    let mut bytes = [0; 8];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    Ok(data_encoding::BASE32_NOPAD.encode(&bytes).to_lowercase())
}
