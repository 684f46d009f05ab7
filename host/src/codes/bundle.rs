//! Codes of bundles.

use super::Actor::{Author, Operator};
use super::{Code, error};

pub(super) const ROWS: &[Code] = &[
    error("bundle.duplicate", Author, "two members of a bundle have one name")
        .help("rename one of them and pack the bundle again with `plg pack`")
        .text(
            "Two members stand at the same path, at paths that differ in capitals only, or one is a file where the other needs \
             a directory. Tools that unpack archives keep the first or the last of them, so two of them could see different \
             plugins in one file. The whole bundle is refused and nothing of it was used. `plg pack` does not write such \
             bundles; this one was put together by hand or to deceive.",
        ),
    error("bundle.format", Operator, "the bundle has a format that this version does not read")
        .help("upgrade plg, or ask the author for a bundle in an older format")
        .text(
            "Every bundle says which version of the format it has, and this one was written by a later plg. Its rules are not \
             known here, so nothing else in it was judged or used. A newer plg reads the bundles of all older ones.",
        ),
    error("bundle.gzip", Operator, "the file is no bundle, or was damaged")
        .help("see in the message what the file is, and copy or download it again")
        .text(
            "A bundle is one gzip member with a tar archive in it. This file begins with something else, its checksum does not \
             match, or its gzip header has parts that no bundle needs. Often it is an error page that a server answered with, \
             or an archive of another kind that was given the name of a bundle. Nothing of it was used.",
        ),
    error("bundle.header", Author, "the archive has a header that can be read in more than one way")
        .help("pack with `plg pack`, or with `tar --format=ustar` as packaging/FORMAT.md describes")
        .text(
            "A header of the archive inside is damaged, has a number that is no octal one, or is an extension that gives a member \
             another name or size. Tools disagree on what these mean, and a bundle that is checked by one and unpacked by \
             another could change in between. So only plain ustar headers are read; the message says where the other one \
             stands. Paths and sizes of bundles fit into them.",
        ),
    error("bundle.kind", Author, "the bundle holds something else than regular files")
        .help("pack the files that links lead to, and leave directories and devices out")
        .text(
            "A member is a link, a directory, a device, a pipe or a sparse file. Links can lead out of the place where a bundle is \
             unpacked, and nobody needs the others: directories are made for the files in them. The bundle was refused before \
             anything was made of it.",
        ),
    error("bundle.manifest_mismatch", Operator, "the members are not those that the bundle lists")
        .help("get the bundle again from where it comes from; do not use this one")
        .text(
            "`contents.json` lists every member with its size and digest, and is what a signature covers. A member is missing, is \
             there without being listed, stands in the wrong place or has other bytes, or the list itself is not spelled as \
             the format says. The bundle was damaged, or changed by somebody after it was packed. Nothing of it was used.",
        ),
    error("bundle.missing", Author, "the bundle lacks a member that every bundle has")
        .help("pack with `plg pack`; by hand, put `plugin.json` first and then the list or one library")
        .text(
            "A bundle begins with `plugin.json`. Then comes `contents.json`, the list of all others, or a single library at the \
             top, the plain form that `tar czf` makes. Something of that is not there or not in its place, or a member that \
             was asked for by name is none. The message says what was expected.",
        ),
    error("bundle.path", Author, "a member of the bundle has a path that is not allowed")
        .help("use letters, digits and `. _ -`, below `assets/` or `lib/<target triple>/`")
        .text(
            "A path in the bundle is absolute, goes up, is too long or too deep, or means different things on different systems: \
             a backslash, a letter outside ASCII, a name that is a device on Windows. At the top only the names of the format \
             may stand. Whoever unpacks such a path may write outside of the place that was meant, so the whole bundle is \
             refused and nothing was written.",
        ),
    error("bundle.platform", Operator, "the bundle has no library for this platform")
        .help("get a bundle that was packed for this target, or run the plugin where it was built for")
        .text(
            "A bundle may hold libraries for several platforms, named by target triples as rustc writes them. None of those in \
             this bundle is for the machine that wants to load it; the message has both. The author adds one with \
             `plg pack` on, or for, that target.",
        ),
    error("bundle.program", Operator, "the bundle has a program, which does not run from there")
        .help("`plg install FILE.plg` unpacks it to the store; then call it by its name")
        .text(
            "A library is taken out of a bundle in memory. A program needs its files in a directory that nobody else can write to, \
             and that is the store: what is installed is checked each time it is started. Nothing was unpacked.",
        ),
    error("bundle.too_large", Operator, "the bundle takes more than it may")
        .help("if you trust where it comes from, raise the cap that the message names")
        .text(
            "The file, a member, or everything unpacked is larger than the limit, or it unpacks to far more than its size lets \
             expect, as bombs do. It was given up at that point, and what was written until then is removed. The caps are \
             there because a small file can fill a disk.",
        ),
    error("bundle.too_many", Operator, "the bundle has more members than it may have")
        .help("put many small files into one, or raise the cap that the message names")
        .text(
            "Each file and directory takes an entry of the file system, however small it is, and these run out too. The list of \
             members promises more of them than the limit allows, directories included. Nothing was unpacked.",
        ),
    error("bundle.trailing", Operator, "the bundle goes on after its end")
        .help("get the bundle again from where it comes from; pack with `plg pack`")
        .text(
            "Behind the end of the archive or of its gzip member there is more: entries, another archive, or bytes that somebody \
             added. Some tools read that and some pass over it, so they would see different plugins in one file. The whole \
             bundle is refused. If you made it with tar, leave out options that append.",
        ),
    error("bundle.truncated", Operator, "the bundle ends in the middle")
        .help("copy or download it again")
        .text(
            "The file is cut off; the message says where. Most often a download broke off, a disk was full, or somebody looked \
             while the file was still written. What was unpacked until then is removed. Copy to a temporary name and rename, \
             so that nobody sees half a bundle.",
        ),
];
