//! One gzip member, compressed on several threads.
//!
//! The bytes are cut into blocks of one size. Each is compressed for itself, with the end of the one before as the
//! dictionary, and ends at the boundary of a byte, so that all of them one after the other are one deflate stream. Where
//! the cuts are does not depend on who compresses.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use flate2::Crc;

use super::PackError;
use super::block::{Compressor, WINDOW};

/// The bytes of a block.
pub(super) const BLOCK: usize = 1 << 20;
/// No name, no time, and no word about the machine that wrote it.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// What came of it.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) packed: u64,
    pub(super) unpacked: u64,
}

/// Takes the bytes. Those of a block are in memory at once, and two blocks for each thread.
pub(super) struct Blocks<'a> {
    out: &'a mut dyn Write,
    sizes: Sizes,
    crc: Crc,
    block: Vec<u8>,
    filled: usize,
    dictionary: Vec<u8>,
    jobs: Sender<Job>,
    /// The blocks that are with other threads, in their order.
    pending: VecDeque<Receiver<io::Result<Piece>>>,
    most: usize,
    /// Room for blocks to come.
    spare: Vec<Vec<u8>>,
}

struct Job {
    block: Vec<u8>,
    filled: usize,
    dictionary: Vec<u8>,
    last: bool,
    answer: SyncSender<io::Result<Piece>>,
}

struct Piece {
    deflated: Vec<u8>,
    crc: Crc,
    block: Vec<u8>,
}

/// Writes as one gzip member what `fill` puts into the blocks.
pub(super) fn compress(
    mut out: impl Write,
    threads: NonZeroUsize,
    fill: impl FnOnce(&mut Blocks<'_>) -> Result<(), PackError>,
) -> Result<Sizes, PackError> {
    thread::scope(|scope| {
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads.get() {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name("plg-pack".to_owned())
                .spawn_scoped(scope, move || work(&queue))?;
        }
        // Whatever happens, the jobs end with the blocks, and the threads with the jobs.
        let mut blocks = Blocks::new(&mut out, jobs, threads)?;
        fill(&mut blocks)?;
        Ok(blocks.finish()?)
    })
}

fn work(queue: &Mutex<Receiver<Job>>) {
    let mut compressor = Compressor::new();
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else {
            return;
        };
        let bytes = &job.block[..job.filled];
        let mut crc = Crc::new();
        crc.update(bytes);
        let deflated = compressor.deflate(bytes, &job.dictionary, job.last);
        let piece = deflated.map(|deflated| Piece {
            deflated,
            crc,
            block: job.block,
        });
        // Nobody waits for it after a failure.
        let _ = job.answer.send(piece);
    }
}

impl<'a> Blocks<'a> {
    fn new(out: &'a mut dyn Write, jobs: Sender<Job>, threads: NonZeroUsize) -> io::Result<Self> {
        out.write_all(&HEADER)?;
        Ok(Self {
            out,
            sizes: Sizes {
                packed: HEADER.len() as u64,
                unpacked: 0,
            },
            crc: Crc::new(),
            block: vec![0; BLOCK],
            filled: 0,
            dictionary: Vec::new(),
            jobs,
            pending: VecDeque::new(),
            most: threads.get() * 2,
            spare: Vec::new(),
        })
    }

    /// Room for up to `wanted` bytes, at least one. What is put there is [`filled`](Self::filled).
    pub(super) fn room(&mut self, wanted: u64) -> io::Result<&mut [u8]> {
        if self.filled == BLOCK {
            self.hand_over(false)?;
        }
        let free = (BLOCK - self.filled) as u64;
        let end = self.filled + wanted.min(free) as usize;
        Ok(&mut self.block[self.filled..end])
    }

    /// That many bytes of the room are in use now.
    pub(super) fn filled(&mut self, count: usize) {
        self.filled += count;
        self.sizes.unpacked += count as u64;
    }

    /// Gives the block to a thread.
    fn hand_over(&mut self, last: bool) -> io::Result<()> {
        if self.pending.len() == self.most {
            self.take_back()?;
        }
        let fresh = self.spare.pop().unwrap_or_else(|| vec![0; BLOCK]);
        let block = std::mem::replace(&mut self.block, fresh);
        let end = self.filled;
        let window = block[end.saturating_sub(WINDOW)..end].to_vec();
        let (answer, piece) = sync_channel(1);
        let job = Job {
            block,
            filled: end,
            dictionary: std::mem::replace(&mut self.dictionary, window),
            last,
            answer,
        };
        self.jobs.send(job).map_err(|_| no_thread())?;
        self.pending.push_back(piece);
        self.filled = 0;
        Ok(())
    }

    /// Waits for the oldest block and writes it.
    fn take_back(&mut self) -> io::Result<()> {
        let Some(oldest) = self.pending.pop_front() else {
            return Ok(());
        };
        let piece = oldest.recv().map_err(|_| no_thread())??;
        self.out.write_all(&piece.deflated)?;
        self.sizes.packed += piece.deflated.len() as u64;
        self.crc.combine(&piece.crc);
        self.spare.push(piece.block);
        Ok(())
    }

    fn finish(mut self) -> io::Result<Sizes> {
        self.hand_over(true)?;
        while !self.pending.is_empty() {
            self.take_back()?;
        }
        let mut trailer = [0; 8];
        trailer[..4].copy_from_slice(&self.crc.sum().to_le_bytes());
        // The size modulo 2^32, as the format has it.
        trailer[4..].copy_from_slice(&(self.sizes.unpacked as u32).to_le_bytes());
        self.out.write_all(&trailer)?;
        self.out.flush()?;
        self.sizes.packed += trailer.len() as u64;
        Ok(self.sizes)
    }
}

impl Write for Blocks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let room = self.room(bytes.len() as u64)?;
        let count = room.len();
        room.copy_from_slice(&bytes[..count]);
        self.filled(count);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A thread panicked, and the scope says so.
fn no_thread() -> io::Error {
    io::Error::other("a thread that compresses ended")
}
