//! Codes of asking a host that runs.

use super::Actor::Operator;
use super::{Code, error};

pub(super) const ROWS: &[Code] = &[
    error("control.listen", Operator, "the host cannot be asked, because it has no socket for that")
        .help("give the host a short and writable directory with `run_dir`, or XDG_RUNTIME_DIR")
        .text(
            "The app wanted a host that can be asked while it runs, and the socket for that could not be made in the host's private \
             directory. The message has the path and what the system said: a path of more than 107 bytes is too long for a socket. \
             No plugin was loaded.",
        ),
    error("control.no_host", Operator, "no host that runs can be asked for that")
        .help("`plg ps` shows the hosts that answer; an app makes its host answer with `Builder::control`")
        .text(
            "Hosts are found by the sockets that they listen on, below XDG_RUNTIME_DIR or the directory for temporary files. A host \
             that was not told to answer has none, that of another user is not asked, and one with a directory of its own is found \
             with `--run-dir`. Nothing was changed.",
        ),
    error("control.no_process", Operator, "the plugin has no process of its own whose lines could be shown")
        .help("look into the log of the host; `plg isolate NAME` gives the plugin a process")
        .text(
            "Lines are kept of what a plugin's process writes to its standard error. A plugin that runs in the process of its host \
             writes to the log of that host, wherever the app keeps it. The same is said while a plugin's process is not running: \
             the next call starts it.",
        ),
    error("control.several", Operator, "more than one host that runs has a plugin of that name")
        .help("choose one with `--host PID`; `plg ps` shows them")
        .text(
            "The name does not say which of the plugins is meant, and what was asked for changes something or is about one of them. \
             Nothing was changed.",
        ),
    error("control.silent", Operator, "the host that runs did not answer")
        .help("try again; see whether its process still runs")
        .text(
            "A host was found and asked, and it ended, took longer than a minute, or speaks another version of this protocol. What it \
             was asked to change may be changed: `plg ps` shows it.",
        ),
];
