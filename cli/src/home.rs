//! Where plugins are installed, with the keys that are trusted for them.

use std::env;
use std::path::PathBuf;

use clap::Args;

use crate::problem::Problem;

/// The home directory of a command line.
#[derive(Clone, Debug, Args)]
pub(crate) struct Home {
    /// Where plugins are installed and trusted keys are kept; by default `plg` below $XDG_DATA_HOME or
    /// `~/.local/share`
    #[arg(long, env = "PLG_HOME", value_name = "DIR")]
    home: Option<PathBuf>,
}

impl Home {
    /// The directory, which need not be there.
    pub(crate) fn directory(&self) -> Result<PathBuf, Problem> {
        let Some(directory) = self.home.clone().or_else(usual) else {
            let problem = Problem::new("usage.arguments", "no home directory is known");
            return Err(
                problem.help("name it with `--home DIR` or the environment variable PLG_HOME")
            );
        };
        Ok(directory)
    }

    /// Where the trusted keys are.
    pub(crate) fn trust(&self) -> Result<PathBuf, Problem> {
        Ok(self.directory()?.join("trust"))
    }
}

/// Where data belongs that nobody said a place for.
fn usual() -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = PathBuf::from(env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let home = || Some(absolute("HOME")?.join(".local/share"));
    Some(absolute("XDG_DATA_HOME").or_else(home)?.join("plg"))
}
