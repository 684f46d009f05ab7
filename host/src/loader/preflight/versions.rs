//! The symbol versions, and with them the glibc that is needed.

use object::elf::{self, Verdaux, Verdef, Vernaux, Verneed};
use object::pod::{Pod, from_bytes};
use object::{NativeEndian as Native, NativeEndian as NE, U16};

use super::dynamic::{Dynamic, Names, outside};
use super::image::Image;
use super::platform::{glibc_version, is_dynamic_linker};
use super::report::Finding;

/// What the versions say.
#[derive(Debug)]
pub(super) struct Versions {
    pub(super) glibc: Option<(u32, u32)>,
}

/// Libraries define or need some dozens; the limit keeps two hostile lists from being multiplied.
const MAX_VERSIONS: usize = 4096;
const MAX_NAME: usize = 4096;

/// Reads the versions and checks that every symbol has one that exists: the dynamic linker takes
/// them from an array without looking at its end.
pub(super) fn read(
    image: &Image<'_>,
    dynamic: &Dynamic<'_>,
    names: &Names<'_>,
    symbols: usize,
) -> Result<Versions, Finding> {
    let mut walk = Walk {
        image,
        names,
        budget: MAX_VERSIONS,
        highest: 0,
        glibc: None,
    };
    let needed = dynamic.value(elf::DT_VERNEED);
    let defined = dynamic.value(elf::DT_VERDEF);
    if let Some(address) = needed {
        walk.needed(address)?;
    }
    if let Some(address) = defined {
        walk.defined(address)?;
    }
    if let Some(address) = dynamic.value(elf::DT_VERSYM) {
        let Some(versions) = image.records_at::<U16<Native>>(address, symbols) else {
            return Err(outside("symbol version table", address, symbols as u64 * 2));
        };
        if needed.is_none() && defined.is_none() {
            return Err(Finding::corrupt(
                "the symbols have versions, and the library has no list of them",
            ));
        }
        let highest = walk.highest.max(elf::VER_NDX_GLOBAL);
        let index = |version: &U16<Native>| version.get(NE) & elf::VERSYM_VERSION;
        if let Some(symbol) = versions.iter().position(|version| index(version) > highest) {
            return Err(Finding::corrupt(format!(
                "symbol {symbol} has version {}, and the last one is {highest}",
                index(&versions[symbol])
            )));
        }
    }
    Ok(Versions { glibc: walk.glibc })
}

struct Walk<'a, 'data> {
    image: &'a Image<'data>,
    names: &'a Names<'data>,
    budget: usize,
    highest: u16,
    glibc: Option<(u32, u32)>,
}

impl<'data> Walk<'_, 'data> {
    fn needed(&mut self, mut address: u64) -> Result<(), Finding> {
        loop {
            let need: &Verneed<Native> = self.record(address)?;
            if need.vn_version.get(NE) != elf::VER_NEED_CURRENT {
                return Err(damaged(address));
            }
            let file = self.names.text(need.vn_file.get(NE).into(), MAX_NAME)?;
            // The dynamic linker ends the process when the library was not loaded.
            if !self.names.needed.contains(&file) && !is_always_loaded(file) {
                return Err(Finding::corrupt(format!(
                    "the library needs versions of `{}` and does not depend on it",
                    file.escape_ascii()
                )));
            }
            let mut aux = address + u64::from(need.vn_aux.get(NE));
            // The dynamic linker does not count either, it goes on until there is no next.
            loop {
                let version: &Vernaux<Native> = self.record(aux)?;
                self.highest = self
                    .highest
                    .max(version.vna_other.get(NE) & elf::VERSYM_VERSION);
                let name = self.names.text(version.vna_name.get(NE).into(), MAX_NAME)?;
                self.glibc = self.glibc.max(glibc_of(name));
                match version.vna_next.get(NE) {
                    0 => break,
                    next => aux += u64::from(next),
                }
            }
            match need.vn_next.get(NE) {
                0 => return Ok(()),
                next => address += u64::from(next),
            }
        }
    }

    fn defined(&mut self, mut address: u64) -> Result<(), Finding> {
        loop {
            let define: &Verdef<Native> = self.record(address)?;
            if define.vd_version.get(NE) != elf::VER_DEF_CURRENT {
                return Err(damaged(address));
            }
            self.highest = self
                .highest
                .max(define.vd_ndx.get(NE) & elf::VERSYM_VERSION);
            let aux: &Verdaux<Native> = self.record(address + u64::from(define.vd_aux.get(NE)))?;
            self.names.text(aux.vda_name.get(NE).into(), MAX_NAME)?;
            match define.vd_next.get(NE) {
                0 => return Ok(()),
                next => address += u64::from(next),
            }
        }
    }

    fn record<T: Pod>(&mut self, address: u64) -> Result<&'data T, Finding> {
        self.budget = self.budget.checked_sub(1).ok_or_else(|| {
            Finding::corrupt(format!(
                "the library has more than {MAX_VERSIONS} symbol versions"
            ))
        })?;
        let bytes = self.image.rest_at(address).unwrap_or(&[]);
        match from_bytes(bytes) {
            Ok((record, _)) => Ok(record),
            Err(()) => Err(damaged(address)),
        }
    }
}

#[cold]
fn damaged(address: u64) -> Finding {
    Finding::corrupt(format!(
        "the list of symbol versions is cut off or damaged at {address:#x}"
    ))
}

fn is_always_loaded(file: &[u8]) -> bool {
    file == b"libc.so.6" || std::str::from_utf8(file).is_ok_and(is_dynamic_linker)
}

fn glibc_of(name: &[u8]) -> Option<(u32, u32)> {
    let version = std::str::from_utf8(name).ok()?.strip_prefix("GLIBC_")?;
    match version {
        // How a library says that its relocations are packed, which glibc reads since then.
        "ABI_DT_RELR" => Some((2, 36)),
        _ => glibc_version(version),
    }
}
