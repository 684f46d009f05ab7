//! Calls that run, and what they ask their host for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::codec::Values;
use super::http::{HEAD, write_chunk, write_chunked_start, write_outcome};
use super::listen::Stream;
use super::pieces::Pieces;
use super::plugin::Answer;
use super::wire::{self, Execute, Fault, Form, Line, Outcome, Reply};
use crate::context::Level;
use crate::error::Error;
use crate::spare;

/// Room for most answers, head and outcome.
const ROOM: usize = 1024;
/// How many calls may be cancelled before they are here. A request on one connection overtakes another's.
const MAX_EARLY: usize = 64;

/// A call that runs. It may be asked from any thread, also after it ended: then it is cancelled.
#[derive(Debug)]
pub struct Call {
    id: u64,
    label: String,
    depth: u32,
    /// How the call was written, and its outcome is.
    form: Form,
    deadline: Option<Instant>,
    cancelled: AtomicBool,
    outgoing: Mutex<Outgoing>,
    asked: Mutex<Asked>,
    answered: Condvar,
}

/// The answer to the host's request.
#[derive(Debug)]
struct Outgoing {
    stream: Arc<Stream>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Nothing was written yet.
    Silent,
    /// Lines were.
    Lines,
    /// The outcome was, or nothing more can be.
    Over,
}

/// What the call asked for and waits for.
#[derive(Debug, Default)]
struct Asked {
    last: u64,
    waiting: BTreeMap<u64, Option<Result<Values, Fault>>>,
}

impl Call {
    fn new(execute: &Execute, form: Form, stream: Arc<Stream>) -> Self {
        let limit = execute.timeout_ms.map(Duration::from_millis);
        Self {
            id: execute.id,
            label: execute.label.clone(),
            depth: execute.depth,
            form,
            deadline: limit.and_then(|limit| Instant::now().checked_add(limit)),
            cancelled: AtomicBool::new(false),
            outgoing: Mutex::new(Outgoing {
                stream,
                phase: Phase::Silent,
            }),
            asked: Mutex::default(),
            answered: Condvar::new(),
        }
    }

    /// What the caller asks for.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// How many calls from plugin to plugin led here.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// When the caller gives up, if it does.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether the caller has given up: it cancelled, its deadline passed, or it is gone.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire) || self.is_late()
    }

    fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Writes a line to the host's log.
    pub fn log(&self, level: Level, message: &str) {
        let message = message.to_owned();
        // A line that is too long for the host is one less in the log.
        let _ = self.tell(&Line::Log(wire::Log { level, message }));
    }

    /// Says how far the work is.
    pub fn progress(&self, done: u64, total: Option<u64>, message: &str) {
        let message = message.to_owned();
        let progress = wire::Progress {
            done,
            total,
            message,
        };
        let _ = self.tell(&Line::Progress(progress));
    }

    /// Calls another plugin and returns the values after its call.
    ///
    /// # Errors
    ///
    /// The other plugin's error or the host's, `call.cancelled` and `call.timeout` when the caller gives up in
    /// the meantime, and `ctx.too_large` when the values do not fit into a line.
    pub fn call(&self, plugin: &str, label: &str, values: Values) -> Result<Values, Error> {
        let seq = {
            let mut asked = lock(&self.asked);
            asked.last += 1;
            let seq = asked.last;
            asked.waiting.insert(seq, None);
            seq
        };
        let told = self.tell(&Line::Call(wire::Call {
            seq,
            plugin: plugin.to_owned(),
            label: label.to_owned(),
            values,
        }));
        let answer = match told {
            Ok(()) => self.wait_for(seq),
            Err(error) => Err(error),
        };
        lock(&self.asked).waiting.remove(&seq);
        answer
    }

    fn wait_for(&self, seq: u64) -> Result<Values, Error> {
        let mut asked = lock(&self.asked);
        loop {
            if let Some(answer) = asked.waiting.get_mut(&seq).and_then(Option::take) {
                return answer.map_err(Error::from);
            }
            if self.cancelled.load(Ordering::Acquire) {
                return Err(Error::new("call.cancelled", "the caller gave up"));
            }
            if self.is_late() {
                let message = "the call was not done before its deadline";
                return Err(Error::new("call.timeout", message));
            }
            asked = match self.deadline {
                None => self
                    .answered
                    .wait(asked)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let woken = self.answered.wait_timeout(asked, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn cancel(&self) {
        // Under the lock: whoever looked before and is about to wait is woken.
        let asked = lock(&self.asked);
        self.cancelled.store(true, Ordering::Release);
        // To wake nobody up is a system call all the same.
        if !asked.waiting.is_empty() {
            self.answered.notify_all();
        }
        drop(asked);
    }

    fn reply(&self, reply: Reply) {
        let mut asked = lock(&self.asked);
        // One that nobody waits for, or for the second time, is too late.
        if let Some(place @ None) = asked.waiting.get_mut(&reply.seq) {
            *place = Some(reply.answer);
            self.answered.notify_all();
        }
    }

    fn tell(&self, line: &Line) -> Result<(), Error> {
        let mut bytes = wire::encode(line, wire::MAX_LINE - 1)
            .map_err(|error| Error::new("ctx.too_large", error.to_string()))?;
        bytes.push(b'\n');
        let mut outgoing = lock(&self.outgoing);
        let written = match outgoing.phase {
            Phase::Over => return Err(Error::new("call.cancelled", "the caller is gone")),
            Phase::Lines => Ok(()),
            Phase::Silent => write_chunked_start(&outgoing.stream, wire::NDJSON),
        };
        outgoing.phase = Phase::Lines;
        let written = written.and_then(|()| write_chunk(&outgoing.stream, &bytes, false));
        written.map_err(|_| {
            outgoing.phase = Phase::Over;
            self.cancelled.store(true, Ordering::Release);
            Error::new("call.cancelled", "the caller is gone")
        })
    }

    /// Answers the host's request. Whether the connection is still good.
    pub(super) fn finish(&self, answer: Answer, close: bool) -> bool {
        let outcome = Outcome {
            id: self.id,
            set: answer.set,
            removed: answer.removed,
            error: answer.error.map(Fault::from),
        };
        let mut outgoing = lock(&self.outgoing);
        let phase = std::mem::replace(&mut outgoing.phase, Phase::Over);
        // Lines are JSON, and so is the one that ends them.
        let form = match phase {
            Phase::Silent => self.form,
            Phase::Lines => Form::Json,
            Phase::Over => return false,
        };
        let mut bytes = Vec::with_capacity(ROOM);
        bytes.resize(HEAD, 0);
        let limit = wire::MAX_LINE - 1;
        let written = form.write_outcome(&mut bytes, &outcome, limit);
        let pieces = written.unwrap_or_else(|error| {
            bytes.truncate(HEAD);
            let message = format!("what the call set cannot be answered: {error}");
            // A short text fits.
            let _ = form.encode_outcome(&mut bytes, &too_large(self.id, &message), limit);
            Pieces::default()
        });
        let written = match phase {
            Phase::Silent => {
                let kind = form.content_type();
                write_outcome(&outgoing.stream, kind, &mut bytes, &pieces, close)
            }
            Phase::Lines => {
                bytes.push(b'\n');
                write_chunk(&outgoing.stream, &bytes[HEAD..], true)
            }
            Phase::Over => return false,
        };
        drop(outgoing);
        for (_, value) in outcome.set {
            spare::keep(value);
        }
        written.is_ok()
    }
}

fn too_large(id: u64, message: &str) -> Outcome {
    Outcome {
        id,
        error: Some(Fault::from(Error::new("ctx.too_large", message))),
        ..Outcome::default()
    }
}

/// The calls that run, by their id.
#[derive(Debug, Default)]
pub(super) struct Calls(Mutex<Registry>);

#[derive(Debug, Default)]
struct Registry {
    running: BTreeMap<u64, Arc<Call>>,
    /// What was cancelled before it was here.
    early: VecDeque<u64>,
}

/// A call that is listed for as long as this lives.
#[derive(Debug)]
pub(super) struct Listed<'a> {
    calls: &'a Calls,
    pub(super) call: Arc<Call>,
}

impl Calls {
    /// Lists a call; `None` when one with its id runs already.
    pub(super) fn begin(
        &self,
        execute: &Execute,
        form: Form,
        stream: Arc<Stream>,
    ) -> Option<Listed<'_>> {
        let call = Arc::new(Call::new(execute, form, stream));
        let mut registry = lock(&self.0);
        if registry.running.contains_key(&call.id) {
            return None;
        }
        if let Some(place) = registry.early.iter().position(|id| *id == call.id) {
            registry.early.remove(place);
            call.cancelled.store(true, Ordering::Release);
        }
        registry.running.insert(call.id, call.clone());
        Some(Listed { calls: self, call })
    }

    pub(super) fn cancel(&self, id: u64) {
        let mut registry = lock(&self.0);
        if let Some(call) = registry.running.get(&id) {
            call.cancel();
            return;
        }
        registry.early.push_back(id);
        if registry.early.len() > MAX_EARLY {
            registry.early.pop_front();
        }
    }

    pub(super) fn cancel_all(&self) {
        lock(&self.0)
            .running
            .values()
            .for_each(|call| call.cancel());
    }

    pub(super) fn reply(&self, reply: Reply) {
        let call = lock(&self.0).running.get(&reply.id).cloned();
        if let Some(call) = call {
            call.reply(reply);
        }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        lock(&self.calls.0).running.remove(&self.call.id);
        // Whoever kept it sees that it is over.
        self.call.cancel();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
