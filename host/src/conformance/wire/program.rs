//! A program that is started by hand.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use plg_packaging::Manifest;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};

use super::client::Client;
use crate::conformance::finding::{Finding, Found, failed, shown, within};
use crate::transport::process::program::Program;
use crate::transport::process::sandbox::{Confinement, Resources};
use crate::transport::process::{ProcessError, RunDirectory, RunRoot, Spawner, command};

/// Starts a program as often as it takes.
pub(super) struct Launcher {
    program: Program,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) has_labels: bool,
    root: Arc<RunRoot>,
    spawner: Spawner,
}

/// A program that runs. It is killed, with its group, when this is dropped.
pub(super) struct Started {
    child: Child,
    /// Open for as long as the host lives, which this plays.
    pub(super) stdin: Option<ChildStdin>,
    pub(super) config: Value,
    /// Its start line, as it was printed.
    pub(super) line: Value,
    errors: Arc<Mutex<Vec<u8>>>,
    calls: AtomicU64,
    _directory: RunDirectory,
}

/// How long a start may take.
const START: Duration = Duration::from_secs(5);
/// The most bytes of a start line.
const LINE: u64 = 4096;
/// The most bytes of the standard error that are kept.
const ERRORS: usize = 4096;

impl Launcher {
    pub(super) fn new(
        program: Program,
        manifest: &Manifest,
        has_labels: bool,
    ) -> Result<Self, ProcessError> {
        Ok(Self {
            program,
            name: manifest.name.to_string(),
            version: manifest.version.to_string(),
            has_labels,
            root: Arc::new(RunRoot::new(None)),
            spawner: Spawner::default(),
        })
    }

    /// A program that runs and takes calls.
    pub(super) fn ready(&self) -> Result<Started, Finding> {
        let started = self.start(|_| {})?;
        started.wait_until_ready()?;
        Ok(started)
    }

    /// A program that has printed its start line, with another configuration.
    pub(super) fn start(&self, change: impl FnOnce(&mut Value)) -> Result<Started, Finding> {
        let directory = self
            .root
            .create()
            .or_else(|error| failed(format!("no directory for its socket: {error}")))?;
        let mut config = json!({
            "protocol": 1,
            "plugin": self.name,
            "generation": 1,
            "nonce": "0123456789abcdef",
            "address": format!("unix:{}", directory.socket().display()),
            "token": null,
            "idle_ms": null,
            "config": {},
        });
        change(&mut config);
        let mut child = self.spawn(command(&self.program, &directory))?;
        let mut stdin = child.stdin.take();
        let first = child.stdout.take().map(first_line);
        let errors = Arc::default();
        if let Some(stderr) = child.stderr.take() {
            keep_errors(stderr, &errors);
        }
        let mut started = Started {
            child,
            stdin: None,
            config,
            line: Value::Null,
            errors,
            calls: AtomicU64::new(0),
            _directory: directory,
        };
        let line = format!("{}\n", started.config);
        if let Some(stdin) = &mut stdin {
            // One that has ended already says so by the line that does not come.
            let _ = stdin.write_all(line.as_bytes());
        }
        started.stdin = stdin;
        match first.and_then(|first| first.recv_timeout(START).ok()) {
            Some(line) => match serde_json::from_slice(&line) {
                Ok(line) => started.line = line,
                Err(_) => {
                    let line = String::from_utf8_lossy(&line);
                    return failed(format!("the start line is {}", shown(&line)));
                }
            },
            None => {
                let said = started.errors();
                return failed(format!("no start line within {START:?}; it said {said}"));
            }
        }
        Ok(started)
    }

    /// What it prints when it is asked for its capabilities.
    pub(super) fn capabilities(&self) -> Result<Output, Finding> {
        let directory = self
            .root
            .create()
            .or_else(|error| failed(format!("no directory for it: {error}")))?;
        let mut command = command(&self.program, &directory);
        command.arg("capabilities").stdin(Stdio::null());
        let mut child = self.spawn(command)?;
        let stdout = child.stdout.take().map(whole);
        if let Some(stderr) = child.stderr.take() {
            // It must not be held up by it, and nobody asks what it said.
            keep_errors(stderr, &Arc::default());
        }
        let mut guard = Killed(child);
        let status = ended(&mut guard.0, START)?;
        let stdout = stdout.and_then(|stdout| stdout.recv_timeout(START).ok());
        let stdout = stdout.unwrap_or_default();
        let stderr = Vec::new();
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }

    fn spawn(&self, command: Command) -> Result<Child, Finding> {
        let confinement = Confinement::isolated(&Resources::default());
        let barrier = confinement.barrier(&self.program.path, Path::new("/"));
        let barrier = barrier.or_else(|error| failed(error.to_string()))?;
        let spawned = self.spawner.spawn(command, None, barrier);
        spawned.or_else(|error| failed(format!("it could not be started: {error}")))
    }
}

impl Started {
    /// Where it listens, as it says.
    pub(super) fn address(&self) -> &str {
        self.line["address"].as_str().unwrap_or_default()
    }

    pub(super) fn client(&self) -> Result<Client, Finding> {
        let client = Client::open(self.address());
        client.or_else(|error| {
            let address = self.address();
            failed(format!("no connection to {}: {error}", shown(&address)))
        })
    }

    pub(super) fn wait_until_ready(&self) -> Found {
        let is_ready = || Ok(self.client()?.get("/healthz")?.status == 200);
        within(START, is_ready, "`/healthz` was not answered with 200")
    }

    /// A call with a number of its own.
    pub(super) fn call(&self, label: &str, timeout_ms: Option<u64>) -> Value {
        let id = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        json!({
            "id": id,
            "label": label,
            "values": {},
            "timeout_ms": timeout_ms,
            "depth": 1,
        })
    }

    /// Begins a call that reports progress as soon as it runs, and waits for that.
    pub(super) fn running(&self, call: &Value) -> Result<Client, Finding> {
        let mut client = self.client()?;
        client.begin(call)?;
        let answer = client.head()?;
        if answer.status != 200 {
            return failed(format!("a call was answered with status {}", answer.status));
        }
        let line = client.chunk()?;
        let line: Value = serde_json::from_slice(&line).unwrap_or_default();
        if line["progress"].is_object() {
            return Ok(client);
        }
        failed(format!(
            "a call began with {line} and not with its progress"
        ))
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // One that has ended already is seen by its status.
            let _ = kill_process(pid, signal);
        }
    }

    /// How many descriptors it has open.
    pub(super) fn descriptors(&self) -> Result<usize, Finding> {
        let directory = format!("/proc/{}/fd", self.child.id());
        let entries = std::fs::read_dir(&directory);
        let entries = entries.or_else(|error| failed(format!("no `{directory}`: {error}")))?;
        Ok(entries.count())
    }

    /// Waits for its end.
    pub(super) fn ended(&mut self, limit: Duration) -> Result<ExitStatus, Finding> {
        ended(&mut self.child, limit)
    }

    /// Whether it ends with status 0.
    pub(super) fn ends_well(&mut self, limit: Duration) -> Found {
        let status = self.ended(limit)?;
        if status.success() {
            return Ok(());
        }
        let said = self.errors();
        failed(format!(
            "it ended with {status}, expected status 0; it said {said}"
        ))
    }

    fn errors(&self) -> String {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        shown(&String::from_utf8_lossy(&errors))
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()).ok()?)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// A child that is killed when this is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        kill(&mut self.0);
    }
}

fn kill(child: &mut Child) {
    // Its number is its own until somebody has waited for it.
    if let Ok(None) = child.try_wait() {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = pid {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = child.wait();
    }
}

fn ended(child: &mut Child, limit: Duration) -> Result<ExitStatus, Finding> {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if start.elapsed() <= limit => thread::sleep(Duration::from_millis(5)),
            Ok(None) => return failed(format!("it did not exit within {limit:?}")),
            Err(error) => return failed(format!("nobody can wait for it: {error}")),
        }
    }
}

/// Reads a line, passes it on and drops the rest.
fn first_line(stdout: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        if (&mut stdout)
            .take(LINE)
            .read_until(b'\n', &mut line)
            .is_ok()
            && !line.is_empty()
        {
            // Who waited may have given up.
            let _ = sender.send(line);
        }
        let _ = io::copy(&mut stdout, &mut io::sink());
    });
    receiver
}

fn whole(stdout: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    const MOST: u64 = 1 << 20;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stdout.take(MOST).read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

fn keep_errors(mut stderr: impl Read + Send + 'static, errors: &Arc<Mutex<Vec<u8>>>) {
    let errors = errors.clone();
    thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(read @ 1..) = stderr.read(&mut buffer) {
            let mut errors = errors.lock().unwrap_or_else(PoisonError::into_inner);
            errors.extend_from_slice(&buffer[..read]);
            let over = errors.len().saturating_sub(ERRORS);
            errors.drain(..over);
        }
    });
}
