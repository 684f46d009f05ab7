//! A block of bytes as a part of a deflate stream.

use std::io;

use flate2::{Compress, Compression, FlushCompress, Status};

/// How far back a deflate stream refers.
pub(super) const WINDOW: usize = 32 << 10;
/// Half the time of level 6 and half a percent larger. All levels give the same bytes on every machine.
const LEVEL: u32 = 5;
/// The most bytes that a stored part holds.
const STORED: usize = 0xffff;
/// What is tried of a block that looks as if it did not shrink.
const SAMPLE: usize = 64 << 10;

/// Compresses blocks, with memory that is reused.
pub(super) struct Compressor {
    deflate: Compress,
}

impl Compressor {
    pub(super) fn new() -> Self {
        Self {
            deflate: Compress::new(Compression::new(LEVEL), false),
        }
    }

    /// Deflates a block that stands behind `dictionary`. It begins and ends at the boundary of a byte.
    pub(super) fn deflate(
        &mut self,
        block: &[u8],
        dictionary: &[u8],
        last: bool,
    ) -> io::Result<Vec<u8>> {
        if !looks_dense(block) || self.shrinks(block)? {
            let flush = if last {
                FlushCompress::Finish
            } else {
                FlushCompress::Sync
            };
            return self.run(block, dictionary, flush);
        }
        Ok(store(block, last))
    }

    /// Whether a sample of the block shrinks by more than a hundredth.
    fn shrinks(&mut self, block: &[u8]) -> io::Result<bool> {
        let start = block.len().saturating_sub(SAMPLE) / 2;
        let sample = &block[start..(start + SAMPLE).min(block.len())];
        let deflated = self.run(sample, &[], FlushCompress::Finish)?;
        Ok(deflated.len() + sample.len() / 100 < sample.len())
    }

    fn run(
        &mut self,
        block: &[u8],
        dictionary: &[u8],
        flush: FlushCompress,
    ) -> io::Result<Vec<u8>> {
        self.deflate.reset();
        if !dictionary.is_empty() {
            self.deflate.set_dictionary(dictionary)?;
        }
        // Enough for what does not shrink at all.
        let mut deflated = Vec::with_capacity(block.len() + block.len() / 64 + 128);
        loop {
            // It does not fail: the total is at most what was given.
            let done = usize::try_from(self.deflate.total_in()).unwrap_or(usize::MAX);
            let rest = block.get(done..).unwrap_or_default();
            let status = self.deflate.compress_vec(rest, &mut deflated, flush)?;
            // A flush that left room is complete.
            if status == Status::StreamEnd || deflated.len() < deflated.capacity() {
                return Ok(deflated);
            }
            deflated.reserve(WINDOW);
        }
    }
}

/// Whether all bytes are about equally frequent, as in what is compressed or encrypted already. One byte in seven
/// tells as much as all of them: records rarely have such a length. In whole numbers, because logarithms differ between
/// machines.
fn looks_dense(block: &[u8]) -> bool {
    const STEP: usize = 7;
    let mut counts = [0_u64; 256];
    for byte in block.iter().step_by(STEP) {
        counts[usize::from(*byte)] += 1;
    }
    let squares: u64 = counts.iter().map(|count| count * count).sum();
    let counted = block.len().div_ceil(STEP) as u64;
    // Were all counts the same, the squares would sum up to a 256th of the square of their number.
    block.len() >= SAMPLE && squares * 256 / 65 < counted * counted / 64
}

/// The block as it is, in as many stored parts as it takes.
fn store(block: &[u8], last: bool) -> Vec<u8> {
    let mut stored = Vec::with_capacity(block.len() + block.len() / STORED * 5 + 5);
    let mut parts = block.chunks(STORED).peekable();
    while let Some(part) = parts.next() {
        let is_last = last && parts.peek().is_none();
        stored.push(u8::from(is_last));
        // A part is never longer than its two bytes can say.
        let length = part.len() as u16;
        stored.extend(length.to_le_bytes());
        stored.extend((!length).to_le_bytes());
        stored.extend(part);
    }
    stored
}
