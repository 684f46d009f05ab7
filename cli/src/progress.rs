//! How far a plugin is, on one line of a terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use plg_host::{Context, Progress};

use crate::printable::printable;

/// Whether there is a line that has to be taken away.
static SHOWN: AtomicBool = AtomicBool::new(false);

/// Shows the progress of the calls of `context` if somebody is there to see it.
pub(crate) fn watched(context: Context) -> Context {
    if !io::stderr().is_terminal() {
        return context;
    }
    context.on_progress(show)
}

/// Takes the line away before something else is printed.
pub(crate) fn clear() {
    if SHOWN.swap(false, Ordering::Relaxed) {
        let mut out = io::stderr().lock();
        let _ = out.write_all(b"\r\x1b[K").and_then(|()| out.flush());
    }
}

fn show(progress: &Progress<'_>) {
    let message: String = progress.message.chars().take(60).collect();
    let message = message.replace(['\n', '\t'], " ");
    let amount = match progress.total {
        Some(total) => format!("{}/{total}", progress.done),
        None => progress.done.to_string(),
    };
    let line = format!(
        "\r\x1b[K{} {}: {amount} {}",
        progress.plugin,
        progress.label,
        printable(&message)
    );
    SHOWN.store(true, Ordering::Relaxed);
    let mut out = io::stderr().lock();
    // Progress is lost rather than a call disturbed.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}
