//! The program headers that are not loaded themselves but point into what is.

use object::NativeEndian as NE;
use object::elf;

use super::image::{Image, ProgramHeader};
use super::report::Finding;
use super::shape;

/// What the program headers say, apart from what is loaded where.
#[derive(Debug)]
pub(super) struct Segments<'data> {
    pub(super) dynamic: &'data ProgramHeader,
    pub(super) executable_stack: bool,
    pub(super) tls_bytes: u64,
}

impl<'data> Segments<'data> {
    pub(super) fn read(image: &Image<'data>) -> Result<Self, Finding> {
        // With several, the dynamic linker takes the last.
        let Some(dynamic) = image.headers_of(elf::PT_DYNAMIC).last() else {
            return Err(shape::format(
                "the library has no dynamic section: it is statically linked or was stripped of it",
                shape::BUILD_SHARED,
            ));
        };
        check_dynamic(image, dynamic)?;
        for header in image.headers_of(elf::PT_PHDR) {
            check_own(image, header)?;
        }
        for kind in [elf::PT_NOTE, elf::PT_GNU_PROPERTY] {
            for header in image.headers_of(kind) {
                check_notes(image, header)?;
            }
        }
        for header in image.headers_of(elf::PT_GNU_EH_FRAME) {
            contents(image, header, "unwind table")?;
        }
        for header in image.headers_of(elf::PT_GNU_RELRO) {
            check_relro(image, header)?;
        }
        let mut tls_bytes = 0;
        for header in image.headers_of(elf::PT_TLS) {
            check_tls(image, header)?;
            tls_bytes = header.p_memsz.get(NE);
        }
        let executable_stack = image
            .headers_of(elf::PT_GNU_STACK)
            .last()
            .is_none_or(|header| header.p_flags.get(NE) & elf::PF_X != 0);
        Ok(Self {
            dynamic,
            executable_stack,
            tls_bytes,
        })
    }
}

/// Thread-local storage beyond this is no library's; each thread would have to get it.
const MAX_TLS: u64 = 1 << 30;
const MAX_TLS_ALIGN: u64 = 1 << 20;

/// The program headers' own place: the dynamic linker reads them again from there.
fn check_own(image: &Image<'_>, header: &ProgramHeader) -> Result<(), Finding> {
    contents(image, header, "list of program headers")?;
    let (found, expected) = (header.p_offset.get(NE), image.headers_offset());
    if found == expected {
        return Ok(());
    }
    Err(Finding::corrupt(format!(
        "the program headers say they are at {found:#x} of the file, the ELF header says {expected:#x}"
    )))
}

fn check_dynamic(image: &Image<'_>, header: &ProgramHeader) -> Result<(), Finding> {
    contents(image, header, "dynamic section")?;
    let address = header.p_vaddr.get(NE);
    let promised = header.p_flags.get(NE) & elf::PF_W;
    if !image.allows(address, header.p_memsz.get(NE), promised) {
        return Err(Finding::corrupt(format!(
            "the dynamic section at {address:#x} is to be written to and stands in memory that is not writable"
        )));
    }
    Ok(())
}

/// The bytes of a header's range, which must be the same by address and by place in the file: the
/// dynamic linker goes by the one, tools by the other.
fn contents<'data>(
    image: &Image<'data>,
    header: &ProgramHeader,
    what: &str,
) -> Result<&'data [u8], Finding> {
    let (address, size) = (header.p_vaddr.get(NE), header.p_filesz.get(NE));
    if size == 0 {
        return Ok(&[]);
    }
    let found = image
        .at(address, size)
        .filter(|_| image.offset_of(address) == Some(header.p_offset.get(NE)));
    found.ok_or_else(|| {
        Finding::corrupt(format!(
            "the {what} of {size:#x} bytes at {address:#x} ({:#x} in the file) is not inside a loaded segment",
            header.p_offset.get(NE)
        ))
    })
}

fn check_tls(image: &Image<'_>, header: &ProgramHeader) -> Result<(), Finding> {
    contents(image, header, "thread-local storage")?;
    let (file_size, size) = (header.p_filesz.get(NE), header.p_memsz.get(NE));
    let align = header.p_align.get(NE);
    if file_size > size || size > MAX_TLS || align > MAX_TLS_ALIGN || !is_alignment(align) {
        return Err(Finding::corrupt(format!(
            "the thread-local storage takes {file_size:#x} bytes from the file and {size:#x} of memory, aligned to {align:#x}"
        )));
    }
    Ok(())
}

/// The dynamic linker takes the write permission from this range; a wrong one would hit the library's
/// variables or its neighbours.
fn check_relro(image: &Image<'_>, header: &ProgramHeader) -> Result<(), Finding> {
    let (address, size) = (header.p_vaddr.get(NE), header.p_memsz.get(NE));
    let inside = image
        .region(address, 1)
        .filter(|region| region.flags & elf::PF_W != 0)
        .is_some_and(|region| size <= region.page_end() - address);
    if size != 0 && !inside {
        return Err(Finding::corrupt(format!(
            "the range of {size:#x} bytes at {address:#x} to protect after loading is not inside a writable segment"
        )));
    }
    Ok(())
}

/// The dynamic linker walks these notes by their own lengths.
fn check_notes(image: &Image<'_>, header: &ProgramHeader) -> Result<(), Finding> {
    let mut rest = contents(image, header, "note segment")?;
    let align = if header.p_align.get(NE) == 8 { 8 } else { 4 };
    while let Some((head, body)) = rest.split_first_chunk::<12>() {
        let word =
            |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        // Widened, the sums cannot overflow.
        let name_end = 12 + u64::from(word(0));
        let end = name_end.next_multiple_of(align) + u64::from(word(4));
        let next = end.next_multiple_of(align).saturating_sub(12);
        if end - 12 > body.len() as u64 {
            return Err(Finding::corrupt(format!(
                "a note of {:#x} bytes in the segment at {:#x} ends outside of it",
                end,
                header.p_vaddr.get(NE)
            )));
        }
        // The last one need not be padded.
        rest = usize::try_from(next)
            .ok()
            .and_then(|next| body.get(next..))
            .unwrap_or(&[]);
    }
    Ok(())
}

fn is_alignment(align: u64) -> bool {
    align == 0 || align.is_power_of_two()
}
