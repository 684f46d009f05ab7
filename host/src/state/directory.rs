//! Files in the state directory: opened, locked, appended to and replaced so that a process which is
//! killed in between leaves something that can be read.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::{Resource, getrlimit};

/// A private directory.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    path: PathBuf,
}

/// A lock, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock(File);

/// For this user alone.
const PRIVATE: u32 = 0o600;

impl Directory {
    /// The directory at `path`, which is made for this user alone where there is none.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Self::open(path)
    }

    /// The directory at `path`, wherever that leads now: it is found again after the process went to
    /// another directory.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        if !path.is_dir() {
            return Err(ErrorKind::NotADirectory.into());
        }
        Ok(Self { path })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Takes the lock of that name, which is waited for no longer than `patience`: its holder may be
    /// a process that was stopped.
    pub(crate) fn lock(&self, name: &str, patience: Duration) -> io::Result<Lock> {
        let file = self.file(name, OpenOptions::new().write(true).create(true))?;
        let start = Instant::now();
        let mut pause = Duration::from_micros(100);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(file)),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) => {}
            }
            if start.elapsed() >= patience {
                let holder = format!("another process holds `{name}`");
                return Err(io::Error::new(ErrorKind::TimedOut, holder));
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(2));
        }
    }

    /// Opens a regular file, following no link and waiting for no peer. A new one is private whatever
    /// the umask of the process is.
    pub(crate) fn file(&self, name: &str, options: &mut OpenOptions) -> io::Result<File> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = options
            .mode(PRIVATE)
            .custom_flags(flags.bits().cast_signed())
            .open(self.path(name))?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is no file"));
        }
        if metadata.len() == 0 && metadata.permissions().mode() & 0o777 != PRIVATE {
            file.set_permissions(Permissions::from_mode(PRIVATE))?;
        }
        Ok(file)
    }

    /// Reads a file of at most `limit` bytes; `None` when there is none.
    pub(crate) fn read(&self, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match self.file(name, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        read(&file, limit).map(Some)
    }

    /// Puts a file of these bytes in the place of the one of that name: whoever opens it meets the old
    /// bytes or the new ones, also after the power failed. The lock of the file must be held.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        check_limit(bytes.len() as u64)?;
        // Of a fixed name, so that processes which were killed here leave one at most.
        let new = format!("{name}.new");
        let mut options = OpenOptions::new();
        let mut file = self.file(&new, options.write(true).create(true).truncate(true))?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        let moved = written.and_then(|()| fs::rename(self.path(&new), self.path(name)));
        if let Err(error) = moved {
            let _ = fs::remove_file(self.path(&new));
            return Err(error);
        }
        File::open(&self.path)?.sync_all()
    }

    /// Gives a file a second name, which must be free.
    pub(crate) fn link(&self, name: &str, second: &str) -> io::Result<()> {
        fs::hard_link(self.path(name), self.path(second))
    }

    /// Whether two names are of one file.
    pub(crate) fn is_same(&self, one: &str, other: &str) -> io::Result<bool> {
        let one = fs::symlink_metadata(self.path(one))?;
        let other = fs::symlink_metadata(self.path(other))?;
        Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
    }

    /// Gives a file another name, in place of what has that name.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read(file: &File, limit: u64) -> io::Result<Vec<u8>> {
    let too_large = || {
        let problem = format!("it has more than {limit} bytes");
        io::Error::new(ErrorKind::FileTooLarge, problem)
    };
    if file.metadata()?.len() > limit {
        return Err(too_large());
    }
    // It may grow while it is read; one byte over the limit says so.
    let mut bytes = Vec::new();
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if read as u64 > limit {
        return Err(too_large());
    }
    Ok(bytes)
}

/// Fails where a file of that length is over the limit of the process, which the system would answer
/// with a signal that ends it.
pub(crate) fn check_limit(length: u64) -> io::Result<()> {
    match getrlimit(Resource::Fsize).current {
        Some(limit) if length > limit => Err(ErrorKind::FileTooLarge.into()),
        _ => Ok(()),
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would do, unless the process forked meanwhile: the child has the file open too.
        let _ = self.0.unlock();
    }
}
