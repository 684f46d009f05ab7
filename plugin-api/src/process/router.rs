//! Which request means what.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::call::Calls;
use super::http::{Head, Method};
use super::life::{Busy, End, Life};
use super::listen::Stream;
use super::plugin::{Answer, Plugin, Request, Response};
use super::wire::{self, Cancel, Execute, Pace, Reply, WireError};
use crate::context::Level;
use crate::error::Error;

/// How long a question whether it is well waits for a plugin that is being prepared: most are there before they
/// could be asked again.
const SOON: Duration = Duration::from_millis(50);

/// What all connections share.
pub(super) struct Served<'a> {
    pub(super) plugin: &'a dyn Plugin,
    pub(super) life: Life,
    pub(super) calls: Calls,
    /// What every request carries, over TCP.
    pub(super) token: Option<String>,
    /// How eagerly the next request is waited for.
    pub(super) pace: Pace,
}

/// What became of a request.
pub(super) enum Routed {
    /// To be answered so.
    Answer(Response),
    /// It was answered; whether the connection is still good.
    Answered(bool),
}

/// What a call asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    Execute,
    Save,
    Restore,
}

impl Question {
    /// What a request asks for, if it is a call.
    pub(super) fn of(head: &Head) -> Option<Self> {
        match (&head.method, path(head)) {
            (Method::Post, "/execute") => Some(Self::Execute),
            (Method::Post, "/save") => Some(Self::Save),
            (Method::Post, "/restore") => Some(Self::Restore),
            _ => None,
        }
    }
}

fn path(head: &Head) -> &str {
    head.target.split('?').next().unwrap_or_default()
}

impl Served<'_> {
    /// Whether the peer may ask for anything.
    pub(super) fn admits(&self, head: &Head) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let shown = head.authorization.as_deref().unwrap_or_default();
        match shown.split_once(' ') {
            Some((scheme, shown)) if scheme.eq_ignore_ascii_case("bearer") => {
                is_same(shown.as_bytes(), token.as_bytes())
            }
            _ => false,
        }
    }

    /// Answers what is no call.
    pub(super) fn route(&self, head: &Head, body: Vec<u8>, busy: &mut Busy<'_>) -> Response {
        match (&head.method, path(head)) {
            (Method::Get | Method::Head, "/healthz") if self.life.soon_takes_calls(SOON) => {
                Response::empty(200)
            }
            (Method::Get | Method::Head, "/healthz") => Response::empty(503),
            (Method::Post, "/reply") => accept(&body, |reply: Reply| self.calls.reply(reply)),
            (Method::Post, "/cancel") => {
                accept(&body, |cancel: Cancel| self.calls.cancel(cancel.id))
            }
            (Method::Post, "/shutdown") => {
                self.life.end(End::Asked);
                Response::empty(204)
            }
            (
                _,
                "/healthz" | "/execute" | "/save" | "/restore" | "/reply" | "/cancel" | "/shutdown",
            ) => Response::text(405, "this path has another method"),
            _ => self.pass_on(head, body, busy),
        }
    }

    /// Makes a call and answers it.
    pub(super) fn ask(
        &self,
        question: Question,
        call: Result<Execute, WireError>,
        head: &Head,
        stream: &Arc<Stream>,
        busy: &mut Busy<'_>,
    ) -> Routed {
        let mut execute = match call {
            Ok(execute) => execute,
            Err(error) => return Routed::Answer(Response::text(400, &error.to_string())),
        };
        if !busy.call() {
            return Routed::Answer(Response::text(503, "no further calls are taken"));
        }
        let Some(listed) = self.calls.begin(&execute, head.form, stream.clone()) else {
            return Routed::Answer(Response::text(409, "a call with this `id` runs already"));
        };
        let values = std::mem::take(&mut execute.values);
        let call = &listed.call;
        let answer = caught(|| match question {
            Question::Execute => self.plugin.execute(call, values),
            Question::Save => self.plugin.save(call),
            Question::Restore => self.plugin.restore(call, values),
        });
        let answer = answer
            .unwrap_or_else(|| Answer::from(Error::new("call.panicked", "the plugin panicked")));
        Routed::Answered(call.finish(answer, head.close))
    }

    /// What is the plugin's own.
    fn pass_on(&self, head: &Head, body: Vec<u8>, busy: &mut Busy<'_>) -> Response {
        if !busy.call() {
            return Response::text(503, "no further calls are taken");
        }
        let request = Request {
            method: head.method.as_str().to_owned(),
            target: head.target.clone(),
            headers: head.headers(),
            body,
        };
        let failed = || Response::text(500, "the plugin failed");
        match caught(|| self.plugin.http(&request)) {
            Some(response)
                if (200..600).contains(&response.status)
                    && response.body.len() <= wire::MAX_BODY =>
            {
                response
            }
            Some(_) => {
                super::log(
                    Level::Error,
                    "the answer to a request is too large, or has no status",
                );
                failed()
            }
            None => failed(),
        }
    }
}

fn accept<T: DeserializeOwned>(body: &[u8], act: impl FnOnce(T)) -> Response {
    match wire::decode(body, wire::MAX_BODY) {
        Ok(record) => {
            act(record);
            Response::empty(204)
        }
        Err(error) => Response::text(400, &error.to_string()),
    }
}

/// Runs the plugin's code; `None` when it panicked.
pub(super) fn caught<T>(run: impl FnOnce() -> T) -> Option<T> {
    match panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(outcome) => Some(outcome),
        Err(payload) => {
            // Dropping it could panic again; a leak is the lesser evil.
            std::mem::forget(payload);
            None
        }
    }
}

/// Takes as long for one byte that differs as for another.
fn is_same(left: &[u8], right: &[u8]) -> bool {
    let differing = left.iter().zip(right).fold(0, |differing, (left, right)| {
        std::hint::black_box(differing | (left ^ right))
    });
    left.len() == right.len() && differing == 0
}
