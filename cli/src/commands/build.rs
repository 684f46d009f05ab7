//! `plg build`: from sources to a library.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use plg_packaging::Digest;
use serde_json::json;

use crate::artifact::{self, Profile};
use crate::exit::Exit;
use crate::library;
use crate::output::Output;
use crate::problem::{Failure, Problem};
use crate::{crates, makefile};

/// Build a plugin and print the path of its library
///
/// A crate is built with `cargo build --lib`, a directory with a Makefile with `make`. Their own
/// messages go to the standard error.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg build plugins/hello
  plg build --release
  install -T \"$(plg build --release)\" /srv/plugins/libhello.so")]
pub(crate) struct Build {
    /// The plugin's directory
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Build a crate with optimisations
    #[arg(long)]
    release: bool,
}

impl Build {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        let profile = Profile::release(self.release);
        let built = build(&self.path, profile)?;
        if output.is_json() {
            let bytes = library::read(&built)?;
            output.json(&json!({
                "path": self.path,
                "artifact": built,
                "profile": profile.name(),
                "digest": Digest::of(&bytes).to_string(),
                "bytes": bytes.len(),
            }))?;
        } else {
            writeln!(output.text(), "{}", built.display())?;
        }
        Ok(Exit::Ok)
    }
}

fn build(directory: &Path, profile: Profile) -> Result<PathBuf, Problem> {
    if directory.join("Cargo.toml").is_file() {
        let built = crates::build(directory, profile)?;
        if built.is_dir() {
            return artifact::declared(&built);
        }
        return Ok(built);
    }
    if makefile::is_in(directory) {
        makefile::build(directory)?;
        return artifact::declared(directory);
    }
    Err(artifact::no_sources(directory))
}
