//! Which file is run, and with which arguments.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use plg_packaging::Manifest;
use plg_packaging::manifest::{Dialect, Process};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::ProcessError;

/// What is run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<OsString>,
}

impl Program {
    /// A program that serves a library.
    pub(crate) fn runner(path: &Path, args: Vec<OsString>) -> Self {
        Self {
            path: path.to_owned(),
            args,
        }
    }

    /// The program of the plugin in `directory`.
    ///
    /// # Errors
    ///
    /// When it speaks something else, or is nowhere.
    pub(crate) fn find(directory: &Path, process: &Process) -> Result<Self, ProcessError> {
        let is_native = process.dialect == Dialect::Native;
        if !is_native && process.dialect != Dialect::Contracts {
            let found = format!("the dialect `{}`", process.dialect.as_str());
            return Err(ProcessError::Dialect { found });
        }
        let below = directory.join(process.exec.as_str());
        if below.exists() || !is_bare(process) {
            return Ok(Self {
                path: below,
                args: process.args.iter().map(|arg| arg.as_str().into()).collect(),
            });
        }
        let path = on_path(process.exec.as_str()).ok_or_else(|| ProcessError::NoProgram {
            exec: process.exec.as_str().to_owned(),
            directory: directory.to_owned(),
        })?;
        // An interpreter runs in another directory than that of the plugin's files.
        let args = process.args.iter().map(|arg| {
            let file = own_file(directory, arg.as_str());
            file.map_or_else(|| arg.as_str().into(), PathBuf::into_os_string)
        });
        Ok(Self {
            path,
            args: args.collect(),
        })
    }
}

/// The file by which a build of a plugin is known: its program, or what an interpreter is given first of the
/// plugin's own files.
pub(crate) fn file_of(directory: &Path, process: &Process) -> PathBuf {
    let below = directory.join(process.exec.as_str());
    if below.symlink_metadata().is_ok() || !is_bare(process) {
        return below;
    }
    let mut args = process.args.iter();
    args.find_map(|arg| own_file(directory, arg.as_str()))
        .or_else(|| on_path(process.exec.as_str()))
        .unwrap_or(below)
}

/// Names of files that may make the plugin another one.
pub(crate) fn file_names(manifest: &Manifest) -> Vec<String> {
    let Some(process) = &manifest.process else {
        return Vec::new();
    };
    let exec = process.exec.as_str().to_owned();
    let args = process.args.iter().map(|arg| arg.as_str());
    let files = args.filter(|arg| is_relative(arg)).map(str::to_owned);
    std::iter::once(exec).chain(files).collect()
}

/// Whether the kernel can run what begins like this. Where it cannot, `exec` of the C library would give the file
/// to a shell, whatever it is.
pub(super) fn check_format(path: &Path) -> io::Result<()> {
    let own = start_of(Path::new("/proc/self/exe"))?;
    let start = start_of(path)?;
    let is_script = start.starts_with(b"#!");
    let is_ours = start.get(..6) == own.get(..6) && start.get(18..20) == own.get(18..20);
    if is_script || is_ours {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(Errno::NOEXEC.raw_os_error()))
    }
}

/// The first bytes of a regular file, and one more than `limit` if there are more. Nothing else is waited for.
pub(super) fn read_file(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = File::options()
        .read(true)
        .custom_flags(nonblock)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The bytes of a file that say what it is, its machine included if it is a program.
fn start_of(path: &Path) -> io::Result<Vec<u8>> {
    read_file(path, 19)
}

fn is_bare(process: &Process) -> bool {
    !process.exec.as_str().contains('/')
}

fn own_file(directory: &Path, arg: &str) -> Option<PathBuf> {
    let path = directory.join(arg);
    (is_relative(arg) && path.is_file()).then_some(path)
}

/// Whether an argument can be the name of a file below the plugin's directory.
fn is_relative(arg: &str) -> bool {
    use std::path::Component::{CurDir, Normal};
    let mut parts = Path::new(arg).components();
    !arg.is_empty() && !arg.starts_with('-') && parts.all(|part| matches!(part, Normal(_) | CurDir))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
