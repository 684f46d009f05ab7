//! `plg list`: which plugins there are in a directory.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use comfy_table::{Table, presets};
use plg_host::{Candidate, DiscoverError, Host};
use plg_packaging::Manifest;
use serde_json::{Value, json};

use super::history::short;
use super::{Global, history};
use crate::artifact;
use crate::exit::Exit;
use crate::home::Home;
use crate::installed;
use crate::makefile;
use crate::output::Output;
use crate::printable::printable;
use crate::problem::{Failure, Problem, mistake};

/// List the plugins in a directory, without loading any
///
/// What looks like a plugin and is none is named on the standard error, with the reason.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  plg list\n  plg list /srv/plugins --json\n  plg list --installed"
)]
pub(crate) struct List {
    /// The directory; the plugin directory when it is not given
    dir: Option<PathBuf>,
    /// List what is installed instead
    #[arg(long, conflicts_with = "dir")]
    installed: bool,
    #[command(flatten)]
    home: Home,
}

/// A line of the list.
struct Row {
    manifest: Manifest,
    path: PathBuf,
    library: Option<PathBuf>,
    warnings: Vec<Value>,
}

impl List {
    pub(super) fn run(self, global: &Global, output: &mut Output) -> Result<Exit, Failure> {
        if self.installed {
            return list_installed(&self.home, output);
        }
        let directory = self.dir.as_deref().unwrap_or(global.plugin_dir());
        let found = Host::builder().plugin_dir(directory).build()?.discover();
        let mut rows: Vec<Row> = found.candidates.into_iter().map(Row::from).collect();
        let mut problems = Vec::new();
        for problem in &found.problems {
            if problem.path() == directory {
                // Nothing in it was looked at.
                return Err(Problem::from(problem).into());
            }
            match source(problem) {
                Some(row) => rows.push(row),
                None => problems.push(Problem::from(problem)),
            }
        }
        rows.sort_by(|left, right| left.manifest.name.cmp(&right.manifest.name));
        if output.is_json() {
            let plugins: Vec<Value> = rows.iter().map(Row::to_json).collect();
            let problems: Vec<Value> = problems.iter().map(Problem::to_json).collect();
            output.json(&json!({
                "directory": directory,
                "plugins": plugins,
                "problems": problems,
            }))?;
            return Ok(Exit::Ok);
        }
        print(&rows, directory, output)?;
        for problem in &problems {
            output.warn(problem);
        }
        Ok(Exit::Ok)
    }
}

fn list_installed(home: &Home, output: &mut Output) -> Result<Exit, Failure> {
    let store = installed::open(home, output)?;
    let set = store.current()?;
    if output.is_json() {
        let plugins: Vec<Value> = set.plugins.iter().map(installed::entry_json).collect();
        let home = store.home();
        output.json(&json!({ "home": home, "set": set.number, "plugins": plugins }))?;
        return Ok(Exit::Ok);
    }
    if set.plugins.is_empty() {
        let home = store.home().display();
        writeln!(output.text(), "nothing is installed in `{home}`")?;
        return Ok(Exit::Ok);
    }
    let rows = set.plugins.iter().map(|entry| {
        [
            entry.name.to_string(),
            entry.version.to_string(),
            entry.level.clone(),
            entry.signer.clone().unwrap_or_else(|| "nobody".to_owned()),
            short(&entry.digest.hex()),
            entry.source.clone(),
        ]
    });
    let header = ["NAME", "VERSION", "LEVEL", "SIGNED BY", "DIGEST", "SOURCE"];
    history::print(header, rows, output)?;
    Ok(Exit::Ok)
}

/// The plugin that will be there once it is built.
fn source(problem: &DiscoverError) -> Option<Row> {
    let DiscoverError::NoLibrary { path, .. } = problem else {
        return None;
    };
    let is_source = path.join("Cargo.toml").is_file() || makefile::is_in(path);
    is_source
        .then(|| artifact::manifest(path).ok())
        .flatten()
        .map(|manifest| Row {
            manifest,
            path: path.clone(),
            library: None,
            warnings: Vec::new(),
        })
}

fn print(rows: &[Row], directory: &Path, output: &mut Output) -> std::io::Result<()> {
    let mut out = output.text();
    if rows.is_empty() {
        return writeln!(out, "no plugins in `{}`", directory.display());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["NAME", "VERSION", "STATE", "LABELS", "DESCRIPTION"]);
    for row in rows {
        let labels: Vec<&str> = row
            .manifest
            .labels
            .iter()
            .map(|label| label.as_str())
            .collect();
        let description = row.manifest.description.as_ref();
        table.add_row([
            row.manifest.name.to_string(),
            row.manifest.version.to_string(),
            row.state().to_owned(),
            labels.join(", "),
            printable(description.map_or("", |text| text.as_str())).into_owned(),
        ]);
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim())?;
    }
    Ok(())
}

impl Row {
    /// Whether it can be loaded as it is, or has to be built.
    fn state(&self) -> &'static str {
        match self.library {
            Some(_) => "built",
            None => "source",
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.manifest.name,
            "version": self.manifest.version,
            "state": self.state(),
            "labels": self.manifest.labels,
            "description": self.manifest.description,
            "path": self.path,
            "library": self.library,
            "warnings": self.warnings,
        })
    }
}

impl From<Candidate> for Row {
    fn from(candidate: Candidate) -> Self {
        let library = candidate.library;
        Self {
            path: candidate.directory.unwrap_or_else(|| library.clone()),
            library: library.exists().then_some(library),
            warnings: candidate.warnings.iter().map(mistake).collect(),
            manifest: candidate.manifest,
        }
    }
}
