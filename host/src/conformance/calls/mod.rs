//! What needs the labels of the suite, and nothing but a host.
//!
//! - [`values`]: what comes back as it went.
//! - [`keys`]: which values there are afterwards.
//! - [`errors`]: why a call failed.
//! - [`course`]: logs, progress, deadlines and cancelling.
//! - [`others`]: calls from plugin to plugin.
//! - [`parallel`]: several calls at once.
//! - [`ear`]: hears what is logged.

mod course;
mod ear;
mod errors;
mod keys;
mod others;
mod parallel;
mod values;

use super::rule::Rule;
use super::subject::Subject;

/// All of them, in order.
pub(super) fn rules() -> impl Iterator<Item = &'static Rule<Subject>> {
    [
        values::RULES,
        keys::RULES,
        errors::RULES,
        course::RULES,
        others::RULES,
        parallel::RULES,
    ]
    .into_iter()
    .flatten()
}
