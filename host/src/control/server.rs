//! The side of the host.

use std::env;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;
use rustix::net::{Shutdown, shutdown};
use rustix::process::geteuid;

use super::error::ControlError;
use super::wire::{ANSWER, Answer, HostReport, Moved, PluginReport, QUESTION, Question};
use crate::changes::Move;
use crate::error::Error;
use crate::history::Why;
use crate::inner::Inner;
use crate::plugin::{PluginSnapshot, Unloaded};
use crate::transport::process::RunRoot;

/// The name of the socket in the host's directory.
pub(super) const SOCKET: &str = "control";
/// How long who connected may take to ask, and to read the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers questions until it is stopped.
#[derive(Debug)]
pub(crate) struct Control {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
    /// The socket goes with the directory that it stands in.
    _root: Arc<RunRoot>,
}

#[derive(Debug)]
struct Shared {
    listener: UnixListener,
    /// Who is being answered.
    current: Mutex<Option<UnixStream>>,
    stopped: AtomicBool,
    since: Instant,
}

impl Control {
    /// Listens from now on.
    pub(crate) fn start(root: &Arc<RunRoot>, host: Weak<Inner>) -> Result<Self, Error> {
        let directory = root.directory().map_err(|error| ControlError::Listen {
            path: SOCKET.into(),
            source: io::Error::other(error.to_string()),
        })?;
        let path = directory.join(SOCKET);
        let failed = |source| ControlError::Listen {
            path: path.clone(),
            source,
        };
        let shared = Arc::new(Shared {
            listener: UnixListener::bind(&path).map_err(failed)?,
            current: Mutex::default(),
            stopped: AtomicBool::new(false),
            since: Instant::now(),
        });
        let own = shared.clone();
        let listener = tracing::dispatcher::get_default(Clone::clone);
        let run = move || tracing::dispatcher::with_default(&listener, || own.run(&host));
        let thread = thread::Builder::new().name("plg-control".to_owned());
        let thread = thread.spawn(run).map_err(failed)?;
        Ok(Self {
            shared,
            thread,
            _root: root.clone(),
        })
    }

    /// Stops. Whoever is being answered is cut off, but a change that began is ended.
    pub(crate) fn stop(self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes who waits for a connection.
        let _ = shutdown(&self.shared.listener, Shutdown::Both);
        if let Some(current) = &*self.shared.current() {
            let _ = current.shutdown(std::net::Shutdown::Both);
        }
        // It panics on nothing that is ours to tell.
        let _ = self.thread.join();
    }
}

impl Shared {
    fn run(&self, host: &Weak<Inner>) {
        while !self.stopped.load(Ordering::SeqCst) {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let Some(host) = host.upgrade() else {
                        return;
                    };
                    *self.current() = stream.try_clone().ok();
                    if !self.stopped.load(Ordering::SeqCst)
                        && let Err(error) = self.serve(&host, &stream)
                    {
                        tracing::debug!("a question was not answered: {error}");
                    }
                    *self.current() = None;
                }
                Err(_) if self.stopped.load(Ordering::SeqCst) => return,
                // Out of descriptors, most likely.
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn serve(&self, host: &Inner, stream: &UnixStream) -> io::Result<()> {
        let peer = socket_peercred(stream)?.uid;
        if peer != geteuid() && !peer.is_root() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let line = question(stream, Instant::now() + PATIENCE)?;
        let answer = match serde_json::from_slice(&line) {
            Ok(question) => self.answer(host, question),
            Err(error) => Answer::Error {
                code: "control.silent".to_owned(),
                message: format!("it was asked something that it does not know: {error}"),
            },
        };
        let mut text = serde_json::to_vec(&answer)?;
        if text.len() as u64 >= ANSWER {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        text.push(b'\n');
        tell(stream, &text, Instant::now() + PATIENCE)
    }

    fn answer(&self, host: &Inner, question: Question) -> Answer {
        let outcome = match question {
            Question::Snapshot => Ok(Answer::Snapshot(self.report(host))),
            Question::Isolate { plugin } => relocate(host, &plugin, &Move::Apart),
            Question::Inline { plugin } => relocate(host, &plugin, &Move::Inline),
            Question::Logs { plugin, after } => host.find(&plugin).and_then(|found| {
                let tail = found
                    .current()
                    .and_then(|generation| generation.transport.tail(after));
                let missing = ControlError::NoProcess { plugin };
                Ok(Answer::Logs(tail.ok_or(missing)?))
            }),
        };
        outcome.unwrap_or_else(|error| Answer::Error {
            code: error.code().to_owned(),
            message: error.in_full(),
        })
    }

    fn report(&self, host: &Inner) -> HostReport {
        let mut plugins: Vec<PluginReport> = host
            .catalog
            .all()
            .iter()
            .filter(|plugin| plugin.was_published())
            .map(|plugin| PluginReport::of(&PluginSnapshot::of(plugin)))
            .collect();
        plugins.sort_by(|left, right| left.name.cmp(&right.name));
        let program = env::current_exe().unwrap_or_default();
        HostReport {
            pid: process::id(),
            program: program.display().to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            plugins,
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<UnixStream>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is asked, up to the end of a line. All of it is there by then, or nothing is: others wait.
fn question(mut stream: &UnixStream, until: Instant) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut piece = [0; QUESTION];
    loop {
        stream.set_read_timeout(Some(left(until)?))?;
        let room = QUESTION - line.len();
        match stream.read(&mut piece[..room]) {
            Ok(0) => return Ok(line),
            Ok(count) => line.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            line.truncate(end);
            return Ok(line);
        }
    }
}

/// Writes an answer, all of it by then.
fn tell(mut stream: &UnixStream, mut text: &[u8], until: Instant) -> io::Result<()> {
    while !text.is_empty() {
        stream.set_write_timeout(Some(left(until)?))?;
        match stream.write(text) {
            Ok(count) => text = &text[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

fn relocate(host: &Inner, name: &str, to: &Move) -> Result<Answer, Error> {
    host.check_open()?;
    let plugin = host.find_begun(name)?;
    let upgraded = host.relocate(&plugin, to, None, Why::Asked)?;
    let current = PluginSnapshot::of(&plugin).current;
    let transport = current.map_or("none", |current| current.transport);
    Ok(Answer::Moved(Moved {
        transport: transport.to_owned(),
        left: upgraded.map(|upgraded| match upgraded.retired {
            Unloaded::Unmapped => "unmapped".to_owned(),
            Unloaded::Retained { reason } => format!("retained ({reason})"),
        }),
    }))
}
