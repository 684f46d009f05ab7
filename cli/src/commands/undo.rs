//! `plg undo`: back to what was installed before.

use clap::Args;

use crate::exit::Exit;
use crate::home::Home;
use crate::installed;
use crate::output::Output;
use crate::problem::Failure;

/// Go back to what was installed before the last change
///
/// Every undo goes back further, and is a change of its own: `plg history --installed` lists them all, and `--to`
/// goes to any of them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg undo
  plg undo --plan
  plg history --installed
  plg undo --to 3")]
pub(crate) struct Undo {
    /// Go to the set of this number
    #[arg(long, value_name = "NUMBER")]
    to: Option<u64>,
    /// Only say what would change
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    home: Home,
}

impl Undo {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        let store = installed::open(&self.home, output)?;
        let changed = match self.plan {
            true => store.plan_undo(self.to)?,
            false => store.undo(self.to)?,
        };
        installed::report(&store, &changed, self.plan, output)?;
        Ok(Exit::Ok)
    }
}
