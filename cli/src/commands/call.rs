//! `plg call`: one call, from the sources to the answer.

use std::time::Duration;

use clap::Args;
use plg_host::Context;
use plg_host::policy::Level;

use super::Global;
use crate::artifact::{self, Profile};
use crate::exit::Exit;
use crate::home::Home;
use crate::invocation::Invocation;
use crate::output::Output;
use crate::problem::{Failure, Problem};
use crate::state::State;
use crate::target::{Loadable, Target};
use crate::{progress, values};

/// Call a label of a plugin
///
/// The plugin is a library, a directory, a name in the plugin directory, or an installed plugin. A crate, or a directory
/// with a Makefile, is built first when its library is missing or older than its sources. What the
/// plugin set or changed is printed; `--json` prints all values that the call left.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg call plugins/hello greet name=Ada
  plg call hello greet name=Ada --json
  plg call hello greet name=Ada --isolated
  plg call text text.count text='two words' --timeout 5s
  plg call text text.split separator=, --values @values.json")]
pub(crate) struct Call {
    /// A path, or the name of a plugin in the plugin directory or of one that is installed
    #[arg(value_name = "PATH_OR_NAME")]
    plugin: String,
    #[command(flatten)]
    question: Question,
    /// Let a child process map the library first, so that a crash of it is not ours
    #[arg(long)]
    probe: bool,
    /// Run a library in a process of its own, as `plg isolate` would
    #[arg(long, conflicts_with = "probe")]
    isolated: bool,
    /// Run the plugin in a process that reaches next to nothing: its own files, no network, bounded memory
    #[arg(long, conflicts_with_all = ["probe", "isolated"])]
    sandboxed: bool,
    /// Build and call the release build of a crate
    #[arg(long)]
    release: bool,
    #[command(flatten)]
    state: State,
    #[command(flatten)]
    home: Home,
}

/// What the plugin is asked, for `plg call` and `plg dev`.
#[derive(Clone, Debug, Args)]
pub(super) struct Question {
    /// What the plugin is asked to do
    pub(super) label: String,
    /// Values: `key=text`, or `key:=json` for anything else
    #[arg(value_name = "KEY=VALUE")]
    pairs: Vec<String>,
    /// Many values: a JSON object, `@file` with one, or `@-` for the standard input
    #[arg(long, value_name = "JSON|@FILE")]
    values: Option<String>,
    /// Give up after this long, for instance `500ms` or `5s`; loading counts, building does not
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(super) timeout: Option<Duration>,
}

impl Call {
    pub(super) fn run(self, global: &Global, output: &mut Output) -> Result<Exit, Failure> {
        let given = self.question.context()?;
        let profile = Profile::release(self.release);
        let find = |text: &str| Target::find_installed(text, global, &self.home);
        let target = find(&self.plugin)?;
        let plugin = target.loadable(profile)?;
        let invocation = Invocation {
            plugin,
            others: others(&target, profile, find)?,
            label: self.question.label,
            context: progress::watched(given.clone()),
            timeout: self.question.timeout,
            probe: self.probe,
            level: match (self.sandboxed, self.isolated) {
                (true, _) => Level::Sandboxed,
                (false, true) => Level::Isolated,
                (false, false) => Level::Trusted,
            },
            state: self.state,
        };
        let (outcome, unloading) = invocation.run();
        let answer = match outcome {
            Ok(answer) => answer,
            Err(problem) => {
                // The status tells of the problem even when nobody reads the text.
                let _ = output.problem(&problem);
                return Ok(unloading.end(problem.exit()));
            }
        };
        let printed = if output.is_json() {
            output.json(&answer.to_json())
        } else {
            answer.print(&given, &mut output.text())
        };
        let exit = match printed {
            Ok(()) => Exit::Ok,
            Err(_) => Exit::Other,
        };
        let exit = unloading.end(exit);
        printed?;
        Ok(exit)
    }
}

impl Question {
    /// The values that were given.
    pub(super) fn context(&self) -> Result<Context, Problem> {
        values::context(self.values.as_deref(), &self.pairs)
    }
}

/// The plugins that this one says it calls, as far as they are found.
pub(super) fn others(
    target: &Target,
    profile: Profile,
    find: impl Fn(&str) -> Result<Target, Problem>,
) -> Result<Vec<Loadable>, Problem> {
    let Some(manifest) = target
        .directory()
        .and_then(|directory| artifact::manifest(directory).ok())
    else {
        return Ok(Vec::new());
    };
    let mut others = Vec::new();
    for name in manifest.dependencies.keys() {
        // What is missing shows when the plugin calls it, and it may never do that.
        if let Ok(other) = find(name.as_str()) {
            others.push(other.loadable(profile)?);
        }
    }
    Ok(others)
}
