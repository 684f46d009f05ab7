//! Lines for the host's log that belong to no call.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

use crate::context::Level;

/// The most bytes of a message; what is longer is cut.
const MAX_MESSAGE: usize = 16 << 10;

/// Writes a line to the host's log, where it carries the plugin's name. A call has
/// [`Context::log`](crate::Context::log), which says besides which call it was.
pub fn log(level: Level, message: impl fmt::Display) {
    #[derive(Serialize)]
    struct Line<'a> {
        level: &'a str,
        message: &'a str,
    }

    let mut message = message.to_string();
    message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    let line = Line {
        level: level.as_str(),
        message: &message,
    };
    if let Ok(mut line) = serde_json::to_vec(&line) {
        line.push(b'\n');
        // In one piece, so that lines of several threads do not mix. Nobody is left to be told that the
        // log is gone.
        let _ = io::stderr().write_all(&line);
    }
}
