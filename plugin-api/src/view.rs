//! Values as they cross the boundary: read from a peer, lent to a peer.
//!
//! What a peer sent is hostile until read here: unknown tags, text that is not UTF-8, null addresses
//! and endless nesting are refused, never followed.
#![expect(
    unsafe_code,
    reason = "borrowed values cross as addresses; this file turns them into values and back"
)]

use std::collections::BTreeMap;

use crate::abi::{EntryRef, Str, ValueRef, status, tag};
use crate::value::Value;

/// How deep lists and maps may nest.
pub const MAX_DEPTH: usize = 64;

/// The bytes behind `text`; none when it is empty or null.
///
/// # Safety
///
/// `text.ptr` is null or points to `text.len` bytes that live and stay unchanged for `'a`.
#[must_use]
#[inline]
pub unsafe fn bytes<'a>(text: Str) -> &'a [u8] {
    if text.ptr.is_null() || text.len == 0 {
        return &[];
    }
    // SAFETY: not null, and the caller vouches for the length and the lifetime.
    unsafe { std::slice::from_raw_parts(text.ptr, text.len) }
}

/// The text behind `text`, if it is UTF-8.
///
/// # Safety
///
/// As for [`bytes`].
#[must_use]
#[inline]
pub unsafe fn text<'a>(text: Str) -> Option<&'a str> {
    // SAFETY: the caller's promise is the one that `bytes` asks for.
    std::str::from_utf8(unsafe { bytes(text) }).ok()
}

/// The bytes of a [`tag::STR`] or [`tag::BYTES`] value.
///
/// # Safety
///
/// `value.bits` is 0 or the address of `value.len` bytes that live and stay unchanged for `'a`.
#[must_use]
#[inline]
pub unsafe fn payload<'a>(value: ValueRef) -> &'a [u8] {
    let text = Str {
        ptr: address(value),
        len: value.len as usize,
    };
    // SAFETY: the caller's promise is the one that `bytes` asks for.
    unsafe { bytes(text) }
}

/// Copies a peer's value, up to `limit` bytes of text, bytes, elements and keys in all.
///
/// # Errors
///
/// [`status::BAD_VALUE`] for an unknown tag, text that is not UTF-8, a null address with a length or
/// nesting beyond [`MAX_DEPTH`]; [`status::TOO_LARGE`] beyond `limit`.
///
/// # Safety
///
/// Every address reachable from `value` is null or points to as many bytes or elements as its `len`
/// says, alive and unchanged during this call.
pub unsafe fn copy(value: ValueRef, limit: usize) -> Result<Value, i32> {
    let mut left = limit;
    // SAFETY: the caller's promise is passed on.
    unsafe { copy_nested(value, &mut left, 0) }
}

/// # Safety
///
/// As for [`copy`].
unsafe fn copy_nested(value: ValueRef, left: &mut usize, depth: usize) -> Result<Value, i32> {
    if depth > MAX_DEPTH {
        return Err(status::BAD_VALUE);
    }
    let spend = |left: &mut usize, size: usize| -> Result<(), i32> {
        *left = left.checked_sub(size).ok_or(status::TOO_LARGE)?;
        Ok(())
    };
    let count = value.len as usize;
    if value.tag >= tag::STR && count > 0 && value.bits == 0 {
        return Err(status::BAD_VALUE);
    }
    match value.tag {
        tag::NULL => Ok(Value::Null),
        tag::BOOL => Ok(Value::Bool(value.bits != 0)),
        tag::I64 => Ok(Value::I64(value.bits.cast_signed())),
        tag::F64 => Ok(Value::F64(f64::from_bits(value.bits))),
        tag::STR => {
            spend(left, count)?;
            // SAFETY: part of the caller's promise.
            let bytes = unsafe { payload(value) };
            let text = std::str::from_utf8(bytes).map_err(|_| status::BAD_VALUE)?;
            Ok(Value::Str(text.to_owned()))
        }
        tag::BYTES => {
            spend(left, count)?;
            // SAFETY: part of the caller's promise.
            Ok(Value::Bytes(unsafe { payload(value) }.to_vec()))
        }
        tag::LIST => {
            spend(left, count.saturating_mul(size_of::<ValueRef>()))?;
            // SAFETY: part of the caller's promise.
            let elements = unsafe { elements::<ValueRef>(value) }?;
            let mut list = Vec::with_capacity(elements.len());
            for element in elements {
                // SAFETY: the element is reachable from `value`.
                list.push(unsafe { copy_nested(*element, left, depth + 1) }?);
            }
            Ok(Value::List(list))
        }
        tag::MAP => {
            spend(left, count.saturating_mul(size_of::<EntryRef>()))?;
            // SAFETY: part of the caller's promise.
            let entries = unsafe { elements::<EntryRef>(value) }?;
            let mut map = BTreeMap::new();
            for entry in entries {
                spend(left, entry.key.len)?;
                // SAFETY: the key is reachable from `value`.
                let key = unsafe { text(entry.key) }.ok_or(status::BAD_VALUE)?;
                // SAFETY: the value is reachable from `value`.
                let nested = unsafe { copy_nested(entry.value, left, depth + 1) }?;
                map.insert(key.to_owned(), nested);
            }
            Ok(Value::Map(map))
        }
        _ => Err(status::BAD_VALUE),
    }
}

/// # Safety
///
/// `value.bits` is 0 or the address of `value.len` elements that live and stay unchanged for `'a`.
unsafe fn elements<'a, T>(value: ValueRef) -> Result<&'a [T], i32> {
    if value.len == 0 {
        return Ok(&[]);
    }
    let first: *const T = address(value);
    if !first.is_aligned() {
        return Err(status::BAD_VALUE);
    }
    // SAFETY: not null because `copy_nested` refused that, aligned, and the caller vouches for the rest.
    Ok(unsafe { std::slice::from_raw_parts(first, value.len as usize) })
}

/// Lends text to a peer; `None` when it is 4 GiB or longer.
#[must_use]
#[inline]
pub fn lend_str(text: &str) -> Option<ValueRef> {
    lend_slice(tag::STR, text.as_bytes())
}

/// Lends bytes to a peer; `None` when they are 4 GiB or longer.
#[must_use]
#[inline]
pub fn lend_bytes(bytes: &[u8]) -> Option<ValueRef> {
    lend_slice(tag::BYTES, bytes)
}

/// Lends a whole number to a peer.
#[must_use]
#[inline]
pub fn lend_i64(number: i64) -> ValueRef {
    ValueRef {
        tag: tag::I64,
        len: 0,
        bits: number.cast_unsigned(),
    }
}

/// Lends a floating-point number to a peer.
#[must_use]
#[inline]
pub fn lend_f64(number: f64) -> ValueRef {
    ValueRef {
        tag: tag::F64,
        len: 0,
        bits: number.to_bits(),
    }
}

/// Lends a truth value to a peer.
#[must_use]
#[inline]
pub fn lend_bool(flag: bool) -> ValueRef {
    ValueRef {
        tag: tag::BOOL,
        len: 0,
        bits: flag.into(),
    }
}

/// The arrays that lent lists and maps point into; they live as long as this does.
#[derive(Debug, Default)]
pub struct Shelf {
    lists: Vec<Box<[ValueRef]>>,
    maps: Vec<Box<[EntryRef]>>,
}

impl Shelf {
    /// Lends `value` to a peer, until `value` changes or this shelf is cleared or dropped.
    ///
    /// `None` when a part of it is 4 GiB or longer or it nests beyond [`MAX_DEPTH`].
    pub fn lend(&mut self, value: &Value) -> Option<ValueRef> {
        self.lend_nested(value, 0)
    }

    /// Lends a list; as [`lend`](Self::lend).
    pub fn lend_list(&mut self, list: &[Value]) -> Option<ValueRef> {
        self.lend_elements(list, 0)
    }

    /// Lends a map; as [`lend`](Self::lend).
    pub fn lend_map(&mut self, map: &BTreeMap<String, Value>) -> Option<ValueRef> {
        self.lend_entries(map, 0)
    }

    /// Ends every loan.
    pub fn clear(&mut self) {
        self.lists.clear();
        self.maps.clear();
    }

    fn lend_nested(&mut self, value: &Value, depth: usize) -> Option<ValueRef> {
        if depth > MAX_DEPTH {
            return None;
        }
        match value {
            Value::Null => Some(ValueRef::NULL),
            Value::Bool(flag) => Some(lend_bool(*flag)),
            Value::I64(number) => Some(lend_i64(*number)),
            Value::F64(number) => Some(lend_f64(*number)),
            Value::Str(text) => lend_str(text),
            Value::Bytes(bytes) => lend_bytes(bytes),
            Value::List(list) => self.lend_elements(list, depth),
            Value::Map(map) => self.lend_entries(map, depth),
        }
    }

    fn lend_elements(&mut self, list: &[Value], depth: usize) -> Option<ValueRef> {
        let elements: Option<Box<[ValueRef]>> = list
            .iter()
            .map(|element| self.lend_nested(element, depth + 1))
            .collect();
        self.lists.push(elements?);
        lend_slice(tag::LIST, self.lists.last()?)
    }

    fn lend_entries(&mut self, map: &BTreeMap<String, Value>, depth: usize) -> Option<ValueRef> {
        let entries: Option<Box<[EntryRef]>> = map
            .iter()
            .map(|(key, value)| {
                Some(EntryRef {
                    key: Str::new(key),
                    value: self.lend_nested(value, depth + 1)?,
                })
            })
            .collect();
        self.maps.push(entries?);
        lend_slice(tag::MAP, self.maps.last()?)
    }
}

#[inline]
fn lend_slice<T>(tag: u32, elements: &[T]) -> Option<ValueRef> {
    Some(ValueRef {
        tag,
        len: u32::try_from(elements.len()).ok()?,
        bits: elements.as_ptr().expose_provenance() as u64,
    })
}

#[inline]
fn address<T>(value: ValueRef) -> *const T {
    std::ptr::with_exposed_provenance(value.bits as usize)
}
