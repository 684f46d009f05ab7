//! Between Rust types and the values of a context.
#![expect(unsafe_code, reason = "a view borrows what the host lent for the call")]

use std::collections::BTreeMap;

use crate::abi::{ValueRef, tag};
use crate::value::{Kind, Value};
use crate::view;

/// A value as the host lent it: scalars and text in place, lists and maps copied.
#[derive(Clone, Debug)]
pub enum View<'a> {
    /// A null, a truth value, a number, a list or a map.
    Owned(Value),
    /// Text in the host's memory.
    Str(&'a str),
    /// Bytes in the host's memory.
    Bytes(&'a [u8]),
}

/// A type that [`Context::get`](crate::Context::get) can return.
pub trait FromValue<'a>: Sized {
    /// What a message calls this type.
    const EXPECTED: &'static str;

    /// The value, or `None` when it is of another kind or out of range.
    fn from_view(view: View<'a>) -> Option<Self>;

    /// The value of a scalar, where that is all there is to it; `None` says nothing.
    #[doc(hidden)]
    #[inline]
    fn from_scalar(_tag: u32, _bits: u64) -> Option<Self> {
        None
    }
}

/// A type that [`Context::set`](crate::Context::set) can store.
pub trait IntoValue {
    /// Lends the value to `receive` for one call; `None` when it is too large to cross.
    fn lend<R>(&self, receive: impl FnOnce(ValueRef) -> R) -> Option<R>;
}

impl<'a> View<'a> {
    /// Reads what the host lent; a value the host could not have made reads as null.
    ///
    /// # Safety
    ///
    /// `value` comes from this call's host, and text and bytes live unchanged for `'a`.
    #[must_use]
    #[inline]
    pub unsafe fn read(value: ValueRef) -> Self {
        match value.tag {
            tag::STR => {
                // SAFETY: the host vouches for the length, the caller for the lifetime.
                let bytes = unsafe { view::payload(value) };
                // SAFETY: the host stores text only after it checked that it is UTF-8.
                Self::Str(unsafe { std::str::from_utf8_unchecked(bytes) })
            }
            tag::BYTES => {
                // SAFETY: the host vouches for the length, the caller for the lifetime.
                Self::Bytes(unsafe { view::payload(value) })
            }
            tag::I64 => Self::Owned(Value::I64(value.bits.cast_signed())),
            tag::F64 => Self::Owned(Value::F64(f64::from_bits(value.bits))),
            tag::BOOL => Self::Owned(Value::Bool(value.bits != 0)),
            _ => {
                // SAFETY: the host vouches for every address in it.
                Self::Owned(unsafe { view::copy(value, usize::MAX) }.unwrap_or_default())
            }
        }
    }

    /// The kind of the value.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Owned(value) => value.kind(),
            Self::Str(_) => Kind::Str,
            Self::Bytes(_) => Kind::Bytes,
        }
    }
}

macro_rules! from_value {
    ($($type:ty, $expected:literal, $pattern:pat => $make:expr
        $(, $tag:pat, |$bits:ident| $scalar:expr)?;)*) => {
        $(impl<'a> FromValue<'a> for $type {
            const EXPECTED: &'static str = $expected;

            #[inline]
            fn from_view(view: View<'a>) -> Option<Self> {
                match view {
                    $pattern => $make,
                    _ => None,
                }
            }

            $(#[inline]
            fn from_scalar(tag: u32, $bits: u64) -> Option<Self> {
                match tag {
                    $tag => $scalar,
                    _ => None,
                }
            })?
        })*
    };
}

from_value! {
    bool, "bool", View::Owned(Value::Bool(flag)) => Some(flag),
        tag::BOOL, |bits| Some(bits != 0);
    i64, "i64", View::Owned(Value::I64(number)) => Some(number),
        tag::I64, |bits| Some(bits.cast_signed());
    i32, "i64 within i32", View::Owned(Value::I64(number)) => number.try_into().ok(),
        tag::I64, |bits| bits.cast_signed().try_into().ok();
    u64, "i64 from 0", View::Owned(Value::I64(number)) => number.try_into().ok(),
        tag::I64, |bits| bits.cast_signed().try_into().ok();
    u32, "i64 within u32", View::Owned(Value::I64(number)) => number.try_into().ok(),
        tag::I64, |bits| bits.cast_signed().try_into().ok();
    usize, "i64 from 0", View::Owned(Value::I64(number)) => number.try_into().ok(),
        tag::I64, |bits| bits.cast_signed().try_into().ok();
    f64, "f64 or i64", View::Owned(value) => value.as_f64(),
        tag::F64, |bits| Some(f64::from_bits(bits));
    &'a str, "str", View::Str(text) => Some(text);
    String, "str", View::Str(text) => Some(text.to_owned());
    &'a [u8], "bytes", View::Bytes(bytes) => Some(bytes);
    Vec<u8>, "bytes", View::Bytes(bytes) => Some(bytes.to_vec());
    Vec<Value>, "list", View::Owned(Value::List(list)) => Some(list);
    BTreeMap<String, Value>, "map", View::Owned(Value::Map(map)) => Some(map);
}

impl<'a> FromValue<'a> for Value {
    const EXPECTED: &'static str = "any value";

    fn from_view(view: View<'a>) -> Option<Self> {
        Some(match view {
            View::Owned(value) => value,
            View::Str(text) => Self::Str(text.to_owned()),
            View::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
        })
    }
}

impl<'a, T: FromValue<'a>> FromValue<'a> for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    #[inline]
    fn from_view(view: View<'a>) -> Option<Self> {
        match view {
            View::Owned(Value::Null) => Some(None),
            view => T::from_view(view).map(Some),
        }
    }

    #[inline]
    fn from_scalar(tag: u32, bits: u64) -> Option<Self> {
        T::from_scalar(tag, bits).map(Some)
    }
}

macro_rules! into_value {
    ($($type:ty, |$value:ident| $make:expr;)*) => {
        $(impl IntoValue for $type {
            #[inline]
            fn lend<R>(&self, receive: impl FnOnce(ValueRef) -> R) -> Option<R> {
                let $value = self;
                $make.map(receive)
            }
        })*
    };
}

into_value! {
    (), |_unit| Some(ValueRef::NULL);
    bool, |flag| Some(view::lend_bool(*flag));
    i64, |number| Some(view::lend_i64(*number));
    i32, |number| Some(view::lend_i64((*number).into()));
    u32, |number| Some(view::lend_i64((*number).into()));
    u64, |number| i64::try_from(*number).ok().map(view::lend_i64);
    usize, |number| i64::try_from(*number).ok().map(view::lend_i64);
    u16, |number| Some(view::lend_i64((*number).into()));
    f64, |number| Some(view::lend_f64(*number));
    f32, |number| Some(view::lend_f64((*number).into()));
    str, |text| view::lend_str(text);
    String, |text| view::lend_str(text);
    [u8], |bytes| view::lend_bytes(bytes);
    Vec<u8>, |bytes| view::lend_bytes(bytes);
}

impl IntoValue for Value {
    fn lend<R>(&self, receive: impl FnOnce(ValueRef) -> R) -> Option<R> {
        let mut shelf = view::Shelf::default();
        shelf.lend(self).map(receive)
    }
}

impl IntoValue for Vec<Value> {
    fn lend<R>(&self, receive: impl FnOnce(ValueRef) -> R) -> Option<R> {
        let mut shelf = view::Shelf::default();
        shelf.lend_list(self).map(receive)
    }
}

impl IntoValue for BTreeMap<String, Value> {
    fn lend<R>(&self, receive: impl FnOnce(ValueRef) -> R) -> Option<R> {
        let mut shelf = view::Shelf::default();
        shelf.lend_map(self).map(receive)
    }
}

impl<T: IntoValue + ?Sized> IntoValue for &T {
    #[inline]
    fn lend<R>(&self, receive: impl FnOnce(ValueRef) -> R) -> Option<R> {
        (**self).lend(receive)
    }
}

impl<T: IntoValue> IntoValue for Option<T> {
    fn lend<R>(&self, receive: impl FnOnce(ValueRef) -> R) -> Option<R> {
        match self {
            Some(value) => value.lend(receive),
            None => Some(receive(ValueRef::NULL)),
        }
    }
}
