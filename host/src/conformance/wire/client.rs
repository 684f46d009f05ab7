//! A client that writes anything and reads strictly.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use crate::conformance::finding::{Finding, failed, shown};

/// A connection to a program.
pub(super) struct Client {
    stream: Stream,
    /// What was read and not yet used.
    rest: Vec<u8>,
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// An answer, whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The names in lower case.
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// The most bytes of an answer.
const MOST: usize = 1 << 20;

impl Client {
    /// Connects to what a start line calls its address.
    pub(super) fn open(address: &str) -> io::Result<Self> {
        let stream = match address.split_once(':') {
            Some(("unix", path)) => Stream::Unix(UnixStream::connect(path)?),
            Some(("tcp", place)) => Stream::Tcp(TcpStream::connect(place)?),
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        match &stream {
            Stream::Unix(stream) => {
                stream.set_read_timeout(Some(ANSWER))?;
                stream.set_write_timeout(Some(ANSWER))?;
            }
            Stream::Tcp(stream) => {
                stream.set_read_timeout(Some(ANSWER))?;
                stream.set_write_timeout(Some(ANSWER))?;
                stream.set_nodelay(true)?;
            }
        }
        let rest = Vec::new();
        Ok(Self { stream, rest })
    }

    pub(super) fn get(&mut self, path: &str) -> Result<Answer, Finding> {
        self.exchange(format!("GET {path} HTTP/1.1\r\nHost: plugin\r\n\r\n").as_bytes())
    }

    pub(super) fn post(&mut self, path: &str, body: &str) -> Result<Answer, Finding> {
        self.exchange(request(path, "", body).as_bytes())
    }

    /// Sends a call and does not wait for its answer.
    pub(super) fn begin(&mut self, call: &Value) -> Result<(), Finding> {
        self.send(request("/execute", "", &call.to_string()).as_bytes())
    }

    /// Makes a call.
    pub(super) fn call(&mut self, call: &Value) -> Result<Value, Finding> {
        self.begin(call)?;
        self.answer()?.outcome()
    }

    pub(super) fn exchange(&mut self, bytes: &[u8]) -> Result<Answer, Finding> {
        self.send(bytes)?;
        self.answer()
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Finding> {
        let sent = match &mut self.stream {
            Stream::Unix(stream) => stream.write_all(bytes),
            Stream::Tcp(stream) => stream.write_all(bytes),
        };
        sent.or_else(|error| failed(format!("a request could not be sent: {error}")))
    }

    /// Reads an answer.
    pub(super) fn answer(&mut self) -> Result<Answer, Finding> {
        self.head()?.whole(self)
    }

    /// Reads the head of an answer, and leaves the body.
    pub(super) fn head(&mut self) -> Result<Answer, Finding> {
        let end = self.until(b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&end).into_owned();
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok());
        let Some(status) = status else {
            return failed(format!("an answer begins with {}", shown(&first)));
        };
        let mut headers = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let Some((name, value)) = line.split_once(':') else {
                return failed(format!("an answer has the header {}", shown(&line)));
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let body = Vec::new();
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    /// Reads one chunk: a line of an answer that is not over yet.
    pub(super) fn chunk(&mut self) -> Result<Vec<u8>, Finding> {
        let size = self.until(b"\r\n")?;
        let size = String::from_utf8_lossy(&size);
        let size = size.trim_end().split(';').next().unwrap_or_default();
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else {
            return failed(format!("a chunk begins with {}", shown(&size)));
        };
        let mut chunk = self.exactly(size.saturating_add(2))?;
        if chunk.split_off(size) != b"\r\n" {
            return failed("a chunk has another length than it says");
        }
        Ok(chunk)
    }

    /// Whether the other side has closed the connection, after whatever it still says.
    pub(super) fn is_closed(&mut self) -> Result<bool, Finding> {
        loop {
            match self.more() {
                Ok(0) => return Ok(true),
                Ok(_) if self.rest.len() <= MOST => {}
                Ok(_) => return Ok(false),
                Err(error) if is_late(&error) => return Ok(false),
                // It closed while something was on its way to it.
                Err(_) => return Ok(true),
            }
        }
    }

    fn until(&mut self, end: &[u8]) -> Result<Vec<u8>, Finding> {
        loop {
            let found = self
                .rest
                .windows(end.len())
                .position(|window| window == end);
            if let Some(found) = found {
                return Ok(self.rest.drain(..found + end.len()).collect());
            }
            self.some_more()?;
        }
    }

    fn exactly(&mut self, count: usize) -> Result<Vec<u8>, Finding> {
        while self.rest.len() < count {
            self.some_more()?;
        }
        Ok(self.rest.drain(..count).collect())
    }

    fn some_more(&mut self) -> Result<(), Finding> {
        match self.more() {
            Ok(0) => failed("the connection was closed before the answer"),
            Ok(_) if self.rest.len() <= MOST => Ok(()),
            Ok(_) => failed(format!("an answer has more than {MOST} bytes")),
            Err(error) if is_late(&error) => failed(format!("no answer within {ANSWER:?}")),
            Err(error) => failed(format!("the connection broke: {error}")),
        }
    }

    fn more(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 << 10];
        let read = match &mut self.stream {
            Stream::Unix(stream) => stream.read(&mut buffer)?,
            Stream::Tcp(stream) => stream.read(&mut buffer)?,
        };
        self.rest.extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}

impl Answer {
    fn whole(mut self, client: &mut Client) -> Result<Self, Finding> {
        if self.status == 204 || self.status == 304 {
            return Ok(self);
        }
        if self.header("transfer-encoding") == Some("chunked") {
            loop {
                let chunk = client.chunk()?;
                if chunk.is_empty() {
                    return Ok(self);
                }
                self.body.extend(chunk);
                if self.body.len() > MOST {
                    return failed(format!("an answer has more than {MOST} bytes"));
                }
            }
        }
        let length = self.header("content-length").unwrap_or_default();
        match length.parse() {
            Ok(length) if length <= MOST => self.body = client.exactly(length)?,
            _ => {
                return failed(format!(
                    "an answer has the `Content-Length` {}",
                    shown(&length)
                ));
            }
        }
        Ok(self)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The outcome of a call: the body, or its last line.
    pub(super) fn outcome(&self) -> Result<Value, Finding> {
        if self.status != 200 {
            return failed(format!("a call was answered with status {}", self.status));
        }
        let last = match self.header("content-type") {
            Some("application/json") => &self.body[..],
            Some("application/x-ndjson") => {
                let lines = self.body.split(|byte| *byte == b'\n');
                let mut lines = lines.filter(|line| !line.is_empty());
                lines.next_back().unwrap_or_default()
            }
            other => return failed(format!("a call was answered with the type {other:?}")),
        };
        serde_json::from_slice(last)
            .or_else(|error| failed(format!("the outcome of a call is no JSON: {error}")))
    }
}

/// A request with a body.
pub(super) fn request(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: plugin\r\nContent-Type: application/json\r\n{headers}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn is_late(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
