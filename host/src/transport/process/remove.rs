//! Removing a directory that a child could write to, whatever it made of it.
//!
//! The standard library goes as deep as the directories do, with a descriptor and some of the stack for each: a
//! child that nests them deeply enough would end its host with that. Here what stands in a directory is moved up
//! before that one goes, so nothing is ever deeper than two. No link is followed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, chmod, fchmod, openat, renameat, unlinkat};
use rustix::io::Errno;
use rustix::path::Arg;

use super::run_directory::random;

/// Removes the directory at `path` and all that is in it.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let mut top = Top {
        directory: open(CWD, path)?,
        prefix: format!("{}-", random()?),
        moved: 0,
    };
    let own = top.directory.try_clone()?;
    top.clear(&own)?;
    let mut done = 0;
    while done < top.moved {
        let name = top.name(done);
        let directory = open(&top.directory, name.as_str())?;
        top.clear(&directory)?;
        unlinkat(&top.directory, name.as_str(), AtFlags::REMOVEDIR)?;
        done += 1;
    }
    Ok(unlinkat(CWD, path, AtFlags::REMOVEDIR)?)
}

/// The directory that is removed.
struct Top {
    directory: OwnedFd,
    /// What the names begin with of directories that were moved here, which no child has thought of.
    prefix: String,
    /// How many there ever were.
    moved: u64,
}

impl Top {
    /// Removes the files of a directory that is in this one, or is it, and moves its directories up.
    fn clear(&mut self, directory: &OwnedFd) -> io::Result<()> {
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_moved = name.to_bytes().starts_with(self.prefix.as_bytes());
            if is_moved || [c".", c".."].contains(&name) {
                continue;
            }
            match unlinkat(directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
            let place = self.name(self.moved);
            match renameat(directory, name, &self.directory, place.as_str()) {
                // A directory that cannot be written to cannot be moved either.
                Err(Errno::ACCESS) => {
                    drop(open(directory, name)?);
                    renameat(directory, name, &self.directory, place.as_str())?;
                }
                outcome => outcome?,
            }
            self.moved += 1;
        }
        Ok(())
    }

    fn name(&self, number: u64) -> String {
        format!("{}{number}", self.prefix)
    }
}

/// Opens a directory and lets its owner do everything there.
fn open(parent: impl AsFd, name: impl Arg + Copy) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let read = || openat(&parent, name, flags | OFlags::RDONLY, Mode::empty());
    let directory = match read() {
        Err(Errno::ACCESS) => {
            let place = openat(&parent, name, flags | OFlags::PATH, Mode::empty())?;
            // That very directory, whatever has its name by now.
            chmod(format!("/proc/self/fd/{}", place.as_raw_fd()), Mode::RWXU)?;
            read()?
        }
        outcome => outcome?,
    };
    // Where that fails, the next step does and says so.
    let _ = fchmod(&directory, Mode::RWXU);
    Ok(directory)
}
