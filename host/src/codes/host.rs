//! Codes of the host itself.

use super::Actor::{Developer, Operator};
use super::{Code, error};

pub(super) const ROWS: &[Code] = &[
    error("host.closed", Developer, "the host was shut down")
        .help("make a new host")
        .text(
            "`Host::shutdown` was called before, and a host that was shut down loads nothing any more. Handles of its plugins \
             answer `plugin.unloaded`. A process can have any number of hosts, one after the other or at once.",
        ),
    error("host.images", Operator, "the directory for images cannot be made")
        .help("give a directory that exists, has room and can be written to")
        .text(
            "The host was told to keep its sealed copies of libraries in files, and cannot make a private directory for them \
             where it was told to. Without that setting it keeps them in memory and needs no directory.",
        ),
    error("host.panicked", Developer, "the host itself panicked")
        .help("report it with the message above; it is a mistake in plg")
        .text(
            "Code of the host panicked, not code of a plugin. Whatever a plugin or file does, this should not happen. The call \
             has no result, and whether it had an effect is not known.",
        ),
    error("host.threads", Operator, "the system has no thread for it")
        .help("raise the limit of processes and threads for this user")
        .text(
            "The host needs a thread for what the message names, and the system did not give it one. What was asked for is not \
             done, and everything else goes on.",
        ),
];
