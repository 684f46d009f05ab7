//! Codes of loading a library that passed the preflight, or was not asked to.

use super::Actor::{Author, Developer, Operator};
use super::{Code, error};

pub(super) const ROWS: &[Code] = &[
    error("native.dlopen", Operator, "the dynamic linker refused the library")
        .help("see what it said; `ldd PATH` shows what the library depends on")
        .text(
            "The preflight found nothing, and the dynamic linker of the system still cannot map the library; the message has \
             its words. A symbol that no library defines is the usual reason: the plugin was linked against something that \
             is missing here or is older. What is loaded goes on answering.",
        ),
    error("native.hash", Operator, "the library is not the one that was asked for")
        .help("find out who changed the file; pin the new digest only if you trust it")
        .text(
            "The SHA-256 of the file differs from the one that was pinned for it. It may have been built again, damaged on its \
             way, or replaced by somebody. The bytes that are checked are the bytes that would be mapped, and nothing of them \
             ran. `plg inspect PATH` shows the digest of a file.",
        ),
    error("native.init", Author, "the plugin did not start")
        .help("see what the plugin said; it often lacks a setting or something it connects to")
        .text(
            "The library was mapped, and its `init` reported an error or its descriptor is not usable. The plugin was taken out \
             again, its name is free, and after an upgrade the build before goes on answering. A plugin refuses to start when \
             something it needs is not there; its message says what.",
        ),
    error("native.probe_crashed", Author, "the library crashed a trial in a child process")
        .help("do not load it; report the signal to its author")
        .text(
            "A child process mapped the library before the host did, and did not live through it. Code that runs while a library is \
             mapped, such as the constructor of a C++ variable, crashed or did not end. The host is unharmed, and these bytes \
             are quarantined: they are refused from now on until an operator clears their digest.",
        ),
    error("native.probe_start", Operator, "the child process for a trial cannot be started")
        .help("see what the system said; `probe_with` must name a program that calls `probe::run_if_asked`")
        .text(
            "The host was told to try libraries in a child process first, and cannot start it. The library was not mapped, since \
             whether it is safe is not known. The program may be missing, not executable, or the system may be out of processes.",
        ),
    error("native.quarantined", Operator, "these bytes crashed before and stay out")
        .help("install a fixed build; or clear the digest with `Host::quarantine().remove`")
        .text(
            "A library with the same digest crashed earlier, and is not loaded again until somebody says so; with a state \
             directory, not by the next host either. Another build of the plugin has another digest and is not affected. The \
             message says what happened.",
        ),
    error("native.too_large", Operator, "the library is larger than the host allows")
        .help("strip the library with `strip -g`, or raise `Limits::image_bytes`")
        .text(
            "The file has more bytes than a library may have, by default a gigabyte. It was not read. Debug information makes up \
             most of large libraries, and plugins do not need it to run.",
        ),
    error("native.too_many", Developer, "as many libraries are mapped as the host allows")
        .help("unload plugins, restart the process, or raise `Limits::plugins`")
        .text(
            "Libraries that are loaded and old ones that could not be unmapped count together. Nothing was changed, and all \
             plugins go on answering. `Host::census` counts both; many retained ones point to a plugin with `native.no_hooks`.",
        ),
];
