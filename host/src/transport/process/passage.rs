//! A request to a plugin's own endpoints, on its way.
//!
//! It comes as a call whose label is none, `GET /path`, and whose values are the request; those that it
//! leaves are the answer. So it is counted, waited for and cut short like any other.

use std::sync::Arc;

use plg_plugin_api::process::wire::{Fault, MAX_BODY};

use super::connection::Until;
use super::error::ProcessError;
use super::http::Answer;
use super::launch::Running;
use crate::context::Context;
use crate::context::frame::Call;
use crate::endpoint::{self, HttpResponse};

/// A request of an app's own.
pub(super) struct Passage<'a> {
    method: &'a str,
    path: &'a str,
}

impl<'a> Passage<'a> {
    /// What a call means whose label is none.
    pub(super) fn of(call: &Call<'a>) -> Option<Self> {
        let (method, path) = call.label.split_once(' ')?;
        Some(Self { method, path })
    }

    /// Sends it and leaves the answer in `context`.
    pub(super) fn run(
        &self,
        running: &Arc<Running>,
        context: &mut Context,
    ) -> Result<Result<(), Fault>, ProcessError> {
        let until = Until {
            end: context.end(),
            cancel: context.canceller(),
            fate: &running.child.fate,
        };
        until.check()?;
        let mut connection = running.connect(&until)?;
        let request = self.request(context, connection.token.as_deref());
        connection.send(&request, &until)?;
        let mut headers = Vec::new();
        let mut answer = Answer::read_noting(&mut connection, &until, |name, value| {
            if !endpoint::is_own(name) {
                let value = String::from_utf8_lossy(value).into_owned();
                headers.push((name.to_owned(), value));
            }
        })?;
        let body = answer.rest(&mut connection, MAX_BODY, &until)?;
        running.give_back(connection, &answer);
        let response = HttpResponse {
            status: answer.status,
            content_type: answer.kind,
            headers,
            body,
        };
        response.leave(context);
        Ok(Ok(()))
    }

    fn request(&self, context: &Context, token: Option<&str>) -> Vec<u8> {
        let body = endpoint::body(context);
        let mut head = format!("{} {} HTTP/1.1\r\nHost: plugin\r\n", self.method, self.path);
        for (name, value) in endpoint::headers(context) {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(token) = token {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        if !body.is_empty() || self.method != "GET" {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut request = (head + "\r\n").into_bytes();
        request.extend(body);
        request
    }
}
