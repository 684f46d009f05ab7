//! Who listens on a port. A port is everybody's, and who connects to one is told nothing about the other end.

use std::fs;
use std::io;

use crate::transport::process::child::Fate;

/// What the kernel calls the state of a socket that listens.
const LISTENS: &str = "0A";
/// The columns of a line in its tables: the local address, the state, and the number of the socket.
const COLUMNS: (usize, usize, usize) = (1, 3, 9);

/// Whether somebody listens on that port, and nobody but the child and its group.
pub(super) fn is_held_by(fate: &Fate, port: u16) -> io::Result<bool> {
    let mut listeners = sockets_of(&fs::read_to_string("/proc/net/tcp")?, port);
    // There may be no IPv6.
    if let Ok(table) = fs::read_to_string("/proc/net/tcp6") {
        listeners.extend(sockets_of(&table, port));
    }
    let own = fate.sockets()?;
    let is_own = |socket: &String| own.contains(socket);
    Ok(!listeners.is_empty() && listeners.iter().all(is_own))
}

/// The sockets that listen on that port, as links in `/proc` name them.
fn sockets_of(table: &str, port: u16) -> Vec<String> {
    let end = format!(":{port:04X}");
    let socket = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (address, state, number) = COLUMNS;
        let is_it = columns.get(address)?.ends_with(&end) && *columns.get(state)? == LISTENS;
        is_it.then(|| format!("socket:[{}]", columns.get(number).unwrap_or(&"")))
    };
    table.lines().skip(1).filter_map(socket).collect()
}
