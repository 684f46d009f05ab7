//! Where a child listens, and who that is.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, geteuid};
use rustix::rand::{GetRandomFlags, getrandom};

/// Where a child listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Address {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A port of loopback, with what shows that a request is from this host.
    Guarded { place: SocketAddr, token: String },
    /// A port of loopback: the addresses are tried in turn.
    Tcp(Vec<SocketAddr>),
}

/// What an address on TCP begins with.
const TCP: &str = "tcp:";

impl Address {
    /// Any port of loopback, for a child that is to choose one. The token is good for one start.
    pub(super) fn any_port() -> io::Result<Self> {
        let mut bytes = [0; 32];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
        }
        Ok(Self::Guarded {
            place: (Ipv4Addr::LOCALHOST, 0).into(),
            token: data_encoding::HEXLOWER.encode(&bytes),
        })
    }

    /// As the configuration has it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Unix(path) => format!("unix:{}", path.display()),
            Self::Guarded { place, .. } => format!("{TCP}{place}"),
            Self::Tcp(places) => format!("{TCP}{places:?}"),
        }
    }

    pub(super) fn token(&self) -> Option<&str> {
        match self {
            Self::Guarded { token, .. } => Some(token),
            Self::Unix(_) | Self::Tcp(_) => None,
        }
    }

    /// The address that a start line names, if it is this one, with a port filled in where any will do.
    pub(super) fn confirm(self, said: &str) -> Option<Self> {
        match self {
            Self::Unix(_) | Self::Tcp(_) => (self.text() == said).then_some(self),
            Self::Guarded { token, .. } => {
                let place: SocketAddr = said.strip_prefix(TCP)?.parse().ok()?;
                let ours = [
                    IpAddr::from(Ipv4Addr::LOCALHOST),
                    Ipv6Addr::LOCALHOST.into(),
                ];
                let is_ours = ours.contains(&place.ip()) && place.port() != 0;
                is_ours.then_some(Self::Guarded { place, token })
            }
        }
    }
}

/// Whether the child that leads `group`, or one of its group, listens at `place`. The kernel does not say who is at the
/// other end of a connection, but it says who holds the socket that listens there.
///
/// # Errors
///
/// When the system does not list who listens.
pub(super) fn is_listener(place: SocketAddr, group: Pid) -> io::Result<bool> {
    let own = geteuid().as_raw();
    let mut sockets = Vec::new();
    for list in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let text = match fs::read_to_string(list) {
            // A machine without IPv6 has no such list.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text?,
        };
        for Listener {
            place: found,
            user,
            socket,
        } in text.lines().skip(1).filter_map(listener)
        {
            let is_meant = found.ip() == place.ip() || found.ip().is_unspecified();
            if found.port() == place.port() && is_meant {
                if user != own {
                    return Ok(false);
                }
                sockets.push(format!("socket:[{socket}]"));
            }
        }
    }
    let all_are_held = |sockets: &[String]| sockets.iter().all(|socket| is_held(socket, group));
    Ok(!sockets.is_empty() && all_are_held(&sockets))
}

/// Whether a process of `group` has this socket open. One that does not let itself be looked at is taken at its word.
fn is_held(socket: &str, group: Pid) -> bool {
    let holds = |process: &Path| match fs::read_dir(process.join("fd")) {
        Ok(open) => open.flatten().any(|open| {
            fs::read_link(open.path()).is_ok_and(|target| target.as_os_str() == socket)
        }),
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    };
    let leader = Path::new("/proc").join(group.to_string());
    if holds(&leader) {
        return true;
    }
    // Its program may have started another one to listen.
    let Ok(processes) = fs::read_dir("/proc") else {
        return false;
    };
    processes
        .flatten()
        .map(|process| process.path())
        .any(|process| group_of(&process) == Some(group) && holds(&process))
}

/// The group of a process; none for one whose group is of another world.
pub(super) fn group_of(process: &Path) -> Option<Pid> {
    let text = fs::read(process.join("stat")).ok()?;
    // The name of the program is between brackets, and may have some itself.
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    let group = rest.split_ascii_whitespace().nth(2)?;
    group.parse().ok().and_then(Pid::from_raw)
}

/// Somebody who listens.
struct Listener<'a> {
    place: SocketAddr,
    user: u32,
    /// The number of the socket.
    socket: &'a str,
}

/// What a line of the kernel's list says of somebody who listens.
fn listener(line: &str) -> Option<Listener<'_>> {
    const LISTENS: &str = "0A";
    let mut words = line.split_ascii_whitespace();
    let local = words.nth(1)?;
    let state = words.nth(1)?;
    let user = words.nth(3)?.parse().ok()?;
    let socket = words.nth(1)?;
    let (ip, port) = local.split_once(':')?;
    let mut bytes = Vec::with_capacity(16);
    for at in (0..ip.len()).step_by(8) {
        let word = u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(bytes) => IpAddr::from(bytes),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?),
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    (state == LISTENS).then_some(Listener {
        place: SocketAddr::new(ip, port),
        user,
        socket,
    })
}
