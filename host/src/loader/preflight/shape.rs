//! Whether these bytes are a shared library for this machine at all.

use object::elf;

use super::platform::{HOST, machine_name};
use super::report::{Finding, Severity, code};

/// Refuses what is no 64-bit shared library for this machine, and says what it looks like instead.
pub(super) fn check(bytes: &[u8]) -> Result<(), Finding> {
    if bytes.is_empty() {
        return Err(format("the file is empty", COPY_AGAIN));
    }
    if !bytes.starts_with(&elf::ELFMAG) {
        if elf::ELFMAG.starts_with(bytes) {
            return Err(Finding::corrupt(format!(
                "the file ends after {} bytes, inside its first word",
                bytes.len()
            )));
        }
        let (looks_like, help) = looks_like(bytes);
        return Err(format(
            format!("the file is {looks_like}, not an ELF shared library"),
            help,
        ));
    }
    let Some(head) = bytes.first_chunk::<HEAD>() else {
        return Err(Finding::corrupt(format!(
            "the file ends after {} bytes, inside its ELF header",
            bytes.len()
        )));
    };
    check_target(head)?;
    check_kind(u16::from_ne_bytes([head[16], head[17]]))
}

/// The refusal of a file that is no shared library.
#[cold]
pub(super) fn format(message: impl Into<String>, help: impl Into<String>) -> Finding {
    Finding::new(Severity::Refuse, code::FORMAT, message, help)
}

pub(super) const BUILD_SHARED: &str =
    "build the plugin as a shared library: crate-type = [\"cdylib\"], or cc -shared -fPIC";
const COPY_AGAIN: &str = "copy or build the file again; the first attempt left nothing in it";

/// Up to and including `e_machine`, which stands at the same place in both ELF classes.
const HEAD: usize = 20;

fn check_target(head: &[u8; HEAD]) -> Result<(), Finding> {
    let class = match head[4] {
        elf::ELFCLASS64 => "64-bit",
        elf::ELFCLASS32 => "32-bit",
        _ => "unknown class",
    };
    let (order, machine) = match head[5] {
        elf::ELFDATA2LSB => ("little-endian", u16::from_le_bytes([head[18], head[19]])),
        elf::ELFDATA2MSB => ("big-endian", u16::from_be_bytes([head[18], head[19]])),
        _ => ("unknown byte order", elf::EM_NONE),
    };
    let host_order = if cfg!(target_endian = "big") {
        "big-endian"
    } else {
        "little-endian"
    };
    if class != "64-bit" || order != host_order || machine != HOST.number {
        return Err(format(
            format!(
                "the library is {class}, {order}, for {} ({machine}); this host is 64-bit, {host_order}, for {}",
                machine_name(machine),
                HOST.name
            ),
            format!(
                "build the plugin for {}, or install its bundle for this platform",
                HOST.name
            ),
        ));
    }
    if u32::from(head[6]) != u32::from(elf::EV_CURRENT) {
        return Err(Finding::corrupt(format!(
            "the file says ELF version {}, and there is only version 1",
            head[6]
        )));
    }
    if !matches!(head[7], elf::ELFOSABI_NONE | elf::ELFOSABI_GNU) {
        return Err(format(
            format!(
                "the library is for an operating system of ELF number {}; this host runs on Linux, number 0 or 3",
                head[7]
            ),
            "build the plugin for Linux",
        ));
    }
    Ok(())
}

fn check_kind(kind: u16) -> Result<(), Finding> {
    let (what, help) = match kind {
        elf::ET_DYN => return Ok(()),
        elf::ET_EXEC => ("an executable", BUILD_SHARED),
        elf::ET_REL => ("an object file that was not linked yet", BUILD_SHARED),
        elf::ET_CORE => ("a core dump", "give the plugin's own file"),
        _ => ("an ELF file of unknown type", BUILD_SHARED),
    };
    Err(format(
        format!("the file is {what} (type {kind}), not a shared library (type 3)"),
        help,
    ))
}

fn looks_like(bytes: &[u8]) -> (&'static str, &'static str) {
    const KNOWN: [(&[u8], &str, &str); 17] = [
        (b"#!", "a script", "run scripts as process plugins"),
        (
            b"MZ",
            "a Windows program or DLL",
            "build the plugin for Linux",
        ),
        (&[0xfe, 0xed, 0xfa, 0xce], "a Mach-O file", MACOS),
        (&[0xfe, 0xed, 0xfa, 0xcf], "a Mach-O file", MACOS),
        (&[0xce, 0xfa, 0xed, 0xfe], "a Mach-O file", MACOS),
        (&[0xcf, 0xfa, 0xed, 0xfe], "a Mach-O file", MACOS),
        (
            &[0xca, 0xfe, 0xba, 0xbe],
            "a universal Mach-O or Java class file",
            MACOS,
        ),
        (&[0x1f, 0x8b], "gzip data", BUNDLE),
        (b"PK\x03\x04", "a zip archive", UNPACK),
        (b"\xfd7zXZ\0", "xz data", UNPACK),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd data", UNPACK),
        (b"BZh", "bzip2 data", UNPACK),
        (b"!<arch>\n", "a static library", BUILD_SHARED),
        (b"!<thin>\n", "a static library", BUILD_SHARED),
        (b"\0asm", "WebAssembly", BUILD_SHARED),
        (b"BC\xc0\xde", "LLVM bitcode", BUILD_SHARED),
        (
            b"version https://git-lfs",
            "a git-lfs pointer",
            "run `git lfs pull`, then copy the file again",
        ),
    ];
    if let Some((_, what, help)) = KNOWN.iter().find(|(magic, ..)| bytes.starts_with(magic)) {
        return (what, help);
    }
    let start = &bytes[..bytes.len().min(512)];
    if start.iter().all(|byte| *byte == 0) {
        return (
            "filled with zeros",
            "copy the file again; the last copy was cut short",
        );
    }
    let text = start.trim_ascii_start();
    let tag = |name: &[u8]| {
        text.get(..name.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(name))
    };
    if tag(b"<!doctype html") || tag(b"<html") {
        return (
            "an HTML page",
            "check the address it was downloaded from: servers answer with a page when they refuse",
        );
    }
    let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..);
    if start.iter().all(is_text) {
        return ("text", BUILD_SHARED);
    }
    ("unknown data", BUILD_SHARED)
}

const MACOS: &str = "build the plugin for Linux; this is how macOS libraries begin";
const BUNDLE: &str = "a bundle is installed with `plg install`, other archives are unpacked first";
const UNPACK: &str = "unpack the archive and give the library in it";
