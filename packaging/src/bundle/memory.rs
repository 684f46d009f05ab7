//! A sink for members that are not written at all.

use std::collections::BTreeMap;
use std::io;

use super::{MemberPath, Sink};

/// Keeps members in memory. Only what came whole and was checked is there.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    members: BTreeMap<MemberPath, Vec<u8>>,
}

impl Memory {
    /// The bytes of a member.
    pub fn member(&self, path: &MemberPath) -> Option<&[u8]> {
        self.members.get(path).map(Vec::as_slice)
    }

    /// Takes the bytes of a member out.
    pub fn take(&mut self, path: &MemberPath) -> Option<Vec<u8>> {
        self.members.remove(path)
    }
}

impl Sink for Memory {
    type File = Vec<u8>;

    // Grows with what comes; how much was promised is not believed.
    fn create(&mut self, _path: &MemberPath, _executable: bool) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn close(&mut self, path: &MemberPath, file: Vec<u8>) -> io::Result<()> {
        self.members.insert(path.clone(), file);
        Ok(())
    }
}
