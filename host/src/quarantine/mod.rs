//! Digests that are not loaded, kept over the end of the host where it has a state directory.
//!
//! The file `quarantine.json` there is shared by all hosts of the directory: what one of them adds or
//! clears counts for the others with their next load. It is replaced as a whole, under a lock and
//! synced, so it is there after a power failure too. A file that is damaged is set aside, and what can
//! be read of it stays in force.
//!
//! What cannot be written down holds for this host alone, and is written with the next change.

mod digests;
mod error;
mod file;
mod format;

pub use digests::Quarantine;
pub use error::QuarantineError;
pub use format::{Cause, Entry};
