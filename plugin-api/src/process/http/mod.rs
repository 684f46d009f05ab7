//! HTTP/1.1 as the protocol uses it, and nothing more. What could be read in two ways is refused, and the
//! connection closed.

mod body;
mod head;

use std::io::{self, Write};
use std::time::{Duration, Instant};

pub(super) use body::read_body;
pub(super) use head::{Head, Method, read_head};

use super::listen::Stream;
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
    bytes: Vec<u8>,
    /// How many of the bytes were taken.
    taken: usize,
}

/// Why there is no request.
#[derive(Debug)]
pub(super) enum Stop {
    /// The peer closed the connection between two requests, or it broke.
    Closed,
    /// To be answered so, and closed.
    Refused(u16, &'static str),
}

impl<'a> Incoming<'a> {
    pub(super) fn new(stream: &'a Stream) -> Self {
        Self {
            stream,
            bytes: Vec::new(),
            taken: 0,
        }
    }

    /// What was not taken yet.
    fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Waits for more bytes, until `deadline` if there is one.
    fn fill(&mut self, deadline: Option<Instant>) -> Result<(), Stop> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(Stop::Refused(408, "the request took too long"));
        }
        self.stream
            .set_read_timeout(left)
            .map_err(|_| Stop::Closed)?;
        self.bytes.drain(..self.taken);
        self.taken = 0;
        let mut piece = [0; 16 << 10];
        let mut stream = self.stream;
        loop {
            match io::Read::read(&mut stream, &mut piece) {
                Ok(0) => return Err(Stop::Closed),
                Ok(count) => {
                    self.bytes.extend_from_slice(&piece[..count]);
                    return Ok(());
                }
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

    /// Takes the next `count` bytes, or as many as there are.
    fn take(&mut self, count: usize) -> Vec<u8> {
        let taken = self.rest().get(..count).unwrap_or(self.rest()).to_vec();
        self.taken += taken.len();
        taken
    }

    /// Takes what a peer that was refused still sends, for a moment: a connection that is closed with bytes
    /// unread may lose the answer.
    pub(super) fn drain(&mut self) {
        let deadline = Instant::now() + Duration::from_millis(500);
        let mut taken = 0;
        while taken < 1 << 20 && self.fill(Some(deadline)).is_ok() {
            taken += self.bytes.len();
            self.taken = self.bytes.len();
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
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", response.body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    if !head_only && !matches!(response.status, 204 | 304) {
        bytes.extend_from_slice(&response.body);
    }
    write_all(stream, &bytes)
}

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
    let mut text = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    // What a plugin gives must not become a header of its own.
    let is_plain = content_type.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain && !content_type.is_empty() {
        text += &format!("Content-Type: {content_type}\r\n");
    }
    if close {
        text += "Connection: close\r\n";
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
