//! A crate that builds a program: where that stands with its `plugin.json`, as a host wants it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use plg_host::MANIFEST;

use crate::artifact::{self, Profile};
use crate::bundle::failed;
use crate::problem::Problem;

/// A directory below cargo's own, with the program and the manifest of a plugin.
pub(crate) struct Staged {
    directory: PathBuf,
    /// The program, as the manifest names it.
    exec: String,
    /// The same, as cargo does.
    name: String,
}

impl Staged {
    /// The place for the crate in `directory`, if its manifest names one of its `programs`.
    pub(crate) fn of<'a>(
        directory: &Path,
        mut programs: impl Iterator<Item = &'a str>,
        target: &Path,
        profile: Profile,
    ) -> Option<Self> {
        let manifest = artifact::manifest(directory).ok()?;
        let exec = manifest.process?.exec.as_str().to_owned();
        let last = exec.rsplit('/').next()?;
        let name = programs.find(|name| *name == last)?.to_owned();
        let place = target.join("plg").join(profile.name());
        Some(Self {
            directory: place.join(manifest.name.as_str()),
            exec,
            name,
        })
    }

    /// What cargo calls the program.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where the program is, once it was built.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.join(&self.exec)
    }

    /// Puts the program that was `built` there, in one step: the one before may be running.
    pub(crate) fn take(&self, built: &Path, directory: &Path) -> Result<PathBuf, Problem> {
        let file = self.file();
        let copy = |next: &Path| -> io::Result<()> {
            fs::create_dir_all(file.parent().unwrap_or(&self.directory))?;
            fs::copy(built, next)?;
            // It is as old as what was built, and made of the same sources.
            let modified = fs::metadata(built)?.modified()?;
            fs::File::options()
                .write(true)
                .open(next)?
                .set_modified(modified)?;
            fs::copy(built.with_extension("d"), file.with_extension("d"))?;
            fs::rename(next, &file)
        };
        copy(&file.with_extension("next")).map_err(|error| failed("write", &file, &error))?;
        self.describe(directory)
    }

    /// Puts the manifest of `directory` beside it, and returns where both are.
    pub(crate) fn describe(&self, directory: &Path) -> Result<PathBuf, Problem> {
        let (from, to) = (directory.join(MANIFEST), self.directory.join(MANIFEST));
        let copy = || -> io::Result<()> {
            let bytes = fs::read(&from)?;
            if fs::read(&to).is_ok_and(|known| known == bytes) {
                return Ok(());
            }
            fs::write(&to, bytes)
        };
        copy().map_err(|error| failed("write", &to, &error))?;
        Ok(self.directory.clone())
    }
}
