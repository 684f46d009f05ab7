//! `plg ps`: what hosts that run have loaded, and where.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use plg_host::control::{ControlError, HostReport, PluginReport};
use serde_json::json;

use super::history;
use crate::exit::Exit;
use crate::output::Output;
use crate::printable::printable;
use crate::problem::{Failure, Problem};
use crate::running::Place;

/// Show the plugins of hosts that run, and which process each of them is in
///
/// Hosts of this user are asked, and for root those of everybody, as far as they answer: `plg dev` and `plg watch` do, and
/// apps that say so.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg ps
  plg ps --host 4711 --json")]
pub(crate) struct Ps {
    #[command(flatten)]
    place: Place,
}

impl Ps {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        let mut reports = Vec::new();
        for host in self.place.hosts()? {
            match host.report() {
                Ok(report) => reports.push(report),
                // It ended just now, or is about to.
                Err(error @ ControlError::Silent { .. }) => output.warn(&Problem::from(&error)),
                Err(error) => return Err(Problem::from(&error).into()),
            }
        }
        if output.is_json() {
            output.json(&json!({ "hosts": reports }))?;
            return Ok(Exit::Ok);
        }
        if reports.is_empty() {
            writeln!(output.text(), "no host that runs can be asked")?;
            return Ok(Exit::Ok);
        }
        let of = |report: &HostReport| -> Vec<[String; 10]> {
            let host = report.pid.to_string();
            let rows = report.plugins.iter().map(|plugin| row(&host, plugin));
            rows.collect()
        };
        let rows: Vec<_> = reports.iter().flat_map(of).collect();
        let header = [
            "HOST", "PLUGIN", "VERSION", "RUNS", "PID", "UP", "RESTARTS", "INSIDE", "CALLS",
            "BECAUSE",
        ];
        if !rows.is_empty() {
            history::print(header, rows.into_iter(), output)?;
        }
        for report in reports.iter().filter(|report| report.plugins.is_empty()) {
            let (pid, program) = (report.pid, printable(&report.program));
            writeln!(output.text(), "host {pid} (`{program}`) has no plugins")?;
        }
        Ok(Exit::Ok)
    }
}

fn row(host: &str, plugin: &PluginReport) -> [String; 10] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let seconds = |ms| Duration::from_secs(Duration::from_millis(ms).as_secs());
    [
        host.to_owned(),
        plugin.name.clone(),
        or_dash(plugin.version.clone()),
        plugin.transport.clone(),
        or_dash(plugin.pid.map(|pid| pid.to_string())),
        or_dash(
            plugin
                .uptime_ms
                .map(|ms| humantime::format_duration(seconds(ms)).to_string()),
        ),
        plugin.restarts.to_string(),
        plugin.in_flight.to_string(),
        plugin.calls.to_string(),
        or_dash(
            plugin
                .because
                .as_deref()
                .map(|why| printable(why).into_owned()),
        ),
    ]
}
