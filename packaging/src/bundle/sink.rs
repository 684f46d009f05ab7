//! Where the members of a bundle go when it is unpacked.

use std::io::{self, Write};

use super::MemberPath;

/// Takes members, one after the other. What was taken before an error is for the sink to remove.
pub trait Sink {
    /// A member while it is written.
    type File: Write;

    /// Makes a file, and the directories that it stands in. Nothing stands there yet.
    ///
    /// # Errors
    /// What the system says.
    fn create(&mut self, path: &MemberPath, executable: bool) -> io::Result<Self::File>;

    /// All bytes are written, and they are the right ones.
    ///
    /// # Errors
    /// What the system says.
    fn close(&mut self, path: &MemberPath, file: Self::File) -> io::Result<()>;
}
