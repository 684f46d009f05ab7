//! Why a bundle is not written.

use std::io;
use std::path::PathBuf;

use super::super::error::{BundleError, io_code};
use super::super::{MemberPath, Target};
use crate::TextError;

/// Why there is no bundle. What was written until then is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// What was to be packed makes no bundle that a reader would take.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A file cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bundle cannot be written.
    #[error("failed to write the bundle")]
    Write {
        /// What the system said.
        source: io::Error,
    },
    /// Something else than a regular file.
    #[error("`{}` is no regular file, and a bundle holds nothing else", path.display())]
    Kind {
        /// Where it is.
        path: PathBuf,
    },
    /// A name that does not mean the same everywhere.
    #[error("`{}` cannot stand in a bundle", path.display())]
    Path {
        /// Where it is, or where it was to stand.
        path: PathBuf,
        /// The rule that it breaks.
        source: TextError,
    },
    /// A path of the format that the header of a member has no room for.
    #[error(
        "`{path}` is too long for a bundle: no directory of it ends within bytes 1 to 155 and 100 before its end"
    )]
    Long {
        /// The path.
        path: MemberPath,
    },
    /// Two libraries for one platform.
    #[error("there are two libraries for `{target}`, `{first}` and `{second}`")]
    Twice {
        /// The platform.
        target: Target,
        /// The library that was there.
        first: MemberPath,
        /// The one that came later.
        second: MemberPath,
    },
    /// A file that is not what it was when its digest was taken.
    #[error("`{path}` changed while it was packed; pack again when nobody writes to it")]
    Changed {
        /// Where it stands in the bundle.
        path: MemberPath,
    },
}

impl PackError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Bundle(error) => error.code(),
            Self::Read { source, .. } | Self::Write { source } => io_code(source),
            Self::Kind { .. } => "pack.kind",
            Self::Path { .. } | Self::Long { .. } => "pack.path",
            Self::Twice { .. } => "pack.twice",
            Self::Changed { .. } => "pack.changed",
        }
    }
}
