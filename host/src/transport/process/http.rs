//! HTTP/1.1 as a client: one request and its answer on a connection. What is answered is hostile until it
//! was read.

use std::io::Write;

use httparse::{EMPTY_HEADER, Header, Status};
use plg_plugin_api::process::wire::{Form, JSON, MAX_BODY, MAX_HEAD, Outcome, Pieces, Source};

use super::connection::{Connection, Until};
use super::error::ProcessError;

/// The answer to a request, whose body is still to be read.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The content type, without parameters, in lower case.
    pub(super) kind: String,
    body: Body,
    /// Whether the connection can be used again after the body.
    keep: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Body {
    /// So many bytes are left.
    Length(u64),
    /// So many bytes of a chunk are left.
    Chunk(u64),
    /// The line end after a chunk.
    ChunkEnd,
    /// The line that says how long the next chunk is.
    ChunkSize,
    /// Headers after the last chunk, of which so many bytes may still come.
    Trailers(usize),
    Done,
}

/// The most headers of an answer.
const HEADERS: usize = 64;
/// The most bytes of a line that says how long a chunk is.
const SIZE_LINE: usize = 1024;

/// Sends a request.
pub(super) fn ask(
    connection: &mut Connection,
    method: &str,
    path: &str,
    body: &[u8],
    until: &Until<'_>,
) -> Result<(), ProcessError> {
    let mut request = Request::new(connection);
    request.body().extend_from_slice(body);
    request.send(connection, (method, path, JSON), &Pieces::default(), until)
}

/// A request whose body is written where it is sent from.
#[derive(Debug)]
pub(super) struct Request(Vec<u8>);

/// How much room is left for the head.
const HEAD: usize = 320;
/// How much room most requests need.
const ROOM: usize = 1024;

impl Request {
    /// One in the connection's memory, which is to be [kept](Self::into_bytes) afterwards.
    pub(super) fn new(connection: &mut Connection) -> Self {
        let mut bytes = connection.spare();
        bytes.reserve(ROOM);
        bytes.resize(HEAD, 0);
        Self(bytes)
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Where the body is added.
    pub(super) fn body(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// Sends it with a body of this kind, if it is a POST. What was not written into it are `pieces`.
    pub(super) fn send(
        &mut self,
        connection: &mut Connection,
        (method, path, kind): (&str, &str, &str),
        pieces: &Pieces<'_>,
        until: &Until<'_>,
    ) -> Result<(), ProcessError> {
        let length = self.0.len() - HEAD + pieces.length();
        let mut head = [0_u8; HEAD];
        let mut left = &mut head[..];
        let mut write = || {
            write!(left, "{method} {path} HTTP/1.1\r\nHost: plugin\r\n")?;
            if method == "POST" {
                write!(left, "Content-Type: {kind}\r\nContent-Length: {length}\r\n")?;
            }
            if let Some(token) = &connection.token {
                write!(left, "Authorization: Bearer {token}\r\n")?;
            }
            left.write_all(b"\r\n")
        };
        let written = write();
        let used = HEAD - left.len();
        written.map_err(|error| ProcessError::TooLarge(format!("the head: {error}")))?;
        let start = HEAD - used;
        self.0[start..HEAD].copy_from_slice(&head[..used]);
        if pieces.is_empty() {
            connection.send(&self.0[start..], until)
        } else {
            connection.send_all(&mut pieces.gather(&self.0, start), until)
        }
    }
}

impl Answer {
    /// Reads the head of an answer.
    pub(super) fn read(
        connection: &mut Connection,
        until: &Until<'_>,
    ) -> Result<Self, ProcessError> {
        Self::read_noting(connection, until, |_, _| {})
    }

    /// Reads the head of an answer and has each header noted.
    pub(super) fn read_noting(
        connection: &mut Connection,
        until: &Until<'_>,
        mut note: impl FnMut(&str, &[u8]),
    ) -> Result<Self, ProcessError> {
        let mut spent = 0;
        loop {
            let (head, answer) = read_head(connection, spent, until, &mut note)?;
            connection.used(head);
            spent += head;
            match answer {
                // Only says that the answer is under way.
                Self {
                    status: 100..=199, ..
                } => {}
                answer => return Ok(answer),
            }
        }
    }

    /// Reads some of the body and adds it to `out`; false at the end.
    pub(super) fn piece(
        &mut self,
        connection: &mut Connection,
        out: &mut Vec<u8>,
        until: &Until<'_>,
    ) -> Result<bool, ProcessError> {
        loop {
            self.body = match self.body {
                Body::Done | Body::Length(0) => {
                    self.body = Body::Done;
                    return Ok(false);
                }
                Body::Chunk(0) => Body::ChunkEnd,
                Body::Length(left) => {
                    let taken = take(connection, left, out, until)?;
                    self.body = Body::Length(left - taken);
                    return Ok(true);
                }
                Body::Chunk(left) => {
                    let taken = take(connection, left, out, until)?;
                    self.body = Body::Chunk(left - taken);
                    return Ok(true);
                }
                Body::ChunkEnd => match line(connection, 2, until)?.as_slice() {
                    b"\r\n" => Body::ChunkSize,
                    _ => return Err(protocol("a chunk is longer than it says")),
                },
                Body::ChunkSize => {
                    let line = line(connection, SIZE_LINE, until)?;
                    match httparse::parse_chunk_size(&line) {
                        Ok(Status::Complete((_, 0))) => Body::Trailers(MAX_HEAD),
                        Ok(Status::Complete((_, size))) => Body::Chunk(size),
                        _ => return Err(protocol("the size of a chunk is none")),
                    }
                }
                Body::Trailers(left) => {
                    let line = line(connection, left, until)?;
                    if line == b"\r\n" {
                        Body::Done
                    } else {
                        Body::Trailers(left - line.len())
                    }
                }
            };
        }
    }

    /// Reads the rest of the body, which has at most `limit` bytes.
    pub(super) fn rest(
        &mut self,
        connection: &mut Connection,
        limit: usize,
        until: &Until<'_>,
    ) -> Result<Vec<u8>, ProcessError> {
        if let Body::Length(length) = self.body
            && length > limit as u64
        {
            return Err(too_large(limit));
        }
        let mut body = connection.spare();
        while self.piece(connection, &mut body, until)? {
            if body.len() > limit {
                return Err(too_large(limit));
            }
        }
        Ok(body)
    }

    /// How many bytes the body has, if it said so and none was read.
    pub(super) fn length(&self) -> Option<usize> {
        match self.body {
            Body::Length(length) => usize::try_from(length).ok(),
            _ => None,
        }
    }

    /// Reads the body, which has so many bytes, as an outcome in the binary form.
    pub(super) fn outcome(
        &mut self,
        connection: &mut Connection,
        length: usize,
        until: &Until<'_>,
    ) -> Result<Outcome, ProcessError> {
        if length > MAX_BODY {
            return Err(too_large(MAX_BODY));
        }
        let mut body = Coming {
            answer: self,
            connection,
            until,
            error: None,
        };
        let outcome = Form::read_outcome(&mut body, length);
        match body.error {
            Some(error) => Err(error),
            None => outcome.map_err(|error| ProcessError::Body(error.to_string())),
        }
    }

    /// Whether the connection can be used again: the answer was read to its end, and nothing follows it.
    pub(super) fn leaves_open(&self, connection: &Connection) -> bool {
        self.keep
            && matches!(self.body, Body::Done | Body::Length(0))
            && connection.bytes().is_empty()
    }
}

/// The body of an answer that is read while it comes.
struct Coming<'a, 'b> {
    answer: &'a mut Answer,
    connection: &'a mut Connection,
    until: &'a Until<'b>,
    /// Why there is no more.
    error: Option<ProcessError>,
}

impl Coming<'_, '_> {
    fn fill(&mut self, out: &mut Vec<u8>, most: usize) -> bool {
        let left = match self.answer.body {
            Body::Length(left) => left,
            _ => 0,
        };
        let most = left.min(most as u64);
        match take(self.connection, most, out, self.until) {
            Ok(count) => {
                self.answer.body = Body::Length(left - count);
                true
            }
            Err(error) => {
                self.error = Some(error);
                false
            }
        }
    }
}

impl Source for Coming<'_, '_> {
    fn more(&mut self, out: &mut Vec<u8>, most: usize) -> bool {
        self.fill(out, most)
    }

    fn block(&mut self, start: &[u8], length: usize) -> Option<Vec<u8>> {
        let mut block = Vec::with_capacity(length);
        block.extend_from_slice(start);
        while block.len() < length {
            let left = length - block.len();
            if !self.fill(&mut block, left) {
                return None;
            }
        }
        Some(block)
    }
}

fn read_head(
    connection: &mut Connection,
    spent: usize,
    until: &Until<'_>,
    note: &mut impl FnMut(&str, &[u8]),
) -> Result<(usize, Answer), ProcessError> {
    loop {
        if !connection.bytes().is_empty() {
            let mut headers = [EMPTY_HEADER; HEADERS];
            let mut response = httparse::Response::new(&mut headers);
            match response.parse(connection.bytes()) {
                Ok(Status::Complete(head)) if spent + head <= MAX_HEAD => {
                    let answer = check(&response)?;
                    if answer.status >= 200 {
                        for header in response.headers.iter() {
                            note(header.name, header.value);
                        }
                    }
                    return Ok((head, answer));
                }
                Ok(Status::Partial) if spent + connection.bytes().len() <= MAX_HEAD => {}
                Ok(_) => {
                    return Err(protocol(format!("its head has more than {MAX_HEAD} bytes")));
                }
                Err(error) => return Err(protocol(error)),
            }
        }
        if !connection.fill(until)? {
            if connection.unread && connection.bytes().is_empty() && spent == 0 {
                let why = "its process closed the connection before it had read the request";
                return Err(ProcessError::unsent(why));
            }
            let why = if connection.bytes().is_empty() {
                "its process closed the connection without an answer"
            } else {
                "its process closed the connection in the middle of an answer"
            };
            return Err(ProcessError::cut_off(why));
        }
    }
}

/// What the head says of the body, which must have one meaning.
fn check(response: &httparse::Response<'_, '_>) -> Result<Answer, ProcessError> {
    let status = response.code.unwrap_or_default();
    if response.version != Some(1) {
        return Err(protocol("it is of version 1.0"));
    }
    let has_none = matches!(status, 100..=199 | 204 | 304);
    let (mut lengths, mut codings) = (
        named(response, "content-length"),
        named(response, "transfer-encoding"),
    );
    let body = match (
        (lengths.next(), lengths.next()),
        (codings.next(), codings.next()),
    ) {
        ((None, _), (None, _)) if has_none => Body::Done,
        ((None, _), (None, _)) => {
            return Err(protocol(
                "it has neither `Content-Length` nor `Transfer-Encoding`",
            ));
        }
        ((Some(length), None), (None, _)) => {
            let digits = std::str::from_utf8(length.value).unwrap_or_default();
            let digits = Some(digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let length = digits.and_then(|text| text.parse().ok());
            match length {
                Some(0) => Body::Done,
                Some(length) if !has_none => Body::Length(length),
                _ => return Err(protocol("its `Content-Length` is none")),
            }
        }
        ((None, _), (Some(coding), None))
            if coding.value.eq_ignore_ascii_case(b"chunked") && !has_none =>
        {
            Body::ChunkSize
        }
        ((None, _), _) => return Err(protocol("its `Transfer-Encoding` is not `chunked`")),
        (_, (None, _)) => return Err(protocol("it has several `Content-Length`")),
        _ => {
            return Err(protocol(
                "it has both `Content-Length` and `Transfer-Encoding`",
            ));
        }
    };
    if let Some(coding) = named(response, "content-encoding").next()
        && !coding.value.eq_ignore_ascii_case(b"identity")
    {
        return Err(ProcessError::Body("it is compressed".to_owned()));
    }
    let kind = named(response, "content-type").next();
    let kind = kind.map_or(&b""[..], |kind| kind.value);
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    let keep = !named(response, "connection").any(|header| {
        let mut words = header.value.split(|byte| *byte == b',');
        words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"))
    });
    Ok(Answer {
        status,
        kind: String::from_utf8_lossy(kind.trim_ascii()).to_ascii_lowercase(),
        body,
        keep,
    })
}

fn named<'a>(
    response: &'a httparse::Response<'_, '_>,
    name: &'static str,
) -> impl Iterator<Item = &'a Header<'a>> {
    response
        .headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
}

/// Moves at most `left` bytes to `out`, reading if there are none.
fn take(
    connection: &mut Connection,
    left: u64,
    out: &mut Vec<u8>,
    until: &Until<'_>,
) -> Result<u64, ProcessError> {
    let most = usize::try_from(left).unwrap_or(usize::MAX);
    let bytes = connection.bytes();
    if bytes.is_empty() {
        let count = connection.fill_body(out, most.min(MAX_BODY), until)?;
        return if count == 0 {
            Err(ended())
        } else {
            Ok(count as u64)
        };
    }
    let count = most.min(bytes.len());
    out.extend_from_slice(&bytes[..count]);
    connection.used(count);
    Ok(count as u64)
}

/// A line with its end.
fn line(
    connection: &mut Connection,
    limit: usize,
    until: &Until<'_>,
) -> Result<Vec<u8>, ProcessError> {
    loop {
        let bytes = connection.bytes();
        let seen = &bytes[..bytes.len().min(limit)];
        if let Some(end) = seen.iter().position(|byte| *byte == b'\n') {
            let line = seen[..=end].to_vec();
            connection.used(line.len());
            return Ok(line);
        }
        if connection.bytes().len() >= limit {
            return Err(protocol("a line of its body does not end"));
        }
        if !connection.fill(until)? {
            return Err(ended());
        }
    }
}

fn too_large(limit: usize) -> ProcessError {
    ProcessError::Body(format!("it has more than {limit} bytes"))
}

fn ended() -> ProcessError {
    ProcessError::cut_off("its process closed the connection in the middle of an answer")
}

fn protocol(why: impl std::fmt::Display) -> ProcessError {
    ProcessError::Protocol(why.to_string())
}
