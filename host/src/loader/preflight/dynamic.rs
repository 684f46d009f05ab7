//! The dynamic section: which tables there are, where they stand, and their strings.

use object::elf::{self, Dyn64};
use object::pod::slice_from_bytes;
use object::{NativeEndian as Native, NativeEndian as NE};

use super::image::{Image, ProgramHeader};
use super::report::Finding;

/// More than any library has; keeps a hostile one from multiplying long names.
const MAX_NEEDED: usize = 256;
/// The longest path Linux takes.
const MAX_NAME: usize = 4096;
/// A search path is many paths.
const MAX_SEARCH_PATH: usize = 64 * 1024;

/// The entries of the dynamic section up to its end mark.
#[derive(Debug)]
pub(super) struct Dynamic<'data> {
    entries: &'data [Dyn64<Native>],
}

/// The strings the dynamic section names, and the table they come from.
#[derive(Debug)]
pub(super) struct Names<'data> {
    table: &'data [u8],
    pub(super) needed: Vec<&'data [u8]>,
    pub(super) filters: Vec<&'data [u8]>,
    pub(super) soname: Option<&'data [u8]>,
    pub(super) rpath: Option<&'data [u8]>,
    pub(super) runpath: Option<&'data [u8]>,
}

impl<'data> Dynamic<'data> {
    /// Reads the section and holds every address and size in it against what is mapped.
    pub(super) fn read(image: &Image<'data>, header: &ProgramHeader) -> Result<Self, Finding> {
        let address = header.p_vaddr.get(NE);
        let bytes = image.at(address, header.p_filesz.get(NE)).unwrap_or(&[]);
        let all =
            slice_from_bytes::<Dyn64<Native>>(bytes, bytes.len() / size_of::<Dyn64<Native>>());
        let Ok((all, _)) = all else {
            return Err(Finding::corrupt(format!(
                "the dynamic section at {address:#x} is not aligned to 8 bytes"
            )));
        };
        let Some(end) = all.iter().position(|entry| entry.d_tag.get(NE) == 0) else {
            return Err(Finding::corrupt(format!(
                "the dynamic section at {address:#x} has {} entries and no end mark among them",
                all.len()
            )));
        };
        let dynamic = Self {
            entries: &all[..end],
        };
        dynamic.check_sizes()?;
        dynamic.check_addresses(image)?;
        Ok(dynamic)
    }

    /// The number of the last entry with this tag, the one that the dynamic linker goes by.
    pub(super) fn value(&self, tag: u32) -> Option<u64> {
        self.entries
            .iter()
            .rev()
            .find(|entry| entry.d_tag.get(NE) == u64::from(tag))
            .map(|entry| entry.d_val.get(NE))
    }

    /// Address and size of a table; an empty one is none.
    pub(super) fn table(&self, address: u32, size: u32) -> Option<(u64, u64)> {
        let table = (self.value(address)?, self.value(size).unwrap_or(0));
        (table.1 != 0).then_some(table)
    }

    /// Whether code has to be rewritten when the library is loaded.
    pub(super) fn text_relocations(&self) -> bool {
        let flags = self.value(elf::DT_FLAGS).unwrap_or(0);
        self.value(elf::DT_TEXTREL).is_some() || flags & u64::from(elf::DF_TEXTREL) != 0
    }

    /// Reads the strings.
    pub(super) fn names(&self, image: &Image<'data>) -> Result<Names<'data>, Finding> {
        let table = Names::table(image, self)?;
        let mut names = Names {
            table,
            needed: Vec::new(),
            filters: Vec::new(),
            soname: None,
            rpath: None,
            runpath: None,
        };
        for entry in self.entries {
            let Ok(tag) = u32::try_from(entry.d_tag.get(NE)) else {
                continue;
            };
            let limit = match tag {
                elf::DT_RPATH | elf::DT_RUNPATH => MAX_SEARCH_PATH,
                elf::DT_NEEDED | elf::DT_SONAME | elf::DT_FILTER | elf::DT_AUXILIARY => MAX_NAME,
                _ => continue,
            };
            let text = names.text(entry.d_val.get(NE), limit)?;
            match tag {
                elf::DT_NEEDED => names.needed.push(text),
                elf::DT_SONAME => names.soname = Some(text),
                elf::DT_RPATH => names.rpath = Some(text),
                elf::DT_RUNPATH => names.runpath = Some(text),
                _ => names.filters.push(text),
            }
            if names.needed.len().max(names.filters.len()) > MAX_NEEDED {
                return Err(Finding::corrupt(format!(
                    "the library names more than {MAX_NEEDED} others it depends on"
                )));
            }
        }
        Ok(names)
    }

    /// The dynamic linker ends the process when one of these sizes is not what it expects.
    fn check_sizes(&self) -> Result<(), Finding> {
        let fixed = [
            ("symbol size", elf::DT_SYMTAB, elf::DT_SYMENT, 24),
            ("relocation size", elf::DT_RELA, elf::DT_RELAENT, 24),
            ("packed relocation size", DT_RELR, DT_RELRENT, 8),
            (
                "jump relocation type",
                elf::DT_JMPREL,
                elf::DT_PLTREL,
                elf::DT_RELA.into(),
            ),
        ];
        for (what, table, tag, expected) in fixed {
            let found = self.value(tag);
            if found != Some(expected) && (found.is_some() || self.value(table).is_some()) {
                return Err(Finding::corrupt(format!(
                    "the dynamic section has {what} {} where it must be {expected}",
                    found.unwrap_or(0)
                )));
            }
        }
        for (what, address, size, record) in TABLES {
            let size = match (self.value(address), self.value(size)) {
                (None, _) => continue,
                (Some(_), Some(size)) => size,
                // The dynamic linker takes it for granted that one comes with the other.
                (Some(address), None) => {
                    return Err(Finding::corrupt(format!(
                        "the {what} at {address:#x} comes without its size"
                    )));
                }
            };
            if !size.is_multiple_of(record) {
                return Err(Finding::corrupt(format!(
                    "the {what} has {size:#x} bytes, which is no multiple of {record}"
                )));
            }
        }
        Ok(())
    }

    fn check_addresses(&self, image: &Image<'_>) -> Result<(), Finding> {
        for (what, address, size, _) in TABLES {
            if let Some((address, size)) = self.table(address, size)
                && !image.holds(address, size)
            {
                return Err(outside(what, address, size));
            }
        }
        for (what, tag, size) in POINTERS {
            if let Some(address) = self.value(tag)
                && !image.holds(address, size)
            {
                return Err(outside(what, address, size));
            }
        }
        for (what, tag) in [("initialiser", elf::DT_INIT), ("finaliser", elf::DT_FINI)] {
            if let Some(address) = self.value(tag)
                && address != 0
                && !image.allows(address, 1, elf::PF_X)
            {
                return Err(Finding::corrupt(format!(
                    "the {what} function at {address:#x} is not inside the library's code"
                )));
            }
        }
        Ok(())
    }
}

impl<'data> Names<'data> {
    /// The string at an offset of the table.
    pub(super) fn text(&self, offset: u64, limit: usize) -> Result<&'data [u8], Finding> {
        let Some(rest) = self.rest(offset) else {
            return Err(Finding::corrupt(format!(
                "a name is at {offset:#x} of a string table of {:#x} bytes",
                self.table.len()
            )));
        };
        match rest.iter().take(limit).position(|byte| *byte == 0) {
            Some(end) => Ok(&rest[..end]),
            None => Err(Finding::corrupt(format!(
                "the name at {offset:#x} of the string table is longer than {limit} bytes"
            ))),
        }
    }

    /// Everything from an offset of the table on; the table ends in a NUL, so a name ends in it.
    #[inline]
    pub(super) fn rest(&self, offset: u64) -> Option<&'data [u8]> {
        self.table
            .get(usize::try_from(offset).ok()?..)
            .filter(|rest| !rest.is_empty())
    }

    fn table(image: &Image<'data>, dynamic: &Dynamic<'_>) -> Result<&'data [u8], Finding> {
        let address = dynamic.value(elf::DT_STRTAB).unwrap_or(0);
        let size = dynamic.value(elf::DT_STRSZ).unwrap_or(0);
        let Some(table) = image.at(address, size) else {
            return Err(outside("string table", address, size));
        };
        if table.last() != Some(&0) {
            return Err(Finding::corrupt(format!(
                "the string table of {size:#x} bytes at {address:#x} does not end in a NUL"
            )));
        }
        Ok(table)
    }
}

/// The refusal of a table that is not where the library says.
#[cold]
pub(super) fn outside(what: &str, address: u64, size: u64) -> Finding {
    Finding::corrupt(format!(
        "the {what} of {size:#x} bytes at {address:#x} is not inside a loaded segment"
    ))
}

/// Packed relocations came with glibc 2.36, too late for the crate's constants.
pub(super) const DT_RELR: u32 = 36;
pub(super) const DT_RELRSZ: u32 = 35;
const DT_RELRENT: u32 = 37;

/// Name, address tag, size tag and size of one record.
const TABLES: [(&str, u32, u32, u64); 6] = [
    ("string table", elf::DT_STRTAB, elf::DT_STRSZ, 1),
    ("relocation table", elf::DT_RELA, elf::DT_RELASZ, 24),
    (
        "jump relocation table",
        elf::DT_JMPREL,
        elf::DT_PLTRELSZ,
        24,
    ),
    ("packed relocation table", DT_RELR, DT_RELRSZ, 8),
    (
        "constructor list",
        elf::DT_INIT_ARRAY,
        elf::DT_INIT_ARRAYSZ,
        8,
    ),
    (
        "destructor list",
        elf::DT_FINI_ARRAY,
        elf::DT_FINI_ARRAYSZ,
        8,
    ),
];

/// Name, tag and the bytes that must be there whatever the table holds.
const POINTERS: [(&str, u32, u64); 7] = [
    ("symbol table", elf::DT_SYMTAB, 24),
    ("symbol hash table", elf::DT_HASH, 8),
    ("symbol hash table", elf::DT_GNU_HASH, 16),
    ("symbol version table", elf::DT_VERSYM, 2),
    ("table of needed versions", elf::DT_VERNEED, 16),
    ("table of defined versions", elf::DT_VERDEF, 20),
    ("global offset table", elf::DT_PLTGOT, 8),
];
