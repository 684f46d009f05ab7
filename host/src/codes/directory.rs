//! Codes of directories, files and the system they are on.

use super::Actor::Operator;
use super::{Code, error};

pub(super) const ROWS: &[Code] = &[
    error("dir.kind", Operator, "what stands there is no regular file")
        .help("put a regular file with something in it there, or a directory, no link, fifo, socket or device")
        .text(
            "Where a plugin, its manifest or its library should stand, there is something else: a link, a fifo, a socket, a \
             device, or an empty file. Opening some of these would make the host wait for ever, and a link can be turned \
             elsewhere after it was checked, so none of them is opened. The other plugins of the directory are loaded.",
        ),
    error("dir.no_library", Operator, "the plugin's directory has no library")
        .help("build the plugin: `plg build DIR`; then put the library beside its plugin.json")
        .text(
            "There is a `plugin.json`, and no library beside it under the name it gives in `source.path`, nor as `libNAME.so` \
             or `NAME.so` when it gives none. Usually the plugin has not been built yet. `plg call DIR` builds crates and \
             directories with a Makefile by itself; a host loads finished libraries only.",
        ),
    error("dir.unsafe", Operator, "other users can change what would be loaded")
        .help("run the `chmod` or `chown` of the message, or move the plugins to a directory of your own")
        .text(
            "A file, its directory or a directory above can be written by everybody, or belongs to neither you nor root. \
             Whoever can write there can run code inside the host, so nothing from there is loaded. A sticky directory \
             such as /tmp will do on the way. An app that accepts the risk says `allow_unsafe_directories(true)`.",
        ),
    error("io.denied", Operator, "the system does not permit it")
        .help("look at owner and mode of the path in the message, and at who runs the host")
        .text(
            "The system refused to open, read or map something because of its permissions. For a library this can also \
             mean that a security module forbids to map files in memory as code; an image directory, `image_directory` of \
             the builder, is the way around that.",
        ),
    error("io.emfile", Operator, "there are no file descriptors left")
        .help("raise the limit with `ulimit -n`, or find out what keeps files open")
        .text(
            "The process or the system has as many files open as it may. Each loaded plugin keeps one. Nothing was \
             changed, and what is loaded goes on answering. The census of the host, `Host::census`, counts descriptors.",
        ),
    error("io.failed", Operator, "reading or writing failed")
        .help("see what the system said in the cause")
        .text(
            "The system could not read, write or create something, for a reason that is neither its absence nor a \
             permission: a full disk, a broken medium, a network file system that went away. The cause has the system's \
             words. What is loaded goes on answering.",
        ),
    error("io.not_found", Operator, "there is no such file or directory")
        .help("check the spelling of the path in the message, and the directory that it begins in")
        .text(
            "Nothing stands at the path, or a link there points to nothing. A relative path begins in the directory in \
             which the program was started.",
        ),
];
