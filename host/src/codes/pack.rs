//! Codes of packing.

use super::Actor::Author;
use super::{Code, error};

pub(super) const ROWS: &[Code] = &[
    error("pack.breaks", Author, "the version does not say how much changed")
        .help("raise the version in `plugin.json`; `--force` packs it as it is")
        .text(
            "Compared with the build that it would replace, the plugin has lost or added something that others rely on: labels, \
             routes, dependencies, permissions, or hosts that can load it. By semver its version would have to be at least the \
             one in the message; before 1.0.0 the first number that is not zero counts as the major one. Who depends on the \
             plugin by version would get the change without being asked. Nothing was written.",
        ),
    error("pack.changed", Author, "a file changed while it was packed")
        .help("pack again when no build or editor writes to the file")
        .text(
            "Every file is read twice: once for its digest, which stands before it in the bundle, and once to be packed. The \
             second time this one was different, so the bundle would have contradicted itself. None was written.",
        ),
    error("pack.kind", Author, "something that is to be packed is no regular file")
        .help("put a copy of what it leads to in its place, or remove it")
        .text(
            "A bundle holds regular files only, because links and devices mean something else wherever it is unpacked. What is \
             in the message is a link, a directory where a file is expected, a fifo, a socket or a device. Nothing was written.",
        ),
    error("pack.no_manifest", Author, "there is no manifest to pack")
        .help("write a `plugin.json`; `plg new NAME` makes a plugin that has one")
        .text(
            "Every bundle describes its plugin. The directory has no `plugin.json`, and no library for this machine is packed \
             whose note has a manifest in it or at least a name and version. Nothing was written.",
        ),
    error("pack.path", Author, "the name of a file cannot stand in a bundle")
        .help("rename the file; letters, digits and `. _ -` are fine everywhere")
        .text(
            "A bundle is unpacked on systems that take different names for the same, reserve some and cannot write others. So \
             its names keep to what all of them have in common, in at most eight directories. The message says what this name \
             breaks. Nothing was written.",
        ),
    error("pack.twice", Author, "there are two libraries for one platform")
        .help("give one library for each `--target`")
        .text(
            "A bundle has one library for each platform, so that nobody has to choose. Others can be packed as assets. Nothing \
             was written.",
        ),
];
