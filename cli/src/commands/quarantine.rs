//! `plg quarantine`: which builds stay out because they crashed, and letting them in again.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use plg_host::Digest;
use plg_host::quarantine::{self, Entry, QuarantineError};
use serde_json::{Value, json};

use super::history::{print, short};
use crate::exit::Exit;
use crate::output::Output;
use crate::problem::{Failure, Problem};
use crate::state::{self, State};

/// Show which builds stay out because they crashed, or let them in again
///
/// A build that crashes a host or its probe is not loaded again by any host of the same state directory.
/// It is known by its digest: a fixed build has another one and is not affected.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg quarantine list
  plg quarantine clear word-count
  plg quarantine clear 3f2a9c0d11e4 --state /var/lib/app/plg
  plg quarantine clear --all")]
pub(crate) struct Quarantine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(List),
    Clear(Clear),
}

/// Show the builds that stay out, and why
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  plg quarantine list --json")]
struct List {
    #[command(flatten)]
    state: State,
}

/// Let builds be loaded again
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  plg quarantine clear word-count\n  plg quarantine clear --all"
)]
struct Clear {
    /// A digest, at least the first eight of its digits, or the name of a plugin
    #[arg(
        value_name = "DIGEST|NAME",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    what: Option<String>,
    /// Every one
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    state: State,
}

type Row = (Digest, Entry);

/// How many digits of a digest are enough to mean it.
const DIGITS: usize = 8;

impl Quarantine {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        match self.verb {
            Verb::List(verb) => verb.run(output),
            Verb::Clear(verb) => verb.run(output),
        }
    }
}

impl List {
    fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        let (quarantine, directory) = open(&self.state)?;
        let mut rows = quarantine.list();
        rows.sort_by_key(|(_, entry)| entry.since);
        if output.is_json() {
            let problems = quarantine.problems();
            let problems = problems
                .iter()
                .map(|problem| Problem::from(&**problem).to_json());
            output.json(&json!({
                "state": directory,
                "quarantined": rows.iter().map(to_json).collect::<Vec<_>>(),
                "problems": problems.collect::<Vec<_>>(),
            }))?;
            return Ok(Exit::Ok);
        }
        if rows.is_empty() {
            print_none(directory.as_deref(), output)?;
            return Ok(Exit::Ok);
        }
        let cells = |(digest, entry): &Row| {
            [
                short(&digest.hex()),
                entry.plugin.to_string(),
                entry.version.to_string(),
                state::time(entry.since),
                entry.reason.clone(),
            ]
        };
        let header = ["DIGEST", "PLUGIN", "VERSION", "SINCE", "REASON"];
        print(header, rows.iter().map(cells), output)?;
        Ok(Exit::Ok)
    }
}

impl Clear {
    fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        let (quarantine, directory) = open(&self.state)?;
        let all = quarantine.list();
        let rows = match &self.what {
            Some(what) => named(what, all),
            None => all,
        };
        if let (Some(what), []) = (&self.what, &*rows) {
            let place = state::shown(directory.as_deref());
            let detail = format!("nothing called `{what}` is quarantined in {place}");
            return Err(Problem::new("quarantine.not_found", detail).into());
        }
        for (digest, _) in &rows {
            quarantine.remove(digest);
        }
        let problems = quarantine.problems();
        let is_lost = |problem: &&Arc<QuarantineError>| problem.code() != "quarantine.unreadable";
        if let Some(problem) = problems.iter().find(is_lost) {
            return Err(Problem::from(&**problem).into());
        }
        if output.is_json() {
            let cleared: Vec<Value> = rows.iter().map(to_json).collect();
            output.json(&json!({ "state": directory, "cleared": cleared }))?;
            return Ok(Exit::Ok);
        }
        if rows.is_empty() {
            print_none(directory.as_deref(), output)?;
        }
        let mut out = output.text();
        for (digest, entry) in rows {
            let (plugin, version) = (&entry.plugin, &entry.version);
            writeln!(out, "{plugin} {version} may be loaded again: {digest}")?;
        }
        Ok(Exit::Ok)
    }
}

/// The quarantine and its directory. Where there is none yet, none is made.
fn open(state: &State) -> Result<(quarantine::Quarantine, Option<PathBuf>), Problem> {
    let Some(directory) = state.to_read()? else {
        return Ok((quarantine::Quarantine::in_memory(), None));
    };
    let opened = quarantine::Quarantine::open(&directory);
    let opened = opened.map_err(|error| Problem::from(&error))?;
    Ok((opened, Some(directory)))
}

/// Those of a plugin of that name; else the one with a digest that begins so.
fn named(what: &str, all: Vec<Row>) -> Vec<Row> {
    let is_named = |row: &Row| row.1.plugin.as_str() == what;
    if all.iter().any(is_named) {
        return all.into_iter().filter(is_named).collect();
    }
    let digits = what.strip_prefix("sha256:").unwrap_or(what).to_lowercase();
    if digits.len() < DIGITS {
        return Vec::new();
    }
    let begins = |(digest, _): &Row| digest.hex().starts_with(&digits);
    all.into_iter().filter(begins).collect()
}

fn to_json((digest, entry): &Row) -> Value {
    json!({
        "digest": digest,
        "plugin": entry.plugin,
        "version": entry.version,
        "reason": entry.reason,
        "since": state::time(entry.since),
    })
}

fn print_none(directory: Option<&Path>, output: &mut Output) -> std::io::Result<()> {
    let place = state::shown(directory);
    writeln!(output.text(), "no build is quarantined in {place}")
}
