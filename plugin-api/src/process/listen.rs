//! The socket that the configuration names.

use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Where connections come from.
#[derive(Debug)]
pub(super) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A connection. Whoever has a reference can read and write.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Socket,
    /// Whether reads and writes return at once. It stays so while requests follow one another.
    at_once: AtomicBool,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Listener {
    /// Listens at `address`, and returns it with the port filled in.
    pub(super) fn bind(address: &str) -> io::Result<(Self, String)> {
        let wrong = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text.to_owned());
        if let Some(path) = address.strip_prefix("unix:") {
            let listener = UnixListener::bind(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            return Ok((Self::Unix(listener), address.to_owned()));
        }
        let Some(place) = address.strip_prefix("tcp:") else {
            return Err(wrong("expected `unix:PATH` or `tcp:ADDRESS:PORT`"));
        };
        let place: SocketAddr = place.parse().map_err(|_| wrong("no address with a port"))?;
        if !place.ip().is_loopback() {
            return Err(wrong("not an address of loopback"));
        }
        let listener = TcpListener::bind(place)?;
        let address = format!("tcp:{}", listener.local_addr()?);
        Ok((Self::Tcp(listener), address))
    }

    pub(super) fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(listener) => Ok(Stream::from(Socket::Unix(listener.accept()?.0))),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                // An answer is written in one piece; nothing is won by holding it back.
                stream.set_nodelay(true)?;
                Ok(Stream::from(Socket::Tcp(stream)))
            }
        }
    }
}

impl Stream {
    /// How long a read may take; for ever without.
    pub(super) fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        match &self.socket {
            Socket::Unix(stream) => stream.set_read_timeout(limit),
            Socket::Tcp(stream) => stream.set_read_timeout(limit),
        }
    }

    /// How long a write may take.
    pub(super) fn set_write_timeout(&self, limit: Duration) -> io::Result<()> {
        match &self.socket {
            Socket::Unix(stream) => stream.set_write_timeout(Some(limit)),
            Socket::Tcp(stream) => stream.set_write_timeout(Some(limit)),
        }
    }

    /// Says that nothing more is written.
    pub(super) fn finish(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Reads what is there; `WouldBlock` when that is nothing.
    pub(super) fn read_now(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.set_at_once(true)?;
        self.socket.read(bytes)
    }

    fn set_at_once(&self, at_once: bool) -> io::Result<()> {
        if self.at_once.load(Ordering::Acquire) == at_once {
            return Ok(());
        }
        match &self.socket {
            Socket::Unix(stream) => stream.set_nonblocking(at_once)?,
            Socket::Tcp(stream) => stream.set_nonblocking(at_once)?,
        }
        self.at_once.store(at_once, Ordering::Release);
        Ok(())
    }

    /// Does `act` again in a way that waits, if it would have had to.
    fn waiting<T>(&self, mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match act() {
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock
                    && self.at_once.load(Ordering::Acquire) =>
            {
                self.set_at_once(false)?;
                act()
            }
            outcome => outcome,
        }
    }
}

impl From<Socket> for Stream {
    fn from(socket: Socket) -> Self {
        Self {
            socket,
            at_once: AtomicBool::new(false),
        }
    }
}

impl Socket {
    fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => (&*stream).read(bytes),
            Self::Tcp(stream) => (&*stream).read(bytes),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => (&*stream).write(bytes),
            Self::Tcp(stream) => (&*stream).write(bytes),
        }
    }

    fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => (&*stream).write_vectored(slices),
            Self::Tcp(stream) => (&*stream).write_vectored(slices),
        }
    }
}

impl Read for &Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.waiting(|| self.socket.read(bytes))
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting(|| self.socket.write(bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.waiting(|| self.socket.write_vectored(slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
