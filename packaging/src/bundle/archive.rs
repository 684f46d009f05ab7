//! The archive inside: entry after entry, then two blocks of zeros, then nothing.

use super::gzip::{Chunk, Source};
use super::header::{self, BLOCK, Block, Entry, Header};
use super::{BundleError, Limits};

/// GNU tar writes this much at a time, and fills the last one up with zeros.
const RECORD: u64 = 20 * BLOCK as u64;
/// No PAX header that could be meant well is longer.
const MAX_PAX: u64 = 16 << 10;

/// An archive that is read from its beginning to its end.
pub(super) struct Archive<S> {
    source: S,
    chunk: Chunk,
    /// How much of the chunk was used.
    used: usize,
    /// Where that is in the archive.
    at: u64,
    member_bytes: u64,
}

impl<S: Source> Archive<S> {
    pub(super) fn new(source: S, limits: &Limits) -> Self {
        Self {
            source,
            chunk: Chunk::default(),
            used: 0,
            at: 0,
            member_bytes: limits.member_bytes,
        }
    }

    /// The source, and the archive without it, which goes on with another.
    pub(super) fn split(self) -> (S, Archive<()>) {
        let rest = Archive {
            source: (),
            chunk: self.chunk,
            used: self.used,
            at: self.at,
            member_bytes: self.member_bytes,
        };
        (self.source, rest)
    }

    /// The next entry, `None` at the end marker.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, BundleError> {
        let at = self.at;
        let Some(block) = self.block()? else {
            return Err(truncated("the archive, whose end marker is missing"));
        };
        if is_zero(&block) {
            return match self.block()? {
                None => Err(truncated("its end marker")),
                Some(block) if is_zero(&block) => Ok(None),
                Some(_) => Err(trailing("more entries")),
            };
        }
        match header::parse(&block, at)? {
            Header::File(entry) if entry.size > self.member_bytes => Err(BundleError::TooLarge {
                what: format!("`{}`", entry.path),
                limit: self.member_bytes,
            }),
            Header::File(entry) => Ok(Some(entry)),
            Header::Extension(extension) => {
                // The beginning says it: what is longer is wrong whatever follows.
                let most = if extension.is_gnu {
                    BLOCK as u64
                } else {
                    MAX_PAX
                };
                let mut body = Vec::new();
                self.body(extension.size.min(most), "an extension", |bytes| {
                    body.extend_from_slice(bytes);
                    Ok(())
                })?;
                Err(header::refuse_extension(&extension, &body))
            }
        }
    }

    /// Passes the bytes of an entry to `take`, in pieces, and steps over what fills its last block.
    pub(super) fn body(
        &mut self,
        size: u64,
        name: &str,
        mut take: impl FnMut(&[u8]) -> Result<(), BundleError>,
    ) -> Result<(), BundleError> {
        let mut left = size;
        while left > 0 {
            let piece = self.piece(left)?;
            if piece.is_empty() {
                return Err(truncated(&format!("`{name}`")));
            }
            left -= piece.len() as u64;
            take(piece)?;
        }
        let mut padding = size.next_multiple_of(BLOCK as u64) - size;
        while padding > 0 {
            let piece = self.piece(padding)?;
            if piece.is_empty() {
                return Err(truncated(&format!("what follows `{name}`")));
            }
            padding -= piece.len() as u64;
        }
        Ok(())
    }

    /// Fails unless nothing follows the end marker. Tar itself fills the last record up with zeros, which is
    /// let pass where `tar` may have been what wrote it.
    pub(super) fn finish(mut self, by_tar: bool) -> Result<(), BundleError> {
        while by_tar && !self.at.is_multiple_of(RECORD) {
            match self.block()? {
                None => return Ok(()),
                Some(block) if is_zero(&block) => {}
                Some(_) => return Err(trailing("more bytes")),
            }
        }
        let piece = self.piece(1)?;
        match piece.first() {
            None => Ok(()),
            Some(0) => Err(trailing("more zeros")),
            Some(_) => Err(trailing("more bytes")),
        }
    }

    /// The next block, `None` at the end.
    fn block(&mut self) -> Result<Option<Block>, BundleError> {
        let mut block = [0; BLOCK];
        let mut length = 0;
        while length < BLOCK {
            let piece = self.piece((BLOCK - length) as u64)?;
            if piece.is_empty() {
                break;
            }
            block[length..length + piece.len()].copy_from_slice(piece);
            length += piece.len();
        }
        match length {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            _ => Err(truncated("the middle of a block of the archive")),
        }
    }

    /// Some of the next bytes and at most `most`, none at the end.
    fn piece(&mut self, most: u64) -> Result<&[u8], BundleError> {
        if self.used == self.chunk.bytes().len() {
            self.used = 0;
            self.source.refill(&mut self.chunk)?;
        }
        let ready = &self.chunk.bytes()[self.used..];
        let length = usize::try_from(most).map_or(ready.len(), |most| most.min(ready.len()));
        self.used += length;
        self.at += length as u64;
        Ok(&ready[..length])
    }
}

impl Archive<()> {
    /// Goes on with `source`.
    pub(super) fn join<S>(self, source: S) -> Archive<S> {
        Archive {
            source,
            chunk: self.chunk,
            used: self.used,
            at: self.at,
            member_bytes: self.member_bytes,
        }
    }
}

fn is_zero(block: &Block) -> bool {
    block.iter().all(|&byte| byte == 0)
}

fn truncated(inside: &str) -> BundleError {
    BundleError::Truncated {
        inside: inside.to_owned(),
    }
}

fn trailing(what: &str) -> BundleError {
    BundleError::Trailing {
        what: what.to_owned(),
    }
}
