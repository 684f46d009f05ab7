//! `plg logs`: what a plugin's process wrote last.

use std::io::Write;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use clap::Args;
use plg_host::control::ControlError;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::printable::printable;
use crate::problem::{Failure, Problem};
use crate::running::Place;

/// Show what the process of a plugin wrote to its standard error
///
/// The host keeps the last 64 KiB of it. With `--follow` later lines are shown as they come, those of the next process too when
/// the plugin is started again; Ctrl-C ends it. With `--json` every line is an object on a line of its own.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg logs hello
  plg logs hello -n 200
  plg logs hello --follow --host 4711")]
pub(crate) struct Logs {
    /// The plugin
    name: String,
    /// Show later lines as they come
    #[arg(long, short)]
    follow: bool,
    /// How many of the last lines
    #[arg(short = 'n', long, default_value_t = 50, value_name = "COUNT")]
    lines: usize,
    #[command(flatten)]
    place: Place,
}

/// How often a host is asked for later lines.
const LOOK: Duration = Duration::from_millis(200);

impl Logs {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        let host = self.place.host_of(&self.name)?;
        let (asked, end) = mpsc::channel();
        if self.follow {
            Interrupt::listen(move || {
                // It may have ended by itself just now.
                let _ = asked.send(());
            })?;
        }
        let first = host.logs(&self.name, None);
        let mut tail = first.map_err(|error| Problem::from(&error))?;
        let count = tail.text.lines().count();
        self.show(
            tail.text.lines().skip(count.saturating_sub(self.lines)),
            output,
        )?;
        if !self.follow {
            return Ok(Exit::Ok);
        }
        loop {
            if !matches!(end.recv_timeout(LOOK), Err(RecvTimeoutError::Timeout)) {
                return Ok(Exit::Ok);
            }
            match host.logs(&self.name, Some(tail.next)) {
                Ok(next) => tail = next,
                // Its process is started again by the next call.
                Err(ControlError::NoProcess { .. }) => continue,
                Err(error) => return Err(Problem::from(&error).into()),
            }
            self.show(tail.text.lines(), output)?;
        }
    }

    fn show<'a>(
        &self,
        lines: impl Iterator<Item = &'a str>,
        output: &mut Output,
    ) -> std::io::Result<()> {
        for line in lines {
            if output.is_json() {
                let known = serde_json::from_str::<Value>(line).ok();
                let fields = known.filter(Value::is_object);
                output.json_line(&json!({
                    "plugin": self.name,
                    "line": line,
                    "fields": fields,
                }))?;
            } else {
                writeln!(output.text(), "{}", printable(line))?;
            }
        }
        Ok(())
    }
}
