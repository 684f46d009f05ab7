//! A connection to a child, and how long somebody waits on it.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, connect, recv, send, sendmsg, socket_with, sockopt,
};

pub(super) use super::address::Address;
use plg_plugin_api::process::pace::{Pace, Spin};
use rustix::thread::sched_getaffinity;

use super::child::Fate;
use super::error::ProcessError;
use crate::context::Cancel;

/// A connection, and what was read of it and not used yet.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    /// What every request shows, where the kernel does not say who asks.
    pub(super) token: Option<String>,
    read: Vec<u8>,
    /// How many bytes of `read` were used.
    used: usize,
    spin: Spin,
    /// When an answer last came.
    last: Option<Instant>,
    /// How many processors there were, and for how many more answers that is taken to be so.
    processors: (usize, u32),
    /// Room for the next request or body: fresh memory costs more than what is copied into it.
    spare: Vec<u8>,
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
/// How much is read at once.
const PIECE: usize = 16 << 10;
/// How many slices the system takes at once.
const MOST_SLICES: usize = 1024;
/// For how long nobody asks what became of a connection.
const FRESH: Duration = Duration::from_millis(1);
/// The most memory that a connection keeps for later.
const SPARE: usize = 2 << 20;
/// After how many answers it is looked at how many processors there are.
const SAME: u32 = 63;
const IN_ITS_PLACE: &str = "another process listens in its place";

impl Connection {
    /// Connects to the child at its address.
    pub(super) fn open(
        address: &Address,
        pace: Pace,
        until: &Until<'_>,
    ) -> Result<Self, ProcessError> {
        match address {
            Address::Unix(path) => Self::open_unix(path, pace, until),
            Address::Guarded { place, token } => {
                let mut connection = Self::open_tcp(*place, pace, until)?;
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
                    match Self::open_tcp(*address, pace, until) {
                        Err(error @ ProcessError::Unavailable { .. }) => last = error,
                        outcome => return outcome,
                    }
                }
                Err(last)
            }
        }
    }

    fn open_tcp(address: SocketAddr, pace: Pace, until: &Until<'_>) -> Result<Self, ProcessError> {
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
        Self::new(socket, pace)
    }

    fn open_unix(path: &Path, pace: Pace, until: &Until<'_>) -> Result<Self, ProcessError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|error| ProcessError::Descriptors(error.into()))?;
        let address = SocketAddrUnix::new(path)
            .map_err(|error| ProcessError::unsent(format!("no socket at its path: {error}")))?;
        loop {
            match connect(&socket, &address) {
                Ok(()) => break,
                // As many wait to be let in as may. The child may be gone, and what it left listen in its place.
                Err(Errno::AGAIN) => {
                    until.look()?;
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
            Ok(true) => {}
            Ok(false) => return Err(ProcessError::unsent(IN_ITS_PLACE)),
            Err(error) => return Err(ProcessError::unsent(error)),
        }
        Self::new(socket, pace)
    }

    fn new(socket: OwnedFd, pace: Pace) -> Result<Self, ProcessError> {
        // Who waits for long waits in one call.
        set_socket_timeout(&socket, Timeout::Recv, Some(ALIVE))
            .and_then(|()| set_socket_timeout(&socket, Timeout::Send, Some(ALIVE)))
            .and_then(|()| rustix::io::ioctl_fionbio(&socket, false))
            .map_err(|error| ProcessError::unsent(format!("no socket: {error}")))?;
        Ok(Self {
            socket,
            token: None,
            read: Vec::new(),
            used: 0,
            spin: Spin::new(pace),
            last: None,
            processors: (1, 0),
            spare: Vec::new(),
            unread: false,
        })
    }

    /// Whether it was used so recently that it is hardly worth to ask the system what became of it.
    pub(super) fn is_fresh(&self) -> bool {
        let used = self.last.filter(|_| self.bytes().is_empty());
        used.is_some_and(|last| last.elapsed() < FRESH)
    }

    /// Whether nothing came that nobody asked for, the end included.
    pub(super) fn is_idle(&self) -> bool {
        let mut byte = [0_u8; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        self.bytes().is_empty() && matches!(recv(&self.socket, &mut byte, flags), Err(Errno::AGAIN))
    }

    /// What was read and not used yet.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.read[self.used..]
    }

    /// Uses the first `count` of these bytes.
    pub(super) fn used(&mut self, count: usize) {
        self.used += count;
        if self.used >= self.read.len() {
            self.read.clear();
            self.used = 0;
        }
    }

    /// Memory that is not used just now.
    pub(super) fn spare(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }

    /// Keeps memory for the next use, if it is not too much.
    pub(super) fn keep(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= SPARE {
            bytes.clear();
            self.spare = bytes;
        }
    }

    /// Sends all of `bytes`. Until that is done, nothing was asked.
    pub(super) fn send(&mut self, mut bytes: &[u8], until: &Until<'_>) -> Result<(), ProcessError> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        while !bytes.is_empty() {
            match send(&self.socket, bytes, flags) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::AGAIN) => until.wait(&self.socket, PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(takes_none(error)),
            }
        }
        Ok(())
    }

    /// Sends all of several slices, as [`send`](Self::send) does.
    pub(super) fn send_all(
        &mut self,
        mut slices: &mut [IoSlice<'_>],
        until: &Until<'_>,
    ) -> Result<(), ProcessError> {
        while !slices.is_empty() {
            let is_patient = until.is_patient();
            let flags = if is_patient {
                SendFlags::NOSIGNAL
            } else {
                SendFlags::NOSIGNAL | SendFlags::DONTWAIT
            };
            let some = &slices[..slices.len().min(MOST_SLICES)];
            match sendmsg(
                &self.socket,
                some,
                &mut SendAncillaryBuffer::default(),
                flags,
            ) {
                Ok(count) => IoSlice::advance_slices(&mut slices, count),
                Err(Errno::AGAIN) if is_patient => until.look()?,
                Err(Errno::AGAIN) => until.wait(&self.socket, PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(takes_none(error)),
            }
        }
        Ok(())
    }

    /// Waits for the begin of an answer to what was sent. Awake, if that pays and nobody else calls: with several
    /// calls on their way, who waits awake takes the processor from who answers.
    pub(super) fn await_answer(
        &mut self,
        alone: bool,
        until: &Until<'_>,
    ) -> Result<(), ProcessError> {
        let start = Instant::now();
        self.read.reserve(PIECE);
        let Self {
            socket,
            read,
            spin,
            processors,
            unread,
            last,
            ..
        } = self;
        let found = if alone && spin.pays() {
            let look = || receive_now(socket, read, unread, RecvFlags::DONTWAIT).transpose();
            *processors = match *processors {
                (_, 0) => (self::processors(), SAME),
                (known, left) => (known, left - 1),
            };
            spin.wait(processors.0, look)
        } else {
            None
        };
        // The end of what comes is found again by who reads on.
        match found {
            Some(found) => found?,
            None => receive(socket, read, unread, until)?,
        };
        let end = Instant::now();
        spin.took(end - start);
        *last = Some(end);
        Ok(())
    }

    /// Reads some more; false at the end.
    pub(super) fn fill(&mut self, until: &Until<'_>) -> Result<bool, ProcessError> {
        if self.used > 0 {
            self.read.drain(..self.used);
            self.used = 0;
        }
        self.read.reserve(PIECE);
        receive(&self.socket, &mut self.read, &mut self.unread, until)
    }

    /// Reads to the end of `out`, up to `left` bytes; 0 at the end. There is nothing to be used before them.
    pub(super) fn fill_body(
        &mut self,
        out: &mut Vec<u8>,
        left: usize,
        until: &Until<'_>,
    ) -> Result<usize, ProcessError> {
        let start = out.len();
        out.reserve_exact(left);
        receive(&self.socket, out, &mut self.unread, until)?;
        if out.len() > start + left {
            // There was more room, and more came.
            self.read.extend_from_slice(&out[start + left..]);
            out.truncate(start + left);
        }
        Ok(out.len() - start)
    }
}

fn takes_none(error: Errno) -> ProcessError {
    ProcessError::unsent(format!("its process takes no request: {error}"))
}

/// Reads into what is free of `out`; false at the end.
fn receive(
    socket: &OwnedFd,
    out: &mut Vec<u8>,
    unread: &mut bool,
    until: &Until<'_>,
) -> Result<bool, ProcessError> {
    loop {
        let is_patient = until.is_patient();
        let flags = if is_patient {
            RecvFlags::empty()
        } else {
            RecvFlags::DONTWAIT
        };
        match receive_now(socket, out, unread, flags)? {
            Some(more) => return Ok(more),
            None if is_patient => {
                if let Err(over) = until.look() {
                    // It may have answered just before it ended.
                    let last = receive_now(socket, out, unread, RecvFlags::DONTWAIT)?;
                    return last.ok_or(over);
                }
            }
            None => until.wait(socket, PollFlags::IN)?,
        }
    }
}

/// As [`receive`]; `None` when there is nothing yet.
fn receive_now(
    socket: &OwnedFd,
    out: &mut Vec<u8>,
    unread: &mut bool,
    flags: RecvFlags,
) -> Result<Option<bool>, ProcessError> {
    match recv(socket, spare_capacity(out), flags) {
        Ok((_, count)) => Ok(Some(count > 0)),
        // A signal ends such a wait, and may come again before the next one is over: who waits looks around.
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(Errno::CONNRESET) => {
            *unread = true;
            Ok(Some(false))
        }
        Err(error) => Err(ProcessError::cut_off(error)),
    }
}

/// How many processors this thread may use, and so what it starts.
fn processors() -> usize {
    sched_getaffinity(None).map_or(1, |set| set.count() as usize)
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

    /// Whether it is enough to look every now and then. The end of such a wait is not exact.
    fn is_patient(&self) -> bool {
        let is_far = |end: Instant| end.saturating_duration_since(Instant::now()) > 2 * ALIVE;
        self.cancel.is_none() && self.end.is_none_or(is_far)
    }

    /// Whether somebody still waits, and for a child that is there.
    fn look(&self) -> Result<(), ProcessError> {
        self.check()?;
        match self.fate.ending() {
            None => Ok(()),
            Some(_) => Err(ProcessError::cut_off("its process ended")),
        }
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
                Ok(0) => self.look()?,
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(ProcessError::cut_off(io::Error::from(error))),
            }
        }
    }
}
