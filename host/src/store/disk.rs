//! The one place where a store changes the disk. Every change is a [`Step`].

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::error::StoreError;
use super::step::{Answer, Step, StepHook};
use crate::state::check_limit;

/// Changes the disk, unless the hook has it otherwise.
#[derive(Clone, Default)]
pub(super) struct Disk {
    hook: Option<StepHook>,
}

/// A file that is written.
pub(crate) struct Written {
    disk: Disk,
    step: Step,
    path: PathBuf,
    file: File,
    length: u64,
}

/// The steps in which a document takes its place.
pub(super) struct DocumentSteps {
    pub(super) file: Step,
    pub(super) write: Step,
    pub(super) fsync: Step,
    pub(super) rename: Step,
    pub(super) settle: Step,
}

impl Disk {
    pub(super) fn new(hook: Option<StepHook>) -> Self {
        Self { hook }
    }

    /// Makes a directory of that mode, whatever the umask of the process is.
    pub(super) fn directory(&self, step: Step, path: &Path, mode: u32) -> Result<(), StoreError> {
        self.run(step, path, || {
            DirBuilder::new().mode(mode).create(path)?;
            if fs::symlink_metadata(path)?.permissions().mode() & 0o777 != mode {
                fs::set_permissions(path, Permissions::from_mode(mode))?;
            }
            Ok(())
        })
    }

    /// Makes a file that is not there yet, of that mode whatever the umask is. `write` names the step of
    /// each write to it.
    pub(super) fn file(
        &self,
        step: Step,
        write: Step,
        path: &Path,
        mode: u32,
    ) -> Result<Written, StoreError> {
        let file = self.run(step, path, || {
            let flags = OFlags::NOFOLLOW.bits().cast_signed();
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .custom_flags(flags)
                .open(path)?;
            if file.metadata()?.permissions().mode() & 0o777 != mode {
                file.set_permissions(Permissions::from_mode(mode))?;
            }
            Ok(file)
        })?;
        Ok(Written {
            disk: self.clone(),
            step: write,
            path: path.to_owned(),
            file,
            length: 0,
        })
    }

    /// Opens a file that processes take turns with, and makes it where there is none.
    pub(super) fn shared_file(&self, step: Step, path: &Path) -> Result<File, StoreError> {
        let open = |make: bool| {
            let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let mut options = OpenOptions::new();
            options
                .read(true)
                .mode(0o600)
                .custom_flags(flags.bits().cast_signed());
            options.write(make).create(make).open(path)
        };
        match open(false) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.run(step, path, || open(true))
            }
            opened => opened.map_err(|source| StoreError::read(path, source)),
        }
    }

    /// Brings to the disk which names are in a directory.
    pub(super) fn sync_directory(&self, step: Step, path: &Path) -> Result<(), StoreError> {
        self.run(step, path, || File::open(path)?.sync_all())
    }

    /// Gives a file or directory another name.
    pub(super) fn rename(&self, step: Step, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.run(step, to, || fs::rename(from, to))
    }

    /// Removes a file.
    pub(super) fn remove_file(&self, step: Step, path: &Path) -> Result<(), StoreError> {
        self.run(step, path, || fs::remove_file(path))
    }

    /// Removes whatever is there, with all that is in it; each name is a step of its own. Links are
    /// removed and not followed.
    pub(super) fn remove_all(&self, step: Step, path: &Path) -> Result<(), StoreError> {
        let read = |source| StoreError::read(path, source);
        let is_directory = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata.is_dir(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(read(source)),
        };
        if !is_directory {
            return self.remove_file(step, path);
        }
        // Not by recursion: what lies there need not be ours.
        let mut open = vec![path.to_owned()];
        let mut emptied = BTreeSet::new();
        while let Some(directory) = open.last().cloned() {
            if emptied.insert(directory.clone()) {
                for entry in fs::read_dir(&directory).map_err(read)? {
                    let entry = entry.map_err(read)?;
                    if entry.file_type().map_err(read)?.is_dir() {
                        open.push(entry.path());
                    } else {
                        self.remove_file(step, &entry.path())?;
                    }
                }
            } else {
                self.run(step, &directory, || fs::remove_dir(&directory))?;
                open.pop();
            }
        }
        Ok(())
    }

    /// Puts a document of these bytes in the place of the one of that name, by way of a file in
    /// `staging`: whoever looks meets the old bytes or the new ones, also after the power failed. After an
    /// error in the last step the new ones are in place.
    pub(super) fn document(
        &self,
        steps: &DocumentSteps,
        staging: &Path,
        place: &Path,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let draft = staging.join(place.file_name().unwrap_or_default());
        let written = self
            .file(steps.file, steps.write, &draft, 0o600)
            .and_then(|mut file| {
                file.all(bytes)?;
                file.settle(steps.fsync)
            })
            .and_then(|()| self.rename(steps.rename, &draft, place));
        if let Err(error) = written {
            // Whoever comes next sweeps what cannot be removed now.
            let _ = self.remove_all(Step::Discard, &draft);
            return Err(error);
        }
        let parent = place.parent().unwrap_or(place);
        self.sync_directory(steps.settle, parent)
    }

    fn run<T>(
        &self,
        step: Step,
        path: &Path,
        act: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, StoreError> {
        let outcome = match self.ask(step, path) {
            Answer::Proceed | Answer::Short(_) => act(),
            Answer::Fail(error) => Err(error),
        };
        outcome.map_err(|source| StoreError::Disk {
            step,
            path: path.to_owned(),
            source,
        })
    }

    fn ask(&self, step: Step, path: &Path) -> Answer {
        match &self.hook {
            Some(hook) => hook(step, path),
            None => Answer::Proceed,
        }
    }
}

impl Written {
    /// Writes all of it.
    pub(super) fn all(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.write_all(bytes).map_err(|source| StoreError::Disk {
            step: self.step,
            path: self.path.clone(),
            source,
        })
    }

    /// Brings it to the disk.
    pub(super) fn settle(self, step: Step) -> Result<(), StoreError> {
        self.disk.run(step, &self.path, || self.file.sync_all())
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = match self.disk.ask(self.step, &self.path) {
            Answer::Proceed => bytes,
            Answer::Short(count) => &bytes[..count.min(bytes.len())],
            Answer::Fail(error) => return Err(error),
        };
        check_limit(self.length + bytes.len() as u64)?;
        let count = self.file.write(bytes)?;
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
