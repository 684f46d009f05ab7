//! One call: the request, what the plugin asks meanwhile, and the outcome.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use plg_plugin_api::Value;
use plg_plugin_api::process::wire::{
    self, Cancel, ExecuteRef, Fault, Form, JSON, Line, MAX_BODY, MAX_LINE, NDJSON, Outcome, PLG,
    Reply, Values,
};
use smallvec::SmallVec;

use super::connection::{Connection, Until};
use super::error::ProcessError;
use super::http::{Answer, Request};
use super::launch::Running;
use crate::context::Context;
use crate::context::frame::Call;
use crate::context::outside;

/// A call on its way to a child.
pub(super) struct Exchange<'a> {
    pub(super) running: &'a Arc<Running>,
    pub(super) question: Question,
    /// Unique among the calls of this build.
    pub(super) id: u64,
    pub(super) call: &'a Call<'a>,
    pub(super) depth: u32,
}

/// What a child is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Question {
    Execute,
    Save,
    Restore,
}

impl Question {
    fn path(self) -> &'static str {
        match self {
            Self::Execute => "/execute",
            Self::Save => "/save",
            Self::Restore => "/restore",
        }
    }
}

/// From how many bytes on an outcome is read while it comes.
const LARGE: usize = 16 << 10;
/// How long somebody tries to tell a child that a call was given up.
const CANCEL: Duration = Duration::from_secs(1);

impl Exchange<'_> {
    /// Makes the call and waits for its outcome; the values that it left are in `context` then. `Err` in the
    /// outcome is the plugin's own.
    pub(super) fn run(&self, context: &mut Context) -> Result<Result<(), Fault>, ProcessError> {
        let until = Until {
            end: context.end(),
            cancel: context.canceller(),
            fate: &self.running.child.fate,
        };
        until.check()?;
        let mut connection = self.running.connect(&until)?;
        let mut request = Request::new(&mut connection);
        let form = self.running.form;
        self.ask(context, form, &mut request, &mut connection, &until)?;
        connection.keep(request.into_bytes());
        let begun = connection.await_answer(self.running.is_alone(), &until);
        let outcome = begun.and_then(|()| self.outcome(&mut connection, context, &until));
        match outcome {
            Ok((outcome, answer)) => {
                self.running.give_back(connection, &answer);
                Ok(self.apply(outcome, context))
            }
            Err(error) => {
                if matches!(error, ProcessError::Over) {
                    self.cancel();
                }
                Err(error)
            }
        }
    }

    fn ask(
        &self,
        context: &Context,
        form: Form,
        request: &mut Request,
        connection: &mut Connection,
        until: &Until<'_>,
    ) -> Result<(), ProcessError> {
        let left = context.end().map(|end| {
            // Rounded up: a plugin that took its deadline for over before it is would say that it was cancelled.
            let left = end.saturating_duration_since(Instant::now()).as_nanos();
            let left = left.div_ceil(1_000_000);
            u64::try_from(left).unwrap_or(u64::MAX).max(1)
        });
        let values: SmallVec<[(&str, &Value); 8]> = context.iter().collect();
        let execute = ExecuteRef {
            id: self.id,
            label: self.call.label,
            values: &values,
            timeout_ms: left,
            depth: self.depth,
        };
        let pieces = form
            .write_execute(request.body(), &execute, MAX_BODY)
            .map_err(|error| ProcessError::TooLarge(error.to_string()))?;
        let (path, kind) = (self.question.path(), form.content_type());
        request.send(connection, ("POST", path, kind), &pieces, until)
    }

    fn outcome(
        &self,
        connection: &mut Connection,
        context: &Context,
        until: &Until<'_>,
    ) -> Result<(Outcome, Answer), ProcessError> {
        let mut answer = Answer::read(connection, until)?;
        match answer.status {
            200 => {}
            // It is about to exit, and has not begun with this call.
            503 => return Err(ProcessError::Refused),
            300..=399 => return Err(ProcessError::Redirect(answer.status)),
            401 => return Err(ProcessError::Auth),
            status => return Err(ProcessError::Status(status)),
        }
        let outcome = match answer.kind.as_str() {
            JSON => {
                let body = answer.rest(connection, MAX_BODY, until)?;
                let outcome = wire::decode(&body, MAX_BODY).map_err(body_error)?;
                connection.keep(body);
                outcome
            }
            // Nobody else was told that there is such a form.
            PLG if self.running.form == Form::Plg => {
                match answer.length().filter(|length| *length > LARGE) {
                    Some(length) => answer.outcome(connection, length, until)?,
                    None => {
                        let body = answer.rest(connection, MAX_BODY, until)?;
                        let outcome = Form::Plg.decode_outcome(&body, MAX_BODY);
                        connection.keep(body);
                        outcome.map_err(body_error)?
                    }
                }
            }
            NDJSON => self.lines(connection, &mut answer, context, until)?,
            other => {
                let other: String = other.chars().take(64).collect();
                let shown = other.escape_debug();
                let problem = format!("its type is `{shown}`, expected `{JSON}` or `{NDJSON}`");
                return Err(ProcessError::Body(problem));
            }
        };
        if outcome.id != self.id {
            let (found, expected) = (outcome.id, self.id);
            return Err(ProcessError::Mixup { found, expected });
        }
        Ok((outcome, answer))
    }

    /// Reads lines and does what they ask for, up to the one that is the outcome.
    fn lines(
        &self,
        connection: &mut Connection,
        answer: &mut Answer,
        context: &Context,
        until: &Until<'_>,
    ) -> Result<Outcome, ProcessError> {
        let mut text: Vec<u8> = Vec::new();
        let mut outcome = None;
        // Where the next line begins, and up to where none ends.
        let (mut start, mut searched) = (0, 0);
        loop {
            // What comes may come without an end.
            until.check()?;
            let found = text[searched..].iter().position(|byte| *byte == b'\n');
            let ended = match found {
                Some(_) => false,
                None if text.len() - start >= MAX_LINE => {
                    let problem = format!("a line has more than {MAX_LINE} bytes");
                    return Err(ProcessError::Body(problem));
                }
                None => {
                    text.drain(..start);
                    (start, searched) = (0, text.len());
                    if answer.piece(connection, &mut text, until)? {
                        continue;
                    }
                    true
                }
            };
            let end = found.map_or(text.len(), |end| searched + end + 1);
            let line = &text[start..end];
            (start, searched) = (end, end);
            if !line.trim_ascii().is_empty() {
                if outcome.is_some() {
                    let problem = "something follows the outcome".to_owned();
                    return Err(ProcessError::Body(problem));
                }
                match wire::decode(line, MAX_LINE).map_err(body_error)? {
                    Line::Outcome(last) => outcome = Some(last),
                    line => self.answer(line, context, until)?,
                }
            }
            if ended {
                let missing = || ProcessError::Body("it ends without an outcome".to_owned());
                return outcome.ok_or_else(missing);
            }
        }
    }

    /// Does what a line asks for.
    fn answer(&self, line: Line, context: &Context, until: &Until<'_>) -> Result<(), ProcessError> {
        until.check()?;
        match line {
            Line::Log(log) => outside::log(self.call, log.level, &log.message),
            Line::Progress(progress) => outside::progress(
                context,
                self.call,
                (progress.done, progress.total),
                &progress.message,
            ),
            Line::Call(asked) => {
                let mut nested = context.nested();
                nested.extend(asked.values);
                let callee = self.call.callee;
                let outcome = callee.call_other(&asked.plugin, &asked.label, &mut nested);
                // What took up all the time is not answered, however quick the plugin would be now.
                until.check()?;
                let mut reply = Reply {
                    id: self.id,
                    seq: asked.seq,
                    answer: match outcome {
                        Ok(()) => Ok(values(&nested)),
                        Err(failure) => Err(Fault {
                            code: failure.code,
                            message: failure.message,
                        }),
                    },
                };
                let body = wire::encode(&reply, MAX_BODY).or_else(|error| {
                    reply.answer = Err(Fault {
                        code: "ctx.too_large".to_owned(),
                        message: format!("the answer: {error}"),
                    });
                    wire::encode(&reply, MAX_BODY)
                });
                let body = body.map_err(|error| ProcessError::TooLarge(error.to_string()))?;
                match self.running.tell("POST", "/reply", &body, until)? {
                    200..=299 => {}
                    status => return Err(ProcessError::Status(status)),
                }
            }
            // The loop above takes it.
            Line::Outcome(_) => {}
        }
        Ok(())
    }

    /// Puts what the plugin left into the context; what it may not leave there makes the call fail.
    fn apply(&self, outcome: Outcome, context: &mut Context) -> Result<(), Fault> {
        let limits = self.call.callee.limits();
        for key in &outcome.removed {
            context.remove(key);
        }
        for (key, value) in outcome.set {
            outside::accept(context, &key, value, limits).map_err(|message| Fault {
                code: "ctx.too_large".to_owned(),
                message,
            })?;
        }
        match outcome.error {
            None => Ok(()),
            Some(Fault { code, message }) => Err(Fault {
                code: if is_code(&code) {
                    code
                } else {
                    "call.failed".to_owned()
                },
                message: outside::excerpt(&message, limits.text_bytes),
            }),
        }
    }

    /// Tells the child that nobody waits any more. Nobody waits for that either. A child that does not listen may be
    /// alive and do nothing: one that does not even say that it is well is killed.
    fn cancel(&self) {
        let (running, id) = (self.running.clone(), self.id);
        if !running.given_up.add(id, running.most) {
            return;
        }
        let (name, limit) = (
            self.call.callee.name().to_owned(),
            self.call.callee.limits().start,
        );
        let tell = move || {
            let fate = &running.child.fate;
            let is_over = |outcome| matches!(outcome, Err(ProcessError::Over));
            while let Some(id) = running.given_up.next() {
                let Ok(body) = wire::encode(&Cancel { id }, MAX_BODY) else {
                    continue;
                };
                let until = Until::within(CANCEL, fate);
                if is_over(running.tell("POST", "/cancel", &body, &until)) {
                    let until = Until::within(limit, fate);
                    if is_over(running.tell("GET", "/healthz", b"", &until)) {
                        tracing::warn!(plugin = name, "its process answers nothing and is killed");
                        fate.kill();
                    }
                }
            }
        };
        let given_up = self.running.clone();
        let thread = thread::Builder::new().name("plg-cancel".to_owned());
        if let Err(error) = thread.spawn(tell) {
            given_up.given_up.clear();
            tracing::warn!("no thread to cancel a call: {error}");
        }
    }
}

/// Calls that a child is to be told of that nobody waits for any more. One thread tells it, however many they are.
#[derive(Debug, Default)]
pub(super) struct GivenUp(Mutex<Option<Vec<u64>>>);

impl GivenUp {
    /// Adds a call, if there are fewer than `most`. Says whether nobody is about to tell of them yet.
    fn add(&self, id: u64, most: usize) -> bool {
        let mut calls = self.lock();
        let is_first = calls.is_none();
        let calls = calls.get_or_insert_default();
        if calls.len() < most.max(1) {
            calls.push(id);
        }
        is_first
    }

    /// The next of them; after the last somebody else has to tell of what is added.
    fn next(&self) -> Option<u64> {
        let mut calls = self.lock();
        let next = calls.as_mut().and_then(Vec::pop);
        if next.is_none() {
            *calls = None;
        }
        next
    }

    fn clear(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn values(context: &Context) -> Values {
    context
        .iter()
        .map(|(key, value)| (key, value.clone()))
        .collect()
}

fn body_error(error: wire::WireError) -> ProcessError {
    ProcessError::Body(error.to_string())
}

/// Whether a code is two or more words joined by dots.
fn is_code(code: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(is_letter);
    code.len() <= 128 && code.contains('.') && code.split('.').all(is_word)
}
