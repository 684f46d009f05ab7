//! `plg remove`: what is installed no more.

use clap::Args;
use plg_host::PluginName;

use crate::exit::Exit;
use crate::home::Home;
use crate::installed;
use crate::output::Output;
use crate::problem::{Failure, Problem};

/// Remove installed plugins
///
/// Their files stay until `plg gc`, so that `plg undo` brings them back.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg remove hello
  plg remove greeter --cascade --plan")]
pub(crate) struct Remove {
    /// The plugins
    #[arg(value_name = "NAME", required = true)]
    plugins: Vec<PluginName>,
    /// Remove those that need them as well
    #[arg(long)]
    cascade: bool,
    /// Only say what would change
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    home: Home,
}

impl Remove {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        let store = installed::open(&self.home, output)?;
        let changed = match self.plan {
            true => store.plan_remove(&self.plugins, self.cascade),
            false => store.remove(&self.plugins, self.cascade),
        };
        let changed = changed.map_err(|error| {
            let problem = Problem::from(&error);
            match error.code() {
                "deps.in_use" => problem.help("remove those as well, or give `--cascade`"),
                _ => problem,
            }
        })?;
        installed::report(&store, &changed, self.plan, output)?;
        Ok(Exit::Ok)
    }
}
