//! Where the bytes of a member come from, and how far they are.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::PackError;
use crate::Digest;

/// Where the bytes of a member come from. They are read twice.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// A regular file.
    File(PathBuf),
    /// The bytes themselves.
    Bytes(Vec<u8>),
}

/// How far the packing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// The bytes that are done in this step.
    pub done: u64,
    /// The bytes that there are.
    pub total: u64,
}

/// The two times that files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Step {
    /// For their digests.
    Digest,
    /// To be written.
    Write,
}

/// Counts what is done and tells of it.
pub(super) struct Meter<'a> {
    progress: Progress,
    tell: &'a mut dyn FnMut(Progress),
}

const CHUNK: usize = 256 << 10;

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<Vec<u8>> for Source {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl Source {
    /// The size that it has by now; reading decides.
    pub(super) fn size(&self) -> Result<u64, PackError> {
        match self {
            Self::File(path) => {
                let metadata = fs::metadata(path).map_err(|error| self.unreadable(error))?;
                if !metadata.is_file() {
                    // A fifo would wait for its writer, and a device may never end.
                    return Err(PackError::Kind { path: path.clone() });
                }
                Ok(metadata.len())
            }
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }

    pub(super) fn open(&self) -> Result<Box<dyn Read + '_>, PackError> {
        match self {
            Self::File(path) => {
                self.size()?;
                let file = File::open(path).map_err(|error| self.unreadable(error))?;
                Ok(Box::new(file))
            }
            Self::Bytes(bytes) => Ok(Box::new(bytes.as_slice())),
        }
    }

    /// Size and digest, as they are now. `tell` is told of each piece, and says whether to go on; what comes of it
    /// otherwise is of no use.
    pub(super) fn digest(
        &self,
        tell: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(u64, Digest), PackError> {
        let mut reader = self.open()?;
        let mut hash = Sha256::new();
        let mut size = 0;
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = read(&mut *reader, &mut chunk).map_err(|error| self.unreadable(error))?;
            hash.update(&chunk[..count]);
            size += count as u64;
            if count == 0 || !tell(count as u64) {
                return Ok((size, Digest::from_bytes(hash.finalize().into())));
            }
        }
    }

    pub(super) fn unreadable(&self, source: io::Error) -> PackError {
        PackError::Read {
            path: self.path(),
            source,
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Bytes(_) => PathBuf::from("(bytes in memory)"),
        }
    }
}

impl<'a> Meter<'a> {
    pub(super) fn new(step: Step, total: u64, tell: &'a mut dyn FnMut(Progress)) -> Self {
        let progress = Progress {
            step,
            done: 0,
            total,
        };
        tell(progress);
        Self { progress, tell }
    }

    pub(super) fn add(&mut self, bytes: u64) {
        self.progress.done += bytes;
        // A file that grew meanwhile is found out soon enough.
        self.progress.total = self.progress.total.max(self.progress.done);
        (self.tell)(self.progress);
    }
}

/// Reads some bytes, however often a signal comes in between.
pub(super) fn read(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
