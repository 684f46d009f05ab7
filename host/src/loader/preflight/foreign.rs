//! What can be said about a library for another machine.

use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind};
use plg_packaging::bundle::Target;

use super::platform::machine_name;
use super::report::Finding;
use super::shape;

/// Looks at a library that is for `target` as far as that is possible anywhere: whether it is a shared library for
/// that machine, and whether all of it is there. What it needs and what it says about itself is only known where it
/// can run, to [`preflight`](super::preflight). Systems other than Linux are not judged.
///
/// # Errors
/// `native.format` when it is something else, `native.corrupt` when a part is missing.
pub fn check_foreign(bytes: &[u8], target: &Target) -> Result<(), Finding> {
    if !target.as_str().contains("-linux") {
        return Ok(());
    }
    let corrupt = |error: object::Error| Finding::corrupt(error.to_string());
    match FileKind::parse(bytes) {
        Ok(FileKind::Elf64) => check(
            elf::FileHeader64::parse(bytes).map_err(corrupt)?,
            bytes,
            target,
        ),
        Ok(FileKind::Elf32) => check(
            elf::FileHeader32::parse(bytes).map_err(corrupt)?,
            bytes,
            target,
        ),
        _ => Err(shape::format(
            format!("the file is no ELF shared library, and `{target}` needs one"),
            shape::BUILD_SHARED,
        )),
    }
}

fn check<H: FileHeader<Endian = Endianness>>(
    header: &H,
    bytes: &[u8],
    target: &Target,
) -> Result<(), Finding> {
    let corrupt = |error: object::Error| Finding::corrupt(error.to_string());
    let endian = header.endian().map_err(corrupt)?;
    let machine = header.e_machine(endian);
    if let Some((number, is_64, is_big)) = expected(target)
        && (machine != number || header.is_class_64() != is_64 || header.is_big_endian() != is_big)
    {
        return Err(shape::format(
            format!(
                "the library is {}-bit, for {} ({machine}), which is not `{target}`",
                if header.is_class_64() { 64 } else { 32 },
                machine_name(machine),
            ),
            format!("build the plugin for `{target}`, or give the target that it is for"),
        ));
    }
    if header.e_type(endian) != elf::ET_DYN {
        let message = "the file is an ELF file, and no shared library";
        return Err(shape::format(message, shape::BUILD_SHARED));
    }
    let segments = header.program_headers(endian, bytes).map_err(corrupt)?;
    for segment in segments {
        let (start, size) = segment.file_range(endian);
        let end = start.checked_add(size);
        if end.is_none_or(|end| end > bytes.len() as u64) {
            return Err(Finding::corrupt(format!(
                "a segment of {size} bytes at {start} is not in the file of {} bytes",
                bytes.len()
            )));
        }
    }
    header.section_headers(endian, bytes).map_err(corrupt)?;
    Ok(())
}

/// Machine, whether it has 64 bits, and whether it is big-endian; of unusual ones nothing is known.
fn expected(target: &Target) -> Option<(u16, bool, bool)> {
    let architecture = target.as_str().split('-').next()?;
    Some(match architecture {
        "x86_64" => (elf::EM_X86_64, true, false),
        "aarch64" => (elf::EM_AARCH64, true, false),
        "i386" | "i586" | "i686" => (elf::EM_386, false, false),
        "loongarch64" => (elf::EM_LOONGARCH, true, false),
        "powerpc64" => (elf::EM_PPC64, true, true),
        "powerpc64le" => (elf::EM_PPC64, true, false),
        "s390x" => (elf::EM_S390, true, true),
        name if name.starts_with("riscv64") => (elf::EM_RISCV, true, false),
        name if name.starts_with("riscv32") => (elf::EM_RISCV, false, false),
        name if name.starts_with("arm") || name.starts_with("thumb") => {
            (elf::EM_ARM, false, name.starts_with("armeb"))
        }
        _ => return None,
    })
}
