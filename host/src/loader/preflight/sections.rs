//! Holds the section headers against what the dynamic linker reads. It ignores sections, but a linker
//! writes both from the same tables: where they differ, one of them was damaged, and the dynamic
//! linker would believe its own.

use object::NativeEndian as NE;
use object::elf;

use super::dynamic::{DT_RELR, DT_RELRSZ, Dynamic};
use super::image::{Image, SectionHeader};
use super::report::Finding;

/// Checks every section that is mapped.
pub(super) fn check(image: &Image<'_>, dynamic: &Dynamic<'_>) -> Result<(), Finding> {
    let relocations = [
        dynamic.table(elf::DT_RELA, elf::DT_RELASZ),
        dynamic.table(elf::DT_JMPREL, elf::DT_PLTRELSZ),
    ];
    for (index, section) in image.sections().iter().enumerate() {
        let flags = section.sh_flags.get(NE);
        if flags & u64::from(elf::SHF_ALLOC) == 0 || section.sh_size.get(NE) == 0 {
            continue;
        }
        check_place(image, index, section)?;
        let place = (section.sh_addr.get(NE), section.sh_size.get(NE));
        let kind = section.sh_type.get(NE);
        let agrees = match kind {
            elf::SHT_RELA => {
                // The two tables may be listed as one.
                relocations
                    .iter()
                    .flatten()
                    .any(|table| inside(*table, place))
            }
            SHT_RELR => dynamic.table(DT_RELR, DT_RELRSZ) == Some(place),
            elf::SHT_INIT_ARRAY => {
                dynamic.table(elf::DT_INIT_ARRAY, elf::DT_INIT_ARRAYSZ) == Some(place)
            }
            elf::SHT_FINI_ARRAY => {
                dynamic.table(elf::DT_FINI_ARRAY, elf::DT_FINI_ARRAYSZ) == Some(place)
            }
            _ => match STARTS.iter().find(|(start, _)| *start == kind) {
                Some((_, tag)) => dynamic.value(*tag) == Some(place.0),
                None => true,
            },
        };
        if !agrees {
            return Err(Finding::corrupt(format!(
                "section {index}, a table of {:#x} bytes at {:#x}, is not what the dynamic section lists",
                place.1, place.0
            )));
        }
    }
    Ok(())
}

/// Too new for the crate's constants.
const SHT_RELR: u32 = 19;

/// Section types of which the dynamic section lists the address only.
const STARTS: [(u32, u32); 6] = [
    (elf::SHT_DYNSYM, elf::DT_SYMTAB),
    (elf::SHT_HASH, elf::DT_HASH),
    (elf::SHT_GNU_HASH, elf::DT_GNU_HASH),
    (elf::SHT_GNU_VERSYM, elf::DT_VERSYM),
    (elf::SHT_GNU_VERNEED, elf::DT_VERNEED),
    (elf::SHT_GNU_VERDEF, elf::DT_VERDEF),
];

fn check_place(image: &Image<'_>, index: usize, section: &SectionHeader) -> Result<(), Finding> {
    let (address, size) = (section.sh_addr.get(NE), section.sh_size.get(NE));
    let flags = section.sh_flags.get(NE);
    let filled = section.sh_type.get(NE) != elf::SHT_NOBITS;
    if !filled && flags & u64::from(elf::SHF_TLS) != 0 {
        // Its addresses stand for nothing: every thread gets its own.
        return Ok(());
    }
    let mut permission = elf::PF_R;
    if flags & u64::from(elf::SHF_WRITE) != 0 {
        permission |= elf::PF_W;
    }
    if flags & u64::from(elf::SHF_EXECINSTR) != 0 {
        permission |= elf::PF_X;
    }
    let same_bytes = !filled || image.offset_of(address) == Some(section.sh_offset.get(NE));
    if same_bytes && image.allows(address, size, permission) {
        return Ok(());
    }
    Err(Finding::corrupt(format!(
        "section {index} has {size:#x} bytes at {address:#x} ({:#x} in the file), and no segment maps them with its permissions",
        section.sh_offset.get(NE)
    )))
}

fn inside(table: (u64, u64), place: (u64, u64)) -> bool {
    let (start, size) = table;
    place.0 >= start && place.0 - start <= size && place.1 <= size - (place.0 - start)
}
