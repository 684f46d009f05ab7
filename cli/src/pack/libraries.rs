//! The library for each platform: built, or given.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use plg_packaging::bundle::Target;

use crate::artifact::{self, Profile};
use crate::problem::Problem;
use crate::{crates, library, makefile};

/// What `--target` asks for: a platform, and its library if that is there already.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) target: Target,
    pub(crate) library: Option<PathBuf>,
}

/// A library to be packed.
pub(crate) struct Library {
    pub(crate) target: Target,
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

impl FromStr for Wanted {
    type Err = plg_packaging::TextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (target, library) = match text.split_once('=') {
            Some((target, library)) => (target, Some(PathBuf::from(library))),
            None => (text, None),
        };
        Ok(Self {
            target: Target::new(target)?,
            library,
        })
    }
}

/// Builds the program of a crate that makes one and no library. Returns the directory that it stands in.
pub(crate) fn program(directory: &Path) -> Result<Option<PathBuf>, Problem> {
    if is_crate(directory) && crates::is_program(directory) {
        return crates::build(directory, Profile::Release).map(Some);
    }
    Ok(None)
}

/// Builds what has to be built. Without a wish it is the library for this machine; a plugin that is a program may have
/// none.
pub(crate) fn collect(
    directory: &Path,
    wanted: &[Wanted],
    is_program: bool,
) -> Result<Vec<Library>, Problem> {
    if wanted.is_empty() {
        if is_program && !has_sources(directory) {
            return Ok(Vec::new());
        }
        let path = for_this_machine(directory)?;
        return Ok(vec![read(Target::current(), path)?]);
    }
    wanted
        .iter()
        .map(|wanted| {
            let path = match &wanted.library {
                Some(path) => path.clone(),
                None => built(directory, &wanted.target)?,
            };
            read(wanted.target.clone(), path)
        })
        .collect()
}

fn read(target: Target, path: PathBuf) -> Result<Library, Problem> {
    let bytes = library::read(&path)?;
    Ok(Library {
        target,
        path,
        bytes,
    })
}

fn built(directory: &Path, target: &Target) -> Result<PathBuf, Problem> {
    if *target == Target::current() {
        return for_this_machine(directory);
    }
    if is_crate(directory) {
        return crates::build_for(directory, Profile::Release, target);
    }
    let shown = directory.display();
    let detail = format!("only a crate is built for another machine, and `{shown}` is none");
    let help = format!("build the library for it and give its path: `--target {target}=PATH`");
    Err(Problem::new("build.no_target", detail).help(help))
}

fn for_this_machine(directory: &Path) -> Result<PathBuf, Problem> {
    if is_crate(directory) {
        return crates::build(directory, Profile::Release);
    }
    if makefile::is_in(directory) {
        makefile::fresh(directory)?;
    } else if !directory.is_dir() {
        return Err(artifact::no_sources(directory));
    }
    artifact::declared(directory)
}

fn has_sources(directory: &Path) -> bool {
    is_crate(directory) || makefile::is_in(directory)
}

fn is_crate(directory: &Path) -> bool {
    directory.join("Cargo.toml").is_file()
}
