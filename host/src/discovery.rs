//! Which plugins there are below a directory. Nothing is loaded here.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use plg_packaging::bundle::Target;
use plg_packaging::manifest::{MAX_BYTES, Process, Source};
use plg_packaging::{Manifest, ManifestError, Problem};
use rustix::fs::OFlags;
use rustix::process::geteuid;
use thiserror::Error;

use crate::limits::Limits;
use crate::loader::bundle::{self, Bundled};
use crate::loader::image::{Bytes, kind};
use crate::loader::{io_code, manifest_of};
use crate::store::Installed;
use crate::transport::process::program;

/// The file that describes a plugin.
pub const MANIFEST: &str = "plugin.json";

/// A plugin that was found and may be loaded.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Candidate {
    /// What it says about itself.
    pub manifest: Manifest,
    /// Its library, or the bundle with it; of a plugin that is a program, the file that it is known by, which is the
    /// program or what an interpreter is given. Whether that can be loaded shows when it is.
    pub library: PathBuf,
    /// The directory with its `plugin.json`; `None` for a bare library or bundle.
    pub directory: Option<PathBuf>,
    /// What is odd about the manifest.
    pub warnings: Vec<Problem>,
    /// Set when it comes from the store.
    pub(crate) installed: Option<Arc<Installed>>,
}

impl Candidate {
    /// Whether it is a program that runs in a process of its own, as opposed to a library.
    #[must_use]
    pub fn is_program(&self) -> bool {
        self.program().is_some()
    }

    /// The program that it is, and the directory of that; `None` for a library.
    pub(crate) fn program(&self) -> Option<(&Path, &Process)> {
        let process = self.manifest.process.as_ref();
        let process = process.filter(|_| !is_library(&self.library))?;
        Some((self.directory.as_deref()?, process))
    }
}

/// What is below a directory: plugins, and what looks like one but is not.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Discovery {
    /// The plugins, by path.
    pub candidates: Vec<Candidate>,
    /// The others, by path.
    pub problems: Vec<DiscoverError>,
}

/// Why a directory or an entry of it was passed over.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DiscoverError {
    /// It cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is neither a directory nor a regular file with something in it.
    #[error("passed over `{}`: it is {found}", path.display())]
    Kind {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// Others could put something there.
    #[error("refused `{}`: {why}", path.display())]
    Unsafe {
        /// The path.
        path: PathBuf,
        /// Who could.
        why: String,
    },
    /// Its manifest is not one.
    #[error("refused the manifest of `{}`", path.display())]
    Manifest {
        /// The directory or file.
        path: PathBuf,
        /// All problems of it.
        source: ManifestError,
    },
    /// Its manifest names another plugin than its directory.
    #[error("refused `{}`: {problem}", path.display())]
    Identity {
        /// The directory.
        path: PathBuf,
        /// Both names.
        problem: Problem,
    },
    /// There is no library to load.
    #[error("`{}` has no library: looked for {}", path.display(), looked_for.join(", "))]
    NoLibrary {
        /// The directory.
        path: PathBuf,
        /// The names that were tried.
        looked_for: Vec<String>,
    },
    /// The library cannot become a plugin.
    #[error("refused `{}`", path.display())]
    Library {
        /// The file.
        path: PathBuf,
        /// Why.
        source: crate::loader::LoadError,
    },
}

impl DiscoverError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { source, .. } => io_code(source),
            Self::Kind { .. } => "dir.kind",
            Self::Unsafe { .. } => "dir.unsafe",
            Self::Manifest { source, .. } => source.code(),
            Self::Identity { problem, .. } => problem.code,
            Self::NoLibrary { .. } => "dir.no_library",
            Self::Library { source, .. } => source.code(),
        }
    }

    /// The path it is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Read { path, .. }
            | Self::Kind { path, .. }
            | Self::Unsafe { path, .. }
            | Self::Manifest { path, .. }
            | Self::Identity { path, .. }
            | Self::NoLibrary { path, .. }
            | Self::Library { path, .. } => path,
        }
    }
}

/// How a directory is looked through.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) allow_unsafe_directories: bool,
    pub(crate) limits: Limits,
}

impl Rules {
    pub(crate) fn new(limits: &Limits, allow_unsafe_directories: bool) -> Self {
        Self {
            allow_unsafe_directories,
            limits: limits.clone(),
        }
    }
}

/// Looks through the children of `base`: a directory with a `plugin.json` is a plugin, and so is a
/// library with one embedded. What is neither is passed over, with a problem where somebody may have
/// meant it to be one.
pub(crate) fn discover(base: &Path, rules: &Rules) -> Discovery {
    let mut found = Discovery::default();
    let children = check_base(base, rules).and_then(|real| children(&real));
    let children = match children {
        Ok(children) => children,
        Err(problem) => {
            found.problems.push(problem);
            return found;
        }
    };
    // Reading manifests waits for the disk and parses; a second thread pays off early.
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(8);
    let share = children.len().div_ceil(threads).max(64);
    let looked_at = thread::scope(|scope| {
        let look = |share: &[PathBuf]| -> Vec<_> {
            share
                .iter()
                .filter_map(|path| look_at(path, rules))
                .map(|looked| looked.map(|(candidate, _)| candidate))
                .collect()
        };
        // The first share is for this thread, and so is what no other thread can be had for.
        let mut shares = children.chunks(share);
        let own = shares.next().unwrap_or_default();
        let threads: Vec<_> = shares
            .map(|share| {
                let start = thread::Builder::new().spawn_scoped(scope, move || look(share));
                (share, start)
            })
            .collect();
        let mut looked_at = look(own);
        for (share, thread) in threads {
            let theirs = thread.ok().and_then(|thread| thread.join().ok());
            looked_at.extend(theirs.unwrap_or_else(|| look(share)));
        }
        looked_at
    });
    for outcome in looked_at {
        match outcome {
            Ok(candidate) => found.candidates.push(candidate),
            Err(problem) => found.problems.push(problem),
        }
    }
    found
}

/// The plugin at `path`: a directory with a `plugin.json`, or a library.
pub(crate) fn candidate(path: &Path, rules: &Rules) -> Result<Candidate, DiscoverError> {
    read_candidate(path, rules).map(|(candidate, _)| candidate)
}

/// As [`candidate`], with the bytes of a library that was read to find out.
pub(crate) fn read_candidate(
    path: &Path,
    rules: &Rules,
) -> Result<(Candidate, Option<Bytes>), DiscoverError> {
    let read = |source| DiscoverError::Read {
        path: path.to_owned(),
        source,
    };
    let metadata = fs::metadata(path).map_err(read)?;
    if metadata.is_dir() {
        let path = check_base(path, rules)?;
        return match manifest_in(&path, rules)? {
            Some(parsed) => Ok((in_directory(&path, parsed, rules)?, None)),
            None => Err(DiscoverError::Read {
                path: path.join(MANIFEST),
                source: io::ErrorKind::NotFound.into(),
            }),
        };
    }
    let (candidate, bytes) = bare(&check_way(path, rules)?, &metadata, rules)?;
    Ok((candidate, Some(bytes)))
}

type Parsed = plg_packaging::Parsed;

/// The children that are worth a look, by name.
pub(crate) fn children(base: &Path) -> Result<Vec<PathBuf>, DiscoverError> {
    let read = |source| DiscoverError::Read {
        path: base.to_owned(),
        source,
    };
    let mut children = Vec::new();
    for entry in fs::read_dir(base).map_err(read)? {
        let entry = entry.map_err(read)?;
        let name = entry.file_name();
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        // There may be many other files, and this costs nothing for each.
        let is_other =
            || !is_library(Path::new(&name)) && entry.file_type().is_ok_and(|kind| kind.is_file());
        if !is_hidden && !is_other() {
            children.push(base.join(name));
        }
    }
    children.sort_unstable();
    Ok(children)
}

/// The plugin at a child of a plugin directory, with the bytes of a library that was read to find out;
/// `None` when nothing there was meant to be one.
pub(crate) fn look_at(
    path: &Path,
    rules: &Rules,
) -> Option<Result<(Candidate, Option<Bytes>), DiscoverError>> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        // It went away since the directory was read.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(source) => {
            let path = path.to_owned();
            return Some(Err(DiscoverError::Read { path, source }));
        }
    };
    let kind_problem = |found| {
        Some(Err(DiscoverError::Kind {
            path: path.to_owned(),
            found,
        }))
    };
    if metadata.is_dir() {
        if let Err(problem) = check_owner(path, &metadata, rules) {
            return Some(Err(problem));
        }
        let parsed = match manifest_in(path, rules) {
            Ok(parsed) => parsed?,
            Err(problem) => return Some(Err(problem)),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Err(problem) = parsed.manifest.check_identity(&name) {
            let path = path.to_owned();
            return Some(Err(DiscoverError::Identity { path, problem }));
        }
        return Some(in_directory(path, parsed, rules).map(|candidate| (candidate, None)));
    }
    if !metadata.is_file() {
        return kind_problem(kind(&metadata.file_type()));
    }
    if !is_library(path) {
        return None;
    }
    if metadata.len() == 0 {
        return kind_problem("an empty file");
    }
    Some(bare(path, &metadata, rules).map(|(candidate, bytes)| (candidate, Some(bytes))))
}

/// The manifest in a directory; `None` when there is none. The name is opened without following a
/// link and without waiting for the writer of a fifo.
pub(crate) fn manifest_in(
    directory: &Path,
    rules: &Rules,
) -> Result<Option<Parsed>, DiscoverError> {
    let path = directory.join(MANIFEST);
    let read = |source| DiscoverError::Read {
        path: path.clone(),
        source,
    };
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(&path);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            let found = "a symbolic link";
            return Err(DiscoverError::Kind { path, found });
        }
        Err(source) => return Err(read(source)),
    };
    let metadata = file.metadata().map_err(read)?;
    if !metadata.is_file() {
        let found = kind(&metadata.file_type());
        return Err(DiscoverError::Kind { path, found });
    }
    check_owner(&path, &metadata, rules)?;
    let mut bytes =
        Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0).min(MAX_BYTES) + 1);
    file.take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(read)?;
    match Manifest::parse(&bytes) {
        Ok(parsed) => Ok(Some(parsed)),
        Err(source) => Err(DiscoverError::Manifest { path, source }),
    }
}

/// A directory's plugin. Where the manifest does not name the library, the names that cargo and make
/// would give it are tried.
fn in_directory(
    directory: &Path,
    parsed: Parsed,
    rules: &Rules,
) -> Result<Candidate, DiscoverError> {
    let names = library_names(&parsed.manifest);
    let found = names
        .iter()
        .map(|name| directory.join(name))
        .find(|path| path.symlink_metadata().is_ok());
    let process = parsed.manifest.process.as_ref();
    let mut library = match (found, &parsed.manifest.source, process) {
        (Some(found), ..) => found,
        // What is wrong with a library that is named is said when it is loaded.
        (None, Some(Source::LocalSo { path }), _) => directory.join(path.as_str()),
        (None, _, Some(process)) => program::file_of(directory, process),
        (None, _, None) => {
            return Err(DiscoverError::NoLibrary {
                path: directory.to_owned(),
                looked_for: names.iter().map(|name| format!("`{name}`")).collect(),
            });
        }
    };
    match fs::symlink_metadata(&library) {
        // The directory itself was looked at.
        Ok(metadata) if metadata.is_file() && library.parent() == Some(directory) => {
            check_owner(&library, &metadata, rules)?;
        }
        Ok(_) => library = check_way(&library, rules)?,
        // That it cannot be read is said when it is loaded; until then nobody else may put it there.
        Err(_) => {
            let way = library.ancestors().skip(1).find(|parent| parent.exists());
            check_base(way.unwrap_or(directory), rules)?;
        }
    }
    Ok(Candidate {
        manifest: parsed.manifest,
        library,
        directory: Some(directory.to_owned()),
        warnings: parsed.warnings,
        installed: None,
    })
}

/// What a plugin's library may be called in its directory, the first that is there first: as its
/// manifest says, else as cargo and make would call it; and the same where a bundle has it for this platform.
pub(crate) fn library_names(manifest: &Manifest) -> Vec<String> {
    let mut names = match &manifest.source {
        Some(Source::LocalSo { path }) => vec![path.as_str().to_owned()],
        _ => {
            let name = manifest.name.as_str();
            let underscored = name.replace('-', "_");
            vec![format!("lib{underscored}.so"), format!("{name}.so")]
        }
    };
    let target = Target::current();
    let files: Vec<&str> = names
        .iter()
        .filter_map(|name| name.rsplit('/').next())
        .collect();
    let unpacked = files.into_iter().map(|file| format!("lib/{target}/{file}"));
    let unpacked: Vec<String> = unpacked.collect();
    names.extend(unpacked);
    names
}

/// The names of all files that may make a plugin another one, but for its manifest.
#[cfg(feature = "watch")]
pub(crate) fn file_names(manifest: &Manifest) -> Vec<String> {
    let mut names = library_names(manifest);
    names.extend(program::file_names(manifest));
    names
}

/// Whether a file holds a library, by its name: it is one, or a bundle.
pub(crate) fn is_library(path: &Path) -> bool {
    bundle::is_bundle(path) || path.extension().is_some_and(|extension| extension == "so")
}

/// A library that describes itself, or the one in a bundle.
fn bare(
    path: &Path,
    metadata: &Metadata,
    rules: &Rules,
) -> Result<(Candidate, Bytes), DiscoverError> {
    check_owner(path, metadata, rules)?;
    let refused = |source| DiscoverError::Library {
        path: path.to_owned(),
        source,
    };
    let (parsed, bytes) = if bundle::is_bundle(path) {
        let Bundled { parsed, library } = bundle::read(path, &rules.limits).map_err(refused)?;
        (parsed, library)
    } else {
        let bytes = Bytes::read(path, rules.limits.image_bytes).map_err(refused)?;
        (manifest_of(&bytes).map_err(refused)?, bytes)
    };
    let candidate = Candidate {
        manifest: parsed.manifest,
        library: path.to_owned(),
        directory: None,
        warnings: parsed.warnings,
        installed: None,
    };
    Ok((candidate, bytes))
}

/// Where a file really is, behind all links: neither it nor a directory on that way may be open to
/// others. What is opened later is this path and not the one with the links.
pub(crate) fn check_way(path: &Path, rules: &Rules) -> Result<PathBuf, DiscoverError> {
    let read = |source| DiscoverError::Read {
        path: path.to_owned(),
        source,
    };
    let real = path.canonicalize().map_err(read)?;
    check_owner(&real, &fs::metadata(&real).map_err(read)?, rules)?;
    check_base(real.parent().unwrap_or(&real), rules)?;
    Ok(real)
}

/// Where a directory really is. Whoever can write to a directory on the way can put a plugin there, so
/// all of them are looked at.
pub(crate) fn check_base(base: &Path, rules: &Rules) -> Result<PathBuf, DiscoverError> {
    let read = |source| DiscoverError::Read {
        path: base.to_owned(),
        source,
    };
    let base = base.canonicalize().map_err(read)?;
    for directory in base.ancestors() {
        let metadata = fs::metadata(directory).map_err(read)?;
        check_owner(directory, &metadata, rules)?;
    }
    Ok(base)
}

/// A directory that must be this user's alone to change: here a group counts as others, and a sticky directory
/// will not do. The way to it is looked at as that to a plugin directory.
pub(crate) fn check_private(path: &Path, rules: &Rules) -> Result<(), DiscoverError> {
    const WRITABLE_BY_OTHERS: u32 = 0o022;
    let path = check_base(path, rules)?;
    let read = |source| DiscoverError::Read {
        path: path.clone(),
        source,
    };
    let mode = fs::metadata(&path).map_err(read)?.mode();
    if mode & WRITABLE_BY_OTHERS != 0 && !rules.allow_unsafe_directories {
        let why = "others can write to it: give a directory of its own, or run `chmod go-w` on it";
        let why = why.to_owned();
        return Err(DiscoverError::Unsafe { path, why });
    }
    Ok(())
}

/// A sticky directory, such as `/tmp`, lets others add names but not replace ours; it will do on the way
/// to a plugin directory.
fn check_owner(path: &Path, metadata: &Metadata, rules: &Rules) -> Result<(), DiscoverError> {
    const WRITABLE_BY_OTHERS: u32 = 0o002;
    const STICKY: u32 = 0o1000;
    if rules.allow_unsafe_directories {
        return Ok(());
    }
    let sticky = metadata.is_dir() && metadata.mode() & STICKY != 0;
    let why = if metadata.mode() & WRITABLE_BY_OTHERS != 0 && !sticky {
        "everybody can write to it: run `chmod o-w` on it".to_owned()
    } else if metadata.uid() != 0 && metadata.uid() != geteuid().as_raw() {
        format!("it belongs to user {}: run `chown` on it", metadata.uid())
    } else {
        return Ok(());
    };
    Err(DiscoverError::Unsafe {
        path: path.to_owned(),
        why,
    })
}
