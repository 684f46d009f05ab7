//! The state directory: what outlives a host, shared by all hosts that are given the same one.
//!
//! Files there are private and small. Each has a lock beside it that writers hold for a moment; readers
//! take none. Nothing there is ever waited for without end, and nothing there fails a load.

mod directory;
pub(crate) mod time;

pub(crate) use directory::{Directory, check_limit, read};
