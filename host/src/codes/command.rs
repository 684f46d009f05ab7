//! Codes of the `plg` command alone: builds and command lines.

use super::Actor::{Author, Developer, Operator};
use super::{Code, error, warning};

pub(super) const ROWS: &[Code] = &[
    error("build.failed", Author, "the plugin's sources do not build")
        .help("see what cargo, the compiler or make said above")
        .text(
            "The tool that builds the plugin, cargo or make, ended with an error; its own words stand above on the \
             standard error. Nothing was loaded or called. A library of an earlier build is still where it was, and \
             giving its path calls it as it is.",
        ),
    error("build.no_artifact", Author, "the build made no library that a host can load")
        .help("put `crate-type = [\"cdylib\"]` under `[lib]` in the plugin's Cargo.toml")
        .text(
            "The build went well, and there is no shared library among what it made. A crate makes one only when its \
             Cargo.toml says `crate-type = [\"cdylib\"]` under `[lib]`; a workspace without a package of its own makes \
             none, so the directory has to be that of the plugin's crate.",
        ),
    error("build.no_sources", Operator, "there is nothing to build in the directory")
        .help("give a directory with a Cargo.toml or a Makefile; `plg new NAME` makes one")
        .text(
            "A plugin is built from a crate or by a Makefile, and the directory has neither. A directory with a finished \
             library needs no build: `plg call` takes it as it is.",
        ),
    error("build.no_target", Author, "the toolchain cannot build for the target")
        .help("add it with `rustup target add TARGET`, or give a library: `--target TARGET=PATH`")
        .text(
            "A crate is built for another platform with the Rust compiler of this machine, which needs the standard library for \
             that platform and has none. Linking may need a linker for it too, which cargo's configuration names. A library \
             that was built on the other platform can be packed as it is.",
        ),
    error("build.no_tool", Operator, "the tool that builds the plugin cannot be run")
        .help("install cargo for plugins in Rust, make and a C compiler for those in C")
        .text(
            "The plugin has to be built, and the program that does that was not found or cannot be executed. The \
             environment variable CARGO can name a cargo that is not in PATH. A library that was built elsewhere for this \
             machine can be called without any tool.",
        ),
    warning("build.stale", Author, "the library is older than the plugin's sources")
        .help("run `plg build DIR`")
        .text(
            "A source of the plugin was changed after its library was built, so what was said is about the library as it is, \
             not about the sources. `plg inspect` and `plg check` build nothing; `plg build` and `plg call` do.",
        ),
    error("code.unknown", Operator, "there is no such code")
        .help("`plg explain` without a code lists all of them")
        .text(
            "The table has every code that plg itself uses. A plugin can report codes of its own; they reach the caller \
             inside `call.failed`, as `plugin_code` in JSON, and the plugin's documentation explains them.",
        ),
    error("conformance.failed", Author, "the plugin cannot be judged, because it is not loaded")
        .help("see what `plg check PATH` says of it")
        .text(
            "A plugin is judged in a host, and this one was refused or did not start; the message has the code and the reason. No \
             case of the suite was tried. host/CONFORMANCE.md states what is required of a plugin that is loaded.",
        ),
    warning("dev.polling", Operator, "the system does not tell of changed files")
        .help("end other programs that watch files, or raise `fs.inotify.max_user_watches` and `max_user_instances`")
        .text(
            "`plg dev` asks the system to be told when a source changes, and the system refused: most likely other programs \
             watch so many files that its limit is reached. It looks at all sources twice a second instead, so a change is \
             seen up to half a second later. On a file system that never tells, `--poll` asks for that from the start.",
        ),
    warning("history.damaged", Operator, "lines of the history cannot be read")
        .help("nothing needs to be done; the other lines are as they were written")
        .text(
            "Lines in `history.jsonl` in the state directory are no entries: a process was killed while it wrote one, the disk was \
             full, or somebody edited the file. They are passed over, so a change may be missing from the list, and a set \
             that `--at` shows may lack it too.",
        ),
    error("history.not_found", Operator, "the history has no such entry")
        .help("`plg history` lists the numbers that there are")
        .text(
            "The set of plugins was asked for as it was after an entry of the history, and no entry in the state directory has that \
             number. Old entries go when the file becomes too long, and a history of another host is in another state \
             directory: `--state` or the environment variable PLG_STATE names it.",
        ),
    error("quarantine.not_found", Operator, "no such build is quarantined")
        .help("`plg quarantine list` shows the digests and the plugins' names")
        .text(
            "A build was to be let in again, and none in the state directory has that digest or is of a plugin of that name, so \
             nothing was changed. The quarantine of another host is in another state directory: `--state` or the \
             environment variable PLG_STATE names it.",
        ),
    error("usage.arguments", Operator, "the command line is wrong")
        .help("`plg help` and `plg help COMMAND` show what there is, with examples")
        .text(
            "A command, an option or an argument is not one that plg knows, or one is missing. Nothing was done. The \
             message names the argument, and the command that may have been meant.",
        ),
    error("usage.exists", Operator, "there is a file of that name already")
        .help("choose another name, or replace the file with `--force`")
        .text(
            "The command would have to replace a file that it did not make, for instance a key that was made before. A key that is \
             replaced is lost, and with it the trust that others put into it. Nothing was written.",
        ),
    error("usage.name", Author, "a plugin cannot have that name")
        .help("use a lower-case letter, then lower-case letters, digits and `-`, for instance `word-count`")
        .text(
            "The name of a plugin is the name of its directory, of its crate and a part of URLs. So it begins with a \
             lower-case letter, has only lower-case letters, digits and `-`, is at most 64 bytes long, and is no word that \
             Rust or cargo keeps for itself. Nothing was made.",
        ),
    error("usage.not_empty", Author, "the directory for the new plugin has something in it")
        .help("choose another name, or empty the directory")
        .text(
            "A new plugin is made in a directory that does not exist yet or is empty, so that no file is overwritten. \
             Nothing was changed.",
        ),
    error("usage.values", Developer, "the values on the command line cannot be read")
        .help("write `key=text` or `key:=json`, for instance `name=Ada count:=3`")
        .text(
            "Values are given one by one, as `key=text` for a text and as `key:=json` for anything else, or together as a \
             JSON object: `--values JSON`, `--values @FILE`, or `--values @-` for the standard input. Of equal keys the \
             last one counts, and single pairs count more than `--values`. Nothing was called.",
        ),
];
