//! What the PATH or NAME of a command line means.

use std::fmt;
use std::path::{Path, PathBuf};

use plg_host::{Candidate, Error, Handle, Host, MANIFEST, PluginName};

use crate::artifact::{self, Profile};
use crate::commands::Global;
use crate::home::Home;
use crate::installed::{self, Installed};
use crate::problem::Problem;
use crate::{crates, freshness, makefile};

/// A plugin as it lies on the disk.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A library that describes itself.
    Library(PathBuf),
    /// A directory with a `plugin.json` and a library.
    Directory(PathBuf),
    /// A crate that has to be built.
    Crate(PathBuf),
    /// A directory with a Makefile that builds the library.
    Make(PathBuf),
    /// A plugin from the store.
    Installed(Box<Installed>),
}

/// What a host loads.
#[derive(Clone, Debug)]
pub(crate) enum Loadable {
    /// A library, a bundle or a directory.
    Path(PathBuf),
    /// What is installed of a plugin. The host looks for it in its own store, so that what is checked is what
    /// is loaded.
    Installed {
        name: PluginName,
        /// Where the store is.
        home: PathBuf,
    },
}

impl Loadable {
    /// Loads it; the host has its [`home`](Self::home).
    pub(crate) fn load(&self, host: &Host) -> Result<Handle, Error> {
        match self {
            Self::Path(path) => host.load(path),
            Self::Installed { name, .. } => host.load_installed(name.as_str()),
        }
    }

    /// The home that a host needs to load it.
    pub(crate) fn home(&self) -> Option<&Path> {
        match self {
            Self::Path(_) => None,
            Self::Installed { home, .. } => Some(home),
        }
    }
}

impl fmt::Display for Loadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Installed { name, .. } => name.fmt(f),
        }
    }
}

/// Where a target's library is.
pub(crate) struct Built {
    /// The library.
    pub(crate) library: PathBuf,
    /// Whether one of its sources is newer.
    pub(crate) stale: bool,
}

impl Target {
    /// Finds what `text` names: a path that exists and can be a plugin, else a plugin in the plugin directory.
    pub(crate) fn find(text: &str, plugin_dir: &Path) -> Result<Self, Problem> {
        let path = Path::new(text);
        let is_name = PluginName::new(text).is_ok();
        match Self::at(path) {
            // A plain name is never a library, because there is no dot in it.
            Some(target) if !(is_name && matches!(target, Self::Library(_))) => Ok(target),
            _ if is_name => Self::named(text, plugin_dir),
            _ if path.is_dir() => Ok(Self::Directory(path.to_owned())),
            // Anything that is no directory is the library loader's to judge, an absent file too.
            _ => Ok(Self::Library(path.to_owned())),
        }
    }

    /// As [`find`](Self::find); a name that is no path may be that of an installed plugin. Where somebody said which
    /// plugin directory is meant, that comes first.
    pub(crate) fn find_installed(
        text: &str,
        global: &Global,
        home: &Home,
    ) -> Result<Self, Problem> {
        let is_path = Path::new(text).exists();
        let installed = || -> Result<_, Problem> {
            let found = installed::find(text, home)?;
            Ok(found.map(|found| Self::Installed(found.into())))
        };
        if !is_path
            && !global.has_plugin_dir()
            && let Some(found) = installed()?
        {
            return Ok(found);
        }
        let problem = match Self::find(text, global.plugin_dir()) {
            Err(problem) if matches!(problem.code(), "plugin.not_found" | "io.not_found") => {
                problem
            }
            outcome => return outcome,
        };
        match installed()? {
            Some(found) => Ok(found),
            // There need not be a plugin directory, and then it is not what is wrong.
            None if problem.code() == "io.not_found" => {
                let detail = format!("there is no plugin `{text}`: it is not installed");
                let help = "install it, or give a path or the directory of your plugins";
                Err(Problem::new("plugin.not_found", detail).help(help))
            }
            None => Err(problem),
        }
    }

    /// The plugin in a directory or file, if it looks like one.
    fn at(path: &Path) -> Option<Self> {
        if path.is_dir() {
            let has = |name: &str| path.join(name).is_file();
            let directory = path.to_owned();
            return if has("Cargo.toml") {
                Some(Self::Crate(directory))
            } else if makefile::is_in(path) {
                Some(Self::Make(directory))
            } else if has(MANIFEST) {
                Some(Self::Directory(directory))
            } else {
                None
            };
        }
        path.exists().then(|| Self::Library(path.to_owned()))
    }

    fn named(name: &str, plugin_dir: &Path) -> Result<Self, Problem> {
        if let Some(target) = Self::at(&plugin_dir.join(name)) {
            return Ok(target);
        }
        let found = Host::builder().plugin_dir(plugin_dir).build()?.discover();
        let is_it = |candidate: &&Candidate| candidate.manifest.name.as_str() == name;
        if let Some(candidate) = found.candidates.iter().find(is_it) {
            return Ok(Self::Library(candidate.library.clone()));
        }
        if let Some(problem) = found.problems.iter().find(|problem| {
            // The whole directory, or a file that by its name would be it.
            let path = problem.path();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let stem = stem.strip_prefix("lib").unwrap_or(&stem).replace('_', "-");
            problem.code() == "dir.unsafe" || path == plugin_dir || stem == name
        }) {
            return Err(Problem::from(problem));
        }
        let mut known: Vec<String> = found
            .candidates
            .iter()
            .map(|candidate| format!("`{}`", candidate.manifest.name))
            .collect();
        known.extend(found.problems.iter().filter_map(|problem| {
            let path = problem.path();
            let target = Self::at(path)?;
            let name = path.file_name()?.to_str()?;
            matches!(target, Self::Crate(_) | Self::Make(_)).then(|| format!("`{name}`"))
        }));
        known.sort();
        let detail = format!("there is no plugin `{name}` in `{}`", plugin_dir.display());
        let help = match known.as_slice() {
            [] => "give a path, or the directory of your plugins with --plugin-dir".to_owned(),
            known => format!("there are {}; or give a path", known.join(", ")),
        };
        Err(Problem::new("plugin.not_found", detail).help(help))
    }

    /// What a host can load, built first where that is needed.
    pub(crate) fn loadable(&self, profile: Profile) -> Result<Loadable, Problem> {
        Ok(match self {
            Self::Library(path) | Self::Directory(path) => Loadable::Path(path.clone()),
            Self::Installed(installed) => Loadable::Installed {
                name: installed.name.clone(),
                home: installed.home.clone(),
            },
            Self::Crate(directory) => Loadable::Path(crates::fresh(directory, profile)?),
            Self::Make(directory) => {
                makefile::fresh(directory)?;
                Loadable::Path(directory.clone())
            }
        })
    }

    /// A crate whose program was built is the directory that it stands in.
    pub(crate) fn settled(self, profile: Profile) -> Self {
        match self {
            Self::Crate(directory) => match crates::staged(&directory, profile) {
                Some(staged) => Self::Directory(staged),
                None => Self::Crate(directory),
            },
            other => other,
        }
    }

    /// The library as it is now. Nothing is built.
    pub(crate) fn built(&self, profile: Profile) -> Result<Built, Problem> {
        match self {
            Self::Library(library) => Ok(Built {
                library: library.clone(),
                stale: false,
            }),
            Self::Installed(installed) => Ok(Built {
                library: installed.library()?,
                stale: false,
            }),
            Self::Directory(directory) | Self::Make(directory) => Ok(Built {
                library: artifact::declared(directory)?,
                stale: matches!(self, Self::Make(_)) && makefile::is_stale(directory),
            }),
            Self::Crate(directory) => {
                let library = crates::locate(directory, profile)?;
                if !library.exists() {
                    return Err(not_built(directory));
                }
                let stale = freshness::is_stale(&library, directory);
                Ok(Built { library, stale })
            }
        }
    }

    /// The directory with the plugin's `plugin.json`, where there is one.
    pub(crate) fn directory(&self) -> Option<&Path> {
        match self {
            Self::Library(_) => None,
            Self::Directory(path) | Self::Crate(path) | Self::Make(path) => Some(path),
            Self::Installed(installed) => Some(&installed.directory),
        }
    }
}

/// There is source, and no library of it.
fn not_built(directory: &Path) -> Problem {
    let shown = directory.display();
    Problem::new("dir.no_library", format!("`{shown}` is not built"))
        .help(format!("run `plg build {shown}`"))
}
