//! The manifest, the assets and the program.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use plg_host::preflight::inspect;
use plg_host::{DiscoverError, MANIFEST, Manifest, PluginName};
use plg_packaging::bundle::{Draft, MemberPath, PackError, Target};

use super::libraries::Library;
use crate::artifact::read_manifest;
use crate::problem::Problem;

/// The bytes of the directory's `plugin.json`, if there is one.
pub(crate) fn manifest(directory: &Path) -> Result<Option<Vec<u8>>, Problem> {
    let path = directory.join(MANIFEST);
    match read_manifest(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err((&DiscoverError::Read { path, source }).into()),
    }
}

/// The manifest of a plugin without a file: the one in its library, else what its note says.
pub(crate) fn embedded(libraries: &[Library]) -> Result<Vec<u8>, Problem> {
    let here = Target::current();
    let library = libraries.iter().find(|library| library.target == here);
    let facts = library.and_then(|library| inspect(&library.bytes).ok());
    let note = facts.as_ref().and_then(|facts| facts.plugin_note());
    if let Some(note) = note {
        if !note.manifest.is_empty() {
            return Ok(note.manifest.clone());
        }
        if let (Ok(name), Ok(version)) = (PluginName::new(&note.name), note.version.parse()) {
            return Ok(Manifest::minimal(name, version).to_json().into_bytes());
        }
    }
    let detail = "there is no `plugin.json`, and no library for this machine that has one in it";
    Err(Problem::new("pack.no_manifest", detail))
}

/// Adds everything below `assets`, and the program of a plugin that is one, which may have been `built` elsewhere.
pub(crate) fn add(
    draft: &mut Draft,
    directory: &Path,
    built: Option<&Path>,
) -> Result<(), Problem> {
    let process = draft.parsed().manifest.process.clone();
    let program = process.as_ref().map(|it| it.exec.as_str().to_owned());
    for arg in process.iter().flat_map(|process| &process.args) {
        check_argument(directory, arg.as_str())?;
    }
    let assets = directory.join("assets");
    match fs::symlink_metadata(&assets) {
        Ok(_) => add_all(draft, &assets, "assets", program.as_deref())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unreadable(&assets, error)),
    }
    let Some(program) = program else {
        return Ok(());
    };
    let path = built.unwrap_or(directory).join(&program);
    if !path.exists() {
        if !program.contains('/') {
            // A bare name is looked up where the plugin runs, `python3` for instance.
            return Ok(());
        }
        let detail = format!("the manifest's program `{program}` is not there");
        return Err(Problem::new("io.not_found", detail).help("build it, then pack again"));
    }
    if built.is_some() || !program.starts_with("assets/") {
        let member = member(&program, &path)
            .map_err(|problem| problem.help("put the program below `assets/` and name it so"))?;
        draft.file(member, path, true);
    }
    Ok(())
}

/// What an interpreter is given has to be where a bundle has files.
fn check_argument(directory: &Path, arg: &str) -> Result<(), Problem> {
    let is_own = !arg.starts_with(['/', '-', '.']) && directory.join(arg).is_file();
    if is_own && !arg.starts_with("assets/") {
        member(arg, &directory.join(arg))
            .map_err(|problem| problem.help("put the file below `assets/` and name it so"))?;
    }
    Ok(())
}

fn add_all(
    draft: &mut Draft,
    path: &Path,
    name: &str,
    program: Option<&str>,
) -> Result<(), Problem> {
    let metadata = fs::symlink_metadata(path).map_err(|error| unreadable(path, error))?;
    if metadata.is_dir() {
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(|error| unreadable(path, error))? {
            let entry = entry.map_err(|error| unreadable(path, error))?;
            names.push(entry.file_name());
        }
        names.sort();
        for entry in names {
            let name = format!("{name}/{}", entry.to_string_lossy());
            // Before going down: a directory that cannot stand there would be followed for ever.
            let path = path.join(&entry);
            member(&name, &path)?;
            add_all(draft, &path, &name, program)?;
        }
        return Ok(());
    }
    if !metadata.is_file() {
        let path = path.to_owned();
        return Err(Problem::from(&PackError::Kind { path }));
    }
    let is_executable = metadata.permissions().mode() & 0o100 != 0;
    let executable = is_executable || program == Some(name);
    draft.file(member(name, path)?, path.to_owned(), executable);
    Ok(())
}

fn member(name: &str, path: &Path) -> Result<MemberPath, Problem> {
    MemberPath::new(name).map_err(|source| {
        let path = path.to_owned();
        Problem::from(&PackError::Path { path, source })
    })
}

fn unreadable(path: &Path, source: io::Error) -> Problem {
    let path = path.to_owned();
    Problem::from(&PackError::Read { path, source })
}
