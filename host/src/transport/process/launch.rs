//! From a program to a child that takes calls.

use std::env;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use plg_packaging::manifest::SocketKind;
use plg_packaging::{Digest, PluginName};
use plg_plugin_api::process::wire::{self, Config, Form, MAX_CONFIG, PROTOCOL, Pace, StartLine};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use semver::Version;

use super::address::Address;
use super::child::{Child, Fate};
use super::connection::{Connection, Until};
use super::dialect::{Dialect, Told, Traces};
use super::error::ProcessError;
use super::exchange::GivenUp;
use super::health::Activity;
use super::http::{self, Answer};
use super::output::{First, Minder, Output};
use super::program::{self, Program};
use super::pulse::Pulse;
use super::run_directory::{self, RunDirectory, RunRoot};
use super::sandbox::{Confinement, Held};
use super::spawner::Spawner;
use crate::events::Hooks;
use crate::limits::Limits;
use crate::loader::image::Image;

/// A build of a plugin that runs in a process of its own.
#[derive(Debug)]
pub(crate) struct Build {
    pub(crate) name: PluginName,
    pub(crate) version: Version,
    pub(crate) generation: u64,
    pub(crate) program: Program,
    pub(crate) dialect: Dialect,
    /// The operator's configuration.
    pub(crate) config: serde_json::Map<String, serde_json::Value>,
    /// The file that it is known by, with its size and what was in it.
    pub(crate) file: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) digest: Digest,
    /// The library, if the program is a runner that serves one.
    pub(crate) given: Option<Given>,
    /// After how long without a call it may end by itself.
    pub(crate) idle: Option<Duration>,
    pub(crate) confinement: Confinement,
    /// What it listens on.
    pub(crate) socket: SocketKind,
    pub(crate) root: Arc<RunRoot>,
    pub(crate) spawner: Arc<Spawner>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) hooks: Arc<Hooks>,
    pub(crate) limits: Arc<Limits>,
    /// How eagerly both sides wait for each other.
    pub(crate) pace: Pace,
}

/// A library for a runner: the very bytes that were checked.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) image: Image,
    /// What the child gets; the arguments of the program name its number.
    pub(crate) file: File,
}

/// A child that takes calls.
#[derive(Debug)]
pub(super) struct Running {
    /// The version of the state that it hands over, if it does.
    pub(super) state: Option<u32>,
    /// Ends before its directory goes.
    pub(super) child: Child,
    /// How calls are written.
    pub(super) form: Form,
    pace: Pace,
    address: Address,
    _directory: RunDirectory,
    _traces: Traces,
    /// How many connections are kept for the next calls: a child may take a closed one for one of those that it
    /// has to serve, until it notices.
    pub(super) most: usize,
    /// Calls that nobody waits for any more.
    pub(super) given_up: GivenUp,
    /// Connections that nobody uses just now.
    pool: Mutex<Vec<Connection>>,
    /// Calls that have begun, those that are inside, and when the last one ended, as long after the start.
    calls: AtomicU64,
    inside: AtomicUsize,
    last: AtomicU64,
    /// Why the host killed it.
    pub(super) verdict: OnceLock<String>,
}

/// What a child chose in its start line.
struct Chosen {
    address: Address,
    form: Form,
    /// The version of the state that it hands over.
    state: Option<u32>,
}

/// A call inside a child, which is not ended for want of calls meanwhile.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) running: Arc<Running>,
}

/// Called when a child has ended and all that it wrote was read.
pub(super) type Ended = Arc<dyn Fn() + Send + Sync>;

/// The variables that a child is given, if the host has them.
const ENVIRONMENT: [&str; 5] = ["PATH", "HOME", "TMPDIR", "LANG", "TZ"];
/// How often a child that is not ready yet is asked again.
pub(super) const READY: Duration = Duration::from_millis(10);
/// How long a child may take to answer that it ends.
const SHUTDOWN: Duration = Duration::from_secs(1);
/// The most bytes of the body of an answer that says nothing.
const SMALL: usize = 64 << 10;

impl Build {
    /// Starts a child and waits until it takes calls.
    pub(super) fn launch(&self, ended: &Ended) -> Result<Running, ProcessError> {
        if self.given.is_none() {
            self.check_file()?;
        }
        let directory = self.root.create()?;
        let start = Instant::now();
        let running = self.dialect.launch(self, directory, ended)?;
        let patience = self.dialect.patience(&self.limits);
        running.become_ready(&self.dialect, patience.saturating_sub(start.elapsed()))?;
        running.note_time();
        Ok(running)
    }

    /// Starts a child that speaks plg's own dialect, and waits for its start line.
    pub(super) fn launch_native(
        &self,
        directory: RunDirectory,
        ended: &Ended,
    ) -> Result<Running, ProcessError> {
        let failed = |source| ProcessError::RunDirectory {
            path: directory.socket(),
            source,
        };
        let address = match self.socket {
            SocketKind::Tcp => Address::any_port().map_err(failed)?,
            _ => Address::Unix(directory.socket()),
        };
        let config = Config {
            protocol: PROTOCOL,
            plugin: self.name.to_string(),
            generation: self.generation,
            nonce: run_directory::random().map_err(failed)?,
            address: address.text(),
            token: address.token().map(str::to_owned),
            idle_ms: self.idle.and_then(|idle| idle.as_millis().try_into().ok()),
            forms: vec![Form::Plg.as_str().to_owned()],
            pace: self.pace,
            calls: u32::try_from(self.limits.in_flight).ok(),
            config: self.config.clone(),
        };
        let told = Told::line(line_of(&config)?);
        let (child, first) = self.spawn(&directory, &told, ended)?;
        let line = self.first_line(&child, &first)?;
        let chosen = self.shake_hands(&child, &config, address, &line)?;
        let Chosen {
            address,
            form,
            state,
        } = chosen;
        Ok(Running {
            state,
            form,
            ..Running::new(self, child, address, directory, told.traces)
        })
    }

    /// The file has to be the one that was loaded.
    fn check_file(&self) -> Result<(), ProcessError> {
        let path = self.file.clone();
        // By now it may be anything, a pipe or a device without an end.
        match program::read_file(&path, self.bytes) {
            Ok(bytes) if Digest::of(&bytes) == self.digest => Ok(()),
            Err(source) => {
                let program = path.clone();
                match (ProcessError::Spawn { program, source }) {
                    error if error.is_for_want_of_descriptors() => Err(error),
                    _ => Err(ProcessError::Changed { path }),
                }
            }
            Ok(_) => Err(ProcessError::Changed { path }),
        }
    }

    pub(super) fn spawn(
        &self,
        directory: &RunDirectory,
        told: &Told,
        ended: &Ended,
    ) -> Result<(Child, mpsc::Receiver<First>), ProcessError> {
        let failed = |source| ProcessError::Spawn {
            program: self.program.path.clone(),
            source,
        };
        program::check_format(&self.program.path).map_err(failed)?;
        let mut command = command(&self.program, directory);
        command.args(&told.args);
        command.envs(self.confinement.variables(&directory.work()));
        let barrier = self
            .confinement
            .barrier(&self.program.path, directory.path())?;
        let given = self.given.as_ref().map(|given| given.file.as_fd());
        let spawned = self.spawner.spawn(command, given, barrier);
        let mut child = spawned.map_err(failed)?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let fate = Arc::new(Fate::new(child).map_err(failed)?);
        let (teller, first) = mpsc::channel();
        let mut child = Child {
            held: Held::new(&self.confinement, fate.pid()),
            fate,
            output: Arc::new(Output::default()),
            lifeline: None,
            minder: None,
        };
        let (Some(mut lifeline), Some(out), Some(err)) = streams else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        let (fate, output) = (child.fate.clone(), child.output.clone());
        let (name, is_start) = (self.name.clone(), told.is_start);
        let listener = tracing::dispatcher::get_default(Clone::clone);
        let ended = ended.clone();
        let mind = move || {
            let minder = Minder {
                plugin: name.as_str(),
                fate: &fate,
                output: &output,
                first: Some(teller),
                is_start,
            };
            tracing::dispatcher::with_default(&listener, || {
                // Who listens to the log runs here as well, and somebody has to wait for the child.
                let run = AssertUnwindSafe(|| minder.run(out, err));
                if let Err(payload) = panic::catch_unwind(run) {
                    // Its drop could panic as well.
                    std::mem::forget(payload);
                    fate.kill();
                    fate.reap();
                    output.end();
                }
                ended();
            });
        };
        let minder = thread::Builder::new().name("plg-minder".to_owned());
        child.minder = Some(minder.spawn(mind).map_err(failed)?);
        // One that has ended already, or does not read, is noticed by the line that does not come.
        let _ = write_within(
            &mut lifeline,
            &told.line,
            self.dialect.patience(&self.limits),
        );
        child.lifeline = Some(lifeline);
        Ok((child, first))
    }

    /// Waits for the start line.
    pub(super) fn first_line(
        &self,
        child: &Child,
        first: &mpsc::Receiver<First>,
    ) -> Result<Vec<u8>, ProcessError> {
        let limit = self.dialect.patience(&self.limits);
        let handshake = |problem: String| ProcessError::Handshake {
            problem,
            stderr: child.output.errors(),
        };
        match first.recv_timeout(limit) {
            Ok(First::Line(line)) => Ok(line),
            Ok(First::TooLong) => {
                let limit = wire::MAX_START;
                Err(handshake(format!("no line ends within {limit} bytes")))
            }
            Ok(First::Closed) | Err(RecvTimeoutError::Disconnected) => {
                let ending = child.fate.wait(LAST_WORDS);
                child.output.wait_for_end(LAST_WORDS);
                let stderr = child.output.errors();
                Err(match ending {
                    Some(ending) => {
                        let ending = child.held.tell(ending);
                        ProcessError::Exited { ending, stderr }
                    }
                    None => handshake("it closed its standard output".to_owned()),
                })
            }
            Err(RecvTimeoutError::Timeout) => {
                let stderr = child.output.errors();
                Err(ProcessError::HandshakeTimeout { limit, stderr })
            }
        }
    }

    /// Reads the start line, which has to say what the configuration says. It says besides what the
    /// child chose.
    fn shake_hands(
        &self,
        child: &Child,
        config: &Config,
        address: Address,
        line: &[u8],
    ) -> Result<Chosen, ProcessError> {
        let line: StartLine =
            wire::decode(line, wire::MAX_START).map_err(|error| ProcessError::Handshake {
                problem: error.to_string(),
                stderr: child.output.errors(),
            })?;
        let version = self.version.to_string();
        let (said, wanted) = (line.plg.to_string(), config.protocol.to_string());
        let pairs = [
            ("plg", &said, &wanted),
            ("plugin", &line.plugin, &config.plugin),
            ("version", &line.version, &version),
            ("nonce", &line.nonce, &config.nonce),
        ];
        let mismatch = |what, found: &str, expected: &str| {
            let found: String = found.chars().take(256).collect();
            ProcessError::Mismatch {
                what,
                found: found.escape_debug().to_string(),
                expected: expected.to_owned(),
            }
        };
        if let Some((what, found, expected)) =
            pairs.into_iter().find(|(_, said, wanted)| said != wanted)
        {
            return Err(mismatch(what, found, expected));
        }
        let reads = |form: Form| line.forms.iter().any(|known| known == form.as_str());
        let form = Some(Form::Plg).filter(|form| reads(*form));
        let address = address.confirm(&line.address);
        Ok(Chosen {
            address: address.ok_or_else(|| mismatch("address", &line.address, &config.address))?,
            form: form.unwrap_or_default(),
            state: line.state,
        })
    }
}

/// What is run, and what it gets of the host.
pub(crate) fn command(program: &Program, directory: &RunDirectory) -> Command {
    let environment = ENVIRONMENT
        .iter()
        .filter_map(|name| Some((name, env::var_os(name)?)));
    let mut command = Command::new(&program.path);
    command
        .args(&program.args)
        .env_clear()
        .envs(environment)
        .current_dir(directory.work())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Running {
    pub(super) fn new(
        build: &Build,
        child: Child,
        address: Address,
        directory: RunDirectory,
        traces: Traces,
    ) -> Self {
        Self {
            state: None,
            form: Form::Json,
            pace: build.pace,
            child,
            address,
            _directory: directory,
            _traces: traces,
            most: build.limits.in_flight,
            given_up: GivenUp::default(),
            pool: Mutex::default(),
            calls: AtomicU64::new(0),
            inside: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            verdict: OnceLock::new(),
        }
    }

    /// A connection that nobody uses.
    pub(super) fn connect(&self, until: &Until<'_>) -> Result<Connection, ProcessError> {
        while let Some(connection) = self.pool().pop() {
            // One that reads the binary form keeps what it keeps, and says so before it does not.
            let is_fresh = self.form == Form::Plg && connection.is_fresh();
            if is_fresh || connection.is_idle() {
                return Ok(connection);
            }
        }
        Connection::open(&self.address, self.pace, until)
    }

    /// Whether no more than one call is inside.
    pub(super) fn is_alone(&self) -> bool {
        self.inside.load(Ordering::Relaxed) <= 1
    }

    /// A call goes inside.
    pub(super) fn enter(self: &Arc<Self>) -> Visit {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.inside.fetch_add(1, Ordering::Relaxed);
        Visit {
            running: self.clone(),
        }
    }

    /// What it has to do.
    pub(super) fn activity(&self) -> Activity {
        // Before the time: it is written before anybody counts as outside.
        let inside = self.inside.load(Ordering::Acquire);
        let last = Duration::from_nanos(self.last.load(Ordering::Relaxed));
        Activity {
            calls: self.calls.load(Ordering::Relaxed),
            inside,
            last: self.child.fate.since + last,
        }
    }

    /// Notes that it was used just now.
    fn note_time(&self) {
        let last = self.child.fate.since.elapsed().as_nanos();
        let last = u64::try_from(last).unwrap_or(u64::MAX);
        self.last.store(last, Ordering::Relaxed);
    }

    /// Keeps a connection for the next call, if it can be used again.
    pub(super) fn give_back(&self, connection: Connection, answer: &Answer) {
        if answer.leaves_open(&connection) {
            let mut pool = self.pool();
            if pool.len() < self.most {
                pool.push(connection);
            }
        }
    }

    /// Asks something whose answer is its status.
    pub(super) fn tell(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
        until: &Until<'_>,
    ) -> Result<u16, ProcessError> {
        let mut connection = self.connect(until)?;
        http::ask(&mut connection, method, path, body, until)?;
        let mut answer = Answer::read(&mut connection, until)?;
        answer.rest(&mut connection, SMALL, until)?;
        self.give_back(connection, &answer);
        Ok(answer.status)
    }

    fn become_ready(&self, dialect: &Dialect, limit: Duration) -> Result<(), ProcessError> {
        let until = Until::within(limit, &self.child.fate);
        let mut last = None;
        loop {
            let answer = self.tell("GET", "/healthz", b"", &until);
            last = answer.as_ref().ok().copied().or(last);
            if let Some(pause) = dialect.asks_again(&answer)
                && until.check().is_ok()
                && self.child.fate.wait(pause).is_none()
            {
                continue;
            }
            let ending = match answer {
                Ok(200) => return Ok(()),
                Ok(_) => self.child.fate.ending(),
                Err(ProcessError::Over) => None,
                Err(_) => self.child.fate.wait(LAST_WORDS),
            };
            if let Some(ending) = ending {
                let stderr = self.child.output.errors();
                let ending = self.child.held.tell(ending);
                return Err(ProcessError::Exited { ending, stderr });
            }
            let why = match (answer, last) {
                (Ok(401), _) if self.address.token().is_some() => return Err(ProcessError::Auth),
                (Ok(status), _) | (Err(ProcessError::Over), Some(status)) => {
                    format!("`/healthz` answered {status}")
                }
                (Err(ProcessError::Over), None) => {
                    format!("no answer from `/healthz` within {limit:?}")
                }
                (Err(error), _) => error.to_string(),
            };
            return Err(ProcessError::Unhealthy { why });
        }
    }

    /// Ends it in order, and kills it if that takes longer than `grace`.
    pub(super) fn stop(&self, plugin: &PluginName, grace: Duration) {
        let fate = &self.child.fate;
        let start = Instant::now();
        let until = Until::within(SHUTDOWN.min(grace), fate);
        let heard = self.tell("POST", "/shutdown", b"{}", &until);
        let patience = match heard {
            Ok(200..=299) => grace / 5 * 4,
            _ => Duration::ZERO,
        };
        let left = |limit: Duration| limit.saturating_sub(start.elapsed());
        if fate.wait(left(patience)).is_some() {
            return;
        }
        fate.terminate();
        if fate.wait(left(grace)).is_some() {
            return;
        }
        let plugin = plugin.as_str();
        tracing::warn!(
            plugin,
            "its process did not end within {grace:?} and is killed"
        );
        fate.kill();
        // Nothing outlives that for long.
        fate.wait(SHUTDOWN);
    }

    fn pool(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the end of a child is waited for that has closed what it spoke through.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(300);

impl Drop for Visit {
    fn drop(&mut self) {
        // Whoever finds nobody inside has to see when the last one left.
        self.running.note_time();
        self.running.inside.fetch_sub(1, Ordering::Release);
    }
}

/// The line that tells a child what it has to know.
pub(super) fn line_of(config: &Config) -> Result<Vec<u8>, ProcessError> {
    let too_large = |bytes| ProcessError::ConfigTooLarge {
        bytes,
        limit: MAX_CONFIG,
    };
    let mut line = wire::encode(config, usize::MAX).map_err(|_| too_large(usize::MAX))?;
    line.push(b'\n');
    if line.len() > MAX_CONFIG {
        return Err(too_large(line.len()));
    }
    Ok(line)
}

/// Writes `bytes` as far as somebody reads them within `limit`.
fn write_within(pipe: &mut ChildStdin, mut bytes: &[u8], limit: Duration) -> io::Result<()> {
    let end = Instant::now().checked_add(limit);
    let flags = fcntl_getfl(&*pipe)?;
    fcntl_setfl(&*pipe, flags | OFlags::NONBLOCK)?;
    while !bytes.is_empty() {
        match pipe.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let left = end.map_or(limit, |end| end.saturating_duration_since(Instant::now()));
                let timeout = Timespec::try_from(left).ok();
                let mut ready = [PollFd::new(&*pipe, PollFlags::OUT)];
                if poll(&mut ready, timeout.as_ref())? == 0 {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
