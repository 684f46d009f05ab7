//! Codes of the host itself.

use super::Actor::{Developer, Operator};
use super::{Code, error, warning};

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
    error("host.no_home", Developer, "the host has no store")
        .help("give the builder a home: `Host::builder().home(\"/var/lib/app/plugins\")`")
        .text(
            "Something was asked for that concerns installed plugins, and the host was set up without a directory for them. \
             Plugins from plugin directories, and bundles that are named by their path, need no store.",
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
    error("host.state", Operator, "the state directory cannot be made")
        .help("give a directory that exists or can be made, on a disk that is there")
        .text(
            "The host was told to keep its history and its quarantine in a directory, and cannot make or open it. Without that \
             setting both end with the host, and nothing else changes.",
        ),
    warning("host.state_changed", Operator, "a plugin changed something of the whole process")
        .help("report it to the plugin's author; run the plugin isolated if it has to do that")
        .text(
            "The working directory, the umask, the environment, a signal handler, a standard descriptor, a limit, the locale or \
             the mode of a thread is another than before a plugin was loaded or called. All of the process share these, so \
             other plugins and the app now work under conditions they do not expect. The host cannot prevent it and does not \
             put it back, since the app itself may have changed it meanwhile. Of environment variables only names are shown.",
        ),
];
