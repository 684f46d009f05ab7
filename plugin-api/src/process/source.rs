//! Records that are read while they come, so that a large value is received where it stays.

use super::wire::WireError;

/// Where a record comes from of which not all is there yet.
pub trait Source {
    /// Adds at least one and at most `most` bytes; false when no more come. Why, the source knows.
    fn more(&mut self, out: &mut Vec<u8>, most: usize) -> bool;

    /// The bytes of `start` and what follows them, `length` in all; `None` when no more come.
    fn block(&mut self, start: &[u8], length: usize) -> Option<Vec<u8>>;
}

/// The bytes of a record, in order.
pub(super) trait Bytes {
    /// How many there are that were not used.
    fn left(&self) -> usize;

    /// Uses the next `length` of them.
    fn slice(&mut self, length: usize) -> Result<&[u8], WireError>;

    /// Uses the next `length` of them and keeps them.
    fn block(&mut self, length: usize) -> Result<Vec<u8>, WireError>;
}

impl Bytes for &[u8] {
    fn left(&self) -> usize {
        self.len()
    }

    fn slice(&mut self, length: usize) -> Result<&[u8], WireError> {
        let (slice, rest) = self.split_at_checked(length).ok_or_else(ends)?;
        *self = rest;
        Ok(slice)
    }

    fn block(&mut self, length: usize) -> Result<Vec<u8>, WireError> {
        self.slice(length).map(<[u8]>::to_vec)
    }
}

/// A record that comes from a source.
pub(super) struct Coming<'a, S> {
    source: &'a mut S,
    /// How many bytes the source still has.
    left: usize,
    read: Vec<u8>,
    /// How many of `read` were used.
    used: usize,
}

/// The most that is read at once, besides a block.
const PIECE: usize = 16 << 10;
/// What has fewer bytes is not worth to be received by itself.
const BLOCK: usize = 4 << 10;

impl<'a, S: Source> Coming<'a, S> {
    pub(super) fn new(source: &'a mut S, length: usize) -> Self {
        Self {
            source,
            left: length,
            read: Vec::new(),
            used: 0,
        }
    }

    fn there(&self) -> usize {
        self.read.len() - self.used
    }
}

impl<S: Source> Bytes for Coming<'_, S> {
    fn left(&self) -> usize {
        self.left + self.there()
    }

    fn slice(&mut self, length: usize) -> Result<&[u8], WireError> {
        if length > self.left() {
            return Err(ends());
        }
        if self.there() < length {
            self.read.drain(..self.used);
            self.used = 0;
        }
        while self.there() < length {
            let there = self.read.len();
            if !self.source.more(&mut self.read, self.left.min(PIECE)) {
                return Err(ends());
            }
            self.left -= self.read.len() - there;
        }
        let start = self.used;
        self.used += length;
        Ok(&self.read[start..self.used])
    }

    fn block(&mut self, length: usize) -> Result<Vec<u8>, WireError> {
        if length > self.left() {
            return Err(ends());
        }
        if length < BLOCK || length <= self.there() {
            return self.slice(length).map(<[u8]>::to_vec);
        }
        let start = &self.read[self.used..];
        self.left -= length - start.len();
        let block = self.source.block(start, length).ok_or_else(ends)?;
        self.read.clear();
        self.used = 0;
        Ok(block)
    }
}

#[cold]
fn ends() -> WireError {
    WireError::Shape {
        message: "it ends in the middle of the record".to_owned(),
    }
}
