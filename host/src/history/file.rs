//! The file of a history: appended to by several processes, any of which may be killed in the middle.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Duration;

use serde::Deserialize;

use super::journal::Journal;
use crate::state::{Directory, check_limit, read};

/// What one process knows of the file.
pub(super) struct Log {
    directory: Directory,
    /// How this process left the file.
    end: Option<End>,
}

struct End {
    /// The line that this process wrote last.
    line: Vec<u8>,
    /// How long the file was with it.
    length: u64,
    number: u64,
}

pub(super) const NAME: &str = "history.jsonl";
const ROTATED: &str = "history.1.jsonl";
const LOCK: &str = "history.lock";

/// At which length the file makes room for a new one.
const BYTES: u64 = 4 << 20;

/// No file of ours comes near.
const READABLE: u64 = 64 << 20;

impl Log {
    pub(super) fn new(directory: Directory) -> Self {
        let end = None;
        Self { directory, end }
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Appends a line, and says the number that it has got, which is higher than `own`. `make` is told
    /// the number, and whether the file has no line yet that this process wrote.
    pub(super) fn append(
        &mut self,
        patience: Duration,
        own: u64,
        make: impl Fn(u64, bool) -> io::Result<Vec<u8>>,
    ) -> io::Result<u64> {
        let _lock = self.directory.lock(LOCK, patience)?;
        let mut file = self.file()?;
        let mut length = file.metadata()?.len();
        // Numbers of files are given anew, so a file is known by what stands in it.
        let known = self.end.as_ref().filter(|end| end.stands_in(&file));
        let (last, fresh) = match known {
            Some(end) if end.length == length => (Some(end.number), false),
            known => (last_number_in(&file)?, known.is_none()),
        };
        let last = match last {
            Some(last) => last,
            None => self.last_rotated()?,
        };
        let number = own.max(last).saturating_add(1);
        let mut line = make(number, fresh)?;
        if length > 0 && length + line.len() as u64 > BYTES {
            self.directory.rename(NAME, ROTATED)?;
            file = self.file()?;
            length = file.metadata()?.len();
            line = make(number, true)?;
        }
        // What was left in the middle of a line ends there.
        let is_cut = length > 0 && !ends_a_line(&file, length)?;
        let start = length + u64::from(is_cut);
        check_limit(start + line.len() as u64)?;
        let written = if is_cut {
            file.write_all(&[b"\n", &*line].concat())
        } else {
            file.write_all(&line)
        };
        if let Err(error) = written {
            // Half a line does no harm, and none is better.
            let _ = file.set_len(length);
            return Err(error);
        }
        self.end = Some(End {
            length: start + line.len() as u64,
            line,
            number,
        });
        Ok(number)
    }

    fn file(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let options = options.read(true).append(true).create(true);
        self.directory.file(NAME, options)
    }

    /// The highest number in the file that had the name before.
    fn last_rotated(&self) -> io::Result<u64> {
        match self.open(ROTATED)? {
            Some(rotated) => Ok(last_number_in(&rotated)?.unwrap_or_default()),
            None => Ok(0),
        }
    }

    fn open(&self, name: &str) -> io::Result<Option<File>> {
        match self.directory.file(name, OpenOptions::new().read(true)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads both files without a lock.
    pub(super) fn read(&self) -> io::Result<Journal> {
        loop {
            let newer = self.open(NAME)?;
            let older = self.open(ROTATED)?;
            if let (Some(newer), Some(older)) = (&newer, &older)
                && identity(newer) == identity(older)
            {
                // It got its other name in between, and there is a new one.
                continue;
            }
            let mut journal = Journal::default();
            for file in [older, newer].into_iter().flatten() {
                journal.read(&read(&file, READABLE)?);
            }
            return Ok(journal);
        }
    }
}

impl End {
    /// Whether the line is where it was written.
    fn stands_in(&self, file: &File) -> bool {
        let mut bytes = vec![0; self.line.len()];
        let start = self.length - self.line.len() as u64;
        file.read_exact_at(&mut bytes, start).is_ok() && bytes == self.line
    }
}

/// Its device and number.
fn identity(file: &File) -> Option<(u64, u64)> {
    let metadata = file.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn ends_a_line(file: &File, length: u64) -> io::Result<bool> {
    let mut last = [0];
    file.read_exact_at(&mut last, length - 1)?;
    Ok(last == *b"\n")
}

/// The number in the last line that can be read.
fn last_number_in(file: &File) -> io::Result<Option<u64>> {
    #[derive(Deserialize)]
    struct Numbered {
        number: u64,
    }
    let length = file.metadata()?.len().min(READABLE);
    // The last lines will do, unless they are damaged.
    for tail in [64 << 10, length] {
        let tail = tail.min(length);
        let mut bytes = vec![0; usize::try_from(tail).unwrap_or_default()];
        file.read_exact_at(&mut bytes, length - tail)?;
        let numbered = bytes
            .rsplit(|byte| *byte == b'\n')
            .find_map(|line| serde_json::from_slice::<Numbered>(line).ok());
        if let Some(Numbered { number }) = numbered {
            return Ok(Some(number));
        }
    }
    Ok(None)
}
