//! A bundle that is to be installed.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use super::error::StoreError;

/// A bundle that is to be installed: where it comes from, and its bytes.
pub struct Bundle<'a> {
    pub(super) origin: String,
    pub(super) bytes: Box<dyn Read + Send + 'a>,
}

impl Bundle<'static> {
    /// A file. One that would have to be waited for, such as a fifo, is refused.
    ///
    /// # Errors
    ///
    /// `io.*` when it cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let read = |source| StoreError::read(path, source);
        let mut options = File::options();
        options
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let file = options.open(path).map_err(read)?;
        if !file.metadata().map_err(read)?.is_file() {
            return Err(read(io::Error::new(
                ErrorKind::InvalidInput,
                "it is no file",
            )));
        }
        let origin = std::path::absolute(path).map_err(read)?;
        Ok(Self::new(origin.display().to_string(), file))
    }
}

impl<'a> Bundle<'a> {
    /// Bytes that come from `origin`, which is recorded and not looked at.
    pub fn new(origin: impl Into<String>, bytes: impl Read + Send + 'a) -> Self {
        Self {
            origin: origin.into(),
            bytes: Box::new(bytes),
        }
    }
}

impl fmt::Debug for Bundle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
