//! The dynamic symbols: what a host can look up, and what the library takes from elsewhere.

use object::elf::{self, Sym64};
use object::{NativeEndian as Native, NativeEndian as NE};
use plg_plugin_api::abi;

use super::dynamic::{Dynamic, Names, outside};
use super::facts::{Export, Exports};
use super::image::{Image, Region};
use super::report::Finding;

/// What the symbols say.
#[derive(Debug)]
pub(super) struct Symbols {
    pub(super) exports: Exports,
    /// The functions that make what outlives an unload, taken from elsewhere.
    pub(super) hooks: Vec<&'static str>,
    pub(super) unique: bool,
    pub(super) go: bool,
}

/// Reads the first `count` symbols.
pub(super) fn read(
    image: &Image<'_>,
    dynamic: &Dynamic<'_>,
    names: &Names<'_>,
    count: usize,
) -> Result<Symbols, Finding> {
    let address = dynamic.value(elf::DT_SYMTAB).unwrap_or(0);
    let Some(symbols) = image.records_at::<Sym64<Native>>(address, count) else {
        return Err(outside("symbol table", address, count as u64 * 24));
    };
    let mut found = Symbols {
        exports: Exports {
            execute: Export::Absent,
            descriptor: Export::Absent,
            layout: Export::Absent,
        },
        hooks: Vec::new(),
        unique: false,
        go: false,
    };
    let mut code = None;
    // The first symbol is empty by definition.
    for (index, symbol) in symbols.iter().enumerate().skip(1) {
        let Some(name) = names.rest(symbol.st_name.get(NE).into()) else {
            return Err(Finding::corrupt(format!(
                "the name of symbol {index} is at {:#x}, outside of the string table",
                symbol.st_name.get(NE)
            )));
        };
        if symbol.st_bind() == elf::STB_LOCAL {
            continue;
        }
        if symbol.st_shndx.get(NE) == elf::SHN_UNDEF {
            found.import(name);
            continue;
        }
        let resolver = symbol.st_type() == elf::STT_GNU_IFUNC;
        if resolver && !stands_in_code(image, &mut code, symbol.st_value.get(NE)) {
            return Err(Finding::corrupt(format!(
                "symbol {index} is chosen by a function at {:#x}, which is not inside the library's code",
                symbol.st_value.get(NE)
            )));
        }
        found.unique |= symbol.st_bind() == elf::STB_GNU_UNIQUE;
        found.define(name, symbol, |address| {
            stands_in_code(image, &mut code, address)
        });
    }
    Ok(found)
}

/// What a plugin takes from elsewhere when it does not track its threads, keys and destructors.
/// `__cxa_thread_atexit` is libstdc++'s, which passes its calls on to libc's.
const HOOKED: [&str; 6] = [
    "pthread_create",
    "pthread_key_create",
    "__cxa_thread_atexit_impl",
    "__cxa_thread_atexit",
    "thrd_create",
    "tss_create",
];

impl Symbols {
    fn import(&mut self, name: &[u8]) {
        if matches!(name.first(), Some(b'p' | b'_' | b't'))
            && let Some(hooked) = HOOKED.iter().find(|hooked| is(name, hooked))
            && !self.hooks.contains(hooked)
        {
            self.hooks.push(hooked);
        }
        if let Some(export) = self.exports.named(name)
            && *export == Export::Absent
        {
            *export = Export::Imported;
        }
    }

    fn define(
        &mut self,
        name: &[u8],
        symbol: &Sym64<Native>,
        mut in_code: impl FnMut(u64) -> bool,
    ) {
        match name.first() {
            Some(b'g' | b'p') => self.go |= is_go(name),
            Some(b'e') => {}
            _ => return,
        }
        if matches!(symbol.st_visibility(), elf::STV_HIDDEN | elf::STV_INTERNAL) {
            return;
        }
        if let Some(export) = self.exports.named(name) {
            *export = match symbol.st_type() {
                elf::STT_FUNC if in_code(symbol.st_value.get(NE)) => Export::Function,
                elf::STT_FUNC => Export::Astray,
                elf::STT_OBJECT | elf::STT_COMMON => Export::Data,
                elf::STT_GNU_IFUNC => Export::Indirect,
                _ => Export::Other,
            };
        }
    }
}

impl Exports {
    fn named(&mut self, name: &[u8]) -> Option<&mut Export> {
        match name.first()? {
            b'e' if is(name, abi::EXECUTE_SYMBOL) => Some(&mut self.execute),
            b'p' if is(name, abi::DESCRIPTOR_SYMBOL) => Some(&mut self.descriptor),
            b'p' if is(name, abi::LAYOUT_SYMBOL) => Some(&mut self.layout),
            _ => None,
        }
    }
}

/// Whether the name that `text` begins with is this one.
fn is(text: &[u8], name: &str) -> bool {
    text.strip_prefix(name.as_bytes())
        .is_some_and(|rest| rest.first() == Some(&0))
}

/// Go exports its functions under the path of their package, and a hash for each package. Before
/// Go 1.20 that was spelled with a dot.
fn is_go(name: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 3] = [b"go:link.pkghash", b"go.link.pkghash", b"plugin/unnamed-"];
    BEGINNINGS.iter().any(|begin| name.starts_with(begin))
}

fn stands_in_code(image: &Image<'_>, last: &mut Option<Region>, address: u64) -> bool {
    if last.is_none_or(|region| !region.holds(address, 1)) {
        *last = image.region(address, 1);
    }
    last.is_some_and(|region| region.holds(address, 1) && region.flags & elf::PF_X != 0)
}
