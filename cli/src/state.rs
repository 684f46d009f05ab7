//! Where hosts keep what outlives them.

use std::env;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use plg_host::{Builder, Error, Host};

use crate::problem::Problem;

/// The state directory of a command line.
#[derive(Clone, Debug, Args)]
pub(crate) struct State {
    /// Where hosts keep their history and quarantine; by default `plg` below $XDG_STATE_HOME or
    /// `~/.local/state`
    #[arg(long, env = "PLG_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
}

impl State {
    /// The directory to read, if it is there. That the usual one is not there is as good as that it is
    /// empty: no host had anything to keep yet.
    pub(crate) fn to_read(&self) -> Result<Option<PathBuf>, Problem> {
        let asked = self.state.is_some();
        let Some(directory) = self.state.clone().or_else(usual) else {
            let detail = "no state directory is known";
            let problem = Problem::new("usage.arguments", detail);
            return Err(
                problem.help("name it with `--state DIR` or the environment variable PLG_STATE")
            );
        };
        match directory.metadata() {
            Ok(metadata) if metadata.is_dir() => Ok(Some(directory)),
            Err(_) if !asked => Ok(None),
            _ => {
                let detail = format!("there is no directory `{}`", directory.display());
                let problem = Problem::new("io.not_found", detail);
                Err(problem.help("give the state directory of a host"))
            }
        }
    }

    /// Makes a host that keeps its state there. Where the usual directory cannot be had, it keeps none:
    /// nobody asked for it.
    pub(crate) fn host(&self, builder: impl Fn() -> Builder) -> Result<Host, Error> {
        let Some(usual) = usual().filter(|_| self.state.is_none()) else {
            let builder = builder();
            return match &self.state {
                Some(asked) => builder.state_dir(asked).build(),
                None => builder.build(),
            };
        };
        match builder().state_dir(usual).build() {
            Err(error) if matches!(error.code(), "host.state" | "dir.unsafe") => builder().build(),
            outcome => outcome,
        }
    }
}

/// Where state belongs that nobody said a place for.
fn usual() -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = PathBuf::from(env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let home = || Some(absolute("HOME")?.join(".local/state"));
    Some(absolute("XDG_STATE_HOME").or_else(home)?.join("plg"))
}

/// The directory as people are told of it.
pub(crate) fn shown(directory: Option<&Path>) -> String {
    match directory.map(Path::to_owned).or_else(usual) {
        Some(directory) => format!("`{}`", directory.display()),
        None => "the state directory".to_owned(),
    }
}

/// A moment for people and programs, in UTC.
pub(crate) fn time(at: std::time::SystemTime) -> String {
    // A clock that is ten thousand years off says nothing.
    let at = Timestamp::try_from(at).unwrap_or_default();
    format!("{at:.3}")
}
