//! Codes of the operator's policy.

use super::Actor::{Developer, Operator};
use super::{Code, error, warning};

pub(super) const ROWS: &[Code] = &[
    error("policy.builtin", Operator, "what is compiled into the app cannot run in a process of its own")
        .help("unload it, or load a build of it from a file")
        .text(
            "The plugin is part of the app: there is no file that a child could map. It answers as before.",
        ),
    error("policy.denied", Operator, "the policy keeps the plugin out")
        .help("give the plugin another level in the policy of the host")
        .text(
            "The operator's policy denies the plugin, or denies it the host's process. Nothing was loaded or moved, and \
             what answered before goes on. How far a plugin is trusted is decided by the operator alone: a manifest can \
             only ask to be kept further away.",
        ),
    error("policy.no_runner", Developer, "there is no program to run the plugin in a process of its own")
        .help("name one with `Builder::runner`: the `plg` command, or an app that calls `runner::run_if_asked`")
        .text(
            "The plugin is a library that has to run in a process of its own: the policy says so, its manifest asks for it, or \
             somebody does. A child maps the library and serves it, and the host was not told which program can do that.",
        ),
    error("policy.permission", Operator, "the plugin asks for more than it was granted")
        .help("grant it in the plugin's rule, or do without the plugin; the build before goes on answering")
        .text(
            "The manifest lists permissions that the policy did not grant. A plugin that is trusted with the host's process is \
             not asked, since nothing could hold it to the answer. An upgrade that asks for more waits until it is granted.",
        ),
    error("policy.program", Operator, "a program cannot run in the host's process")
        .help("only libraries can be brought into the process")
        .text("The plugin is a program of its own, in whatever language. It stays in a process of its own."),
    warning("plugin.isolated", Operator, "the host took the plugin out of its process")
        .help("see why in the snapshot; `Host::inline` brings it back, and so does the next build")
        .text(
            "The plugin panicked again and again, or a call of it did not come back, so it goes on in a process of its own, \
             where neither harms the host. No call was lost by the move. A later build of the plugin begins in the host's \
             process again, and the policy may bring this one back after it did nothing wrong for a while.",
        ),
];
