//! What can be served.

use std::sync::Arc;

use super::call::Call;
use super::codec::Values;
use super::wire::Config;
use crate::error::Error;

/// Something that answers calls over the native protocol. [`Program`](super::Program) is one with an entry
/// point; a host that isolates a library is another.
///
/// Every function may be called from several threads at once, and may panic.
pub trait Plugin: Send + Sync {
    /// The version of the plugin.
    fn version(&self) -> &str;

    /// The text of its `plugin.json`.
    fn capabilities(&self) -> &str;

    /// Prepares it, once, before the first call and while the socket is there already.
    ///
    /// # Errors
    ///
    /// What stands in its way; the program then exits.
    fn start(&self, config: &Config) -> Result<(), Error> {
        let _ = config;
        Ok(())
    }

    /// Answers a call.
    fn execute(&self, call: &Arc<Call>, values: Values) -> Answer;

    /// The version of the state that [`save`](Self::save) answers; `None` when the plugin hands none over.
    fn state_version(&self) -> Option<u32> {
        None
    }

    /// Answers with the plugin's state, as values that are set. No other call runs.
    fn save(&self, call: &Arc<Call>) -> Answer {
        let _ = call;
        Answer::default()
    }

    /// Takes over the state that another build saved. The call's label is the version of that state. No other
    /// call runs, and none did before.
    fn restore(&self, call: &Arc<Call>, state: Values) -> Answer {
        let _ = (call, state);
        Answer::default()
    }

    /// Answers a request that is not part of the protocol.
    fn http(&self, request: &Request) -> Response {
        let _ = request;
        Response::text(404, "not found")
    }

    /// Ends what it began. No call runs, unless one would not end.
    fn stop(&self) {}
}

/// What a call left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The values to set in the caller's context.
    pub set: Values,
    /// The keys to remove from it.
    pub removed: Vec<String>,
    /// Why the call failed, if it did.
    pub error: Option<Error>,
}

impl From<Error> for Answer {
    fn from(error: Error) -> Self {
        Self {
            error: Some(error),
            ..Self::default()
        }
    }
}

/// A request that is not part of the protocol: what the host passes on from its users.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// The method, for instance `GET`.
    pub method: String,
    /// The path and the query, as they were sent.
    pub target: String,
    /// The headers in order, as they were sent. Bytes that are not UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// The body, of at most 16 MiB.
    pub body: Vec<u8>,
}

impl Request {
    /// The path, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        let (path, _) = self.target.split_once('?').unwrap_or((&self.target, ""));
        path
    }
}

/// An answer to such a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Response {
    /// The status, from 200 to 599.
    pub status: u16,
    /// What the body is, for instance `application/json`.
    pub content_type: String,
    /// The body, of at most 16 MiB.
    pub body: Vec<u8>,
}

impl Response {
    /// A line of text.
    #[must_use]
    pub fn text(status: u16, text: &str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8".to_owned(),
            body: format!("{text}\n").into_bytes(),
        }
    }

    /// An answer without a body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            content_type: String::new(),
            body: Vec::new(),
        }
    }
}
