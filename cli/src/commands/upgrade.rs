//! `plg upgrade`: another build of what is installed.

use std::path::PathBuf;

use clap::Args;
use plg_host::PluginName;
use plg_host::store::StoreError;

use super::install::Terms;
use crate::exit::Exit;
use crate::home::Home;
use crate::installed;
use crate::output::Output;
use crate::problem::{Failure, Problem};

/// Replace an installed plugin by a newer build of it
///
/// A file is the new bundle. A name is read again from where the installed bundle came from.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg upgrade hello-1.1.0.plg
  plg upgrade hello-1.1.0.plg --plan
  plg upgrade hello                  the file that it was installed from has changed")]
pub(crate) struct Upgrade {
    /// A bundle, or the name of an installed plugin
    #[arg(value_name = "FILE.plg|NAME")]
    what: PathBuf,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    home: Home,
}

impl Upgrade {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        let path = self.path(output)?;
        self.terms.install(&[path], true, &self.home, output)
    }

    fn path(&self, output: &Output) -> Result<PathBuf, Problem> {
        let name = self
            .what
            .to_str()
            .and_then(|text| PluginName::new(text).ok());
        let Some(name) = name.filter(|_| !self.what.is_file()) else {
            return Ok(self.what.clone());
        };
        let set = installed::open(&self.home, output)?.current()?;
        match set.plugin(&name) {
            Some(entry) => Ok(PathBuf::from(&entry.source)),
            None => Err(StoreError::NotInstalled { name }.into()),
        }
    }
}
