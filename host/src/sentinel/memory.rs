//! This process's memory, read as a file: an address that is wrong, or becomes wrong meanwhile, is an
//! error and no crash.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Reads at addresses that nobody vouches for.
pub(super) struct Memory {
    file: File,
    /// The bytes that were read last, and where they begin: texts stand close together.
    window: Vec<u8>,
    start: u64,
}

/// How much is read at once.
const WINDOW: usize = 4 << 10;

/// How much of one text is looked at.
const TEXT: usize = 1 << 20;

impl Memory {
    /// `None` where the system does not lend it.
    pub(super) fn open() -> Option<Self> {
        // Of the thread, since the main one may have ended.
        let file = File::open("/proc/thread-self/mem").ok()?;
        let (window, start) = (Vec::new(), 0);
        Some(Self {
            file,
            window,
            start,
        })
    }

    /// Forgets what was read, to see what is there now.
    pub(super) fn forget(&mut self) {
        self.window.clear();
    }

    /// Reads the number at `address`; `None` when nothing is mapped there.
    pub(super) fn word(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; size_of::<u64>()];
        self.file.read_exact_at(&mut bytes, address).ok()?;
        Some(u64::from_ne_bytes(bytes))
    }

    /// Reads the numbers from `address` to the first zero, at most `limit`. Says too whether that zero
    /// was reached.
    pub(super) fn words(&self, address: u64, limit: usize) -> (Vec<u64>, bool) {
        let mut words = Vec::new();
        let mut chunk = [0; WINDOW / 8];
        let mut at = address;
        while words.len() < limit {
            let read = self.file.read_at(&mut chunk, at).unwrap_or_default();
            let (numbers, _) = chunk[..read].as_chunks();
            if numbers.is_empty() {
                break;
            }
            for number in numbers {
                match u64::from_ne_bytes(*number) {
                    0 => return (words, true),
                    number => words.push(number),
                }
            }
            at = at.wrapping_add(size_of_val(numbers) as u64);
        }
        (words, false)
    }

    /// The text at `address`, up to its NUL; one that is longer than a megabyte is cut. `None` when it
    /// leaves what is mapped.
    pub(super) fn text(&mut self, address: u64) -> Option<&[u8]> {
        let range = match self.known(address) {
            Some(range) => range,
            None => self.load(address)?,
        };
        self.window.get(range)
    }

    /// Where the text stands in the window, if the whole of it does.
    fn known(&self, address: u64) -> Option<Range<usize>> {
        let from = usize::try_from(address.checked_sub(self.start)?).ok()?;
        let length = self
            .window
            .get(from..)?
            .iter()
            .position(|byte| *byte == 0)?;
        Some(from..from + length)
    }

    /// Moves the window to `address` and widens it until the text is in it.
    fn load(&mut self, address: u64) -> Option<Range<usize>> {
        self.start = address;
        let mut size = WINDOW;
        loop {
            self.window.resize(size, 0);
            let read = self.file.read_at(&mut self.window, address);
            let read = read.unwrap_or_default();
            self.window.truncate(read);
            if let Some(found) = self.known(address) {
                return Some(found);
            }
            if read < size {
                return None;
            }
            if size >= TEXT {
                return Some(0..size);
            }
            size *= 4;
        }
    }
}
