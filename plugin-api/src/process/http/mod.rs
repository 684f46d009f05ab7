//! HTTP/1.1 as the protocol uses it, and nothing more. What could be read in two ways is refused, and the
//! connection closed.

mod body;
mod head;

use std::io::{self, IoSlice, Read, Write};
use std::ops::Range;
use std::time::{Duration, Instant};

pub(super) use body::{read_body, read_call};
pub(super) use head::{Head, Method, read_head};

use super::listen::Stream;
use super::pace::{self, Pace, Spin};
use super::pieces::Pieces;
use super::plugin::Response;

/// How long the head of a request may take, from the moment that the connection is there or the head began.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a body may take.
const BODY_TIME: Duration = Duration::from_secs(60);
/// How long a peer may leave an answer unread.
pub(super) const WRITE_TIME: Duration = Duration::from_secs(30);

/// What came over a connection and was not taken yet.
#[derive(Debug)]
pub(super) struct Incoming<'a> {
    stream: &'a Stream,
    /// Room to read into.
    bytes: Vec<u8>,
    /// Which of the bytes were read and not taken.
    rest: Range<usize>,
    /// How long the next read may take.
    limit: Option<Duration>,
    spin: Spin,
}

/// How much is read at once.
const PIECE: usize = 16 << 10;

/// Why there is no request.
#[derive(Debug)]
pub(super) enum Stop {
    /// The peer closed the connection between two requests, or it broke.
    Closed,
    /// To be answered so, and closed.
    Refused(u16, &'static str),
}

impl<'a> Incoming<'a> {
    pub(super) fn new(stream: &'a Stream, pace: Pace) -> Self {
        Self {
            stream,
            bytes: vec![0; PIECE],
            rest: 0..0,
            limit: None,
            spin: Spin::new(pace),
        }
    }

    /// Waits for the begin of the next request, for however long; awake, if that pays.
    fn await_request(&mut self, alone: bool) -> Result<(), Stop> {
        let start = Instant::now();
        let Self {
            stream,
            bytes,
            rest,
            spin,
            ..
        } = self;
        *rest = 0..0;
        let look = || match stream.read_now(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            other => Some(other),
        };
        let found = if alone && spin.pays() {
            spin.wait(pace::processors(), look)
        } else {
            None
        };
        match found {
            Some(Ok(count)) if count > 0 => *rest = 0..count,
            Some(_) => return Err(Stop::Closed),
            None => self.fill(None)?,
        }
        self.spin.took(start.elapsed());
        Ok(())
    }

    /// What was not taken yet.
    fn rest(&self) -> &[u8] {
        &self.bytes[self.rest.clone()]
    }

    /// Waits for more bytes, until `deadline` if there is one.
    fn fill(&mut self, deadline: Option<Instant>) -> Result<(), Stop> {
        self.set_limit(deadline)?;
        if self.rest.is_empty() {
            self.rest = 0..0;
        } else if self.rest.start > 0 {
            self.bytes.copy_within(self.rest.clone(), 0);
            self.rest = 0..self.rest.len();
        }
        if self.bytes.len() - self.rest.end < PIECE / 2 {
            self.bytes.resize(self.bytes.len() + PIECE, 0);
        }
        let count = read(self.stream, &mut self.bytes[self.rest.end..])?;
        self.rest.end += count;
        Ok(())
    }

    /// Reads the rest of `body`, of which `start` bytes are there. Nothing is left to be taken.
    fn fill_body(
        &mut self,
        body: &mut [u8],
        mut start: usize,
        deadline: Option<Instant>,
    ) -> Result<(), Stop> {
        while start < body.len() {
            self.set_limit(deadline)?;
            start += read(self.stream, &mut body[start..])?;
        }
        Ok(())
    }

    /// Sees to it that the next read takes no longer.
    fn set_limit(&mut self, deadline: Option<Instant>) -> Result<(), Stop> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(Stop::Refused(408, "the request took too long"));
        }
        // To set it anew for every read of a large body would take longer than many a read.
        let is_set = match (left, self.limit) {
            (Some(left), Some(limit)) => left.abs_diff(limit) < Duration::from_millis(100),
            (left, limit) => left == limit,
        };
        if !is_set {
            self.stream
                .set_read_timeout(left)
                .map_err(|_| Stop::Closed)?;
            self.limit = left;
        }
        Ok(())
    }

    /// Reads some bytes, at most `most`; of what was not taken, if there is any.
    fn fill_some(&mut self, out: &mut [u8], deadline: Option<Instant>) -> Result<usize, Stop> {
        if self.rest.is_empty() {
            self.set_limit(deadline)?;
            return read(self.stream, out);
        }
        let count = self.rest().len().min(out.len());
        out[..count].copy_from_slice(&self.rest()[..count]);
        self.rest.start += count;
        Ok(count)
    }

    /// Takes the next `count` bytes, or as many as there are.
    fn take(&mut self, count: usize) -> Vec<u8> {
        let taken = self.rest().get(..count).unwrap_or(self.rest()).to_vec();
        self.rest.start += taken.len();
        taken
    }

    /// Takes what a peer that was refused still sends, for a moment: a connection that is closed with bytes
    /// unread may lose the answer.
    pub(super) fn drain(&mut self) {
        let deadline = Instant::now() + Duration::from_millis(500);
        let mut taken = 0;
        while taken < 1 << 20 && self.fill(Some(deadline)).is_ok() {
            taken += self.rest.len();
            self.rest = 0..0;
        }
    }
}

fn read(mut stream: &Stream, bytes: &mut [u8]) -> Result<usize, Stop> {
    loop {
        match stream.read(bytes) {
            Ok(0) => return Err(Stop::Closed),
            Ok(count) => return Ok(count),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    return Err(Stop::Refused(408, "the request took too long"));
                }
                _ => return Err(Stop::Closed),
            },
        }
    }
}

/// Writes an answer in one piece.
pub(super) fn write_response(
    stream: &Stream,
    response: &Response,
    head_only: bool,
    close: bool,
) -> io::Result<()> {
    let mut bytes = start(response.status, &response.content_type, close);
    // Neither has a body, and a 204 not even the length of one.
    if !matches!(response.status, 204 | 304) {
        write!(bytes, "Content-Length: {}\r\n", response.body.len())?;
    }
    bytes.extend_from_slice(b"\r\n");
    if !head_only && !matches!(response.status, 204 | 304) {
        bytes.extend_from_slice(&response.body);
    }
    write_all(stream, &bytes)
}

/// Writes an answer in one piece whose body is in `bytes` already, after [`HEAD`] bytes of room, but for `pieces`.
pub(super) fn write_outcome(
    stream: &Stream,
    content_type: &str,
    bytes: &mut [u8],
    pieces: &Pieces<'_>,
    close: bool,
) -> io::Result<()> {
    let mut head = start(200, content_type, close);
    let length = bytes.len() - HEAD + pieces.length();
    write!(head, "Content-Length: {length}\r\n\r\n")?;
    let first = HEAD
        .checked_sub(head.len())
        .ok_or(io::ErrorKind::InvalidInput)?;
    bytes[first..HEAD].copy_from_slice(&head);
    if pieces.is_empty() {
        return write_all(stream, &bytes[first..]);
    }
    let mut slices = pieces.gather(bytes, first);
    let mut left = slices.as_mut_slice();
    while !left.is_empty() {
        match (&mut &*stream).write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut left, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How much room there is for the head of an outcome.
pub(super) const HEAD: usize = 160;

/// Begins an answer that comes in pieces.
pub(super) fn write_chunked_start(stream: &Stream, content_type: &str) -> io::Result<()> {
    let mut bytes = start(200, content_type, false);
    bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
    write_all(stream, &bytes)
}

/// Writes one piece, which is not empty.
pub(super) fn write_chunk(stream: &Stream, piece: &[u8], last: bool) -> io::Result<()> {
    let mut bytes = format!("{:x}\r\n", piece.len()).into_bytes();
    bytes.extend_from_slice(piece);
    bytes.extend_from_slice(if last { b"\r\n0\r\n\r\n" } else { b"\r\n" });
    write_all(stream, &bytes)
}

fn start(status: u16, content_type: &str, close: bool) -> Vec<u8> {
    use std::fmt::Write as _;

    let mut text = String::with_capacity(HEAD);
    // A `String` takes whatever is written to it.
    let _ = write!(text, "HTTP/1.1 {status} {}\r\n", reason(status));
    // What a plugin gives must not become a header of its own.
    let is_plain = content_type.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain && !content_type.is_empty() {
        text.push_str("Content-Type: ");
        text.push_str(content_type);
        text.push_str("\r\n");
    }
    if close {
        text.push_str("Connection: close\r\n");
    }
    text.into_bytes()
}

fn write_all(mut stream: &Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "-",
    }
}
