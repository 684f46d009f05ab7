//! The side of who asks.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

use super::error::ControlError;
use super::server::SOCKET;
use super::wire::{ANSWER, Answer, HostReport, Moved, Position, Question, Tail};
use crate::codes;
use crate::transport::process::run_directories;

/// A host that lives and can be asked.
#[derive(Clone, Debug)]
pub struct RunningHost {
    pid: u32,
    socket: PathBuf,
}

/// How long an answer may take. A plugin that moves is started first, and its calls end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The hosts that answer, of this user and, for root, of everybody: those whose directory stands below `parent`, by
/// default where hosts have theirs. By process number.
#[must_use]
pub fn hosts(parent: Option<&Path>) -> Vec<RunningHost> {
    let mut hosts: Vec<RunningHost> = run_directories(parent)
        .into_iter()
        .filter_map(|directory| open(&directory))
        .collect();
    hosts.sort_by_key(|host| host.pid);
    hosts
}

/// The host of a directory. One that does not live any more listens to nobody.
fn open(directory: &Path) -> Option<RunningHost> {
    let found = fs::symlink_metadata(directory).ok()?;
    let is_private = found.is_dir() && found.mode() & 0o077 == 0;
    let (own, owner) = (geteuid(), found.uid());
    if !is_private || (owner != own.as_raw() && !own.is_root()) {
        return None;
    }
    let socket = directory.join(SOCKET);
    let stream = UnixStream::connect(&socket).ok()?;
    let peer = socket_peercred(&stream).ok()?;
    if peer.uid.as_raw() != owner {
        return None;
    }
    let pid = u32::try_from(peer.pid.as_raw_nonzero().get()).ok()?;
    Some(RunningHost { pid, socket })
}

impl RunningHost {
    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it has loaded, and where.
    ///
    /// # Errors
    ///
    /// `control.silent` when it does not answer.
    pub fn report(&self) -> Result<HostReport, ControlError> {
        match self.ask(&Question::Snapshot)? {
            Answer::Snapshot(report) => Ok(report),
            other => Err(self.mistaken(&other)),
        }
    }

    /// Has it run a plugin in a process of its own, as [`Host::isolate`](crate::Host::isolate) does.
    ///
    /// # Errors
    ///
    /// The codes of `isolate`, and `control.silent`.
    pub fn isolate(&self, plugin: &str) -> Result<Moved, ControlError> {
        let plugin = plugin.to_owned();
        self.relocate(&Question::Isolate { plugin })
    }

    /// Has it take a plugin back into its own process, as [`Host::inline`](crate::Host::inline) does.
    ///
    /// # Errors
    ///
    /// The codes of `inline`, and `control.silent`.
    pub fn inline(&self, plugin: &str) -> Result<Moved, ControlError> {
        let plugin = plugin.to_owned();
        self.relocate(&Question::Inline { plugin })
    }

    /// What the plugin's process wrote to its standard error after `after`, or the last of it.
    ///
    /// # Errors
    ///
    /// `control.no_process` for a plugin that has none, `plugin.not_found`, and `control.silent`.
    pub fn logs(&self, plugin: &str, after: Option<Position>) -> Result<Tail, ControlError> {
        let question = Question::Logs {
            plugin: plugin.to_owned(),
            after,
        };
        match self.ask(&question) {
            Ok(Answer::Logs(tail)) => Ok(tail),
            Ok(other) => Err(self.mistaken(&other)),
            Err(ControlError::Refused {
                code: "control.no_process",
                ..
            }) => {
                let plugin = plugin.to_owned();
                Err(ControlError::NoProcess { plugin })
            }
            Err(error) => Err(error),
        }
    }

    fn relocate(&self, question: &Question) -> Result<Moved, ControlError> {
        match self.ask(question)? {
            Answer::Moved(moved) => Ok(moved),
            other => Err(self.mistaken(&other)),
        }
    }

    fn ask(&self, question: &Question) -> Result<Answer, ControlError> {
        let exchange = || -> std::io::Result<Vec<u8>> {
            let mut stream = UnixStream::connect(&self.socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            let mut text = serde_json::to_vec(question)?;
            text.push(b'\n');
            stream.write_all(&text)?;
            let mut line = Vec::new();
            BufReader::new(stream.take(ANSWER)).read_until(b'\n', &mut line)?;
            Ok(line)
        };
        let line = exchange().map_err(|error| self.silent(error.to_string()))?;
        if line.is_empty() {
            return Err(self.silent("it closed the connection".to_owned()));
        }
        match serde_json::from_slice(&line) {
            Ok(Answer::Error { code, message }) => Err(ControlError::Refused {
                pid: self.pid,
                code: codes::find(&code).map_or("control.silent", |known| known.code),
                message,
            }),
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.silent(format!("its answer is none: {error}"))),
        }
    }

    fn mistaken(&self, answer: &Answer) -> ControlError {
        let what = match answer {
            Answer::Snapshot(_) => "a report",
            Answer::Moved(_) => "a move",
            Answer::Logs(_) => "lines",
            Answer::Error { .. } => "an error",
        };
        self.silent(format!("it answered with {what}"))
    }

    fn silent(&self, why: String) -> ControlError {
        let pid = self.pid;
        ControlError::Silent { pid, why }
    }
}
