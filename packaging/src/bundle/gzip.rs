//! The outside of a bundle: exactly one gzip member, plain, whole, and nothing after it.
//!
//! The ordinary gzip readers pass over what comes after a member, or read it as if it belonged there.
//! Whoever lists, signs and unpacks has to see the same bytes, so here it is an error.

use std::io::{self, Read};

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::{BundleError, Limits};

/// Bytes that are unpacked at a time while the payload is read.
const CHUNK: usize = 256 << 10;
/// Bytes that are unpacked at a time before: a list should cost little more than what is shown.
const SMALL_CHUNK: usize = 16 << 10;
const INPUT: usize = 64 << 10;
const SMALL_INPUT: usize = 8 << 10;

/// The longest name of a file that a gzip header may carry; `gzip FILE` writes one.
const MAX_NAME: usize = 255;
/// Below this nobody minds how well something was compressed.
pub(super) const HARMLESS: u64 = 1 << 20;

/// Where the bytes of an archive come from.
pub(super) trait Source {
    /// Puts the next bytes into `chunk`, none at the end. All that come before an error are given first.
    fn refill(&mut self, chunk: &mut Chunk) -> Result<(), BundleError>;
}

impl<S: Source + ?Sized> Source for &mut S {
    fn refill(&mut self, chunk: &mut Chunk) -> Result<(), BundleError> {
        (**self).refill(chunk)
    }
}

/// Some bytes of the archive.
#[derive(Default)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    length: usize,
}

impl Chunk {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Unpacks as it reads.
pub(super) struct Inflater<R> {
    source: Input<R>,
    limits: Limits,
    inflate: Decompress,
    crc: Crc,
    unpacked: u64,
    chunk: usize,
    state: State,
}

enum State {
    Begin,
    Inside,
    /// It is known how this ends, and what came before was given.
    Over,
    Failed(BundleError),
}

impl<R: Read> Inflater<R> {
    pub(super) fn new(source: R, limits: &Limits) -> Self {
        Self {
            source: Input {
                source,
                bytes: vec![0; SMALL_INPUT],
                start: 0,
                end: 0,
                total: 0,
                limit: limits.packed_bytes,
            },
            limits: *limits,
            inflate: Decompress::new(false),
            crc: Crc::new(),
            unpacked: 0,
            chunk: SMALL_CHUNK,
            state: State::Begin,
        }
    }

    /// Reads and unpacks more at a time from now on.
    pub(super) fn hurry(&mut self) {
        self.chunk = CHUNK;
        let mut bytes = vec![0; INPUT];
        bytes[..self.source.bytes.len()].copy_from_slice(&self.source.bytes);
        self.source.bytes = bytes;
    }

    /// Unpacks into `output` until it is full or the member ends; true when that has ended. `length` counts
    /// what is good also when this fails.
    fn inflate(&mut self, output: &mut [u8], length: &mut usize) -> Result<bool, BundleError> {
        if matches!(self.state, State::Begin) {
            self.source.header()?;
            self.state = State::Inside;
        }
        let most = self.most();
        while *length < output.len() {
            // One byte more than may be is asked for, to see whether there is one.
            let room = usize::try_from(most - self.unpacked).unwrap_or(usize::MAX);
            let end = output
                .len()
                .min(length.saturating_add(room).saturating_add(1));
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(
                    self.source.ready(),
                    &mut output[*length..end],
                    FlushDecompress::None,
                )
                .map_err(|_| gzip("its compressed bytes are damaged"))?;
            let taken = self.inflate.total_in() - before_in;
            let given = self.inflate.total_out() - before_out;
            // Neither is more than the slices that were passed.
            self.source.start += taken as usize;
            let given = given as usize;
            let good = given.min(room);
            self.crc.update(&output[*length..*length + good]);
            *length += good;
            self.unpacked += good as u64;
            if good < given {
                return Err(self.too_much());
            }
            if status == Status::StreamEnd {
                self.end()?;
                return Ok(true);
            }
            if self.source.ready().is_empty() && given == 0 && !self.source.refill()? {
                return Err(truncated("its compressed bytes"));
            }
        }
        Ok(false)
    }

    /// How many bytes may come out in all.
    fn most(&self) -> u64 {
        let by_ratio = self.limits.ratio.saturating_mul(self.limits.packed_bytes);
        self.limits.unpacked_bytes.min(by_ratio.max(HARMLESS))
    }

    fn too_much(&self) -> BundleError {
        if self.most() < self.limits.unpacked_bytes {
            return BundleError::Ratio {
                limit: self.limits.ratio,
            };
        }
        BundleError::TooLarge {
            what: "the unpacked bundle".to_owned(),
            limit: self.limits.unpacked_bytes,
        }
    }

    /// Checks what follows the compressed bytes: two sums, and nothing else.
    fn end(&mut self) -> Result<(), BundleError> {
        let mut sums = [0; 8];
        for byte in &mut sums {
            let next = self.source.byte()?;
            *byte = next.ok_or_else(|| truncated("the sums at the end of the gzip member"))?;
        }
        let [a, b, c, d, sizes @ ..] = sums;
        if u32::from_le_bytes([a, b, c, d]) != self.crc.sum() {
            return Err(gzip(
                "its checksum does not match, it was damaged on the way",
            ));
        }
        // The format has room for the lowest 32 bits.
        if u32::from_le_bytes(sizes) != self.unpacked as u32 {
            return Err(gzip("it unpacks to another size than it says"));
        }
        if !self.source.ready().is_empty() || self.source.refill()? {
            let is_member = self.source.ready().starts_with(&[0x1f]);
            let what = if is_member {
                "another gzip member"
            } else {
                "more bytes"
            };
            return Err(BundleError::Trailing {
                what: what.to_owned(),
            });
        }
        let allowed = self.limits.ratio.saturating_mul(self.source.total);
        if self.unpacked > allowed.max(HARMLESS) {
            return Err(BundleError::Ratio {
                limit: self.limits.ratio,
            });
        }
        Ok(())
    }
}

impl<R: Read> Source for Inflater<R> {
    fn refill(&mut self, chunk: &mut Chunk) -> Result<(), BundleError> {
        chunk.length = 0;
        match std::mem::replace(&mut self.state, State::Over) {
            State::Over => return Ok(()),
            State::Failed(error) => return Err(error),
            state => self.state = state,
        }
        if chunk.bytes.len() != self.chunk {
            chunk.bytes = vec![0; self.chunk];
        }
        match self.inflate(&mut chunk.bytes, &mut chunk.length) {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.state = State::Over;
                Ok(())
            }
            Err(error) if chunk.length == 0 => {
                self.state = State::Over;
                Err(error)
            }
            Err(error) => {
                self.state = State::Failed(error);
                Ok(())
            }
        }
    }
}

/// The file, a piece at a time, and no more of it than is allowed.
struct Input<R> {
    source: R,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    total: u64,
    limit: u64,
}

impl<R: Read> Input<R> {
    fn ready(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Reads more once all is used; false at the end.
    fn refill(&mut self) -> Result<bool, BundleError> {
        self.start = 0;
        self.end = 0;
        self.append()
    }

    /// Reads more behind what is there.
    fn append(&mut self) -> Result<bool, BundleError> {
        let count = loop {
            match self.source.read(&mut self.bytes[self.end..]) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(BundleError::Read { source }),
            }
        };
        self.end += count;
        self.total += count as u64;
        if self.total > self.limit {
            return Err(BundleError::TooLarge {
                what: "the bundle".to_owned(),
                limit: self.limit,
            });
        }
        Ok(count > 0)
    }

    fn byte(&mut self) -> Result<Option<u8>, BundleError> {
        if self.start == self.end && !self.refill()? {
            return Ok(None);
        }
        let byte = self.bytes[self.start];
        self.start += 1;
        Ok(Some(byte))
    }

    /// Reads the header of the member. The only extra it may have is a file's name, as `gzip FILE` writes it.
    fn header(&mut self) -> Result<(), BundleError> {
        const NAME: u8 = 1 << 3;
        // Enough to recognise a bare tar by.
        while self.end < 512 && self.append()? {}
        let Some([0x1f, 0x8b, rest @ ..]) = self.bytes.get(..self.end) else {
            return Err(gzip(&seen(self.ready())));
        };
        let cut = || truncated("the gzip header");
        let [method, flags, _time @ .., _extra, _system] =
            *rest.first_chunk::<8>().ok_or_else(cut)?;
        if method != 8 {
            return Err(gzip("its gzip header names a method that is not deflate"));
        }
        if flags & !NAME != 0 {
            return Err(gzip(&format!(
                "its gzip header has the flags {flags:#04x}, and only a file name, 0x08, is read over"
            )));
        }
        self.start = 10;
        if flags & NAME != 0 {
            let mut length = 0;
            while self.byte()?.ok_or_else(cut)? != 0 {
                length += 1;
                if length > MAX_NAME {
                    return Err(gzip(&format!(
                        "its gzip header has a file name of more than {MAX_NAME} bytes"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// What a file is that does not begin like gzip.
fn seen(bytes: &[u8]) -> String {
    let known: [(&[u8], &str); 9] = [
        (b"PK\x03\x04", "a zip archive"),
        (b"PK\x05\x06", "a zip archive"),
        (b"\xfd7zXZ\0", "compressed with xz"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
        (b"BZh", "compressed with bzip2"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"\x7fELF", "a bare library or program"),
        (b"{", "a JSON text"),
        (b"version https://git-lfs", "a pointer to a file of Git LFS"),
    ];
    if let Some((_, what)) = known.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return format!("it is {what} and not gzip");
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return "it is a tar archive that was not compressed with gzip".to_owned();
    }
    let text = String::from_utf8_lossy(bytes)
        .trim_start()
        .to_ascii_lowercase();
    if text.starts_with("<!doctype html") || text.starts_with("<html") {
        return "it is an HTML page, most likely an error that a server answered with".to_owned();
    }
    match bytes {
        [] => "the file is empty".to_owned(),
        [byte] => format!("it has one byte, {byte:#04x}"),
        [one, two, ..] => format!("it begins with {one:#04x} {two:#04x}, gzip with 0x1f 0x8b"),
    }
}

fn gzip(why: &str) -> BundleError {
    BundleError::Gzip {
        why: why.to_owned(),
    }
}

fn truncated(inside: &str) -> BundleError {
    BundleError::Truncated {
        inside: inside.to_owned(),
    }
}
