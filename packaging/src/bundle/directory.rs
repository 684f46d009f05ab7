//! A new directory as a sink.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{MemberPath, Sink};

/// Makes a directory and members in it: files of mode 0644 and programs and directories of mode 0755, less
/// what the process's mask takes away.
///
/// Everything in it is made anew, so no link can lead elsewhere. It is removed with all that is in it unless
/// [`finish`](Self::finish) is called.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    made: BTreeSet<String>,
    is_finished: bool,
}

impl Directory {
    /// Makes the directory, in one that exists.
    ///
    /// # Errors
    /// What the system says, [`AlreadyExists`](io::ErrorKind::AlreadyExists) among it.
    pub fn create(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        make(&root)?;
        Ok(Self {
            root,
            made: BTreeSet::new(),
            is_finished: false,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Keeps what is in it.
    pub fn finish(mut self) -> PathBuf {
        self.is_finished = true;
        self.root.clone()
    }
}

impl Sink for Directory {
    type File = File;

    fn create(&mut self, path: &MemberPath, executable: bool) -> io::Result<File> {
        for directory in path.directories() {
            if !self.made.contains(directory) {
                make(&self.root.join(directory))?;
                self.made.insert(directory.to_owned());
            }
        }
        // A link is something that exists already.
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(if executable { 0o755 } else { 0o644 })
            .open(self.root.join(path.as_str()))
    }

    fn close(&mut self, _path: &MemberPath, _file: File) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.is_finished {
            // What cannot be removed now could not be removed by anybody who is told.
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

fn make(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o755).create(path)
}
