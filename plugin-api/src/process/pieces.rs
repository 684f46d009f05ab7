//! Large values that are sent from where they are.

use std::io::IoSlice;

/// From how many bytes on a text or bytes are sent from where they are. To copy fewer is quicker.
const LARGE: usize = 32 << 10;

/// What belongs into a record at some places, and is not copied there.
#[derive(Clone, Debug, Default)]
pub struct Pieces<'a> {
    /// After how many bytes of what was written each of them comes, in ascending order.
    pieces: Vec<(usize, &'a [u8])>,
    length: usize,
}

impl<'a> Pieces<'a> {
    /// How many bytes they have together.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Whether the record stands whole where it was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The record in order: the bytes of `written` from `start` on, with the pieces in their places.
    #[must_use]
    pub fn gather<'b>(&self, written: &'b [u8], start: usize) -> Vec<IoSlice<'b>>
    where
        'a: 'b,
    {
        let mut slices = Vec::with_capacity(2 * self.pieces.len() + 1);
        let mut done = start;
        for (after, piece) in &self.pieces {
            slices.push(IoSlice::new(&written[done..*after]));
            slices.push(IoSlice::new(piece));
            done = *after;
        }
        slices.push(IoSlice::new(&written[done..]));
        slices
    }

    /// Whether `bytes` are to be sent from where they are; then they come after the first `after` bytes.
    pub(super) fn take(&mut self, after: usize, bytes: &'a [u8]) -> bool {
        let is_large = bytes.len() >= LARGE;
        if is_large {
            self.pieces.push((after, bytes));
            self.length += bytes.len();
        }
        is_large
    }
}
