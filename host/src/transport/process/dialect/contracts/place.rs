//! Where a child of this dialect has its socket: a name that it is given, in a directory that everybody shares.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process;

use plg_packaging::PluginName;
use rustix::io::Errno;
use rustix::process::{Pid, geteuid, test_kill_process};

use crate::transport::process::run_directory;

/// A child's name, which nobody else has or can guess, and the files that it makes of it.
pub(super) struct Place {
    pub(super) id: String,
}

/// The framework has them here, whatever `TMPDIR` says.
pub(super) const DIRECTORY: &str = "/tmp";
const PREFIX: &str = "plg-";
const SOCKET: &str = "-plugin.socket";
const LOCK: &str = "-plugin.socket.lock";
/// What a name takes of the path of a socket at most.
const NAME: usize = 48;

/// Chooses a name that is not taken.
pub(super) fn choose(plugin: &PluginName) -> io::Result<Place> {
    loop {
        let name: String = plugin.as_str().chars().take(NAME).collect();
        let (host, random) = (process::id(), run_directory::random()?);
        let id = format!("{PREFIX}{name}-{host}-{random}");
        let place = Place { id };
        if place.files().iter().all(|path| is_free(path)) {
            return Ok(place);
        }
    }
}

impl Place {
    /// The socket, and the lock file beside it, which the framework leaves behind.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let file = |end| Path::new(DIRECTORY).join(format!("{}{end}", self.id));
        vec![file(SOCKET), file(LOCK)]
    }

    /// Whether a file has this name in its own, so that it can be nobody else's.
    pub(super) fn is_named_in(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.contains(&self.id)
    }
}

/// Removes a socket or lock file that is not needed any more.
pub(in crate::transport::process::dialect) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!("failed to remove `{}`: {error}", path.display());
    }
}

/// Removes what children of hosts left that do not live any more. What is not surely dead stays.
pub(super) fn sweep() {
    let Ok(entries) = fs::read_dir(DIRECTORY) else {
        return;
    };
    let ids: BTreeSet<String> = entries
        .flatten()
        .filter_map(|entry| id_of(&entry.file_name().to_string_lossy()))
        .collect();
    for place in ids.into_iter().map(|id| Place { id }) {
        if is_dead(&place) {
            place.files().iter().for_each(|path| remove(path));
        }
    }
}

/// The name that a file of a host that is gone was made of.
fn id_of(file: &str) -> Option<String> {
    let id = file.strip_suffix(LOCK).or(file.strip_suffix(SOCKET))?;
    let (rest, _random) = id.strip_prefix(PREFIX)?.rsplit_once('-')?;
    let (_name, host) = rest.rsplit_once('-')?;
    (!is_alive(host)?).then(|| id.to_owned())
}

fn is_dead(place: &Place) -> bool {
    let [socket, lock] = &place.files()[..] else {
        return false;
    };
    let is_gone =
        |path: &Path, is_ours: &dyn Fn(&fs::Metadata) -> bool| match path.symlink_metadata() {
            Ok(found) => found.uid() == geteuid().as_raw() && is_ours(&found),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
    // Somebody may listen there in another namespace of processes, where numbers mean others.
    let is_silent = |found: &fs::Metadata| {
        found.file_type().is_socket()
            && UnixStream::connect(socket)
                .is_err_and(|error| error.raw_os_error() == Some(Errno::CONNREFUSED.raw_os_error()))
    };
    let is_unlocked = |found: &fs::Metadata| {
        let is_small = found.is_file() && found.len() <= 32;
        let owner = is_small.then(|| fs::read_to_string(lock).ok()).flatten();
        owner.and_then(|owner| is_alive(owner.trim())) != Some(true)
    };
    is_gone(socket, &is_silent) && is_gone(lock, &is_unlocked)
}

/// Whether a process of that number is there; `None` when it is no number.
fn is_alive(number: &str) -> Option<bool> {
    let pid = Pid::from_raw(number.parse().ok()?)?;
    Some(test_kill_process(pid) != Err(Errno::SRCH))
}

fn is_free(path: &Path) -> bool {
    path.symlink_metadata()
        .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}
