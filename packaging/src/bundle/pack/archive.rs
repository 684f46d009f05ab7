//! The tar around the members: one header in the oldest form that every tool reads, the bytes, and zeros up to the
//! next 512.

use std::io::{self, Write};

use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::gzip::Blocks;
use super::source::{Meter, read};
use super::{PackError, Source};
use crate::Digest;
use crate::bundle::{Member, MemberPath};

/// Writes members one after the other.
pub(super) struct Archive<'a, 'b> {
    blocks: &'a mut Blocks<'b>,
}

const RECORD: u64 = 512;
/// The bytes at the end: two records of zeros.
pub(super) const END: u64 = 2 * RECORD;
const ZEROS: [u8; END as usize] = [0; END as usize];

/// The bytes that a member of `bytes` takes.
pub(super) fn size(bytes: u64) -> u64 {
    bytes
        .checked_next_multiple_of(RECORD)
        .and_then(|padded| padded.checked_add(RECORD))
        .unwrap_or(u64::MAX)
}

/// Fails for a path that does not fit into a header.
pub(super) fn check_path(path: &MemberPath) -> Result<(), PackError> {
    header(path, 0, false).map(|_| ())
}

fn header(path: &MemberPath, size: u64, executable: bool) -> Result<Header, PackError> {
    let mut header = Header::new_ustar();
    let long = |_: io::Error| PackError::Long { path: path.clone() };
    header.set_path(path.as_str()).map_err(long)?;
    header.set_entry_type(EntryType::Regular);
    header.set_mode(if executable { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    Ok(header)
}

impl<'a, 'b> Archive<'a, 'b> {
    pub(super) fn new(blocks: &'a mut Blocks<'b>) -> Self {
        Self { blocks }
    }

    /// Writes a member whose bytes are at hand.
    pub(super) fn bytes(&mut self, path: &MemberPath, bytes: &[u8]) -> Result<(), PackError> {
        let header = header(path, bytes.len() as u64, false)?;
        self.blocks.write_all(header.as_bytes())?;
        self.blocks.write_all(bytes)?;
        self.pad(bytes.len() as u64)
    }

    /// Writes a member, and fails if its bytes are not the listed ones.
    pub(super) fn member(
        &mut self,
        member: &Member,
        source: &Source,
        meter: &mut Meter<'_>,
    ) -> Result<(), PackError> {
        let changed = || PackError::Changed {
            path: member.path.clone(),
        };
        let header = header(&member.path, member.size, member.executable)?;
        self.blocks.write_all(header.as_bytes())?;
        let mut reader = source.open()?;
        let mut hash = Sha256::new();
        let mut left = member.size;
        while left > 0 {
            let room = self.blocks.room(left)?;
            let count = read(&mut *reader, room).map_err(|error| source.unreadable(error))?;
            if count == 0 {
                return Err(changed());
            }
            hash.update(&room[..count]);
            self.blocks.filled(count);
            left -= count as u64;
            meter.add(count as u64);
        }
        let more = read(&mut *reader, &mut [0]).map_err(|error| source.unreadable(error))?;
        if more > 0 || Digest::from_bytes(hash.finalize().into()) != member.digest {
            return Err(changed());
        }
        self.pad(member.size)
    }

    pub(super) fn finish(self) -> Result<(), PackError> {
        Ok(self.blocks.write_all(&ZEROS)?)
    }

    fn pad(&mut self, size: u64) -> Result<(), PackError> {
        let over = (size % RECORD) as usize;
        if over > 0 {
            self.blocks.write_all(&ZEROS[over..RECORD as usize])?;
        }
        Ok(())
    }
}
