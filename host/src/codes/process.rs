//! Codes of plugins that run in processes of their own, and of what is said to them.

use super::Actor::{Author, Developer, Operator};
use super::{Code, error, warning};

pub(super) const ROWS: &[Code] = &[
    error("call.unavailable", Operator, "the plugin's process did not answer the call")
        .help("call again if that does no harm; the message says whether this call was made")
        .text(
            "The plugin runs in a process of its own, and that died, was stopped or closed the connection before the answer. \
             The next call starts it again, after a pause that doubles with each bad end. Where the request did not reach the \
             process, the host has tried once more by itself; where that is unknown, it has not, because the plugin may have \
             done its work. Other plugins do not notice. The message has the exit status and the end of the standard error.",
        ),
    error("http.body", Author, "the body of a process plugin's answer is not one")
        .help("compare the answer with host/PROTOCOL.md")
        .text(
            "The plugin answered a call with something that is no outcome: another content type, JSON with a mistake in it or \
             a key twice, values that nest too deep, a compressed body, or more than 16 MiB. Nothing of it was taken, and the \
             connection was closed. Whatever the call was to do may be done.",
        ),
    error("http.mixup", Author, "a process plugin answered another call")
        .help("answer each request with its own `id`")
        .text(
            "Every call has a number, which the answer repeats. This answer had the number of another, so it was not taken: the \
             values may be somebody else's. The connection was closed. A plugin that answers several calls at once has to keep \
             what belongs to each apart.",
        ),
    error("http.no_endpoints", Developer, "a plugin was asked for a page and has none")
        .help("call one of its labels, or isolate a plugin that serves pages")
        .text(
            "Only plugins that run in processes of their own have HTTP endpoints. This one runs in the host's process, so there \
             is nobody to ask. Its labels can be called.",
        ),
    error("http.protocol", Author, "a process plugin's answer is no HTTP/1.1")
        .help("use a library for HTTP, and answer with `Content-Length` or chunked")
        .text(
            "The head of the answer or the frame of its body is not HTTP/1.1, is larger than 64 KiB, or has two meanings, for \
             instance two lengths. The connection was closed and is not used again. Whatever the call was to do may be done.",
        ),
    error("http.redirect", Author, "a process plugin answered with a redirect")
        .help("answer the call itself")
        .text(
            "The host follows no redirect: a plugin could send it anywhere. The answer to a call has status 200, whether the call \
             went well or not.",
        ),
    error("http.request", Developer, "a request for a plugin's endpoint cannot be passed on")
        .help("the message says what is wrong; the protocol's own paths are never passed on")
        .text(
            "The host passes on requests that have one meaning: a known method, a path of visible ASCII without `..`, headers without \
             line ends, and a body of at most 16 MiB. The paths of the protocol, such as `/execute` and `/shutdown`, belong to \
             the host alone, however they are written. Nothing was sent.",
        ),
    error("http.status", Author, "a process plugin answered with a status that is not 200")
        .help("answer 200 and put the error into the outcome")
        .text(
            "The answer to a call has status 200, also when the call failed: the plugin's own errors stand in the outcome. Another \
             status says that the plugin did not understand the request or is broken.",
        ),
    error("proc.auth", Author, "a plugin's process does not take the host's token")
        .help("compare `Authorization` with `Bearer ` and the configuration's `token`")
        .text(
            "Over TCP every request carries the token that the process got with its configuration, because any user of the machine \
             can connect. The process answered 401 to the right one, so it read another configuration or compares wrongly. A \
             Unix socket needs no token.",
        ),
    error("proc.changed", Operator, "the file of a process plugin is not the one that was loaded")
        .help("upgrade or reload the plugin, or put the file back")
        .text(
            "The plugin's process ended, and the file that it was started from is another one by now. The host does not start \
             what it did not load: an upgrade says which version it is, and lets you go back.",
        ),
    error("proc.config_schema", Operator, "the configuration of a plugin does not fit its schema")
        .help("mend the configuration at the places that the message lists")
        .text(
            "The manifest has a JSON Schema for the configuration, and what the operator gives the plugin does not fit, or the \
             schema itself is not usable: it is none, refers to something outside of itself, or is too large with what it refers \
             to. The message lists every place that does not fit, without the values. Without a \
             configuration the schema is compared with an empty object. The plugin was not started.",
        ),
    error("proc.config_too_large", Operator, "the configuration of a plugin is too large")
        .help("put what is large into a file, and its path into the configuration")
        .text(
            "The configuration goes to the plugin's process as one line of at most 1 MiB, with what else the plugin has to know. \
             Nothing was started.",
        ),
    error("proc.dialect", Operator, "a process plugin speaks something that this host does not")
        .help("use a plugin with the dialect `native` or `contracts`")
        .text(
            "The manifest says what the program speaks. This host speaks plg's own protocol, and `contracts`. Nothing was started.",
        ),
    warning("proc.ended", Operator, "a plugin's process ended")
        .help("the message says how; the next call starts it again")
        .text(
            "The process crashed, was killed, ended because nobody called it, or was stopped for that by the host. It was waited \
             for, and what it had left running was killed. The next call starts it again, after a pause if it ended badly.",
        ),
    error("proc.exited", Author, "a plugin's process ended before it listened")
        .help("read the end of its standard error in the message")
        .text(
            "The program was started and ended before it had written its start line or answered that it is ready. The message \
             has its exit status or signal and the last 8 KiB of its standard error. What it had left running was killed.",
        ),
    error("proc.failed", Operator, "a plugin's process ended too often")
        .help("mend what the message says, then reload the plugin")
        .text(
            "The process was started five times within a minute and did not stay. The host starts it no more, so that a loop of \
             crashes does not take the machine. Calls fail at once until the plugin is loaded again or upgraded. The message \
             has how the last one ended.",
        ),
    error("proc.handshake", Author, "a plugin's process wrote something else than a start line")
        .help("write one line of JSON to the standard output, and everything else to the standard error")
        .text(
            "The first line on the standard output has to be the start line that host/PROTOCOL.md describes, of at most 4 KiB. \
             Often a library or a runtime prints something of its own there. The process was killed.",
        ),
    error("proc.handshake_mismatch", Author, "a plugin's start line says something else than its configuration")
        .help("repeat `plugin`, `nonce` and `address` of the configuration, and the version of plugin.json")
        .text(
            "The start line says who listens where, and has to say what the host asked for: nobody else can take the plugin's \
             place. The message names the member that differs and both values. The process was killed.",
        ),
    error("proc.handshake_timeout", Author, "a plugin's process wrote no start line in time")
        .help("listen first and prepare later, or raise `Limits::start`")
        .text(
            "The process lived and wrote no whole line to its standard output in time. A runtime may hold the line back until \
             its buffer is full: flush it. The process and all that it had started were killed.",
        ),
    warning("proc.restarted", Operator, "a plugin's process was started again")
        .help("nothing needs to be done; the message says how the one before ended")
        .text(
            "A call came after the process before had ended, so another one was started from the same file. It is a new process: \
             whatever the one before kept in its memory is gone.",
        ),
    error("proc.run_dir", Operator, "the directory for a plugin's socket cannot be made")
        .help("make room there, or name another with `Builder::run_dir`")
        .text(
            "Sockets of process plugins are in a directory that only this user can enter, below `XDG_RUNTIME_DIR` or the \
             directory for temporary files. The message says which one and what the system said. Nothing was started.",
        ),
    error("proc.sandbox", Operator, "a plugin cannot be sandboxed on this machine")
        .help("run `plg doctor` to see what is missing, or let the plugin run isolated if you trust it that far")
        .text(
            "The plugin is to run in a sandbox, and this machine cannot hold a process to that: the kernel has no landlock \
             (Linux 6.2 or later, with `landlock` among its security modules) or no seccomp filters, or a path that was \
             granted cannot be opened. The message says which. A weaker sandbox would look like the real one, so nothing was \
             started.",
        ),
    error("proc.socket_path", Operator, "the path of a plugin's socket is too long")
        .help("name a directory with a shorter path with `Builder::run_dir`")
        .text(
            "The system takes at most 107 bytes as the path of a socket. The directory that was given is too long for that, so \
             nothing was started.",
        ),
    error("proc.spawn", Operator, "a plugin's program cannot be run")
        .help("see that the file is there, can be executed and is for this machine")
        .text(
            "The system did not start the program. It may be missing, not executable, for another processor, a script whose \
             interpreter is missing, or on a file system that forbids to run programs. The message has the system's words. A \
             name without a slash is looked for in the plugin's directory and then on PATH.",
        ),
    warning("proc.started", Operator, "a plugin's process was started")
        .help("nothing needs to be done")
        .text(
            "The first process of this build takes calls. The message has its number.",
        ),
    error("proc.unhealthy", Author, "a plugin's process listens and is not well")
        .help("answer `GET /healthz` with 200 once calls can be taken, also while calls run")
        .text(
            "The process did not answer `/healthz` with 200 in time: after its start line, or three times in a row while it had \
             calls, as one that hangs or was stopped does. It was killed; calls inside it ended with `call.unavailable`, and the next \
             call starts it again. Listen before you write the start line; what takes long can be answered with 503 until it is \
             done.",
        ),
];
