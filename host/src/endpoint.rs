//! A plugin's own HTTP endpoints, as an app asks for them.

use std::time::Duration;

use plg_plugin_api::Value;
use plg_plugin_api::process::wire::{MAX_BODY, MAX_HEAD};
use thiserror::Error;

use crate::context::Context;

/// A request to a plugin's own endpoints.
///
/// ```
/// use std::time::Duration;
/// use plg_host::HttpRequest;
///
/// let request = HttpRequest::new("POST", "/pages?draft=1")
///     .header("Content-Type", "text/plain")
///     .body("a page")
///     .timeout(Duration::from_secs(2));
/// assert_eq!(request.method, "POST");
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct HttpRequest {
    /// The method: `GET`, `POST`, `PUT`, `PATCH`, `DELETE` or `OPTIONS`.
    pub method: String,
    /// The path, which begins with a slash, and the query.
    pub path: String,
    /// The headers. Those of the connection, `Host`, `Content-Length` and `Authorization` are the host's own and
    /// are left out.
    pub headers: Vec<(String, String)>,
    /// The body, of at most 16 MiB.
    pub body: Vec<u8>,
    /// How long the answer may take; for ever without.
    pub timeout: Option<Duration>,
}

/// A plugin's answer to such a request. It is as the plugin wrote it: nothing of it is to be trusted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct HttpResponse {
    /// The status, redirects included: they are not followed.
    pub status: u16,
    /// What the body is, in lower case and without parameters; empty when the plugin did not say.
    pub content_type: String,
    /// The headers in order, without those of the connection. Bytes that are not UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// The body, of at most 16 MiB.
    pub body: Vec<u8>,
}

/// Why a request is not passed on.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum HttpError {
    /// The plugin runs in this process, or speaks another dialect than plg's own.
    #[error("it has no HTTP endpoints of its own")]
    NoEndpoints,
    /// The request is not one that is passed on.
    #[error("the request cannot be passed on: {problem}")]
    Request {
        /// What is wrong with it.
        problem: String,
    },
}

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// The first part of the paths that belong to the protocol.
const RESERVED: [&str; 8] = [
    "execute", "save", "restore", "reply", "cancel", "shutdown", "healthz", "state",
];
/// Headers of one connection, or of the host's own.
const OWN: [&str; 12] = [
    "authorization",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const MAX_PATH: usize = 8 << 10;

impl HttpRequest {
    /// A request without headers and body.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            ..Self::default()
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets how long the answer may take.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Whether it may be passed on: it has one meaning, and is none of the protocol's own.
    pub(crate) fn check(&self) -> Result<(), HttpError> {
        let refused = |problem: String| Err(HttpError::Request { problem });
        if !METHODS.contains(&self.method.as_str()) {
            let shown: String = self.method.chars().take(16).collect();
            return refused(format!(
                "the method `{}` is not passed on",
                shown.escape_debug()
            ));
        }
        let path = self.path.as_str();
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#' && byte != b'\\';
        if !path.starts_with('/') || path.len() > MAX_PATH || !path.bytes().all(is_plain) {
            let problem = "its path is not one: a slash and visible ASCII, at most 8 KiB";
            return refused(problem.to_owned());
        }
        // Whoever reads the path may decode and shorten it first.
        let place = path.split('?').next().unwrap_or_default();
        let decoded = decode(place);
        let parts = decoded.split(['/', '\\']);
        let mut parts = parts.filter(|part| !part.is_empty() && *part != ".");
        if parts.clone().any(|part| part == "..") {
            return refused("its path has `..`".to_owned());
        }
        if let Some(first) = parts.next()
            && RESERVED.iter().any(|word| first.eq_ignore_ascii_case(word))
        {
            return refused(format!("`/{first}` belongs to the protocol"));
        }
        let head: usize = self
            .headers
            .iter()
            .map(|(k, v)| k.len() + v.len() + 4)
            .sum();
        if head + path.len() + 1024 > MAX_HEAD || self.body.len() > MAX_BODY {
            let problem = format!(
                "it is too large: at most {MAX_HEAD} bytes of headers and {MAX_BODY} of body"
            );
            return refused(problem);
        }
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_text = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        for (name, value) in &self.headers {
            if name.is_empty() || !name.bytes().all(is_token) || !value.bytes().all(is_text) {
                let name: String = name.chars().take(64).collect();
                return refused(format!("the header `{}` is not one", name.escape_debug()));
            }
        }
        Ok(())
    }

    /// What a call says of it where no label can be meant.
    pub(crate) fn label(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// As the values of a call.
    pub(crate) fn context(&self) -> Context {
        let headers = self.headers.iter();
        let headers = headers.filter(|(name, _)| !is_own(name));
        let pair = |(name, value): &(String, String)| {
            Value::List(vec![name.as_str().into(), value.as_str().into()])
        };
        let context = Context::new()
            .with(HEADERS, Value::List(headers.map(pair).collect()))
            .with(BODY, Value::Bytes(self.body.clone()));
        match self.timeout {
            Some(limit) => context.timeout(limit),
            None => context,
        }
    }
}

impl HttpResponse {
    /// From the values that the call left.
    pub(crate) fn from_context(mut context: Context) -> Option<Self> {
        let status = context.get(STATUS)?.as_i64()?;
        let Some(Value::Bytes(body)) = context.remove(BODY) else {
            return None;
        };
        Some(Self {
            status: u16::try_from(status).ok()?,
            content_type: context.text(KIND)?.to_owned(),
            headers: headers(&context),
            body,
        })
    }

    /// Leaves it as the values of a call.
    pub(crate) fn leave(self, context: &mut Context) {
        context.set(STATUS, i64::from(self.status));
        context.set(KIND, self.content_type);
        let pair = |(name, value): (String, String)| Value::List(vec![name.into(), value.into()]);
        let headers = self.headers.into_iter().map(pair).collect();
        context.set(HEADERS, Value::List(headers));
        context.set(BODY, Value::Bytes(self.body));
    }
}

impl HttpError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoEndpoints => "http.no_endpoints",
            Self::Request { .. } => "http.request",
        }
    }
}

/// The values that a request becomes, and an answer.
const STATUS: &str = "status";
const KIND: &str = "content_type";
const HEADERS: &str = "headers";
const BODY: &str = "body";

/// The headers among the values.
pub(crate) fn headers(context: &Context) -> Vec<(String, String)> {
    let Some(Value::List(headers)) = context.get(HEADERS) else {
        return Vec::new();
    };
    let pair = |pair: &Value| match pair {
        Value::List(pair) => match pair.as_slice() {
            [name, value] => Some((name.as_str()?.to_owned(), value.as_str()?.to_owned())),
            _ => None,
        },
        _ => None,
    };
    headers.iter().filter_map(pair).collect()
}

/// The body among the values.
pub(crate) fn body(context: &Context) -> &[u8] {
    match context.get(BODY) {
        Some(Value::Bytes(body)) => body,
        _ => &[],
    }
}

/// Whether a header is of one connection, or the host's own.
pub(crate) fn is_own(name: &str) -> bool {
    OWN.iter().any(|own| name.eq_ignore_ascii_case(own))
}

/// What a path means to whoever decodes it, as often as it can be.
fn decode(path: &str) -> String {
    let mut path = path.to_owned();
    loop {
        let decoded = decode_once(&path);
        // Each time it gets shorter.
        if decoded.len() >= path.len() {
            return decoded;
        }
        path = decoded;
    }
}

/// The text that a part of a URI is written for.
pub(crate) fn decode_once(part: &str) -> String {
    let mut decoded = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| byte == b'%');
        let hex = hex.filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(meant) => {
                decoded.push(meant);
                rest = &after[2..];
            }
            None => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
