//! Where a child listens, and who that is.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use rustix::process::geteuid;
use rustix::rand::{GetRandomFlags, getrandom};

/// Where a child listens.
#[derive(Clone, Debug)]
pub(super) enum Address {
    /// A socket in its directory.
    Unix(PathBuf),
    /// A port of loopback, with what shows that a request is from this host.
    Tcp { place: SocketAddr, token: String },
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
        Ok(Self::Tcp {
            place: (Ipv4Addr::LOCALHOST, 0).into(),
            token: data_encoding::HEXLOWER.encode(&bytes),
        })
    }

    /// As the configuration has it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Unix(path) => format!("unix:{}", path.display()),
            Self::Tcp { place, .. } => format!("{TCP}{place}"),
        }
    }

    pub(super) fn token(&self) -> Option<&str> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp { token, .. } => Some(token),
        }
    }

    /// The address that a start line names, if it is this one, with a port filled in where any will do.
    pub(super) fn confirm(self, said: &str) -> Option<Self> {
        match self {
            Self::Unix(_) => (self.text() == said).then_some(self),
            Self::Tcp { token, .. } => {
                let place: SocketAddr = said.strip_prefix(TCP)?.parse().ok()?;
                let ours = [
                    IpAddr::from(Ipv4Addr::LOCALHOST),
                    Ipv6Addr::LOCALHOST.into(),
                ];
                let is_ours = ours.contains(&place.ip()) && place.port() != 0;
                is_ours.then_some(Self::Tcp { place, token })
            }
        }
    }
}

/// Whether those that listen at `place` do so for this user. The kernel does not say which process that is.
///
/// # Errors
///
/// When the system does not list who listens.
pub(super) fn is_own_listener(place: SocketAddr) -> io::Result<bool> {
    let own = geteuid().as_raw();
    let mut found = false;
    for list in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let text = match fs::read_to_string(list) {
            // A machine without IPv6 has no such list.
            Err(error) if error.kind() == io::ErrorKind::NotFound && found => break,
            text => text?,
        };
        for (listens, user) in text.lines().skip(1).filter_map(listener) {
            let is_meant = listens.ip() == place.ip() || listens.ip().is_unspecified();
            if listens.port() == place.port() && is_meant {
                if user != own {
                    return Ok(false);
                }
                found = true;
            }
        }
    }
    Ok(found)
}

/// Where a line of the kernel's list says that somebody listens, and for which user.
fn listener(line: &str) -> Option<(SocketAddr, u32)> {
    const LISTENS: &str = "0A";
    let mut words = line.split_ascii_whitespace();
    let local = words.nth(1)?;
    let state = words.nth(1)?;
    let user = words.nth(3)?.parse().ok()?;
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
    (state == LISTENS).then_some((SocketAddr::new(ip, port), user))
}
