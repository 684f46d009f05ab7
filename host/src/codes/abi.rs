//! Codes of the contract between a host and a library.

use super::Actor::{Author, Operator};
use super::{Code, error};

pub(super) const ROWS: &[Code] = &[
    error("abi.corrupt", Author, "the plugin note cannot be read")
        .help("let `plugin!` or `plg.h` write the note, and build again")
        .text(
            "The library has a section `.plgnote`, and what stands in it is no plugin note: it is too short, begins with \
             other bytes, or contradicts itself. The note is the only thing a host believes before it maps a library, so \
             it does not guess, and the library was not mapped. Usually `plugin!` stands in the library twice, or a tool \
             rewrote the section. Write the note with `plugin!` in Rust or `PLG_PLUGIN` in C only, and use it once in a \
             library.",
        ),
    error(
        "abi.layout",
        Author,
        "the records of the boundary are laid out differently in the plugin",
    )
    .help("build the plugin again with the `plg-plugin-api` that the host is built with")
    .text(
        "The plugin exports the layout of the records that cross the boundary, and a field of one differs from the \
         host's; the message names the first. Calling it would read memory as something that it is not, so its `init` \
         did not run and the library was let go. Other plugins are not affected. Build it with the host's major version \
         of `plg-plugin-api`, without changing that crate.",
    ),
    error(
        "abi.mismatch",
        Author,
        "the plugin was built for another version of the contract",
    )
    .help("build the plugin with the host's major version of `plg-plugin-api`; `plg version` shows it")
    .text(
        "The note of the library names another major version, fingerprint, pointer width or byte order than the host \
         has; the message shows both sides. The fingerprint is made of every record that crosses the boundary, so two \
         that differ cannot understand each other, whatever the versions say. The library was not mapped. Minor \
         versions and versions of the compiler need not agree. Build the plugin again for the host's contract, or \
         upgrade the host when the plugin is the newer one.",
    ),
    error("abi.missing", Operator, "the library is no plugin")
        .help("give the library of a plugin; `plg inspect PATH` shows what this one is")
        .text(
            "The file is a sound shared library, and there is no section `.plgnote` in it, which every plugin has. It was \
             not mapped, because a library that does not say what it expects of its host cannot be called safely. If it \
             is meant to be a plugin, its author has to say `plg_plugin_api::plugin!(execute)` in a crate of type \
             `cdylib`, or include `plg.h` in C. `strip` keeps the section; `objcopy --only-section` and some packers do \
             not.",
        ),
];
