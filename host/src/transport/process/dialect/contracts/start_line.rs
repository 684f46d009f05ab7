//! The line in which a child says where it listens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::transport::process::connection::Address;
use crate::transport::process::error::ProcessError;

/// What a line says.
#[derive(Debug, Eq, PartialEq)]
enum Said<'a> {
    Path(&'a str),
    Port(Option<IpAddr>, u16),
    /// Something that begins like an address and is none that a plugin may have.
    Odd,
}

/// Whether a line says where the child listens. What comes before it, such as a greeting, does not.
pub(super) fn is_one(line: &[u8]) -> bool {
    read(line).is_some()
}

/// Where the child says that it listens.
///
/// # Errors
///
/// When that is not on this machine.
pub(super) fn address(line: &[u8], id: &str) -> Result<Address, ProcessError> {
    let local: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let addresses = |hosts: &[IpAddr], port| {
        let hosts = hosts.iter().map(|host| SocketAddr::new(*host, port));
        Ok(Address::Tcp(hosts.collect()))
    };
    match read(line) {
        Some(Said::Path(path)) => Ok(Address::Unix(PathBuf::from(path))),
        Some(Said::Port(None, port)) => addresses(&local, port),
        Some(Said::Port(Some(host), port)) if host.is_unspecified() => addresses(&local, port),
        Some(Said::Port(Some(host), port)) if host.is_loopback() => addresses(&[host], port),
        _ => Err(ProcessError::Mismatch {
            what: "address",
            found: String::from_utf8_lossy(line)
                .chars()
                .take(256)
                .collect::<String>()
                .escape_debug()
                .to_string(),
            expected: format!("http+unix:///tmp/{id}-plugin.socket, or a port of loopback"),
        }),
    }
}

fn read(line: &[u8]) -> Option<Said<'_>> {
    let line = std::str::from_utf8(line).ok()?.trim();
    if let Some(path) = line.strip_prefix("http+unix://") {
        // What is longer than the path of a socket can be is refused by who connects.
        let is_path = path.starts_with('/') && !path.contains('\0');
        return Some(if is_path { Said::Path(path) } else { Said::Odd });
    }
    match line.strip_prefix("http://") {
        Some(rest) => Some(port(rest.strip_suffix('/').unwrap_or(rest)).unwrap_or(Said::Odd)),
        None => port(line),
    }
}

/// An address with a port, or a port alone.
fn port(text: &str) -> Option<Said<'_>> {
    let (host, port) = text.rsplit_once(':')?;
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port: u16 = port.parse().ok().filter(|port| is_number && *port > 0)?;
    let host = match host {
        "" | "localhost" => None,
        host => {
            let inner = host
                .strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'));
            Some(match inner {
                Some(inner) => inner.parse::<Ipv6Addr>().ok()?.into(),
                None => host.parse::<Ipv4Addr>().ok()?.into(),
            })
        }
    };
    Some(Said::Port(host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_from_what_only_looks_like_one() {
        let path = |text| Some(Said::Path(text));
        let at = |host: &str, port| Some(Said::Port(Some(host.parse().unwrap()), port));
        let cases: [(&str, Option<Said<'_>>); 19] = [
            (
                "http+unix:///tmp/a-plugin.socket",
                path("/tmp/a-plugin.socket"),
            ),
            (" http+unix:///tmp/a\r", path("/tmp/a")),
            ("http+unix://tmp/a", Some(Said::Odd)),
            ("[::]:43703", at("::", 43703)),
            ("0.0.0.0:80", at("0.0.0.0", 80)),
            ("127.0.0.1:80", at("127.0.0.1", 80)),
            (":80", Some(Said::Port(None, 80))),
            ("localhost:80", Some(Said::Port(None, 80))),
            ("http://[::1]:80/", at("::1", 80)),
            ("http://10.0.0.1:80", at("10.0.0.1", 80)),
            ("http://example.org:80", Some(Said::Odd)),
            ("http://127.0.0.1", Some(Said::Odd)),
            ("http://127.0.0.1:80/x", Some(Said::Odd)),
            ("10:32:11 starting", None),
            ("10:32", None),
            ("error:1", None),
            ("[::]:0", None),
            ("127.0.0.1:+80", None),
            ("", None),
        ];
        for (line, expected) in cases {
            assert_eq!(read(line.as_bytes()), expected, "{line:?}");
        }
        assert!(address(b"10.0.0.1:80", "x").is_err());
        let Ok(Address::Tcp(hosts)) = address(b"[::]:80", "x") else {
            panic!("no port");
        };
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["127.0.0.1:80", "[::1]:80"]);
    }
}
