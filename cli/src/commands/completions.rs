//! `plg completions`: for the shell.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use crate::exit::Exit;
use crate::output::Output;
use crate::problem::Failure;

/// Print a script that completes command lines in a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  plg completions bash > ~/.local/share/bash-completion/completions/plg")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        // The generator panics when it cannot write, so it writes to memory.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "plg", &mut script);
        let mut out = output.text();
        out.write_all(&script)?;
        out.flush()?;
        Ok(Exit::Ok)
    }
}
