//! From bytes to facts: the order in which the tables are read.

use object::elf;
use object::pod::bytes_of_slice_mut;
use plg_plugin_api::abi::flag;

use super::dynamic::Dynamic;
use super::facts::{Facts, Hooks, NoteState};
use super::image::Image;
use super::platform::HOST;
use super::report::Finding;
use super::segments::Segments;
use super::{hash, note, relocations, sections, shape, symbols, versions};

/// Reads everything there is to know about a shared library without mapping it.
///
/// # Errors
///
/// `native.format` when the bytes are no shared library for this machine, `native.corrupt` when they
/// are one that the dynamic linker must not be shown.
pub fn inspect(bytes: &[u8]) -> Result<Facts, Finding> {
    shape::check(bytes)?;
    if bytes.as_ptr().addr().is_multiple_of(align_of::<u64>()) {
        return read(bytes);
    }
    // The tables are read in place, so they must stand as they would in a file that was read whole.
    let mut words = vec![0_u64; bytes.len().div_ceil(size_of::<u64>())];
    let copy = &mut bytes_of_slice_mut(&mut words)[..bytes.len()];
    copy.copy_from_slice(bytes);
    read(copy)
}

fn read(bytes: &[u8]) -> Result<Facts, Finding> {
    let image = Image::read(bytes)?;
    let segments = Segments::read(&image)?;
    let dynamic = Dynamic::read(&image, segments.dynamic)?;
    if let Some(why) = executable(&image, &dynamic) {
        return Err(shape::format(
            format!("the file is an executable ({why}), not a shared library"),
            shape::BUILD_SHARED,
        ));
    }
    if dynamic.value(elf::DT_SYMTAB).is_none() || dynamic.value(elf::DT_STRTAB).is_none() {
        return Err(shape::format(
            "the library has no dynamic symbol table, so nothing in it can be looked up",
            shape::BUILD_SHARED,
        ));
    }
    sections::check(&image, &dynamic)?;
    let names = dynamic.names(&image)?;
    let count = hash::symbol_count(&image, &dynamic)?;
    let versions = versions::read(&image, &dynamic, &names, count)?;
    let symbols = symbols::read(&image, &dynamic, &names, count)?;
    let constructors = relocations::check(&image, &dynamic, count)?;
    let note = note::read(&image);
    let hooks = match &note {
        NoteState::Present(note) if note.has(flag::UNLOAD_HOOKS) && symbols.hooks.is_empty() => {
            Hooks::Bound
        }
        NoteState::Present(note) if note.has(flag::UNLOAD_HOOKS) => Hooks::Unbound(symbols.hooks),
        _ => Hooks::Absent,
    };
    let flags = dynamic.value(elf::DT_FLAGS).unwrap_or(0);
    let flags_1 = dynamic.value(elf::DT_FLAGS_1).unwrap_or(0);
    Ok(Facts {
        machine: HOST.name,
        note,
        exports: symbols.exports,
        hooks,
        soname: names.soname.map(lossy),
        needed: names.needed.iter().copied().map(lossy).collect(),
        filters: names.filters.iter().copied().map(lossy).collect(),
        rpath: names.rpath.map(lossy),
        runpath: names.runpath.map(lossy),
        glibc: versions.glibc,
        constructors,
        go: symbols.go,
        executable_stack: segments.executable_stack,
        text_relocations: dynamic.text_relocations(),
        writable_code: image.writable_code(),
        tls_bytes: segments.tls_bytes,
        static_tls: flags & u64::from(elf::DF_STATIC_TLS) != 0,
        nodelete: flags_1 & u64::from(elf::DF_1_NODELETE) != 0,
        unique_symbols: symbols.unique,
        symbol_count: count,
        image_size: image.size(),
    })
}

/// Executables that can stand anywhere have the type of a shared library; this tells them apart.
fn executable(image: &Image<'_>, dynamic: &Dynamic<'_>) -> Option<&'static str> {
    let flags_1 = dynamic.value(elf::DT_FLAGS_1).unwrap_or(0);
    if image.headers_of(elf::PT_INTERP).next().is_some() {
        Some("it names a program interpreter")
    } else if flags_1 & u64::from(elf::DF_1_PIE) != 0 {
        Some("it is marked position-independent executable")
    } else if dynamic.value(elf::DT_DEBUG).is_some() {
        Some("it reserves a word for debuggers, as only executables do")
    } else {
        None
    }
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
