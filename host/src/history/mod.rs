//! What was loaded when, and why.
//!
//! Every change of the set of plugins is an [`Entry`]. A [`History`] keeps the last of them in memory
//! and, when the host has a state directory, in the file `history.jsonl` there, which outlives the host
//! and which other processes read with [`History::read`]. The set as it was after any of these entries
//! can be had back.
//!
//! ```
//! use plg_host::Host;
//!
//! let host = Host::builder().build()?;
//! for entry in host.history().entries() {
//!     println!("{} {} {}", entry.number, entry.change, entry.build.plugin);
//! }
//! # Ok::<(), plg_host::Error>(())
//! ```
//!
//! # The file
//!
//! One JSON object a line, appended by one write under a lock, so several hosts can share a directory.
//! A process that is killed in the middle leaves half a line, which readers pass over. Nothing is
//! synced: an entry survives the end of the process at once, and a power failure after the seconds that
//! the system takes to write it down. At four megabytes the file becomes `history.1.jsonl`, in place of
//! the one before.
//!
//! What cannot be written, on a full disk for instance, is kept in memory alone. That is a warning and
//! never an error, and the next entry that can be written says how many are missing.

mod entry;
mod file;
mod journal;
mod record;

pub use entry::{Build, Change, Entry, Revision, Set, Why};
pub use journal::Journal;
pub use record::{History, HistoryError};
