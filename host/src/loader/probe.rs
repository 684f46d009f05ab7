//! Trying an image in a child before it is mapped here.
//!
//! A constructor runs inside `dlopen`, before anything can be asked of a library; one that crashes
//! takes the process with it. A child that maps the same sealed bytes finds that out. The child is any
//! program that calls [`run_if_asked`] first thing in `main`: the `plg` command does, and an app can.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
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
/// What a probe says when it lived through mapping the image.
const DONE: &[u8] = b"mapped\n";

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
    let code = match run() {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            1
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
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(start)?;
        let ending = watch(&mut child, limit).map_err(start)?;
        match ending {
            None => Ok(()),
            Some(ending) => Err(LoadError::Probe {
                path: image.origin().to_owned(),
                ending,
            }),
        }
    }
}

/// Waits for the child; `None` when it lived through it, else how it ended.
fn watch(child: &mut Child, limit: Duration) -> io::Result<Option<String>> {
    let ended = wait(child, limit)?;
    // A child that nobody has waited for keeps its number, so this ends what it left behind and nothing
    // else.
    kill(child)?;
    let status = child.wait()?;
    if !ended {
        return Ok(Some(format!("did not end within {limit:?}")));
    }
    let mut said = Vec::new();
    if let Some(stdout) = &mut child.stdout {
        // What the child started may still hold the pipe open, so nothing is waited for. A plugin may
        // print too; what counts is what comes last, within a bound.
        rustix::io::ioctl_fionbio(&*stdout, true)?;
        let _ = stdout.take(64 << 10).read_to_end(&mut said);
    }
    if status.success() && said.ends_with(DONE) {
        return Ok(None);
    }
    Ok(Some(describe(status)))
}

/// Ends the child with everything it started.
fn kill(child: &Child) -> io::Result<()> {
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
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut ended = [PollFd::new(&process, PollFlags::IN)];
        match poll(&mut ended, Some(&timeout)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, Some(0)) => "ended before the library was mapped".to_owned(),
        (None, code) => format!("failed with status {}", code.unwrap_or(-1)),
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
    let mut stdout = io::stdout();
    let _ = stdout.write_all(DONE).and_then(|()| stdout.flush());
    // Destructors of the image may crash too, and they are not what was asked.
    drop(library);
    Ok(())
}
