//! `plg gc`: the room that old builds take.

use std::io::Write;

use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;

use super::history::short;
use crate::exit::Exit;
use crate::home::Home;
use crate::installed;
use crate::output::Output;
use crate::problem::Failure;

/// Remove builds that nothing installed needs any more
///
/// What stays: everything that is installed, what the newest sets and as many undos go back to, and what a process
/// has loaded.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg gc --plan
  plg gc
  plg gc --keep 0       nothing but what is installed; no undo is left")]
pub(crate) struct Gc {
    /// How many sets to keep
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    keep: usize,
    /// Only say what would go
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    home: Home,
}

impl Gc {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        let store = installed::open(&self.home, output)?;
        let collected = match self.plan {
            true => store.plan_gc(self.keep)?,
            false => store.gc(self.keep)?,
        };
        if output.is_json() {
            output.json(&json!({
                "home": store.home(),
                "plan": self.plan,
                "builds": collected.builds,
                "bytes": collected.bytes,
                "sets": collected.sets,
                "in_use": collected.in_use,
            }))?;
            return Ok(Exit::Ok);
        }
        let mut out = output.text();
        let would = if self.plan { "would have " } else { "" };
        for digest in &collected.builds {
            writeln!(out, "{would}removed the build {}", short(&digest.hex()))?;
        }
        for digest in &collected.in_use {
            writeln!(
                out,
                "kept the build {}: a process has it loaded",
                short(&digest.hex())
            )?;
        }
        let (builds, sets) = (collected.builds.len(), collected.sets.len());
        let bytes = HumanBytes(collected.bytes);
        writeln!(
            out,
            "{would}removed {builds} builds and {sets} sets, {bytes}"
        )?;
        Ok(Exit::Ok)
    }
}
