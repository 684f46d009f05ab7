//! The store as the command line sees it: opened with a display, and what a change did to it.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use plg_host::store::{Change, Changed, Difference, Entry, Options, Progress, Store, StoreError};
use plg_host::{Manifest, PluginName};
use serde_json::{Value, json};

use crate::home::Home;
use crate::output::Output;
use crate::printable::printable;
use crate::problem::{Failure, Problem};

/// Opens the store. Where somebody is there to see it, it says how far it is.
pub(crate) fn open(home: &Home, output: &Output) -> Result<Store, Problem> {
    let mut options = Options::new();
    if !output.is_json() && io::stderr().is_terminal() {
        let bar = ProgressBar::new(0)
            .with_style(ProgressStyle::default_bar())
            // Also when it ends before the end.
            .with_finish(ProgressFinish::AndClear);
        options = options.on_progress(move |progress| show(&bar, progress));
    }
    Ok(Store::open(home.directory()?, options)?)
}

fn show(bar: &ProgressBar, progress: &Progress<'_>) {
    match progress {
        Progress::Waiting { .. } => {
            bar.set_style(ProgressStyle::default_spinner());
            bar.set_message("waiting for another process that changes the store");
            bar.tick();
        }
        Progress::Unpacking { done, total, .. } => {
            bar.set_style(ProgressStyle::default_bar());
            bar.set_length(total.unwrap_or(*done));
            bar.set_position(*done);
            if total.is_none_or(|total| *done >= total) {
                bar.finish_and_clear();
            }
        }
        _ => {}
    }
}

/// Where bundles are read from.
pub(crate) fn bundle(path: &Path) -> Result<plg_host::store::Bundle<'static>, Problem> {
    Ok(plg_host::store::Bundle::open(path)?)
}

/// Says what a change did, or what it would do, and what can be done next.
pub(crate) fn report(
    store: &Store,
    changed: &Changed,
    is_plan: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    if output.is_json() {
        let changes: Vec<Value> = changed.differences.iter().map(to_json).collect();
        output.json(&json!({
            "home": store.home(),
            "plan": is_plan,
            "set": changed.set.number,
            "from": changed.from,
            "changes": changes,
        }))?;
        return Ok(());
    }
    let mut out = output.text();
    let would = if is_plan { "would have " } else { "" };
    for difference in &changed.differences {
        writeln!(out, "{would}{}", printable(&sentence(difference)))?;
    }
    if changed.set.number == changed.from {
        writeln!(out, "nothing to do: this is installed already")?;
    } else if is_plan {
        writeln!(out, "nothing was changed; leave out `--plan` to do it")?;
    } else {
        let number = changed.set.number;
        let back = match changed.set.change {
            // One more `undo` would go further back.
            Change::Undo { .. } => format!("plg undo --to {}", changed.from),
            _ => "plg undo".to_owned(),
        };
        writeln!(out, "set {number} is in force; `{back}` takes this back")?;
    }
    Ok(())
}

fn sentence(difference: &Difference) -> String {
    match (&difference.from, &difference.to) {
        (None, Some(to)) => format!("installed {} {}", to.name, to.version),
        (Some(from), None) => format!("removed {} {}", from.name, from.version),
        (Some(from), Some(to)) if from.digest == to.digest => {
            format!(
                "changed who signed {} {}, which has the same bytes",
                to.name, to.version
            )
        }
        (Some(from), Some(to)) if from.version == to.version => {
            format!("replaced {} {} by another build of it", to.name, to.version)
        }
        (Some(from), Some(to)) if from.version < to.version => {
            format!("upgraded {} {} -> {}", to.name, from.version, to.version)
        }
        (Some(from), Some(to)) => {
            format!(
                "went back to {} {} from {}",
                to.name, to.version, from.version
            )
        }
        (None, None) => String::new(),
    }
}

fn to_json(difference: &Difference) -> Value {
    let side = |entry: &Option<Entry>| entry.as_ref().map(entry_json);
    json!({
        "plugin": difference.name(),
        "from": side(&difference.from),
        "to": side(&difference.to),
    })
}

/// A plugin that is installed.
pub(crate) fn entry_json(entry: &Entry) -> Value {
    json!({
        "name": entry.name,
        "version": entry.version,
        "digest": entry.digest,
        "source": entry.source,
        "level": entry.level,
        "signer": entry.signer,
        "platforms": entry.platforms,
        "permissions": entry.permissions,
        "bytes": entry.bytes,
    })
}

/// An installed plugin; `None` when there is no such plugin, or no store.
pub(crate) fn find(name: &str, home: &Home) -> Result<Option<Installed>, Problem> {
    let (Ok(name), Ok(home)) = (name.parse::<PluginName>(), home.directory()) else {
        return Ok(None);
    };
    let build = match Store::open(&home, Options::new()).and_then(|store| store.build(&name)) {
        Ok(build) => build,
        // Whoever cannot read the store has nothing installed there.
        Err(StoreError::NotInstalled { .. } | StoreError::Read { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(Installed {
        name,
        manifest: build.manifest,
        library: build.library.map(|(library, _)| library),
        directory: build.directory,
        home,
    }))
}

/// A plugin in the store.
#[derive(Clone, Debug)]
pub(crate) struct Installed {
    pub(crate) name: PluginName,
    pub(crate) manifest: Manifest,
    /// Its library for this machine.
    pub(crate) library: Option<PathBuf>,
    /// The directory with its `plugin.json`.
    pub(crate) directory: PathBuf,
    /// Where the store is.
    pub(crate) home: PathBuf,
}

impl Installed {
    /// Its library, for whoever only looks at it.
    pub(crate) fn library(&self) -> Result<PathBuf, Problem> {
        self.library.clone().ok_or_else(|| {
            let detail = format!(
                "`{}` is installed without a library for this machine",
                self.name
            );
            Problem::new("dir.no_library", detail)
        })
    }
}
