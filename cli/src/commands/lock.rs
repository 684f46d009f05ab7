//! `plg lock`: whether the lock file says what is installed.

use std::io::Write;

use clap::Args;
use serde_json::json;

use crate::exit::Exit;
use crate::home::Home;
use crate::installed::{self, entry_json};
use crate::output::Output;
use crate::problem::Failure;

/// Check the lock file, or write it again
///
/// It names the bytes of everything that is installed. Where it does not match, nothing is changed or loaded until
/// this has written it again from the set in force, or `plg undo` went back.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg lock                  whether it and every installed file are what was installed
  plg lock --restore")]
pub(crate) struct Lock {
    /// Write it again
    #[arg(long)]
    restore: bool,
    #[command(flatten)]
    home: Home,
}

impl Lock {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        let store = installed::open(&self.home, output)?;
        let (set, restored) = match self.restore {
            true => store.restore()?,
            false => (store.current()?, false),
        };
        if !self.restore {
            // To list is not to know; every byte that is installed is looked at.
            for entry in &set.plugins {
                store.build(&entry.name)?.check_library()?;
            }
        }
        let path = store.lock_file();
        if output.is_json() {
            let plugins: Vec<_> = set.plugins.iter().map(entry_json).collect();
            output.json(&json!({
                "lock": path,
                "set": set.number,
                "restored": restored,
                "plugins": plugins,
            }))?;
            return Ok(Exit::Ok);
        }
        let (path, number, count) = (path.display(), set.number, set.plugins.len());
        let mut out = output.text();
        match restored {
            true => writeln!(
                out,
                "`{path}` was written again from the set {number}: {count} plugins"
            )?,
            false => writeln!(
                out,
                "`{path}` matches the set {number}, and so does every file that is installed: {count} plugins"
            )?,
        }
        Ok(Exit::Ok)
    }
}
