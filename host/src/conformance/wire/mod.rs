//! Programs alone: raw requests, as `PROTOCOL.md` states them.
//!
//! - [`program`]: one that is started by hand.
//! - [`client`]: writes anything, and reads strictly.
//! - [`start`]: what it prints, and where it listens.
//! - [`requests`]: what it answers.
//! - [`running`]: what it answers while calls run.
//! - [`end`]: how it goes.

mod client;
mod end;
mod program;
mod requests;
mod running;
mod start;

use std::path::Path;

use plg_packaging::manifest::Process;

use self::program::Launcher;
use super::report::Case;
use super::rule::{Abilities, Rule};
use crate::discovery::Candidate;
use crate::transport::process::program::Program;

fn rules() -> impl Iterator<Item = &'static Rule<Launcher>> {
    [start::RULES, requests::RULES, running::RULES, end::RULES]
        .into_iter()
        .flatten()
}

/// Judges the program of a plugin.
pub(super) fn cases(
    abilities: Abilities,
    candidate: &Candidate,
    directory: &Path,
    process: &Process,
) -> Vec<Case> {
    let launcher = Program::find(directory, process)
        .map_err(|error| error.to_string())
        .and_then(|program| {
            let manifest = &candidate.manifest;
            Launcher::new(program, manifest, abilities.labels).map_err(|error| error.to_string())
        });
    match launcher {
        Ok(launcher) => rules()
            .map(|rule| rule.case(abilities, &launcher))
            .collect(),
        Err(error) => skipped(&error),
    }
}

/// Passes over all of it.
pub(super) fn skipped(why: &str) -> Vec<Case> {
    rules().map(|rule| rule.skipped(why)).collect()
}
