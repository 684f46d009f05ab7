//! What can be wrong with the file.

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::loader::io_code;

/// What went wrong with the file of a quarantine. No load fails of it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum QuarantineError {
    /// The file is damaged, was written by a newer version of plg, or cannot be opened.
    #[error("the quarantine `{}` cannot be read: {why}; {}", path.display(), fate(kept.as_deref()))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// Where it was set aside; `None` when it stays where it is and is not changed.
        kept: Option<PathBuf>,
    },
    /// The file cannot be written to. What changed holds for this host alone.
    #[error("failed to write the quarantine `{}`", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There can be no such directory.
    #[error("failed to open the directory `{}`", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl QuarantineError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "quarantine.unreadable",
            Self::Unwritable { .. } => "quarantine.unwritable",
            Self::Directory { source, .. } => io_code(source),
        }
    }

    /// The message and its cause.
    pub(super) fn words(&self) -> String {
        match self.source() {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }

    pub(super) fn is_set_aside(&self) -> bool {
        matches!(self, Self::Unreadable { kept: Some(_), .. })
    }
}

fn fate(kept: Option<&Path>) -> String {
    match kept {
        Some(kept) => format!("it was set aside as `{}`", kept.display()),
        None => "it is left as it is".to_owned(),
    }
}
