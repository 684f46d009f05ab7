//! What the dynamic linker will write, and where: one pass over each table.

use object::elf::{self, Rela64};
use object::{NativeEndian as Native, NativeEndian as NE, U64};

use super::dynamic::{DT_RELR, DT_RELRSZ, Dynamic, outside};
use super::image::{Image, Region};
use super::platform::relocation;
use super::report::Finding;

/// Checks all relocations and answers how many functions run inside `dlopen`.
pub(super) fn check(
    image: &Image<'_>,
    dynamic: &Dynamic<'_>,
    symbols: usize,
) -> Result<usize, Finding> {
    let constructors = dynamic.table(elf::DT_INIT_ARRAY, elf::DT_INIT_ARRAYSZ);
    let mut pass = Pass {
        image,
        symbols: symbols as u64,
        permission: if dynamic.text_relocations() {
            0
        } else {
            elf::PF_W
        },
        constructors,
        destructors: dynamic.table(elf::DT_FINI_ARRAY, elf::DT_FINI_ARRAYSZ),
        called: 0,
        last: None,
        code: None,
    };
    let plain = pass.table(dynamic.table(elf::DT_RELA, elf::DT_RELASZ))?;
    check_leading(plain, dynamic)?;
    pass.table(dynamic.table(elf::DT_JMPREL, elf::DT_PLTRELSZ))?;
    if let Some((address, size)) = dynamic.table(DT_RELR, DT_RELRSZ) {
        pass.packed(address, size)?;
    }
    pass.count(dynamic)
}

struct Pass<'a, 'data> {
    image: &'a Image<'data>,
    symbols: u64,
    /// What the memory that is written to must allow.
    permission: u32,
    constructors: Option<(u64, u64)>,
    destructors: Option<(u64, u64)>,
    /// How many entries of the two lists get their address.
    called: u64,
    /// Where the last write went: most go to the same segment.
    last: Option<Region>,
    code: Option<Region>,
}

impl<'data> Pass<'_, 'data> {
    /// Checks the table at this address and of this size, if there is one.
    fn table(&mut self, table: Option<(u64, u64)>) -> Result<&'data [Rela64<Native>], Finding> {
        let Some((address, size)) = table else {
            return Ok(&[]);
        };
        let count = usize::try_from(size / 24).unwrap_or(usize::MAX);
        let Some(records) = self.image.records_at(address, count) else {
            return Err(outside("relocation table", address, size));
        };
        for (index, record) in records.iter().enumerate() {
            self.check(index, record)?;
        }
        Ok(records)
    }

    #[inline]
    fn check(&mut self, index: usize, record: &Rela64<Native>) -> Result<(), Finding> {
        let (place, target) = (record.r_offset.get(NE), record.r_info.get(NE));
        let (kind, symbol) = (target as u32, target >> 32);
        if symbol >= self.symbols {
            return Err(Finding::corrupt(format!(
                "relocation {index} wants symbol {symbol} of {}",
                self.symbols
            )));
        }
        if kind == elf::R_X86_64_NONE {
            return Ok(());
        }
        let size = if kind == relocation::TLSDESC { 16 } else { 8 };
        if !self.may_write(place, size) {
            return Err(Finding::corrupt(format!(
                "relocation {index} writes to {place:#x}, which is not inside a writable segment"
            )));
        }
        let address = record.r_addend.get(NE).cast_unsigned();
        if kind == relocation::IRELATIVE && !self.is_code(address) {
            return Err(self.not_code(place, address));
        }
        if self.is_called(place) {
            if kind == relocation::RELATIVE && !self.is_code(address) {
                return Err(self.not_code(place, address));
            }
            self.called += 1;
        }
        Ok(())
    }

    /// Packed relocations add the library's address to words that already hold the rest: an address,
    /// then bit maps of the 63 words after it.
    fn packed(&mut self, address: u64, size: u64) -> Result<(), Finding> {
        let count = usize::try_from(size / 8).unwrap_or(usize::MAX);
        let Some(words) = self.image.records_at::<U64<Native>>(address, count) else {
            return Err(outside("packed relocation table", address, size));
        };
        let mut next = None;
        for (index, word) in words.iter().enumerate() {
            let word = word.get(NE);
            if word & 1 == 0 {
                self.packed_at(index, word)?;
                next = word.checked_add(8);
                continue;
            }
            let Some(base) = next else {
                return Err(Finding::corrupt(format!(
                    "packed relocation {index} continues at no address"
                )));
            };
            for bit in (0..63_u64).filter(|bit| (word >> (bit + 1)) & 1 == 1) {
                self.packed_at(index, base.saturating_add(bit * 8))?;
            }
            next = base.checked_add(63 * 8);
        }
        Ok(())
    }

    fn packed_at(&mut self, index: usize, place: u64) -> Result<(), Finding> {
        if !self.may_write(place, 8) {
            return Err(Finding::corrupt(format!(
                "packed relocation {index} writes to {place:#x}, which is not inside a writable segment"
            )));
        }
        if self.is_called(place) {
            let word = self.image.at(place, 8).and_then(|word| word.first_chunk());
            let address = word.map_or(0, |word| u64::from_ne_bytes(*word));
            if !self.is_code(address) {
                return Err(self.not_code(place, address));
            }
            self.called += 1;
        }
        Ok(())
    }

    /// An entry that is not relocated would be called at an address that means nothing.
    fn count(&self, dynamic: &Dynamic<'_>) -> Result<usize, Finding> {
        let entries = |list: Option<(u64, u64)>| list.map_or(0, |(_, size)| size / 8);
        let listed = entries(self.constructors);
        let expected = listed + entries(self.destructors);
        if self.called < expected {
            return Err(Finding::corrupt(format!(
                "the lists of constructors and destructors have {expected} entries, and {} get an address",
                self.called
            )));
        }
        let initialiser = dynamic
            .value(elf::DT_INIT)
            .is_some_and(|address| address != 0);
        Ok(usize::try_from(listed).unwrap_or(usize::MAX) + usize::from(initialiser))
    }

    #[inline]
    fn may_write(&mut self, place: u64, size: u64) -> bool {
        if self.last.is_none_or(|region| !region.holds(place, size)) {
            self.last = self.image.region(place, size);
        }
        self.last
            .is_some_and(|region| region.flags & self.permission == self.permission)
    }

    fn is_code(&mut self, address: u64) -> bool {
        if self.code.is_none_or(|region| !region.holds(address, 1)) {
            self.code = self.image.region(address, 1);
        }
        self.code
            .is_some_and(|region| region.flags & elf::PF_X != 0)
    }

    #[inline]
    fn is_called(&self, place: u64) -> bool {
        let inside = |list: Option<(u64, u64)>| {
            list.is_some_and(|(start, size)| place >= start && place - start < size)
        };
        inside(self.constructors) || inside(self.destructors)
    }

    #[cold]
    fn not_code(&self, place: u64, address: u64) -> Finding {
        Finding::corrupt(format!(
            "the function at {address:#x} that the dynamic linker calls for {place:#x} is not inside the library's code"
        ))
    }
}

/// The dynamic linker handles as many relocations as the library says without looking at their
/// type, and ends the process when one is not of the plain type.
fn check_leading(records: &[Rela64<Native>], dynamic: &Dynamic<'_>) -> Result<(), Finding> {
    let claimed = dynamic.value(elf::DT_RELACOUNT).unwrap_or(0);
    let claimed = usize::try_from(claimed).unwrap_or(usize::MAX);
    let plain = |record: &Rela64<Native>| record.r_info.get(NE) as u32 == relocation::RELATIVE;
    match records
        .iter()
        .take(claimed)
        .position(|record| !plain(record))
    {
        None => Ok(()),
        Some(index) => Err(Finding::corrupt(format!(
            "the first {claimed} relocations are said to be plain ones, and number {index} is not"
        ))),
    }
}
