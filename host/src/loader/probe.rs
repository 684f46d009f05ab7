//! Trying an image in a child before it is mapped here.
//!
//! A constructor runs inside `dlopen`, before anything can be asked of a library; one that crashes
//! takes the process with it. A child that maps the same sealed bytes finds that out. The child is any
//! program that calls [`run_if_asked`] first thing in `main`: the `plg` command does, and an app can.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, kill_process_group, pidfd_open, setrlimit,
};

use super::LoadError;
use super::image::{Bytes, Image};
use super::library::Library;

/// The argument that makes a program a probe.
const ARGUMENT: &str = "__plg-probe";
/// The status of a probe that mapped the image. A constructor that ends the process would hardly choose
/// this one.
const MAPPED: i32 = 77;
/// The status of a probe that lived and could not map the image.
const REFUSED: i32 = 78;

/// The program that maps images on trial.
#[derive(Clone, Debug)]
pub(crate) struct Prober {
    program: PathBuf,
}

/// Maps the image on standard input and ends the process, if this process was started to do that.
/// Call it first thing in `main` of an app that lets its host probe with the app's own program.
///
/// ```
/// plg_host::probe::run_if_asked();
/// println!("the app starts here");
/// ```
pub fn run_if_asked() {
    if std::env::args_os().nth(1).as_deref() != Some(OsStr::new(ARGUMENT)) {
        return;
    }
    // The image's destructors run at the exit. A crash in one of them counts: the host would meet it
    // when it unmaps the image.
    let code = match run() {
        Ok(()) => MAPPED,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            REFUSED
        }
    };
    std::process::exit(code);
}

impl Prober {
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program }
    }

    /// Lets a child map `image`.
    pub(crate) fn probe(&self, image: &Image, limit: Duration) -> Result<(), LoadError> {
        let start = |source| LoadError::ProbeStart {
            program: self.program.clone(),
            source,
        };
        let mut child = Command::new(&self.program)
            .arg(ARGUMENT)
            .env_clear()
            .stdin(image.reopen().map_err(start)?)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(start)?;
        match watch(&mut child, limit).map_err(start)? {
            Ending::Mapped | Ending::Refused => Ok(()),
            Ending::Crashed(ending) => Err(LoadError::Probe {
                path: image.origin().to_owned(),
                ending,
            }),
        }
    }
}

/// How the child ended.
enum Ending {
    /// It mapped the image.
    Mapped,
    /// It could not map the image and said so; mapping it here gives the linker's words.
    Refused,
    /// It crashed, in these words.
    Crashed(String),
}

/// Waits for the child and ends what it left behind, whatever happens.
fn watch(child: &mut Child, limit: Duration) -> io::Result<Ending> {
    let ended = wait(child, limit);
    // A child that nobody has waited for keeps its number, so this ends its group and nothing else. It
    // may have left the group, so it is ended by itself as well.
    let group = kill_group(child);
    let alone = child.kill();
    let status = child.wait()?;
    group.and(alone)?;
    if !ended? {
        return Ok(Ending::Crashed(format!("did not end within {limit:?}")));
    }
    Ok(match (status.signal(), status.code()) {
        (None, Some(MAPPED)) => Ending::Mapped,
        (None, Some(REFUSED)) => Ending::Refused,
        (Some(signal), _) => Ending::Crashed(format!("was killed by signal {signal}")),
        (None, Some(0)) => Ending::Crashed("ended before the library was mapped".to_owned()),
        (None, code) => Ending::Crashed(format!("failed with status {}", code.unwrap_or(-1))),
    })
}

/// Ends the child with everything it started.
fn kill_group(child: &Child) -> io::Result<()> {
    match kill_process_group(id(child)?, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn id(child: &Child) -> io::Result<Pid> {
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    id.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Whether the child ended within `limit`.
fn wait(child: &Child, limit: Duration) -> io::Result<bool> {
    let process = pidfd_open(id(child)?, PidfdFlags::empty())?;
    // A limit beyond what a clock can say is none.
    let deadline = Instant::now().checked_add(limit);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let mut ended = [PollFd::new(&process, PollFlags::IN)];
        match poll(&mut ended, timeout.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The child's part. It never runs `init`, which may have effects outside.
fn run() -> Result<(), LoadError> {
    // No core files from a process that is meant to crash, and no endless constructor.
    let _ = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    );
    let _ = setrlimit(
        Resource::Cpu,
        Rlimit {
            current: Some(10),
            maximum: Some(10),
        },
    );
    let bytes = Bytes::read(Path::new("/proc/self/fd/0"), u64::MAX - 1)?;
    let library = Library::open(bytes.seal(None)?)?;
    // It stays mapped to the end.
    drop(library);
    Ok(())
}
