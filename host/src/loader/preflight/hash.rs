//! The symbol hash tables: how many symbols there are, and that a look-up ends inside the table.

use object::elf::{self, GnuHashHeader, HashHeader, Sym64};
use object::pod::{from_bytes, slice_from_bytes};
use object::{NativeEndian as Native, NativeEndian as NE, U32};

use super::dynamic::{Dynamic, outside};
use super::image::Image;
use super::report::Finding;

/// How many symbols the dynamic symbol table has, all of which are in the file.
pub(super) fn symbol_count(image: &Image<'_>, dynamic: &Dynamic<'_>) -> Result<usize, Finding> {
    let address = dynamic.value(elf::DT_SYMTAB).unwrap_or(0);
    let gnu = dynamic.value(elf::DT_GNU_HASH);
    let sysv = dynamic.value(elf::DT_HASH);
    if gnu.is_none() && sysv.is_none() {
        return Err(Finding::corrupt(
            "the library has no symbol hash table, so nothing in it can be looked up",
        ));
    }
    let mut count = image.dynamic_symbols_at(address).unwrap_or(0);
    if let Some(address) = sysv {
        count = count.max(check_sysv(image, address)?);
    }
    if let Some(address) = gnu {
        let table = GnuHash::read(image, address)?;
        count = count.max(table.check()?);
    }
    let size = count.checked_mul(size_of::<Sym64<Native>>() as u64);
    match (size, usize::try_from(count)) {
        (Some(size), Ok(count)) if image.at(address, size).is_some() => Ok(count),
        _ => Err(outside("symbol table", address, size.unwrap_or(u64::MAX))),
    }
}

struct GnuHash<'data> {
    address: u64,
    first: u32,
    buckets: &'data [U32<Native>],
    chains: &'data [U32<Native>],
}

impl<'data> GnuHash<'data> {
    fn read(image: &Image<'data>, address: u64) -> Result<Self, Finding> {
        let damaged =
            |what: &str| Finding::corrupt(format!("the symbol hash table at {address:#x} {what}"));
        let rest = image.rest_at(address).unwrap_or(&[]);
        let (header, rest) = from_bytes::<GnuHashHeader<Native>>(rest)
            .map_err(|()| damaged("is cut off or not aligned"))?;
        let words = header.bloom_count.get(NE);
        if !words.is_power_of_two() {
            return Err(damaged(&format!(
                "has a filter of {words} words, which is no power of two"
            )));
        }
        let buckets = header.bucket_count.get(NE) as usize;
        let filter = (words as usize).saturating_mul(size_of::<u64>());
        let Some(rest) = rest.get(filter..) else {
            return Err(damaged("has a filter that is cut off"));
        };
        let (buckets, rest) = slice_from_bytes::<U32<Native>>(rest, buckets)
            .map_err(|()| damaged("has buckets that are cut off"))?;
        let (chains, _) = slice_from_bytes::<U32<Native>>(rest, rest.len() / size_of::<u32>())
            .map_err(|()| damaged("is not aligned"))?;
        Ok(Self {
            address,
            first: header.symbol_base.get(NE),
            buckets,
            chains,
        })
    }

    /// The symbol after the last one in the table. A chain runs to the next entry with its lowest
    /// bit set, so when the last chain ends inside the table, all of them do.
    fn check(&self) -> Result<u64, Finding> {
        let mut last = 0;
        for bucket in self.buckets {
            let bucket = bucket.get(NE);
            if bucket != 0 && bucket < self.first {
                return Err(self.damaged(format_args!(
                    "points to symbol {bucket}, and begins at symbol {}",
                    self.first
                )));
            }
            last = last.max(bucket);
        }
        if last == 0 {
            return Ok(self.first.into());
        }
        let chain = self.chains.get((last - self.first) as usize..);
        let end = chain.and_then(|chain| chain.iter().position(|hash| hash.get(NE) & 1 == 1));
        match end {
            Some(end) => Ok(u64::from(last) + end as u64 + 1),
            None => Err(self.damaged(format_args!(
                "has no end after symbol {last} inside its segment"
            ))),
        }
    }

    #[cold]
    fn damaged(&self, what: std::fmt::Arguments<'_>) -> Finding {
        Finding::corrupt(format!(
            "the symbol hash table at {:#x} {what}",
            self.address
        ))
    }
}

/// Every symbol stands in one chain at most; more steps than symbols are a circle, in which the
/// dynamic linker would go round for ever.
fn check_sysv(image: &Image<'_>, address: u64) -> Result<u64, Finding> {
    let damaged =
        |what: &str| Finding::corrupt(format!("the symbol hash table at {address:#x} {what}"));
    let rest = image.rest_at(address).unwrap_or(&[]);
    let (header, rest) = from_bytes::<HashHeader<Native>>(rest)
        .map_err(|()| damaged("is cut off or not aligned"))?;
    let (buckets, count) = (header.bucket_count.get(NE), header.chain_count.get(NE));
    let (buckets, rest) = slice_from_bytes::<U32<Native>>(rest, buckets as usize)
        .map_err(|()| damaged("has buckets that are cut off"))?;
    let (chains, _) = slice_from_bytes::<U32<Native>>(rest, count as usize)
        .map_err(|()| damaged("has chains that are cut off"))?;
    let mut steps = 0_usize;
    for bucket in buckets {
        let mut symbol = bucket.get(NE);
        while symbol != 0 {
            steps += 1;
            let Some(next) = chains.get(symbol as usize) else {
                return Err(damaged(&format!("points to symbol {symbol} of {count}")));
            };
            if steps > chains.len() {
                return Err(damaged("goes round in a circle"));
            }
            symbol = next.get(NE);
        }
    }
    Ok(count.into())
}
