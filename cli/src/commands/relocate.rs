//! `plg isolate` and `plg inline`: where a plugin of a host that runs goes on.

use std::io::Write;

use clap::Args;
use serde_json::json;

use crate::exit::Exit;
use crate::output::Output;
use crate::printable::printable;
use crate::problem::{Failure, Problem};
use crate::running::Place;

/// Move a plugin of a host that runs into a process of its own, while calls run
///
/// No call is lost: the plugin stands in its process before it leaves the host's, and what it keeps as state goes along. Later
/// builds of it run there as well, until `plg inline`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg isolate hello
  plg isolate hello --host 4711")]
pub(crate) struct Isolate {
    #[command(flatten)]
    whose: Whose,
}

/// Move a plugin of a host that runs into the host's process, while calls run
///
/// The reverse of `plg isolate`. What the host's policy or the plugin's manifest keeps out of the process stays out.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg inline hello
  plg inline hello --host 4711 --json")]
pub(crate) struct Inline {
    #[command(flatten)]
    whose: Whose,
}

#[derive(Debug, Args)]
struct Whose {
    /// The plugin
    name: String,
    #[command(flatten)]
    place: Place,
}

impl Isolate {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        self.whose.relocate(true, output)
    }
}

impl Inline {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        self.whose.relocate(false, output)
    }
}

impl Whose {
    fn relocate(&self, apart: bool, output: &mut Output) -> Result<Exit, Failure> {
        let host = self.place.host_of(&self.name)?;
        let moved = if apart {
            host.isolate(&self.name)
        } else {
            host.inline(&self.name)
        };
        let moved = moved.map_err(|error| Problem::from(&error))?;
        if output.is_json() {
            output.json(&json!({
                "host": host.pid(),
                "plugin": self.name,
                "transport": moved.transport,
                "left": moved.left,
            }))?;
            return Ok(Exit::Ok);
        }
        let (name, pid) = (&self.name, host.pid());
        let place = if apart {
            "runs in a process of its own"
        } else {
            "runs in the host's process"
        };
        let mut out = output.text();
        match &moved.left {
            Some(left) => {
                let left = printable(left);
                writeln!(
                    out,
                    "`{name}` of host {pid} {place} now; the code before is {left}"
                )?;
            }
            None => writeln!(out, "nothing to do: `{name}` of host {pid} {place} already")?,
        }
        Ok(Exit::Ok)
    }
}
