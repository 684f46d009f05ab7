//! `plg watch`: a host that follows a directory of plugins, and what happens in it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::Args;
use plg_host::{Error, Event, Events, Host, Phase, WatchOptions};
use serde::Serialize;
use serde_json::json;

use super::Global;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::printable::printable;
use crate::problem::{Failure, Problem};
use crate::state::{self, State};

/// Load the plugins of a directory, follow its changes, and show what happens
///
/// A new build that is put into the directory replaces the old one, a new plugin is loaded, and one that
/// is removed is unloaded. Every event is a line; with `--json`, an object. Ctrl-C unloads everything and
/// ends with status 0.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg watch /srv/plugins
  plg watch plugins --no-unload --json")]
pub(crate) struct Watch {
    /// The directory; the plugin directory when it is not given
    dir: Option<PathBuf>,
    /// How long a file must not have changed before it is loaded
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "100ms")]
    settle: Duration,
    /// Let a plugin stay loaded when its file is gone
    #[arg(long)]
    no_unload: bool,
    #[command(flatten)]
    state: State,
}

/// An event as JSON.
#[derive(Serialize)]
struct Document<'a> {
    number: u64,
    time: String,
    step: &'a str,
    phase: &'a str,
    plugin: Option<&'a str>,
    version: Option<String>,
    generation: Option<u64>,
    digest: Option<String>,
    path: Option<String>,
    code: Option<&'a str>,
    message: &'a str,
}

impl Watch {
    pub(super) fn run(self, global: &Global, output: &mut Output) -> Result<Exit, Failure> {
        let directory = self.dir.as_deref().unwrap_or(global.plugin_dir());
        if !directory.is_dir() {
            let detail = format!("there is no directory `{}`", directory.display());
            let problem = Problem::new("io.not_found", detail);
            return Err(problem.help("give a directory of plugins").into());
        }
        let host = self.state.host(|| {
            let builder = Host::builder().plugin_dir(directory);
            builder.runner("/proc/self/exe").control(true)
        })?;
        let events = host.events();
        let (ends, end) = mpsc::channel();
        let asked = ends.clone();
        Interrupt::listen(move || {
            // It may have ended by itself just now.
            let _ = asked.send(());
        })?;
        let is_json = output.is_json();
        thread::scope(|scope| {
            let printer = scope.spawn(move || {
                let printed = show(events, is_json);
                // Nobody reads any more; or the host is gone, and nobody waits for this.
                let _ = ends.send(());
                printed
            });
            let followed = follow(&host, &self);
            if followed.is_ok() {
                // Until the user wants an end or nobody reads any more.
                let _ = end.recv();
            }
            let outcome = followed.map(drop);
            // With the host the events end.
            drop(host);
            let printed = printer.join().unwrap_or(Ok(()));
            outcome?;
            printed?;
            Ok(Exit::Ok)
        })
    }
}

/// Lets the host follow its directory, as long as what is returned lives.
fn follow(host: &Host, options: &Watch) -> Result<plg_host::Watch, Error> {
    host.watch(WatchOptions {
        settle: options.settle,
        unload_removed: !options.no_unload,
        ..WatchOptions::default()
    })
}

/// Prints events until there are no more.
fn show(mut events: Events, is_json: bool) -> io::Result<()> {
    let mut output = Output::new(is_json);
    let mut missed = 0;
    while let Some(event) = events.next() {
        if is_json {
            output.json_line(&document(&event))?;
        } else if event.phase != Phase::Before {
            print(&event, &mut output.text())?;
        }
        let lost = events.missed() - missed;
        if lost > 0 && is_json {
            output.json_line(&json!({ "missed": lost }))?;
        } else if lost > 0 {
            let text = "events are not shown: they came faster than they could be printed";
            writeln!(output.text(), "{lost} {text}")?;
        }
        missed += lost;
    }
    Ok(())
}

fn document(event: &Event) -> Document<'_> {
    Document {
        number: event.number,
        time: state::time(event.at),
        step: event.step.as_str(),
        phase: event.phase.as_str(),
        plugin: event.plugin.as_ref().map(|plugin| plugin.as_str()),
        version: event.version.as_ref().map(ToString::to_string),
        generation: event.generation,
        digest: event.digest.as_ref().map(ToString::to_string),
        path: event.path.as_ref().map(|path| path.display().to_string()),
        code: event.code,
        message: &event.message,
    }
}

fn print(event: &Event, out: &mut impl Write) -> io::Result<()> {
    let style = match event.phase {
        Phase::Failed => AnsiColor::Red.on_default().bold(),
        _ => Style::new().bold(),
    };
    let time = state::time(event.at);
    let (step, phase) = (event.step, event.phase);
    write!(out, "{time}  {style}{step:8} {phase:6}{style:#}")?;
    if let Some(plugin) = &event.plugin {
        write!(out, "  {plugin}")?;
    }
    if let Some(version) = &event.version {
        write!(out, " {version}")?;
    }
    if let Some(generation) = event.generation {
        write!(out, " (generation {generation})")?;
    }
    if let Some(path) = event.path.as_ref().filter(|_| event.plugin.is_none()) {
        write!(out, "  {}", printable(&path.display().to_string()))?;
    }
    if let Some(code) = event.code {
        write!(out, "  [{code}]")?;
    }
    if !event.message.is_empty() {
        write!(out, "  {}", printable(&event.message))?;
    }
    writeln!(out)?;
    out.flush()
}
