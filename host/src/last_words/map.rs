//! The file in memory, from its creation to a clean end.
#![expect(
    unsafe_code,
    reason = "the file is mapped, and read and written by address"
)]

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::ptr::{self, NonNull};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use super::builds::Free;
use super::format::{MAGIC, Slot, VERSION, Words};
use super::signals;
use crate::plugin::thread::Number;

/// The end of the names of such files.
pub(super) const EXTENSION: &str = "words";

/// What this process will leave if it dies. Dropping it is the clean end: nothing is left.
#[derive(Debug)]
pub(crate) struct LastWords {
    pages: Pages,
    path: PathBuf,
    /// Its lock says that the process lives.
    file: ManuallyDrop<File>,
    /// The process that made it. In a copy of that, all this is somebody else's.
    pid: u32,
    pub(super) free: Mutex<Free>,
}

/// Pages of the file, or of nothing in a child that got a copy of this process.
#[derive(Debug)]
struct Pages(NonNull<Words>);

// SAFETY: nothing but atomics stands in the pages, and they are unmapped by the owner alone.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl LastWords {
    /// Makes a file in `directory`, and lets handlers mark it when a signal or `exit` ends the process.
    ///
    /// Only this user may enter the directory. One in memory, below `$XDG_RUNTIME_DIR` or `/dev/shm`, is
    /// best: on a disk the kernel makes a thread wait now and then while it writes the page that the
    /// thread wants to change.
    ///
    /// # Errors
    ///
    /// When the file cannot be made, has no room, cannot be locked or mapped; and when too many hosts of
    /// this process have one.
    pub(crate) fn create(directory: &Path) -> io::Result<Self> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        signals::install()?;
        // A plugin may change the working directory.
        let directory = directory.canonicalize()?;
        loop {
            let number = MADE.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!("{}-{number}.{EXTENSION}", process::id()));
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path);
            let file = match file {
                Ok(file) => file,
                // Left by a process that had the same id.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            };
            match begin(&file) {
                Ok(Some(pages)) => return Self::enlist(pages, path, file),
                Ok(None) => {}
                Err(error) => {
                    let _ = fs::remove_file(&path);
                    return Err(error);
                }
            }
        }
    }

    fn enlist(pages: Pages, path: PathBuf, file: File) -> io::Result<Self> {
        let descriptor = file.as_raw_fd();
        let words = Self {
            pages,
            path,
            file: ManuallyDrop::new(file),
            pid: process::id(),
            free: Mutex::default(),
        };
        // SAFETY: dropping it withdraws the pages before it unmaps them.
        unsafe { signals::enlist(words.pages.0, descriptor) }?;
        Ok(words)
    }

    /// Where a thread notes what it is inside; `None` for threads beyond those that are recorded.
    #[inline]
    pub(crate) fn slot(&self, thread: Number) -> Option<&Slot> {
        self.words().slots.get(thread.get())
    }

    #[inline]
    pub(super) fn words(&self) -> &Words {
        // SAFETY: they are mapped as long as this lives, and hold nothing but atomics.
        unsafe { self.pages.0.as_ref() }
    }
}

impl Drop for LastWords {
    fn drop(&mut self) {
        signals::withdraw(self.pages.0);
        let is_owner = process::id() == self.pid;
        // While it is locked, nobody takes the file for one that a dead host left.
        if is_owner
            && let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("failed to remove `{}`: {error}", self.path.display());
        }
        // SAFETY: `begin` mapped this many bytes. No handler looks at them any more, and threads that
        // write to a slot borrow from this.
        let unmapped = unsafe { munmap(self.pages.0.as_ptr().cast(), size_of::<Words>()) };
        if let Err(error) = unmapped {
            tracing::warn!("failed to unmap `{}`: {error}", self.path.display());
        }
        // A copy of this process has closed it already.
        if is_owner {
            // SAFETY: nobody uses it after this.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}

/// Locks an empty file, takes its room, maps and begins it. `None` when somebody who collects took it
/// for one that a dead host left, and removes it.
fn begin(file: &File) -> io::Result<Option<Pages>> {
    match file.try_lock() {
        Ok(()) if file.metadata()?.nlink() > 0 => {}
        Ok(()) | Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    take_room(file)?;
    // SAFETY: the system picks an address that is free.
    let address = unsafe {
        mmap(
            ptr::null_mut(),
            size_of::<Words>(),
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            file,
            0,
        )
    }?;
    let pages = NonNull::new(address.cast::<Words>()).ok_or(io::ErrorKind::AddrNotAvailable)?;
    // SAFETY: pages are aligned for it, the file is as long as it, and any bits are atomics.
    let header = unsafe { &pages.as_ref().header };
    header.pid.store(process::id().into(), Ordering::Relaxed);
    header.version.store(VERSION, Ordering::Relaxed);
    let length = size_of::<Words>() as u64;
    header.length.store(length, Ordering::Relaxed);
    header.magic.store(MAGIC, Ordering::Release);
    Ok(Some(Pages(pages)))
}

/// Gives the file its length and the room for it, so that a disk that fills up later is no reason for a
/// SIGBUS.
fn take_room(mut file: &File) -> io::Result<()> {
    let length = size_of::<Words>();
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, length as u64)) {
        // Some file systems know no other way.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.write_all(&vec![0; length]),
        done => Ok(done?),
    }
}

/// Replaces the pages by others that belong to no file, where they are. For a child that got a copy of
/// this process: what it does must not stand in its parent's file, whose threads have the same numbers.
///
/// # Safety
///
/// `begin` mapped the pages, they are still mapped, and no other thread runs.
pub(super) unsafe fn disown(pages: NonNull<Words>) -> io::Result<()> {
    // SAFETY: these are whole pages of ours, and any bits are atomics.
    let replaced = unsafe {
        mmap_anonymous(
            pages.as_ptr().cast(),
            size_of::<Words>(),
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::FIXED,
        )
    };
    replaced?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The moment between making a file and locking it belongs to whoever collects.
    #[test]
    fn a_file_that_was_collected_is_not_begun() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made");
        let made = File::create_new(&path).unwrap();
        let collecting = File::open(&path).unwrap();
        collecting.try_lock().unwrap();
        assert!(begin(&made).unwrap().is_none());
        fs::remove_file(&path).unwrap();
        drop(collecting);
        assert!(begin(&made).unwrap().is_none());
    }
}
