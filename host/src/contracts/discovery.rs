//! Plugins without a `plugin.json`, found by the framework's rules: programs whose names have no dot, below a directory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use plg_packaging::manifest::{Dialect, Process, RelativePath, SocketKind};
use plg_packaging::{Manifest, PluginName};
use semver::Version;

use super::ContractOptions;
use crate::discovery::{self, Candidate};
use crate::error::Error;
use crate::history::Why;
use crate::host::{Host, LoadReport};
use crate::inner::Inner;
use crate::loader::{Known, LoadError, io_code};
use crate::transport::process::dialect::contracts::capabilities;
use crate::transport::process::program::Program;

/// What is below a directory.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ContractDiscovery {
    /// The plugins that said what they offer, by path.
    pub candidates: Vec<Candidate>,
    /// What else is there, by path.
    pub skipped: Vec<SkippedProgram>,
}

/// A file that is no plugin.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SkippedProgram {
    /// The file.
    pub path: PathBuf,
    /// The stable code of the reason.
    pub code: &'static str,
    /// The reason.
    pub why: String,
}

/// How deep directories are looked into, and how many files are looked at.
const DEPTH: usize = 16;
const FILES: usize = 10_000;

impl Host {
    /// Looks below a directory for plugins of Skarlso's framework, by its rules: every program whose name has no dot is
    /// asked for its capabilities, and is a plugin if it answers. It is called as its file, in small letters and with
    /// `-` for `_`, and has the version 0.0.0. Links are not followed. Nothing is loaded.
    ///
    /// The programs are run: look only into directories that you trust with the process.
    ///
    /// # Errors
    ///
    /// [`Error::Discover`] when the directory cannot be read, or others could put something there.
    pub fn discover_contracts(
        &self,
        directory: impl AsRef<Path>,
        options: &ContractOptions,
    ) -> Result<ContractDiscovery, Error> {
        self.inner.discover_contracts(directory.as_ref(), options)
    }

    /// Loads every plugin that [`discover_contracts`](Self::discover_contracts) finds, to be run as `options` say.
    ///
    /// # Errors
    ///
    /// As for `discover_contracts`, and `host.closed` after a shutdown. What is wrong with single plugins is in the
    /// report.
    pub fn load_contracts(
        &self,
        directory: impl AsRef<Path>,
        options: &ContractOptions,
    ) -> Result<LoadReport, Error> {
        self.inner.check_open()?;
        let found = self.inner.discover_contracts(directory.as_ref(), options)?;
        let mut report = LoadReport::default();
        report
            .failed
            .extend(found.skipped.into_iter().filter_map(SkippedProgram::error));
        for candidate in &found.candidates {
            let settings = &self.inner.setup.loader.settings;
            settings.set(&candidate.manifest.name, options);
            match self.inner.load(candidate, Known::default(), Why::Asked) {
                Ok(handle) => report.loaded.push(handle),
                Err(error) => report.failed.push(error),
            }
        }
        Ok(report)
    }
}

impl Inner {
    /// The plugins of the framework in the directories that the host was told, and why others are none.
    pub(crate) fn contract_programs(&self) -> (Vec<Candidate>, Vec<Error>) {
        let (mut candidates, mut failed) = (Vec::new(), Vec::new());
        for (directory, options) in &self.setup.contract_directories {
            match self.discover_contracts(directory, options) {
                Ok(found) => {
                    for candidate in found.candidates {
                        let name = &candidate.manifest.name;
                        if self.is_wanted(name) {
                            self.setup.loader.settings.set(name, options);
                            candidates.push(candidate);
                        }
                    }
                    failed.extend(found.skipped.into_iter().filter_map(SkippedProgram::error));
                }
                Err(error) => failed.push(error),
            }
        }
        (candidates, failed)
    }

    fn discover_contracts(
        &self,
        directory: &Path,
        options: &ContractOptions,
    ) -> Result<ContractDiscovery, Error> {
        let base = discovery::check_base(directory, &self.setup.discovery)?;
        let mut found = ContractDiscovery::default();
        let mut files = Vec::new();
        walk(&base, DEPTH, &mut files, &mut found.skipped);
        let mut names = BTreeMap::new();
        for path in files {
            match self.contract_candidate(&path, options, &mut names) {
                Ok(Some(candidate)) => found.candidates.push(candidate),
                Ok(None) => {}
                Err((code, why)) => found.skipped.push(SkippedProgram { path, code, why }),
            }
        }
        found
            .skipped
            .sort_by(|left, right| left.path.cmp(&right.path));
        Ok(found)
    }

    /// The plugin that a file is; `None` when nobody wants to know.
    fn contract_candidate(
        &self,
        path: &Path,
        options: &ContractOptions,
        names: &mut BTreeMap<PluginName, PathBuf>,
    ) -> Result<Option<Candidate>, (&'static str, String)> {
        let name = |why: String| ("contract.name", why);
        let file = path.file_name().unwrap_or_default();
        let file = file
            .to_str()
            .ok_or_else(|| name("its name is no text".to_owned()))?;
        if options.filter.as_ref().is_some_and(|wanted| !wanted(file)) {
            return Ok(None);
        }
        if file.contains('.') {
            return Err(name("its name has a dot".to_owned()));
        }
        discovery::check_way(path, &self.setup.discovery)
            .map_err(|error| (error.code(), error.to_string()))?;
        let metadata = fs::metadata(path).map_err(|error| (io_code(&error), error.to_string()))?;
        if metadata.permissions().mode() & 0o111 == 0 {
            return Err(("dir.kind", "it cannot be executed".to_owned()));
        }
        let plugin = PluginName::new(&file.to_lowercase().replace('_', "-"))
            .map_err(|error| name(error.to_string()))?;
        let exec = RelativePath::new(file).map_err(|error| name(error.to_string()))?;
        if let Some(other) = names.get(&plugin) {
            return Err(name(format!("`{}` has the same name", other.display())));
        }
        let mut process = Process::new(exec);
        process.dialect = Dialect::Contracts;
        process.transport = options.tcp.then_some(SocketKind::Tcp);
        let directory = path.parent().unwrap_or(path);
        let program = Program::find(directory, &process)
            .map_err(|error| (error.code(), error.to_string()))?;
        let mut manifest = Manifest::minimal(plugin.clone(), Version::new(0, 0, 0));
        manifest.process = Some(process);
        let candidate = Candidate {
            manifest,
            library: path.to_owned(),
            directory: Some(directory.to_owned()),
            warnings: Vec::new(),
            installed: None,
        };
        // What may not be loaded is not asked either: that would run it.
        let placed = self
            .place(&candidate)
            .map_err(|error| (error.code(), error.to_string()))?;
        let loader = &self.setup.loader;
        let (run, spawner) = (&loader.run, &loader.spawner);
        let confinement = loader.confinement(&placed, Some(directory));
        let limit = options.capabilities_timeout;
        capabilities::ask(&program, &plugin, &confinement, run, spawner, limit)
            .map_err(|problem| ("contract.capabilities", problem))?;
        names.insert(plugin, path.to_owned());
        Ok(Some(candidate))
    }
}

impl SkippedProgram {
    /// The error of a load, for what may have been meant to be a plugin.
    fn error(self) -> Option<Error> {
        let Self { path, code, why } = self;
        match code {
            // Every directory has files that are something else.
            "contract.name" | "dir.kind" => None,
            _ => Some(
                LoadError::Start {
                    path,
                    code,
                    message: why,
                }
                .into(),
            ),
        }
    }
}

/// Collects the files below a directory, by path.
fn walk(
    directory: &Path,
    depth: usize,
    files: &mut Vec<PathBuf>,
    skipped: &mut Vec<SkippedProgram>,
) {
    let skip = |path: &Path, code, why: String| SkippedProgram {
        path: path.to_owned(),
        code,
        why,
    };
    let entries = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => {
            skipped.push(skip(directory, io_code(&error), error.to_string()));
            return;
        }
    };
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let why = match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => {
                walk(&path, depth - 1, files, skipped);
                continue;
            }
            Ok(kind) if kind.is_file() && files.len() < FILES => {
                files.push(path);
                continue;
            }
            Ok(kind) if kind.is_dir() => format!("it is more than {DEPTH} directories down"),
            Ok(kind) if kind.is_file() => format!("there are more than {FILES} files"),
            Ok(kind) if kind.is_symlink() => "it is a symbolic link".to_owned(),
            Ok(_) => "it is no regular file".to_owned(),
            Err(error) => error.to_string(),
        };
        skipped.push(skip(&path, "dir.kind", why));
    }
}
