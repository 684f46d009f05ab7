//! How much a bundle may take.

/// The caps of a reader. A bundle that is over one of them is refused before more than that was read
/// or written.
///
/// ```
/// let limits = plg_packaging::bundle::Limits { members: 16, ..Default::default() };
/// assert_eq!(limits.unpacked_bytes, 256 << 20);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file.
    pub packed_bytes: u64,
    /// Bytes of all members together, headers and padding included.
    pub unpacked_bytes: u64,
    /// Bytes of one member.
    pub member_bytes: u64,
    /// How many times larger the archive may be than the file, once it is larger than a megabyte. Known at its
    /// end, or earlier where `packed_bytes` is the size of the file.
    pub ratio: u64,
    /// Members, directories that they stand in included.
    pub members: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packed_bytes: 64 << 20,
            unpacked_bytes: 256 << 20,
            member_bytes: 256 << 20,
            ratio: 200,
            members: 4096,
        }
    }
}
