//! `plg history`: what hosts did to their plugins.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use comfy_table::{Table, presets};
use plg_host::history::{self, Entry, Journal, Set};
use serde_json::json;

use crate::exit::Exit;
use crate::home::Home;
use crate::installed;
use crate::output::Output;
use crate::printable::printable;
use crate::problem::{Failure, Problem};
use crate::state::{self, State};

/// Show which plugins hosts loaded, upgraded and unloaded, and why
///
/// Every host that was given the same state directory is in it, the oldest change first; `plg call` and
/// `plg watch` are such hosts. Each change has a number, and `--at` shows what was loaded right after it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg history
  plg history /var/lib/app/plg --last 20
  plg history --at 7 --json
  plg history --installed")]
pub(crate) struct History {
    /// The state directory; the same as --state
    #[arg(conflicts_with = "state")]
    dir: Option<PathBuf>,
    /// Show what was loaded right after the change of this number, in the host that made it
    #[arg(long, value_name = "NUMBER", conflicts_with = "last")]
    at: Option<u64>,
    /// Show only so many of the newest changes
    #[arg(long, value_name = "COUNT")]
    last: Option<usize>,
    /// Show what was installed instead: every set in the store, and which is in force
    #[arg(long, conflicts_with_all = ["dir", "at", "state"])]
    installed: bool,
    #[command(flatten)]
    state: State,
    #[command(flatten)]
    home: Home,
}

impl History {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        if self.installed {
            show_sets(self.last, &self.home, output)?;
            return Ok(Exit::Ok);
        }
        let directory = match self.dir {
            Some(directory) => Some(directory),
            None => self.state.to_read()?,
        };
        let journal = match &directory {
            Some(directory) => {
                history::History::read(directory).map_err(|error| Problem::from(&error))?
            }
            None => Journal::default(),
        };
        let directory = directory.as_deref();
        match self.at {
            Some(number) => show_set(number, &journal, directory, output)?,
            None => show_entries(self.last, &journal, directory, output)?,
        }
        Ok(Exit::Ok)
    }
}

fn show_entries(
    last: Option<usize>,
    journal: &Journal,
    directory: Option<&Path>,
    output: &mut Output,
) -> Result<(), Failure> {
    let entries = journal.entries();
    let passed = last.map_or(0, |last| entries.len().saturating_sub(last));
    let entries: Vec<&Entry> = entries.skip(passed).collect();
    if output.is_json() {
        output.json(&json!({
            "state": directory,
            "entries": entries,
            "skipped": journal.skipped(),
        }))?;
        return Ok(());
    }
    if entries.is_empty() {
        writeln!(
            output.text(),
            "nothing happened yet in {}",
            state::shown(directory)
        )?;
    } else {
        let header = [
            "NUMBER", "TIME", "CHANGE", "PLUGIN", "VERSION", "WHY", "HOST", "DIGEST",
        ];
        print(header, entries.into_iter().map(cells), output)?;
    }
    if journal.skipped() > 0 {
        let skipped = journal.skipped();
        let detail = format!("{skipped} lines of the history cannot be read and are not shown");
        output.warn(&Problem::new("history.damaged", detail));
    }
    Ok(())
}

fn show_sets(last: Option<usize>, home: &Home, output: &mut Output) -> Result<(), Failure> {
    let store = installed::open(home, output)?;
    let current = store.current()?.number;
    let mut sets = store.sets()?;
    let passed = last.map_or(0, |last| sets.len().saturating_sub(last));
    sets.drain(..passed);
    if output.is_json() {
        output.json(&json!({ "home": store.home(), "current": current, "sets": sets }))?;
        return Ok(());
    }
    if sets.is_empty() {
        let home = store.home().display();
        writeln!(output.text(), "nothing was installed yet in `{home}`")?;
        return Ok(());
    }
    let rows = sets.into_iter().map(|set| {
        let plugins = set.plugins.iter();
        let plugins: Vec<String> = plugins
            .map(|plugin| format!("{} {}", plugin.name, plugin.version))
            .collect();
        let mark = if set.number == current { "*" } else { "" };
        [
            format!("{}{mark}", set.number),
            state::time(set.at),
            set.change.to_string(),
            plugins.join(", "),
        ]
    });
    print(["SET", "TIME", "CHANGE", "INSTALLED"], rows, output)?;
    Ok(())
}

fn cells(entry: &Entry) -> [String; 8] {
    let version = match &entry.from {
        Some(from) => format!("{} -> {}", from.version, entry.build.version),
        None => entry.build.version.to_string(),
    };
    [
        entry.number.to_string(),
        state::time(entry.at),
        entry.change.to_string(),
        entry.build.plugin.to_string(),
        version,
        entry.why.to_string(),
        entry.host.to_string(),
        short(&entry.build.digest.hex()),
    ]
}

fn show_set(
    number: u64,
    journal: &Journal,
    directory: Option<&Path>,
    output: &mut Output,
) -> Result<(), Failure> {
    let Some(set) = journal.set_at(number) else {
        let detail = format!(
            "no change in {} has the number {number}",
            state::shown(directory)
        );
        return Err(Problem::new("history.not_found", detail).into());
    };
    if output.is_json() {
        let set: &Set = &set;
        output.json(&json!({ "state": directory, "at": number, "plugins": set }))?;
        return Ok(());
    }
    if set.is_empty() {
        writeln!(
            output.text(),
            "nothing was loaded after the change {number}"
        )?;
        return Ok(());
    }
    let rows = set.iter().map(|(plugin, revision)| {
        [
            plugin.to_string(),
            revision.version.to_string(),
            revision.digest.to_string(),
        ]
    });
    print(["PLUGIN", "VERSION", "DIGEST"], rows, output)?;
    Ok(())
}

/// Prints a table without lines.
pub(super) fn print<const N: usize>(
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
    output: &mut Output,
) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for row in rows {
        table.add_row(row.map(|cell| printable(&cell).into_owned()));
    }
    let mut out = output.text();
    for line in table.lines() {
        writeln!(out, "{}", line.trim())?;
    }
    out.flush()
}

/// As much of a digest as tells builds apart.
pub(super) fn short(hex: &str) -> String {
    hex.chars().take(12).collect()
}
