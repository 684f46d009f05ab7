//! HTTP/1.1 as a client: one request and its answer on a connection. What is answered is hostile until it
//! was read.

use httparse::{EMPTY_HEADER, Header, Status};
use plg_plugin_api::process::wire::{JSON, MAX_HEAD};

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
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: plugin\r\n").into_bytes();
    if method == "POST" {
        let length = body.len();
        request
            .extend(format!("Content-Type: {JSON}\r\nContent-Length: {length}\r\n").into_bytes());
    }
    if let Some(token) = &connection.token {
        request.extend(format!("Authorization: Bearer {token}\r\n").into_bytes());
    }
    request.extend(b"\r\n");
    request.extend(body);
    connection.send(&request, until)
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
            connection.buffer.drain(..head);
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
        let too_large = || ProcessError::Body(format!("it has more than {limit} bytes"));
        if let Body::Length(length) = self.body
            && length > limit as u64
        {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while self.piece(connection, &mut body, until)? {
            if body.len() > limit {
                return Err(too_large());
            }
        }
        Ok(body)
    }

    /// Whether the connection can be used again: the answer was read to its end, and nothing follows it.
    pub(super) fn leaves_open(&self, connection: &Connection) -> bool {
        self.keep && self.body == Body::Done && connection.buffer.is_empty()
    }
}

fn read_head(
    connection: &mut Connection,
    spent: usize,
    until: &Until<'_>,
    note: &mut impl FnMut(&str, &[u8]),
) -> Result<(usize, Answer), ProcessError> {
    loop {
        if !connection.buffer.is_empty() {
            let mut headers = [EMPTY_HEADER; HEADERS];
            let mut response = httparse::Response::new(&mut headers);
            match response.parse(&connection.buffer) {
                Ok(Status::Complete(head)) if spent + head <= MAX_HEAD => {
                    let answer = check(&response)?;
                    if answer.status >= 200 {
                        for header in response.headers.iter() {
                            note(header.name, header.value);
                        }
                    }
                    return Ok((head, answer));
                }
                Ok(Status::Partial) if spent + connection.buffer.len() <= MAX_HEAD => {}
                Ok(_) => {
                    return Err(protocol(format!("its head has more than {MAX_HEAD} bytes")));
                }
                Err(error) => return Err(protocol(error)),
            }
        }
        if !connection.fill(until)? {
            if connection.unread && connection.buffer.is_empty() && spent == 0 {
                let why = "its process closed the connection before it had read the request";
                return Err(ProcessError::unsent(why));
            }
            let why = if connection.buffer.is_empty() {
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
    let lengths: Vec<&Header<'_>> = named(response, "content-length").collect();
    let codings: Vec<&Header<'_>> = named(response, "transfer-encoding").collect();
    let has_none = matches!(status, 100..=199 | 204 | 304);
    let body = match (lengths.as_slice(), codings.as_slice()) {
        ([], []) if has_none => Body::Done,
        ([], []) => {
            return Err(protocol(
                "it has neither `Content-Length` nor `Transfer-Encoding`",
            ));
        }
        ([length], []) => {
            let digits = std::str::from_utf8(length.value).unwrap_or_default();
            let digits = Some(digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let length = digits.and_then(|text| text.parse().ok());
            match length {
                Some(0) => Body::Done,
                Some(length) if !has_none => Body::Length(length),
                _ => return Err(protocol("its `Content-Length` is none")),
            }
        }
        ([], [coding]) if coding.value.eq_ignore_ascii_case(b"chunked") && !has_none => {
            Body::ChunkSize
        }
        ([], _) => return Err(protocol("its `Transfer-Encoding` is not `chunked`")),
        (_, []) => return Err(protocol("it has several `Content-Length`")),
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
    if connection.buffer.is_empty() && !connection.fill(until)? {
        return Err(ended());
    }
    let count = usize::try_from(left).map_or(connection.buffer.len(), |left| {
        left.min(connection.buffer.len())
    });
    out.extend(connection.buffer.drain(..count));
    Ok(count as u64)
}

/// A line with its end.
fn line(
    connection: &mut Connection,
    limit: usize,
    until: &Until<'_>,
) -> Result<Vec<u8>, ProcessError> {
    loop {
        let seen = &connection.buffer[..connection.buffer.len().min(limit)];
        if let Some(end) = seen.iter().position(|byte| *byte == b'\n') {
            return Ok(connection.buffer.drain(..=end).collect());
        }
        if connection.buffer.len() >= limit {
            return Err(protocol("a line of its body does not end"));
        }
        if !connection.fill(until)? {
            return Err(ended());
        }
    }
}

fn ended() -> ProcessError {
    ProcessError::cut_off("its process closed the connection in the middle of an answer")
}

fn protocol(why: impl std::fmt::Display) -> ProcessError {
    ProcessError::Protocol(why.to_string())
}
