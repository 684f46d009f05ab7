//! What this machine is, and which libraries it has.

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};

use object::elf;

/// Reads a glibc version, such as `2.36`, as `gnu_get_libc_version` answers it.
#[must_use]
pub fn glibc_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?;
    let digits = minor.find(|c: char| !c.is_ascii_digit());
    let minor = minor.get(..digits.unwrap_or(minor.len()))?.parse().ok()?;
    Some((major, minor))
}

/// Whether every glibc system has this library, so that a plugin may depend on it.
#[must_use]
pub fn is_system_library(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "libc.so.6",
        "libm.so.6",
        "libgcc_s.so.1",
        "libdl.so.2",
        "libpthread.so.0",
        "librt.so.1",
        "libutil.so.1",
        "libstdc++.so.6",
    ];
    NAMES.contains(&name) || is_dynamic_linker(name)
}

/// Whether this is glibc's dynamic linker, which is in every process that has a libc.
pub(super) fn is_dynamic_linker(name: &str) -> bool {
    name.strip_prefix("ld-linux")
        .is_some_and(|rest| rest.starts_with(['-', '.']) && rest.contains(".so."))
}

/// A machine as ELF numbers and people name it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    pub(super) number: u16,
    pub(super) name: &'static str,
}

/// The machine this host is built for.
pub(super) const HOST: Machine = if cfg!(target_arch = "x86_64") {
    Machine {
        number: elf::EM_X86_64,
        name: "x86-64",
    }
} else if cfg!(target_arch = "aarch64") {
    Machine {
        number: elf::EM_AARCH64,
        name: "aarch64",
    }
} else {
    // Plugins have no unload hooks elsewhere, and nothing here was tried there.
    Machine {
        number: elf::EM_NONE,
        name: "an unsupported machine",
    }
};

/// What people call the machine of this number.
pub(super) fn machine_name(number: u16) -> &'static str {
    match number {
        elf::EM_X86_64 => "x86-64",
        elf::EM_AARCH64 => "aarch64",
        elf::EM_386 => "x86",
        elf::EM_ARM => "arm",
        elf::EM_RISCV => "risc-v",
        elf::EM_PPC64 => "powerpc64",
        elf::EM_S390 => "s390",
        elf::EM_MIPS => "mips",
        elf::EM_LOONGARCH => "loongarch",
        elf::EM_BPF => "bpf",
        _ => "an unknown machine",
    }
}

/// The relocations of this machine that need more than their place in memory to be right.
pub(super) mod relocation {
    use object::elf;

    /// Adds the address the library was mapped at.
    pub(in super::super) const RELATIVE: u32 = if cfg!(target_arch = "aarch64") {
        elf::R_AARCH64_RELATIVE
    } else {
        elf::R_X86_64_RELATIVE
    };
    /// Calls a function inside `dlopen` to learn the value.
    pub(in super::super) const IRELATIVE: u32 = if cfg!(target_arch = "aarch64") {
        elf::R_AARCH64_IRELATIVE
    } else {
        elf::R_X86_64_IRELATIVE
    };
    /// Writes two words.
    pub(in super::super) const TLSDESC: u32 = if cfg!(target_arch = "aarch64") {
        elf::R_AARCH64_TLSDESC
    } else {
        elf::R_X86_64_TLSDESC
    };
}

/// The directories in which the dynamic linker looks on its own, read once for all dependencies of a
/// library: only libraries with an unusual dependency pay for it.
#[derive(Debug)]
pub(super) struct LibraryDirs(Vec<PathBuf>);

impl LibraryDirs {
    pub(super) fn of_this_machine() -> Self {
        let mut dirs: Vec<PathBuf> = ["/lib", "/usr/lib", "/lib64", "/usr/lib64"]
            .map(PathBuf::from)
            .into();
        dirs.push(format!("/lib/{ARCH}-linux-gnu").into());
        dirs.push(format!("/usr/lib/{ARCH}-linux-gnu").into());
        add_configured(Path::new("/etc/ld.so.conf"), &mut dirs);
        if let Ok(entries) = fs::read_dir("/etc/ld.so.conf.d") {
            for entry in entries.flatten().take(MAX_CONFIGURED) {
                add_configured(&entry.path(), &mut dirs);
            }
        }
        Self(dirs)
    }

    pub(super) fn have(&self, name: &str, extra: &[PathBuf]) -> bool {
        extra
            .iter()
            .chain(&self.0)
            .any(|dir| dir.join(name).is_file())
    }
}

/// More than any machine has; keeps a strange configuration from costing time.
const MAX_CONFIGURED: usize = 256;

fn add_configured(file: &Path, dirs: &mut Vec<PathBuf>) {
    let Ok(text) = fs::read_to_string(file) else {
        return;
    };
    for line in text.lines().map(str::trim) {
        if line.starts_with('/') && dirs.len() < MAX_CONFIGURED {
            dirs.push(line.into());
        }
    }
}
