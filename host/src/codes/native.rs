//! Codes of the preflight, which looks at a library without mapping it.

use super::Actor::{Author, Operator};
use super::{Code, error, warning};

pub(super) const ROWS: &[Code] = &[
    error("native.corrupt", Operator, "the library was cut off or damaged")
        .help("copy or download the file again, or build it again")
        .text(
            "The file begins like a shared library, and its tables point outside of it or contradict each other. The dynamic \
             linker would follow them and end the whole process, so it was not shown the file. Most often somebody copied \
             over a library in place, or the disk was full: copy to a temporary name and rename, so that nobody sees half a \
             file. What was loaded before goes on answering.",
        ),
    error("native.format", Operator, "the file is no shared library for this machine")
        .help("give a shared library that was built for this machine; `file PATH` says what it is")
        .text(
            "The file is a program, an object file, an archive, a script or a library for another processor or system; the \
             message says which. It was not mapped. Crates make a shared library with `crate-type = [\"cdylib\"]`, C \
             compilers with `-shared -fPIC`.",
        ),
    error("native.glibc", Author, "the library needs a newer glibc than this machine has")
        .help("build on the oldest system that is to run it, or upgrade this one")
        .text(
            "The library was linked on a system with a newer C library and uses functions that this one lacks. The dynamic \
             linker would refuse it with less clear words. A container with an older distribution is the usual place to \
             build libraries for many systems.",
        ),
    error("native.go", Author, "this is a plugin of Go's `plugin` package")
        .help("export a C function and build with `-buildmode=c-shared` and plg.h, or serve it as a process")
        .text(
            "Go makes such files with `go build -buildmode=plugin`. Only the very Go program they were built with can load \
             them: their functions have Go's calling convention, and the runtime they need starts in that program only. In \
             any other process they crash. Go code can become a plugin of plg as a C library or as a program of its own.",
        ),
    error("native.hardening", Author, "the library wants memory that is writable and executable")
        .help("compile everything with -fPIC and link with -Wl,-z,noexecstack")
        .text(
            "The library asks for an executable stack, for code that is rewritten when it is loaded, or for segments that can be \
             written and executed. Any of these takes a protection from the whole host, the other plugins included, so it is \
             refused. Usually a file in assembler lacks a `.note.GNU-stack` section or an object was compiled without -fPIC.",
        ),
    error("native.needed", Operator, "the library depends on another that is missing or not allowed")
        .help("install the library that the message names, allow it, or link it into the plugin")
        .text(
            "A plugin may depend on the libraries of every glibc system and on those that the host allows. One beyond that is \
             missing here, and the plugin would not load, or it is not on the list, which is a warning unless the host is \
             hardened. What several plugins share this way stays in the process after they are gone. Linking it statically \
             into the plugin avoids both.",
        ),
    warning("native.no_hooks", Author, "the plugin stays mapped after an unload")
        .help("use `plugin!` on Linux with glibc; or accept that its code stays until the process ends")
        .text(
            "A library can be unmapped safely only when nothing of it is left behind: no threads, no keys and no destructors that \
             run at the end of a thread. This plugin does not track these, or takes the functions that make them from the C \
             library past its tracking. It can be loaded, called and upgraded; after each unload or upgrade its old code stays \
             mapped and is listed as retained.",
        ),
    error("native.panic_abort", Author, "a panic of the plugin would end the host")
        .help("build the plugin with `panic = \"unwind\"`, the default; or run it isolated")
        .text(
            "The plugin was built with `panic = \"abort\"`, so its first panic ends the process it runs in, the host with all \
             other plugins. A plugin with unwinding panics is caught and answers `call.panicked` instead. Remove the setting \
             from the profile in Cargo.toml, or let the plugin run in a process of its own.",
        ),
    warning("native.pinned", Author, "the library can never be unmapped")
        .help("link without `-z nodelete`, and compile C++ with -fno-gnu-unique")
        .text(
            "The library forbids that it is unmapped, or defines symbols that are unique in a process, which has the same effect. \
             It can be loaded, called and upgraded; after each unload or upgrade the old code stays mapped and is listed as \
             retained, up to a limit.",
        ),
    warning("native.search_path", Author, "the library brings its own search path for libraries")
        .help("link without -rpath, and install what the plugin needs where the system looks")
        .text(
            "The library has an RPATH or RUNPATH, so where it is built or unpacked decides what else is loaded into the host. \
             Whoever can write to that path can run code there. It is a warning, and an error when the host is hardened.",
        ),
    warning("native.static_tls", Author, "the library takes from the small reserve for thread-local storage")
        .help("compile without -ftls-model=initial-exec")
        .text(
            "The library wants its thread-local variables in storage that is set aside when the process starts, about 2 KiB for \
             all plugins together. When it is used up, the next plugin that asks does not load, which then depends on their \
             order. It is a warning, and an error when the library asks for more than there can be.",
        ),
    error("native.symbol", Author, "a function that every plugin exports is missing")
        .help("let `plugin!` or `plg.h` export it, and keep it in the linker's version script")
        .text(
            "The library has a plugin note, and lacks `plg_descriptor_v1` or `execute`, or has something else than a function \
             under that name. Usually a version script or `-fvisibility=hidden` with a note written by hand hides it. The \
             library was not mapped.",
        ),
];
