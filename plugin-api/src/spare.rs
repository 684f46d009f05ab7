//! Memory of large values, for the next ones: to have the system map fresh memory for each takes longer than
//! to copy what comes into it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::value::Value;

/// What has fewer bytes comes from the allocator, which has such memory at hand.
pub(crate) const LARGE: usize = 64 << 10;
/// The most bytes of a block that is kept.
const MOST: usize = 2 << 20;
/// How many are kept.
const COUNT: usize = 4;

static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// So many bytes, whatever they are.
pub(crate) fn block(length: usize) -> Vec<u8> {
    let mut block = if (LARGE..=MOST).contains(&length) {
        let mut kept = kept();
        let fits = kept.iter().rposition(|block| block.capacity() >= length);
        fits.map(|place| kept.swap_remove(place))
            .unwrap_or_default()
    } else {
        Vec::new()
    };
    if block.capacity() < length {
        return vec![0; length];
    }
    // What is there already is not written to.
    block.resize(length, 0);
    block
}

/// A copy of these bytes.
pub(crate) fn copy(bytes: &[u8]) -> Vec<u8> {
    let mut block = block(bytes.len());
    block.copy_from_slice(bytes);
    block
}

/// Keeps the memory of a value that nobody needs any more.
pub(crate) fn keep(value: Value) {
    let block = match value {
        Value::Bytes(bytes) => bytes,
        Value::Str(text) => text.into_bytes(),
        _ => return,
    };
    if !(LARGE..=MOST).contains(&block.capacity()) {
        return;
    }
    let mut kept = kept();
    if kept.len() < COUNT {
        kept.push(block);
    }
}

fn kept() -> MutexGuard<'static, Vec<Vec<u8>>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}
