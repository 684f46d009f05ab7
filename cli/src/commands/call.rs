//! `plg call`: one call, from the sources to the answer.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use anstyle::Style;
use clap::Args;
use plg_host::{Context, Value, json};
use serde::Serialize;

use super::Global;
use crate::artifact::{self, Profile};
use crate::exit::Exit;
use crate::invocation::{Answer, Invocation};
use crate::output::Output;
use crate::printable::printable;
use crate::problem::{Failure, Problem};
use crate::target::Target;
use crate::{progress, values};

/// Call a label of a plugin
///
/// The plugin is a library, a directory, or a name in the plugin directory. A crate, or a directory
/// with a Makefile, is built first when its library is missing or older than its sources. What the
/// plugin set or changed is printed; `--json` prints all values that the call left.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg call plugins/hello greet name=Ada
  plg call hello greet name=Ada --json
  plg call text text.count text='two words' --timeout 5s
  plg call text text.split separator=, --values @values.json")]
pub(crate) struct Call {
    /// A path, or the name of a plugin in the plugin directory
    #[arg(value_name = "PATH_OR_NAME")]
    plugin: String,
    /// What the plugin is asked to do
    label: String,
    /// Values: `key=text`, or `key:=json` for anything else
    #[arg(value_name = "KEY=VALUE")]
    pairs: Vec<String>,
    /// Many values: a JSON object, `@file` with one, or `@-` for the standard input
    #[arg(long, value_name = "JSON|@FILE")]
    values: Option<String>,
    /// Give up after this long, for instance `500ms` or `5s`; loading counts, building does not
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Let a child process map the library first, so that a crash of it is not ours
    #[arg(long)]
    probe: bool,
    /// Build and call the release build of a crate
    #[arg(long)]
    release: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    plugin: &'a str,
    version: &'a str,
    label: &'a str,
    generation: u64,
    transport: &'a str,
    elapsed_us: f64,
    values: serde_json::Value,
}

impl Call {
    pub(super) fn run(self, global: &Global, output: &mut Output) -> Result<Exit, Failure> {
        let given = values::context(self.values.as_deref(), &self.pairs)?;
        let profile = Profile::release(self.release);
        let target = Target::find(&self.plugin, &global.plugin_dir)?;
        let path = target.loadable(profile)?;
        let invocation = Invocation {
            path,
            others: others(&target, global, profile)?,
            label: self.label.clone(),
            context: progress::watched(given.clone()),
            timeout: self.timeout,
            probe: self.probe,
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
            self.print_json(&answer, output)
        } else {
            print_text(&answer, &given, &mut output.text())
        };
        let exit = match printed {
            Ok(()) => Exit::Ok,
            Err(_) => Exit::Other,
        };
        let exit = unloading.end(exit);
        printed?;
        Ok(exit)
    }

    fn print_json(&self, answer: &Answer, output: &mut Output) -> std::io::Result<()> {
        let nanoseconds = u32::try_from(answer.elapsed.as_nanos()).map(f64::from);
        let elapsed_us = match nanoseconds {
            Ok(nanoseconds) => nanoseconds / 1000.0,
            // From four seconds on, microseconds are fine enough.
            Err(_) => (answer.elapsed.as_secs_f64() * 1e6).round(),
        };
        output.json(&Document {
            plugin: &answer.plugin,
            version: &answer.version,
            label: &self.label,
            generation: answer.generation,
            transport: answer.transport,
            elapsed_us,
            values: json::from_context(&answer.context),
        })
    }
}

/// The plugins that this one says it calls, as far as the plugin directory has them.
fn others(target: &Target, global: &Global, profile: Profile) -> Result<Vec<PathBuf>, Problem> {
    let Some(manifest) = target
        .directory()
        .and_then(|directory| artifact::manifest(directory).ok())
    else {
        return Ok(Vec::new());
    };
    let mut others = Vec::new();
    for name in manifest.dependencies.keys() {
        // What is missing shows when the plugin calls it, and it may never do that.
        if let Ok(other) = Target::find(name.as_str(), &global.plugin_dir) {
            others.push(other.loadable(profile)?);
        }
    }
    Ok(others)
}

/// What the plugin set or changed.
fn print_text(answer: &Answer, given: &Context, out: &mut impl Write) -> std::io::Result<()> {
    const KEY: Style = Style::new().bold();
    let mut silent = true;
    for (key, value) in answer.context.iter() {
        if given.get(key) == Some(value) {
            continue;
        }
        silent = false;
        let (key, text) = (printable(key), shown(value));
        if text.contains('\n') {
            writeln!(out, "{KEY}{key}{KEY:#}:")?;
            for line in text.lines() {
                writeln!(out, "  {line}")?;
            }
        } else {
            writeln!(out, "{KEY}{key}{KEY:#}: {text}")?;
        }
    }
    if silent && std::io::stdout().is_terminal() {
        writeln!(out, "({} set no values)", answer.plugin)?;
    }
    out.flush()
}

/// A text as it is, anything else as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::Str(text) => printable(text).into_owned(),
        other => printable(&json::from_value(other).to_string()).into_owned(),
    }
}
