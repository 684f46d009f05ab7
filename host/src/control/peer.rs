//! Who asks, and how long that may take.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::UCred;
use rustix::process::geteuid;

/// Whether a process may ask: one of root, or one of this user that is held to no more than this one. A plugin in a
/// sandbox is this user's as well, and with `network` granted it can connect to whatever is a file.
pub(super) fn may_ask(peer: &UCred) -> bool {
    if peer.uid != geteuid() {
        return peer.uid.is_root();
    }
    let pid = peer.pid.as_raw_nonzero().to_string();
    match (filters(&pid), filters("self")) {
        (Some(peer), Some(own)) => peer <= own,
        _ => false,
    }
}

/// How the system calls of a process are filtered, and by how many filters, which all that it starts inherit.
fn filters(process: &str) -> Option<(u32, u32)> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(|text| text.trim().parse())
    };
    // A kernel without such filters does not speak of them, and older ones do not count them.
    let mode = number("Seccomp:").unwrap_or(Ok(0)).ok()?;
    let count = number("Seccomp_filters:").unwrap_or(Ok(0)).ok()?;
    Some((mode, count))
}

/// Reads a line of at most `most` bytes.
pub(super) fn question(
    mut stream: &UnixStream,
    most: usize,
    limit: Duration,
) -> io::Result<Vec<u8>> {
    let end = Instant::now() + limit;
    let mut line = Vec::new();
    let mut piece = [0; 1024];
    while line.len() < most {
        stream.set_read_timeout(Some(left(end)?))?;
        let count = stream.read(&mut piece)?;
        let text = &piece[..count];
        match text.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                line.extend(&text[..end]);
                break;
            }
            None if text.is_empty() => break,
            None => line.extend(text),
        }
    }
    Ok(line)
}

/// Writes all of it.
pub(super) fn answer(mut stream: &UnixStream, mut text: &[u8], limit: Duration) -> io::Result<()> {
    let end = Instant::now() + limit;
    while !text.is_empty() {
        stream.set_write_timeout(Some(left(end)?))?;
        let count = stream.write(text)?;
        text = &text[count..];
    }
    Ok(())
}

fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}
