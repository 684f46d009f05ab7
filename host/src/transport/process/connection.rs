//! A connection to a child, and how long somebody waits on it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with, sockopt,
};

pub(super) use super::address::Address;
use super::child::Fate;
use super::error::ProcessError;
use crate::context::Cancel;

/// A connection, and what was read of it and not used yet.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    /// What every request shows, where the kernel does not say who asks.
    pub(super) token: Option<String>,
    pub(super) buffer: Vec<u8>,
    /// Whether the other end was closed before it had read everything.
    pub(super) unread: bool,
}

/// Until when somebody waits for a child.
#[derive(Clone, Debug)]
pub(super) struct Until<'a> {
    pub(super) end: Option<Instant>,
    pub(super) cancel: Option<Cancel>,
    pub(super) fate: &'a Fate,
}

/// How often who waits looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(5);
/// How often it looks whether the child is still there. Usually the end of the stream says so at once.
const ALIVE: Duration = Duration::from_millis(500);
const PIECE: usize = 32 << 10;
const IN_ITS_PLACE: &str = "another process listens in its place";

impl Connection {
    /// Connects to the child at its address.
    pub(super) fn open(address: &Address, until: &Until<'_>) -> Result<Self, ProcessError> {
        match address {
            Address::Unix(path) => Self::open_unix(path, until),
            Address::Guarded { place, token } => {
                let mut connection = Self::open_tcp(*place, until)?;
                // The kernel does not say who is at the other end. Somebody who took the port of a child that died
                // is shown no token.
                match until.fate.is_listener(*place) {
                    Ok(true) => connection.token = Some(token.clone()),
                    Ok(false) => return Err(ProcessError::unsent(IN_ITS_PLACE)),
                    Err(error) => return Err(ProcessError::unsent(error)),
                }
                Ok(connection)
            }
            Address::Tcp(addresses) => {
                let mut last = ProcessError::unsent("it listens nowhere");
                for address in addresses {
                    match Self::open_tcp(*address, until) {
                        Err(error @ ProcessError::Unavailable { .. }) => last = error,
                        outcome => return outcome,
                    }
                }
                Err(last)
            }
        }
    }

    fn open_tcp(address: SocketAddr, until: &Until<'_>) -> Result<Self, ProcessError> {
        let silent = |error: Errno| {
            ProcessError::unsent(format!("its process does not answer at {address}: {error}"))
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let socket = socket_with(family, SocketType::STREAM, flags, None)
            .map_err(|error| ProcessError::unsent(format!("no socket: {error}")))?;
        match connect(&socket, &address) {
            Ok(()) => {}
            Err(Errno::INPROGRESS | Errno::INTR) => {
                until.wait(&socket, PollFlags::OUT)?;
                let error = sockopt::socket_error(&socket).map_err(silent)?;
                error.map_err(silent)?;
            }
            Err(error) => return Err(silent(error)),
        }
        // Small requests go out at once.
        sockopt::set_tcp_nodelay(&socket, true).map_err(silent)?;
        Ok(Self {
            socket,
            token: None,
            buffer: Vec::new(),
            unread: false,
        })
    }

    fn open_unix(path: &Path, until: &Until<'_>) -> Result<Self, ProcessError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|error| ProcessError::Descriptors(error.into()))?;
        let address = SocketAddrUnix::new(path)
            .map_err(|error| ProcessError::unsent(format!("no socket at its path: {error}")))?;
        loop {
            match connect(&socket, &address) {
                Ok(()) => break,
                // As many wait to be let in as may.
                Err(Errno::AGAIN) => {
                    until.check()?;
                    thread::sleep(Duration::from_millis(1));
                }
                Err(Errno::INTR) => {}
                Err(error) => {
                    let why = format!("its process does not answer: {error}");
                    return Err(ProcessError::unsent(why));
                }
            }
        }
        match until.fate.is_peer(&socket) {
            Ok(true) => Ok(Self {
                socket,
                token: None,
                buffer: Vec::new(),
                unread: false,
            }),
            Ok(false) => Err(ProcessError::unsent(IN_ITS_PLACE)),
            Err(error) => Err(ProcessError::unsent(error)),
        }
    }

    /// Whether nothing came that nobody asked for, the end included.
    pub(super) fn is_idle(&self) -> bool {
        let mut byte = [0_u8; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        self.buffer.is_empty() && matches!(recv(&self.socket, &mut byte, flags), Err(Errno::AGAIN))
    }

    /// Sends all of `bytes`. Until that is done, nothing was asked.
    pub(super) fn send(&mut self, mut bytes: &[u8], until: &Until<'_>) -> Result<(), ProcessError> {
        while !bytes.is_empty() {
            match send(&self.socket, bytes, SendFlags::NOSIGNAL) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::AGAIN) => until.wait(&self.socket, PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                Err(error) => {
                    let why = format!("its process takes no request: {error}");
                    return Err(ProcessError::unsent(why));
                }
            }
        }
        Ok(())
    }

    /// Reads some more into the buffer; false at the end.
    pub(super) fn fill(&mut self, until: &Until<'_>) -> Result<bool, ProcessError> {
        let start = self.buffer.len();
        self.buffer.resize(start + PIECE, 0);
        let outcome = loop {
            match recv(&self.socket, &mut self.buffer[start..], RecvFlags::empty()) {
                Ok((count, _)) => break Ok(count),
                Err(Errno::AGAIN) => {
                    if let Err(error) = until.wait(&self.socket, PollFlags::IN) {
                        break Err(error);
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => {
                    self.unread = true;
                    break Ok(0);
                }
                Err(error) => break Err(ProcessError::cut_off(error)),
            }
        };
        let count = *outcome.as_ref().unwrap_or(&0);
        self.buffer.truncate(start + count);
        outcome.map(|count| count > 0)
    }
}

impl Until<'_> {
    /// No longer than `limit`.
    pub(super) fn within(limit: Duration, fate: &Fate) -> Until<'_> {
        Until {
            end: Instant::now().checked_add(limit),
            cancel: None,
            fate,
        }
    }

    /// Whether somebody still waits.
    pub(super) fn check(&self) -> Result<(), ProcessError> {
        let late = self.end.is_some_and(|end| end <= Instant::now());
        if late || self.cancel.as_ref().is_some_and(Cancel::is_cancelled) {
            return Err(ProcessError::Over);
        }
        Ok(())
    }

    /// Waits until `socket` is ready for what is wanted.
    fn wait(&self, socket: &OwnedFd, wanted: PollFlags) -> Result<(), ProcessError> {
        loop {
            self.check()?;
            let left = self
                .end
                .map(|end| end.saturating_duration_since(Instant::now()));
            let look = if self.cancel.is_some() { LOOK } else { ALIVE };
            let limit = left.map_or(look, |left| left.min(look));
            // Rounding down would have it look again and again at the end.
            let limit = limit.max(Duration::from_micros(50));
            let limit = Timespec::try_from(limit).ok();
            let mut ready = [PollFd::new(socket, wanted)];
            match poll(&mut ready, limit.as_ref()) {
                Ok(0) => {
                    if self.fate.ending().is_some() {
                        return Err(ProcessError::cut_off("its process ended"));
                    }
                }
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(ProcessError::cut_off(io::Error::from(error))),
            }
        }
    }
}
