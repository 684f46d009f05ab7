//! The first part of a request: its line and its headers.

use std::time::Instant;

use super::super::wire::{Form, MAX_BODY, MAX_HEAD, PLG};
use super::{HEAD_TIME, Incoming, Stop};

/// How many headers a request may have.
const MAX_HEADERS: usize = 64;

/// The line and the headers of a request.
#[derive(Debug)]
pub(in crate::process) struct Head {
    pub(in crate::process) method: Method,
    /// The path and the query.
    pub(in crate::process) target: String,
    /// All of it, as it came.
    bytes: Vec<u8>,
    pub(in crate::process) body: Length,
    /// How the body is written, if it is a call.
    pub(in crate::process) form: Form,
    /// What proves that the peer is the host, over TCP.
    pub(in crate::process) authorization: Option<String>,
    /// Whether the connection ends with this request.
    pub(in crate::process) close: bool,
}

/// The method.
#[derive(Debug, Eq, PartialEq)]
pub(in crate::process) enum Method {
    Get,
    Head,
    Post,
    Other(String),
}

/// How long the body is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::process) enum Length {
    Known(usize),
    Chunked,
}

impl Head {
    /// The headers in order. Bytes that are not UTF-8 are replaced.
    pub(in crate::process) fn headers(&self) -> Vec<(String, String)> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        // It was parsed before.
        let _ = request.parse(&self.bytes);
        let headers = request.headers.iter();
        headers
            .map(|field| (field.name.to_owned(), text(field.value)))
            .collect()
    }
}

impl Method {
    pub(in crate::process) fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Other(name) => name,
        }
    }
}

/// Reads the next head. On a `fresh` connection it must come soon; later the peer may take its time before
/// it begins the next one, but not in the middle of it. Nothing else runs when this is `alone`.
pub(in crate::process) fn read_head(
    incoming: &mut Incoming<'_>,
    fresh: bool,
    alone: bool,
) -> Result<Head, Stop> {
    if !fresh && incoming.rest().is_empty() {
        incoming.await_request(alone)?;
    }
    let mut deadline = (fresh || !incoming.rest().is_empty()).then(|| Instant::now() + HEAD_TIME);
    let mut seen = 0;
    let end = loop {
        if let Some(end) = end_of_head(incoming.rest(), seen)? {
            break end;
        }
        if incoming.rest().len() > MAX_HEAD {
            return Err(Stop::Refused(431, "the headers are too large"));
        }
        seen = incoming.rest().len();
        let filled = incoming.fill(deadline);
        // A peer that went without a word, or never said one, is not told why.
        if filled.is_err() && incoming.rest().is_empty() {
            return Err(Stop::Closed);
        }
        filled?;
        deadline = deadline.or_else(|| Some(Instant::now() + HEAD_TIME));
    };
    if end > MAX_HEAD {
        return Err(Stop::Refused(431, "the headers are too large"));
    }
    parse(incoming.take(end))
}

/// Where the head ends, looking only at what is new since `seen`. A line that ends in no CRLF, and a
/// first byte that begins no method, are refused before more comes.
fn end_of_head(bytes: &[u8], seen: usize) -> Result<Option<usize>, Stop> {
    if bytes
        .first()
        .is_some_and(|first| !first.is_ascii_uppercase())
    {
        return Err(Stop::Refused(400, "this is not HTTP/1.1"));
    }
    for (offset, byte) in bytes[seen..].iter().enumerate() {
        let at = seen + offset;
        if *byte != b'\n' {
            continue;
        }
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(Stop::Refused(400, "a line does not end in CRLF"));
        }
        if at >= 3 && bytes[at - 3..at] == *b"\r\n\r" {
            return Ok(Some(at + 1));
        }
    }
    Ok(None)
}

fn parse(bytes: Vec<u8>) -> Result<Head, Stop> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(&bytes) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Stop::Refused(431, "there are too many headers"));
        }
        Err(httparse::Error::Version) => return Err(Stop::Refused(505, "this is not HTTP/1.1")),
        _ => return Err(Stop::Refused(400, "this is not HTTP/1.1")),
    }
    if request.version != Some(1) {
        return Err(Stop::Refused(505, "this is not HTTP/1.1"));
    }
    let target = request.path.unwrap_or_default();
    if !target.starts_with('/') {
        return Err(Stop::Refused(400, "the target does not begin with `/`"));
    }
    let fields = Fields(request.headers);
    if fields.once("host").is_err() {
        return Err(Stop::Refused(400, "`Host` comes twice"));
    }
    if fields.all("expect").next().is_some() {
        return Err(Stop::Refused(417, "no `Expect` is met"));
    }
    let authorization = fields
        .once("authorization")
        .map_err(|()| Stop::Refused(400, "`Authorization` comes twice"))?;
    let closes = |value: &[u8]| {
        let mut options = value.split(|byte| *byte == b',');
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
    };
    let is_binary = |kind: &[u8]| kind.eq_ignore_ascii_case(PLG.as_bytes());
    let head = Head {
        form: if fields.all("content-type").any(is_binary) {
            Form::Plg
        } else {
            Form::Json
        },
        method: match request.method.unwrap_or_default() {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            other => Method::Other(other.to_owned()),
        },
        target: target.to_owned(),
        body: fields.length()?,
        authorization: authorization.map(text),
        close: fields.all("connection").any(closes),
        bytes: Vec::new(),
    };
    Ok(Head { bytes, ..head })
}

struct Fields<'a>(&'a [httparse::Header<'a>]);

impl<'a> Fields<'a> {
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.0
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    }

    /// The value of a header that may come once.
    fn once(&self, name: &'static str) -> Result<Option<&'a [u8]>, ()> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            _ => Err(()),
        }
    }

    /// The length of the body. Where a proxy and a plugin could find different ones, there is none.
    fn length(&self) -> Result<Length, Stop> {
        let twice = |()| Stop::Refused(400, "the length of the body is given twice");
        let length = self.once("content-length").map_err(twice)?;
        let coding = self.once("transfer-encoding").map_err(twice)?;
        match (length, coding) {
            (Some(_), Some(_)) => Err(twice(())),
            (None, None) => Ok(Length::Known(0)),
            (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Length::Chunked),
            (None, Some(_)) => Err(Stop::Refused(501, "`Transfer-Encoding` is not `chunked`")),
            (Some(length), None) => known(length),
        }
    }
}

fn known(length: &[u8]) -> Result<Length, Stop> {
    if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
        return Err(Stop::Refused(400, "`Content-Length` is not a number"));
    }
    // What has too many digits for a number is too large in any case.
    match text(length).parse() {
        Ok(length) if length <= MAX_BODY => Ok(Length::Known(length)),
        _ => Err(Stop::Refused(413, "the body is too large")),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
