//! What a child writes to its standard output and error. All of it is read, so that it is never held up; the
//! start line and the end of the errors are kept, and lines of the errors are logged, so many a second.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::process::{ChildStderr, ChildStdout};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use plg_plugin_api::process::wire::MAX_START;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::child::Fate;

/// What is kept of what a child wrote.
#[derive(Debug, Default)]
pub(super) struct Output {
    errors: Mutex<VecDeque<u8>>,
    /// Bytes of standard error ever.
    written: AtomicU64,
    /// Bytes on standard output after the start line.
    dropped: AtomicU64,
    /// Lines of standard error that were too many to log.
    unlogged: AtomicU64,
    /// Whether all was read.
    ended: Mutex<bool>,
    all_read: Condvar,
}

/// What came in the place of a start line.
#[derive(Debug)]
pub(super) enum First {
    /// A line, without its end.
    Line(Vec<u8>),
    /// So much without an end of the line.
    TooLong,
    /// The end of the output.
    Closed,
}

/// Reads both streams until the child has ended.
pub(super) struct Minder<'a> {
    pub(super) plugin: &'a str,
    pub(super) fate: &'a Fate,
    pub(super) output: &'a Output,
    /// Told the first line, once.
    pub(super) first: Option<Sender<First>>,
    /// Whether a line is one to tell; those before it are passed over.
    pub(super) is_start: fn(&[u8]) -> bool,
}

/// How much of the errors is kept.
const KEPT: usize = 64 << 10;
/// How much of them an error shows.
const SHOWN: usize = 8 << 10;
/// What of a line is logged.
const LINE: usize = 8 << 10;
/// Lines that are logged in a second.
const LINES: u32 = 200;
/// How long streams are still read after the child's end. Somebody else may hold them open.
const AFTER_END: Duration = Duration::from_millis(200);
const PIECE: usize = 16 << 10;

impl Output {
    /// The last of what it wrote to its standard error.
    pub(super) fn errors(&self) -> String {
        let kept = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let start = kept.len().saturating_sub(SHOWN);
        let bytes: Vec<u8> = kept.range(start..).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What it wrote to its standard error after so many bytes, as far as that is kept and a line of it is whole, and
    /// where that ends.
    pub(super) fn after(&self, byte: u64) -> (String, u64) {
        let kept = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.written.load(Ordering::Relaxed);
        let first = written - kept.len() as u64;
        let start = usize::try_from(byte.clamp(first, written) - first).unwrap_or(0);
        let new = kept.range(start..);
        let whole = new
            .clone()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let bytes: Vec<u8> = new.take(whole).copied().collect();
        let end = first + (start + whole) as u64;
        (String::from_utf8_lossy(&bytes).into_owned(), end)
    }

    /// Waits until all was read, but no longer than `limit`.
    pub(super) fn wait_for_end(&self, limit: Duration) {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // Whether it came in time makes no difference: what was read is there.
        drop(
            self.all_read
                .wait_timeout_while(ended, limit, |ended| !*ended),
        );
    }

    fn end(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.all_read.notify_all();
    }

    pub(super) fn keep(&self, bytes: &[u8]) {
        let mut kept = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(bytes);
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.written.fetch_add(count, Ordering::Relaxed);
        let over = kept.len().saturating_sub(KEPT);
        kept.drain(..over);
    }
}

/// How often a child is looked at that has closed what it wrote to.
const CLOSED: Duration = Duration::from_millis(500);

impl Minder<'_> {
    /// Runs until the child has ended and nothing more is to be read.
    pub(super) fn run(mut self, out: ChildStdout, err: ChildStderr) {
        let (mut out, mut err) = (nonblocking(out), nonblocking(err));
        let mut line = Vec::new();
        let mut log = Log::new(self.plugin);
        let mut end: Option<Instant> = None;
        while end.is_none_or(|end| Instant::now() < end && (out.is_some() || err.is_some())) {
            let mut ready = Vec::with_capacity(3);
            if end.is_none() {
                ready.push(PollFd::new(&self.fate.process, PollFlags::IN));
            }
            ready.extend(out.iter().map(|out| PollFd::new(out, PollFlags::IN)));
            ready.extend(err.iter().map(|err| PollFd::new(err, PollFlags::IN)));
            // Who has closed everything has ended, and what is left of that may have to be waited for.
            let is_closed = out.is_none() && err.is_none();
            let limit = match end {
                Some(end) => Some(end.saturating_duration_since(Instant::now())),
                None => is_closed.then_some(CLOSED),
            };
            let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
            match poll(&mut ready, limit.as_ref()) {
                Ok(0) if end.is_none() => self.fate.release(),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(plugin = self.plugin, "its output is lost: {error}");
                    break;
                }
            }
            let gone = end.is_none()
                && ready
                    .first()
                    .is_some_and(|process| !process.revents().is_empty());
            drop(ready);
            if gone {
                self.fate.reap();
                end = Some(Instant::now() + AFTER_END);
            }
            read(&mut out, |bytes| self.take(bytes, &mut line));
            read(&mut err, |bytes| {
                self.output.keep(bytes);
                log.take(bytes);
            });
            if out.is_none() {
                self.tell(First::Closed);
            }
        }
        self.output.end();
        log.end();
        self.output
            .unlogged
            .store(log.unlogged_ever, Ordering::Relaxed);
        let dropped = self.output.dropped.load(Ordering::Relaxed);
        if dropped + log.unlogged_ever > 0 {
            tracing::debug!(
                plugin = self.plugin,
                dropped,
                unlogged = log.unlogged_ever,
                "bytes of output and lines of errors were dropped"
            );
        }
        // Nobody but this thread waits for the child.
        if self.fate.ending().is_none() {
            self.fate.kill();
            self.fate.reap();
        }
        self.tell(First::Closed);
    }

    /// Takes from standard output: the start line, and nothing else.
    fn take(&mut self, mut bytes: &[u8], line: &mut Vec<u8>) {
        while self.first.is_some() && !bytes.is_empty() {
            match bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) if line.len() + end < MAX_START => {
                    line.extend(&bytes[..end]);
                    bytes = &bytes[end + 1..];
                    let line = std::mem::take(line);
                    if (self.is_start)(&line) {
                        self.tell(First::Line(line));
                    } else {
                        self.drop_bytes(line.len() + 1);
                    }
                }
                None if line.len() + bytes.len() < MAX_START => {
                    line.extend(bytes);
                    bytes = &[];
                }
                _ => self.tell(First::TooLong),
            }
        }
        self.drop_bytes(bytes.len());
    }

    fn drop_bytes(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.output.dropped.fetch_add(count, Ordering::Relaxed);
    }

    fn tell(&mut self, first: First) {
        if let Some(told) = self.first.take() {
            // Who asked may not wait any more.
            let _ = told.send(first);
        }
    }
}

/// Lines of standard error on their way to the log.
pub(super) struct Log<'a> {
    plugin: &'a str,
    line: Vec<u8>,
    /// Whether the rest of the line is passed over.
    cut: bool,
    second: Instant,
    lines: u32,
    unlogged: u64,
    unlogged_ever: u64,
}

impl<'a> Log<'a> {
    pub(super) fn new(plugin: &'a str) -> Self {
        Self {
            plugin,
            line: Vec::new(),
            cut: false,
            second: Instant::now(),
            lines: 0,
            unlogged: 0,
            unlogged_ever: 0,
        }
    }

    /// Logs the lines that end in `bytes`.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match part {
                [text @ .., b'\n'] => (text, true),
                text => (text, false),
            };
            let room = LINE.saturating_sub(self.line.len());
            self.line.extend(&text[..text.len().min(room)]);
            self.cut |= text.len() > room;
            if ends {
                self.end();
            }
        }
    }

    /// Logs the line that began.
    pub(super) fn end(&mut self) {
        let line = std::mem::take(&mut self.line);
        let cut = std::mem::take(&mut self.cut);
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if text.is_empty() {
            return;
        }
        if self.second.elapsed() >= Duration::from_secs(1) {
            if self.unlogged > 0 {
                let (plugin, count) = (self.plugin, self.unlogged);
                tracing::warn!(target: "plg::plugin", plugin, "{count} lines were too many to log");
            }
            (self.second, self.lines, self.unlogged) = (Instant::now(), 0, 0);
        }
        self.lines += 1;
        if self.lines > LINES {
            self.unlogged += 1;
            self.unlogged_ever += 1;
            return;
        }
        if cut {
            write(self.plugin, "info", &format!("{text}…"), "");
            return;
        }
        match structured(text) {
            Some((level, message, fields)) => write(self.plugin, &level, &message, &fields),
            None => write(self.plugin, "info", text, ""),
        }
    }
}

/// The level, the message and the other members of a line that is such an object.
fn structured(line: &str) -> Option<(String, String, String)> {
    if !line.starts_with('{') {
        return None;
    }
    let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).ok()?;
    let text = |value: serde_json::Value| value.as_str().map(str::to_owned);
    // Go's `slog` writes levels in capitals, and calls the message `msg`.
    let level = object.remove("level").and_then(text)?.to_ascii_lowercase();
    let known = ["error", "warn", "info", "debug", "trace"].contains(&level.as_str());
    let message = object.remove("message").or_else(|| object.remove("msg"));
    let message = message.and_then(text)?;
    let fields = if object.is_empty() {
        String::new()
    } else {
        serde_json::Value::Object(object).to_string()
    };
    known.then_some((level, message, fields))
}

fn write(plugin: &str, level: &str, message: &str, fields: &str) {
    let fields = Some(fields).filter(|fields| !fields.is_empty());
    match level {
        "error" => tracing::error!(target: "plg::plugin", plugin, fields, "{message}"),
        "warn" => tracing::warn!(target: "plg::plugin", plugin, fields, "{message}"),
        "debug" => tracing::debug!(target: "plg::plugin", plugin, fields, "{message}"),
        "trace" => tracing::trace!(target: "plg::plugin", plugin, fields, "{message}"),
        _ => tracing::info!(target: "plg::plugin", plugin, fields, "{message}"),
    }
}

/// A stream that is read when there is something, or none if it cannot be made one.
pub(super) fn nonblocking<S: std::os::fd::AsFd>(stream: S) -> Option<S> {
    let flags = fcntl_getfl(&stream).ok()?;
    fcntl_setfl(&stream, flags | OFlags::NONBLOCK).ok()?;
    Some(stream)
}

/// Reads a piece of what is there; a stream that has ended is dropped.
pub(super) fn read(stream: &mut Option<impl Read>, mut take: impl FnMut(&[u8])) {
    let Some(open) = stream else {
        return;
    };
    let mut piece = [0; PIECE];
    match open.read(&mut piece) {
        Ok(0) => *stream = None,
        Ok(count) => take(&piece[..count]),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
            _ => *stream = None,
        },
    }
}
