//! Where the members of a bundle go while it is not known yet whether they become a build.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use plg_packaging::bundle::{MemberPath, Sink};

use super::disk::{Disk, Written};
use super::error::StoreError;
use super::step::Step;

/// A directory below `staging/` that a bundle is unpacked to.
pub(super) struct Stage<'a> {
    disk: &'a Disk,
    root: PathBuf,
    directories: BTreeSet<PathBuf>,
    done: &'a Cell<u64>,
    tell: &'a dyn Fn(u64),
}

/// A member on its way to the disk, counted.
pub(super) struct Member<'a> {
    written: Written,
    done: &'a Cell<u64>,
    tell: &'a dyn Fn(u64),
}

impl<'a> Stage<'a> {
    /// Makes the directory. `tell` is told how many bytes are written.
    pub(super) fn create(
        disk: &'a Disk,
        root: PathBuf,
        done: &'a Cell<u64>,
        tell: &'a dyn Fn(u64),
    ) -> Result<Self, StoreError> {
        disk.directory(Step::Stage, &root, 0o755)?;
        Ok(Self {
            disk,
            root,
            directories: BTreeSet::new(),
            done,
            tell,
        })
    }

    /// Adds a file at the top.
    pub(super) fn add(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.root.join(name);
        let mut file = self.disk.file(Step::File, Step::Write, &path, 0o644)?;
        file.all(bytes)?;
        file.settle(Step::Fsync)
    }

    /// Brings to the disk which names there are.
    pub(super) fn finish(self) -> Result<PathBuf, StoreError> {
        let directories = self.directories.iter().map(PathBuf::as_path);
        for directory in directories.chain([self.root.as_path()]) {
            self.disk.sync_directory(Step::Fsync, directory)?;
        }
        Ok(self.root)
    }

    fn parents(&mut self, path: &MemberPath) -> Result<(), StoreError> {
        for directory in path.directories() {
            let directory = self.root.join(directory);
            if !self.directories.contains(&directory) {
                self.disk.directory(Step::Directory, &directory, 0o755)?;
                self.directories.insert(directory);
            }
        }
        Ok(())
    }
}

impl<'a> Sink for Stage<'a> {
    type File = Member<'a>;

    fn create(&mut self, path: &MemberPath, executable: bool) -> io::Result<Self::File> {
        let mode = if executable { 0o755 } else { 0o644 };
        let place = self.root.join(Path::new(path.as_str()));
        let made = self
            .parents(path)
            .and_then(|()| self.disk.file(Step::File, Step::Write, &place, mode));
        Ok(Member {
            written: made.map_err(cause)?,
            done: self.done,
            tell: self.tell,
        })
    }

    fn close(&mut self, _path: &MemberPath, file: Self::File) -> io::Result<()> {
        file.written.settle(Step::Fsync).map_err(cause)
    }
}

impl Write for Member<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.written.write(bytes)?;
        self.done.set(self.done.get() + count as u64);
        (self.tell)(self.done.get());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.written.flush()
    }
}

/// What the system said; the reader says of which member.
fn cause(error: StoreError) -> io::Error {
    match error {
        StoreError::Disk { source, .. } | StoreError::Read { source, .. } => source,
        other => io::Error::other(other),
    }
}
