//! What changes the set of loaded plugins, from the candidate to the report.
//!
//! - [`load`]: a plugin that is not loaded.
//! - [`builtin`]: what is compiled into the app.
//! - [`installed`]: what is in the store, as a candidate.
//! - [`start`]: from a candidate to a generation that stands ready.
//! - [`upgrade`]: another build in the place of the one that answers.
//! - [`together`]: several of them as one change.
//! - [`state`]: what a plugin hands over to its next build.
//! - [`canary`]: another build for a share of the calls.
//! - [`rollback`]: the build before comes back.
//! - [`relocate`]: the same build somewhere else, in this process or out of it.
//! - [`unload`]: out it goes.
//! - [`dependencies`]: what each of them may not break; [`recorded`]: what is written down about it.

mod builtin;
mod canary;
mod dependencies;
mod installed;
mod load;
mod recorded;
mod relocate;
mod rollback;
mod start;
mod state;
mod together;
mod unload;
mod upgrade;

pub(crate) use relocate::Move;
pub(crate) use together::Member;
