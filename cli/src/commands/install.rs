//! `plg install`: from bundles to what is installed.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use plg_host::store::{InstallOptions, Named};
use plg_host::trust::Trust;

use super::trust;
use super::verify::{Ask, accepted};
use crate::exit::Exit;
use crate::home::Home;
use crate::installed;
use crate::output::Output;
use crate::problem::{Failure, Problem};

/// Install plugins from bundles
///
/// All bundles of one command become one change: all are installed, or none. Every byte is checked first. A bundle
/// that you name need not be signed, unless a trusted key is responsible for its name or a signed build of it was there
/// before; one that is signed must be so by a key that is trusted for it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg install hello-1.0.0.plg
  plg install chat-1.0.0.plg greeter-1.2.0.plg --plan
  plg install hello-1.0.0.plg --home /srv/app/plg
  plg undo                                            take it back")]
pub(crate) struct Install {
    /// The bundles
    #[arg(value_name = "FILE.plg", required = true)]
    bundles: Vec<PathBuf>,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    home: Home,
}

/// What may be installed, for `plg install` and `plg upgrade`.
#[derive(Debug, Args)]
pub(super) struct Terms {
    /// Only check the bundles and say what would change
    #[arg(long)]
    pub(super) plan: bool,
    /// Take other bytes than those that are locked for the same version
    #[arg(long)]
    update: bool,
    /// Let it have more permissions than the installed build asks for
    #[arg(long)]
    grant: bool,
    /// Let it be older than the installed version
    #[arg(long)]
    downgrade: bool,
    /// Take a signature by a key that nobody knows for none
    #[arg(long)]
    allow_untrusted: bool,
    /// An index of releases that must list each bundle
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    /// A signature of the index, one for each key; by default FILE.minisig
    #[arg(long, value_name = "FILE", requires = "index")]
    index_signature: Vec<PathBuf>,
}

impl Install {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        self.terms.install(&self.bundles, false, &self.home, output)
    }
}

impl Terms {
    /// Installs, or says what that would do.
    pub(super) fn install(
        &self,
        paths: &[PathBuf],
        only_installed: bool,
        home: &Home,
        output: &mut Output,
    ) -> Result<Exit, Failure> {
        let store = installed::open(home, output)?;
        let options = InstallOptions {
            update: self.update,
            grant: self.grant,
            downgrade: self.downgrade,
            only_installed,
        };
        let now = SystemTime::now();
        // None that is older is taken after one was installed by.
        let ask: Ask = match self.plan {
            true => Trust::check_index,
            false => Trust::accept_index,
        };
        let index = accepted(self.index.as_deref(), &self.index_signature, home, now, ask)?;
        let judge = Named::new(trust::open(home)?)
            .index(index)
            .any_key(self.allow_untrusted)
            .downgrade(self.downgrade);
        let bundles = paths.iter().map(|path| installed::bundle(path));
        let bundles = bundles.collect::<Result<_, Problem>>()?;
        let changed = match self.plan {
            true => store.plan_install(bundles, &options, &judge),
            false => store.install(bundles, &options, &judge),
        };
        let changed = changed.map_err(|error| Problem::from(&error))?;
        installed::report(&store, &changed, self.plan, output)?;
        Ok(Exit::Ok)
    }
}
