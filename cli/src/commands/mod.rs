//! The verbs, one file each, and the command line they share.

mod build;
mod call;
mod check;
mod completions;
mod conformance;
mod dev;
mod doctor;
mod explain;
mod gc;
mod history;
mod index;
mod inspect;
mod install;
mod keygen;
mod list;
mod lock;
mod logs;
mod new;
mod pack;
mod ps;
mod quarantine;
mod relocate;
mod remove;
mod runner;
mod trust;
mod undo;
mod unpack;
mod upgrade;
mod verify;
mod version;
mod watch;

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::exit::{self, Exit};
use crate::output::Output;
use crate::problem::Failure;

/// Makes, builds, checks and calls native plugins.
///
/// In a clone of the project: `plg call plugins/hello greet name=Ada`.
#[derive(Debug, Parser)]
#[command(name = "plg", version, arg_required_else_help = true, after_help = exit::HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb understands.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Print one JSON document, for problems too
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Where plugins are looked up by name; by default among those that are installed, then in `plugins`
    #[arg(long, global = true, env = "PLG_PLUGIN_DIR", value_name = "DIR")]
    plugin_dir: Option<PathBuf>,
}

impl Global {
    /// Where plugins are looked up by name.
    pub(crate) fn plugin_dir(&self) -> &Path {
        self.plugin_dir.as_deref().unwrap_or(Path::new("plugins"))
    }

    /// Whether somebody said where.
    pub(crate) fn has_plugin_dir(&self) -> bool {
        self.plugin_dir.is_some()
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    New(new::New),
    Build(build::Build),
    Call(call::Call),
    Dev(dev::Dev),
    List(list::List),
    Inspect(inspect::Inspect),
    Check(check::Check),
    Conformance(conformance::Conformance),
    Pack(pack::Pack),
    Unpack(unpack::Unpack),
    Verify(verify::Verify),
    Keygen(keygen::Keygen),
    Trust(trust::Trust),
    Index(index::Index),
    Watch(watch::Watch),
    Ps(ps::Ps),
    Isolate(relocate::Isolate),
    Inline(relocate::Inline),
    Logs(logs::Logs),
    Install(install::Install),
    Upgrade(upgrade::Upgrade),
    Remove(remove::Remove),
    Undo(undo::Undo),
    Gc(gc::Gc),
    Lock(lock::Lock),
    History(history::History),
    Quarantine(quarantine::Quarantine),
    Doctor(doctor::Doctor),
    Runner(runner::Runner),
    Explain(explain::Explain),
    Version(version::Version),
    Completions(completions::Completions),
}

impl Verb {
    pub(crate) fn run(self, global: &Global, output: &mut Output) -> Result<Exit, Failure> {
        match self {
            Self::New(verb) => verb.run(output),
            Self::Build(verb) => verb.run(output),
            Self::Call(verb) => verb.run(global, output),
            Self::Dev(verb) => verb.run(global, output),
            Self::List(verb) => verb.run(global, output),
            Self::Inspect(verb) => verb.run(global, output),
            Self::Check(verb) => verb.run(global, output),
            Self::Conformance(verb) => verb.run(global, output),
            Self::Pack(verb) => verb.run(output),
            Self::Unpack(verb) => verb.run(output),
            Self::Verify(verb) => verb.run(output),
            Self::Keygen(verb) => verb.run(output),
            Self::Trust(verb) => verb.run(output),
            Self::Index(verb) => verb.run(output),
            Self::Watch(verb) => verb.run(global, output),
            Self::Ps(verb) => verb.run(output),
            Self::Isolate(verb) => verb.run(output),
            Self::Inline(verb) => verb.run(output),
            Self::Logs(verb) => verb.run(output),
            Self::Install(verb) => verb.run(output),
            Self::Upgrade(verb) => verb.run(output),
            Self::Remove(verb) => verb.run(output),
            Self::Undo(verb) => verb.run(output),
            Self::Gc(verb) => verb.run(output),
            Self::Lock(verb) => verb.run(output),
            Self::History(verb) => verb.run(output),
            Self::Quarantine(verb) => verb.run(output),
            Self::Doctor(verb) => verb.run(output),
            Self::Runner(verb) => verb.run(),
            Self::Explain(verb) => verb.run(output),
            Self::Version(verb) => verb.run(output),
            Self::Completions(verb) => verb.run(output),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
