//! A plugin's library: where it is, and what can go wrong with building it.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use plg_host::{Candidate, DiscoverError, Host, MANIFEST};
use plg_packaging::Manifest;
use plg_packaging::manifest::{MAX_BYTES, Source};

use crate::makefile;
use crate::problem::Problem;

/// Which of cargo's two usual profiles.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Profile {
    /// Quick to build.
    Debug,
    /// Quick to run.
    Release,
}

impl Profile {
    pub(crate) fn release(release: bool) -> Self {
        if release { Self::Release } else { Self::Debug }
    }

    /// The directory below cargo's target directory.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }
}

/// The manifest in `directory`.
pub(crate) fn manifest(directory: &Path) -> Result<Manifest, Problem> {
    let path = directory.join(MANIFEST);
    let bytes = match read_manifest(&path) {
        Ok(bytes) => bytes,
        Err(source) => return Err((&DiscoverError::Read { path, source }).into()),
    };
    match Manifest::parse(&bytes) {
        Ok(parsed) => Ok(parsed.manifest),
        Err(source) => Err((&DiscoverError::Manifest { path, source }).into()),
    }
}

/// The bytes of a `plugin.json`, of a longer one as many as say that it is too long.
pub(crate) fn read_manifest(path: &Path) -> io::Result<Vec<u8>> {
    // A fifo waits as soon as it is opened, and a device may not end.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The library that a directory's manifest names, or that stands there under a usual name.
pub(crate) fn declared(directory: &Path) -> Result<PathBuf, Problem> {
    let manifest = manifest(directory)?;
    let names = match &manifest.source {
        Some(Source::LocalSo { path }) => vec![path.as_str().to_owned()],
        _ => {
            let name = manifest.name.as_str();
            vec![
                format!("lib{}.so", name.replace('-', "_")),
                format!("{name}.so"),
            ]
        }
    };
    let mut found = names.iter().map(|name| directory.join(name));
    if let Some(library) = found.find(|path| path.exists()) {
        return Ok(library);
    }
    if let Some(program) = program(directory)? {
        return Ok(program.library);
    }
    let looked_for = names.iter().map(|name| format!("`{name}`")).collect();
    let path = directory.to_owned();
    let problem = Problem::from(&DiscoverError::NoLibrary { path, looked_for });
    Err(match makefile::is_in(directory) {
        true => problem.help(format!("run `plg build {}`", directory.display())),
        false => problem,
    })
}

/// The plugin in `directory`, if it is a program and no library.
pub(crate) fn program(directory: &Path) -> Result<Option<Candidate>, Problem> {
    if manifest(directory)?.process.is_none() {
        return Ok(None);
    }
    let candidate = Host::builder().build()?.candidate(directory)?;
    Ok(Some(candidate).filter(Candidate::is_program))
}

/// There is nothing that could be built.
pub(crate) fn no_sources(directory: &Path) -> Problem {
    let shown = directory.display();
    if !directory.is_dir() {
        let problem = Problem::new("io.not_found", format!("there is no directory `{shown}`"));
        return problem.help("give the directory of a plugin's sources");
    }
    let detail = format!("`{shown}` has neither a Cargo.toml nor a Makefile");
    Problem::new("build.no_sources", detail)
}

/// The tool could not be started.
pub(crate) fn no_tool(program: &str, error: &std::io::Error) -> Problem {
    Problem::new("build.no_tool", format!("failed to run `{program}`")).because(error)
}

/// The tool said that it failed; why stands above, in its own words.
pub(crate) fn failed(what: &str, directory: &Path, status: ExitStatus) -> Problem {
    let detail = format!("`{what}` failed in `{}`: {status}", directory.display());
    Problem::new("build.failed", detail)
}

/// It built, and nothing came of it that a host could load.
pub(crate) fn no_artifact(detail: String) -> Problem {
    Problem::new("build.no_artifact", detail)
}
