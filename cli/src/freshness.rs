//! Whether a library is older than its sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Whether something that the library of the crate in `directory` is made of is newer than it, or is
/// gone. What cargo noted beside the library counts too: files it includes and crates it depends on by
/// path.
pub(crate) fn is_stale(library: &Path, directory: &Path) -> bool {
    let Some(built) = modified(library) else {
        return true;
    };
    let Some(noted) = noted(library) else {
        return true;
    };
    let newer = |path: &Path| modified(path).is_none_or(|modified| modified > built);
    let beside = ["Cargo.toml", "plugin.json", "build.rs"];
    let beside = beside.iter().map(|name| directory.join(name));
    beside.filter(|path| path.exists()).any(|path| newer(&path))
        || noted.iter().any(|path| newer(path))
        || has_newer(&directory.join("src"), built)
}

/// Whether a file below `directory` is newer than `built`. A directory that was changed has a file more or less.
fn has_newer(directory: &Path, built: SystemTime) -> bool {
    let Ok(entries) = fs::read_dir(directory) else {
        return true;
    };
    entries.flatten().any(|entry| {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => has_newer(&path, built),
            Ok(_) => modified(&path).is_none_or(|modified| modified > built),
            Err(_) => true,
        }
    })
}

/// The files in the note that cargo leaves beside a library, which has the form of a Makefile's rule.
fn noted(library: &Path) -> Option<Vec<PathBuf>> {
    let note = fs::read_to_string(library.with_extension("d")).ok()?;
    let (_, files) = note.lines().next()?.split_once(": ")?;
    Some(split(files))
}

/// Splits at spaces that have no backslash before them.
fn split(files: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut name = String::new();
    let mut characters = files.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => name.extend(characters.next()),
            ' ' if name.is_empty() => {}
            ' ' => found.push(std::mem::take(&mut name).into()),
            character => name.push(character),
        }
    }
    if !name.is_empty() {
        found.push(name.into());
    }
    found
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::split;

    #[test]
    fn names_may_have_spaces() {
        let expected = ["/a b/lib.rs", "/c.rs"].map(PathBuf::from);
        assert_eq!(split(r"/a\ b/lib.rs  /c.rs"), expected);
    }
}
