//! Segments and sections, and where an address stands in the file.

use object::elf::{self, FileHeader64, ProgramHeader64, SectionHeader64};
use object::pod::{Pod, from_bytes, slice_from_bytes};
use object::read::elf::FileHeader as _;
use object::{NativeEndian as Native, NativeEndian as NE};

use super::report::Finding;

pub(super) type ProgramHeader = ProgramHeader64<Native>;
pub(super) type SectionHeader = SectionHeader64<Native>;

/// Linkers write up to a dozen; a file with more is no library anyone built.
const MAX_SEGMENTS: usize = 256;
const PAGE: u64 = 4096;
/// More address space than any library takes, less than would starve a host.
const MAX_IMAGE: u64 = 4 << 30;

/// A library as the dynamic linker would lay it out, without laying it out.
#[derive(Debug)]
pub(super) struct Image<'data> {
    bytes: &'data [u8],
    headers: &'data [ProgramHeader],
    headers_offset: u64,
    sections: &'data [SectionHeader],
    section_names: &'data [u8],
    loads: Vec<Load>,
}

/// A segment that is mapped. All its numbers have been checked against the file.
#[derive(Clone, Copy, Debug)]
struct Load {
    start: u64,
    /// Where the bytes of the file end; zeros follow.
    filled: u64,
    end: u64,
    offset: u64,
    flags: u32,
}

impl<'data> Image<'data> {
    /// Reads the headers of a file that `shape` let pass.
    pub(super) fn read(bytes: &'data [u8]) -> Result<Self, Finding> {
        let Ok((header, _)) = from_bytes::<FileHeader64<Native>>(bytes) else {
            return Err(Finding::corrupt(format!(
                "the file ends after {} bytes, inside its ELF header",
                bytes.len()
            )));
        };
        check_header(header, bytes.len())?;
        let headers = header.program_headers(NE, bytes).map_err(|_| {
            Finding::corrupt(format!(
                "the {} program headers at {:#x} are cut off: the file has {:#x} bytes",
                header.e_phnum.get(NE),
                header.e_phoff.get(NE),
                bytes.len()
            ))
        })?;
        if headers.len() > MAX_SEGMENTS {
            return Err(Finding::corrupt(format!(
                "the file has {} program headers, at most {MAX_SEGMENTS} are read",
                headers.len()
            )));
        }
        let sections = header.section_headers(NE, bytes).map_err(|_| {
            Finding::corrupt(format!(
                "the section headers at {:#x} are cut off: the file has {:#x} bytes",
                header.e_shoff.get(NE),
                bytes.len()
            ))
        })?;
        let section_names = section_names(header, sections, bytes)?;
        for (index, section) in sections.iter().enumerate() {
            check_section(index, section, section_names, bytes.len())?;
        }
        Ok(Self {
            bytes,
            headers,
            headers_offset: header.e_phoff.get(NE),
            sections,
            section_names,
            loads: loads(headers, bytes.len())?,
        })
    }

    /// The program headers of one type.
    pub(super) fn headers_of(&self, kind: u32) -> impl Iterator<Item = &'data ProgramHeader> {
        let headers = self.headers;
        headers
            .iter()
            .filter(move |header| header.p_type.get(NE) == kind)
    }

    /// Where in the file the program headers are.
    pub(super) fn headers_offset(&self) -> u64 {
        self.headers_offset
    }

    /// All sections.
    pub(super) fn sections(&self) -> &'data [SectionHeader] {
        self.sections
    }

    /// The sections of one name, with their bytes, or `None` for those that have none in the file.
    pub(super) fn sections_named(
        &self,
        name: &'static [u8],
    ) -> impl Iterator<Item = Option<&'data [u8]>> {
        let (bytes, names) = (self.bytes, self.section_names);
        self.sections
            .iter()
            .filter(move |section| {
                names
                    .get(section.sh_name.get(NE) as usize..)
                    .and_then(|rest| rest.strip_prefix(name))
                    .is_some_and(|rest| rest.first() == Some(&0))
            })
            .map(move |section| {
                let compressed = section.sh_flags.get(NE) & u64::from(elf::SHF_COMPRESSED) != 0;
                if section.sh_type.get(NE) == elf::SHT_NOBITS || compressed {
                    return None;
                }
                range(bytes, section.sh_offset.get(NE), section.sh_size.get(NE))
            })
    }

    /// How many symbols the section of dynamic symbols at this address has.
    pub(super) fn dynamic_symbols_at(&self, address: u64) -> Option<u64> {
        self.sections
            .iter()
            .find(|section| {
                section.sh_type.get(NE) == elf::SHT_DYNSYM && section.sh_addr.get(NE) == address
            })
            .map(|section| section.sh_size.get(NE) / 24)
    }

    /// `size` bytes at an address, if all of them come from the file.
    pub(super) fn at(&self, address: u64, size: u64) -> Option<&'data [u8]> {
        let rest = self.rest_at(address)?;
        rest.get(..usize::try_from(size).ok()?)
    }

    /// All bytes from an address to where its segment ends in the file.
    pub(super) fn rest_at(&self, address: u64) -> Option<&'data [u8]> {
        let load = self
            .loads
            .iter()
            .find(|load| load.start <= address && address < load.filled)?;
        range(
            self.bytes,
            load.offset + (address - load.start),
            load.filled - address,
        )
    }

    /// `count` records at an address, if all of them come from the file.
    pub(super) fn records_at<T: Pod>(&self, address: u64, count: usize) -> Option<&'data [T]> {
        let (records, _) = slice_from_bytes(self.rest_at(address)?, count).ok()?;
        Some(records)
    }

    /// Whether all of this is mapped with these permissions.
    pub(super) fn allows(&self, address: u64, size: u64, permission: u32) -> bool {
        self.region(address, size)
            .is_some_and(|region| region.flags & permission == permission)
    }

    /// Whether all of this is mapped.
    pub(super) fn holds(&self, address: u64, size: u64) -> bool {
        self.region(address, size).is_some()
    }

    /// The part of memory that all of this is in.
    pub(super) fn region(&self, address: u64, size: u64) -> Option<Region> {
        let region = |load: &Load| Region {
            start: load.start,
            end: load.end,
            flags: load.flags,
        };
        self.loads
            .iter()
            .map(region)
            .find(|region| region.holds(address, size))
    }

    /// Where the file has what is mapped at this address.
    pub(super) fn offset_of(&self, address: u64) -> Option<u64> {
        self.loads
            .iter()
            .find(|load| load.start <= address && address < load.filled)
            .map(|load| load.offset + (address - load.start))
    }

    /// How many segments are both writable and executable.
    pub(super) fn writable_code(&self) -> usize {
        let both = elf::PF_W | elf::PF_X;
        self.loads
            .iter()
            .filter(|load| load.flags & both == both)
            .count()
    }

    /// Bytes of address space it takes.
    pub(super) fn size(&self) -> u64 {
        match (self.loads.first(), self.loads.last()) {
            (Some(first), Some(last)) => span(first, last),
            _ => 0,
        }
    }
}

/// A stretch of mapped memory with one set of permissions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    start: u64,
    end: u64,
    pub(super) flags: u32,
}

impl Region {
    /// Whether all of this is in it.
    #[inline]
    pub(super) fn holds(&self, address: u64, size: u64) -> bool {
        self.start <= address && address < self.end && size <= self.end - address
    }

    /// Where it ends, counting the rest of its last page.
    pub(super) fn page_end(&self) -> u64 {
        self.end.next_multiple_of(PAGE)
    }
}

fn check_header(header: &FileHeader64<Native>, len: usize) -> Result<(), Finding> {
    let sections_end = u64::from(header.e_shnum.get(NE))
        .checked_mul(size_of::<SectionHeader>() as u64)
        .and_then(|size| size.checked_add(header.e_shoff.get(NE)));
    if sections_end.is_none_or(|end| end > len as u64) {
        return Err(Finding::corrupt(format!(
            "the file is cut off: it has {len:#x} bytes, and its section headers alone are {} from {:#x} on",
            header.e_shnum.get(NE),
            header.e_shoff.get(NE)
        )));
    }
    let sizes = [
        ("version", header.e_version.get(NE), 1),
        ("header size", header.e_ehsize.get(NE).into(), 64),
        ("program header size", header.e_phentsize.get(NE).into(), 56),
    ];
    for (what, found, expected) in sizes {
        if found != expected {
            return Err(Finding::corrupt(format!(
                "the ELF header has {what} {found} where it must be {expected}"
            )));
        }
    }
    if header.e_phnum.get(NE) == 0 {
        return Err(Finding::corrupt(
            "the ELF header lists no segments, so nothing of the file would be mapped",
        ));
    }
    Ok(())
}

fn section_names<'data>(
    header: &FileHeader64<Native>,
    sections: &[SectionHeader],
    bytes: &'data [u8],
) -> Result<&'data [u8], Finding> {
    if sections.is_empty() || header.e_shstrndx.get(NE) == elf::SHN_UNDEF {
        return Ok(&[]);
    }
    let names = header
        .shstrndx(NE, bytes)
        .ok()
        .and_then(|index| sections.get(index as usize))
        .filter(|section| section.sh_type.get(NE) == elf::SHT_STRTAB)
        .and_then(|section| range(bytes, section.sh_offset.get(NE), section.sh_size.get(NE)));
    names.ok_or_else(|| {
        Finding::corrupt(format!(
            "the table of section names, section {} of {}, is not in the file",
            header.e_shstrndx.get(NE),
            sections.len()
        ))
    })
}

fn check_section(
    index: usize,
    section: &SectionHeader,
    names: &[u8],
    len: usize,
) -> Result<(), Finding> {
    let kind = section.sh_type.get(NE);
    if kind == elf::SHT_NULL {
        return Ok(());
    }
    if !names.is_empty() && section.sh_name.get(NE) as usize >= names.len() {
        return Err(Finding::corrupt(format!(
            "the name of section {index} is at {:#x} of a table of {:#x} bytes",
            section.sh_name.get(NE),
            names.len()
        )));
    }
    let (offset, size) = (section.sh_offset.get(NE), section.sh_size.get(NE));
    if kind != elf::SHT_NOBITS && offset.checked_add(size).is_none_or(|end| end > len as u64) {
        return Err(Finding::corrupt(format!(
            "section {index} has {size:#x} bytes from {offset:#x} on, and the file has {len:#x}"
        )));
    }
    Ok(())
}

fn loads(headers: &[ProgramHeader], len: usize) -> Result<Vec<Load>, Finding> {
    let mut loads: Vec<Load> = Vec::with_capacity(8);
    for (index, header) in headers.iter().enumerate() {
        if header.p_type.get(NE) != elf::PT_LOAD {
            continue;
        }
        let load = checked_load(index, header, len)?;
        if let Some(last) = loads.last()
            && load.start < last.end
        {
            return Err(Finding::corrupt(format!(
                "segment {index} starts at {:#x}, before the one ahead of it ends at {:#x}",
                load.start, last.end
            )));
        }
        loads.push(load);
    }
    match (loads.first(), loads.last()) {
        (Some(first), Some(last)) if span(first, last) <= MAX_IMAGE => Ok(loads),
        (Some(first), Some(last)) => Err(Finding::corrupt(format!(
            "the library would take {:#x} bytes of address space, at most {MAX_IMAGE:#x} are given",
            span(first, last)
        ))),
        _ => Err(Finding::corrupt(
            "no segment is to be loaded, so nothing of the file would be mapped",
        )),
    }
}

fn checked_load(index: usize, header: &ProgramHeader, len: usize) -> Result<Load, Finding> {
    let offset = header.p_offset.get(NE);
    let start = header.p_vaddr.get(NE);
    let (file_size, size) = (header.p_filesz.get(NE), header.p_memsz.get(NE));
    let align = header.p_align.get(NE);
    if offset
        .checked_add(file_size)
        .is_none_or(|end| end > len as u64)
    {
        return Err(Finding::corrupt(format!(
            "the file is cut off: segment {index} has {file_size:#x} bytes from {offset:#x} on, and the file has {len:#x}"
        )));
    }
    if file_size > size {
        return Err(Finding::corrupt(format!(
            "segment {index} takes {file_size:#x} bytes from the file but only {size:#x} of memory"
        )));
    }
    if !align.is_power_of_two() || align < PAGE {
        return Err(Finding::corrupt(format!(
            "segment {index} is aligned to {align:#x}, which is not a power of two of at least a page"
        )));
    }
    if offset % align != start % align {
        return Err(Finding::corrupt(format!(
            "segment {index} stands at {offset:#x} in the file and at {start:#x} in memory, which differ modulo {align:#x}"
        )));
    }
    // Ends stay well below the top, so that rounding up to a page cannot overflow.
    let Some(end) = start.checked_add(size).filter(|end| *end < 1 << 63) else {
        return Err(Finding::corrupt(format!(
            "segment {index} of {size:#x} bytes at {start:#x} ends outside of the address space"
        )));
    };
    Ok(Load {
        start,
        filled: start + file_size,
        end,
        offset,
        flags: header.p_flags.get(NE),
    })
}

fn span(first: &Load, last: &Load) -> u64 {
    last.end.next_multiple_of(PAGE) - first.start / PAGE * PAGE
}

fn range(bytes: &[u8], offset: u64, size: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    bytes.get(start..end)
}
