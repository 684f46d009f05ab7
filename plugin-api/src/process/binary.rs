//! The records of a call in the binary form that both sides may agree on. `host/PROTOCOL.md` has it byte by
//! byte.
//!
//! What is read is held to what JSON is held to: the depth, the memory, no key twice, nothing missing and
//! nothing left over.

use std::collections::{BTreeMap, BTreeSet};

use super::codec::{MAP_COST, MEMORY, TooDeep, VALUE_COST, Values};
use super::pieces::Pieces;
use super::source::{Bytes, Coming, Source};
use super::wire::{Execute, ExecuteRef, Fault, Outcome, WireError};
use crate::value::Value;
use crate::view::MAX_DEPTH;

/// What a record begins with: which it is, in this version of the form.
const EXECUTE: [u8; 4] = *b"plg\x01";
const OUTCOME: [u8; 4] = *b"plg\x02";
/// What stands for a caller that waits for ever.
const NO_TIMEOUT: u64 = u64::MAX;

mod tag {
    pub(super) const NULL: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const I64: u8 = 3;
    pub(super) const F64: u8 = 4;
    pub(super) const STR: u8 = 5;
    pub(super) const BYTES: u8 = 6;
    pub(super) const LIST: u8 = 7;
    pub(super) const MAP: u8 = 8;
}

/// Adds a request, which takes at most `limit` bytes. Large values become `pieces`, if there are to be any.
pub(super) fn write_execute<'v>(
    bytes: &mut Vec<u8>,
    execute: &ExecuteRef<'v>,
    limit: usize,
    pieces: Option<&mut Pieces<'v>>,
) -> Result<(), WireError> {
    let mut out = Out::new(bytes, limit, pieces);
    out.raw(&EXECUTE)?;
    out.raw(&execute.id.to_le_bytes())?;
    out.raw(&execute.timeout_ms.unwrap_or(NO_TIMEOUT).to_le_bytes())?;
    out.raw(&execute.depth.to_le_bytes())?;
    out.text(execute.label)?;
    out.length(execute.values.len())?;
    for (key, value) in execute.values {
        out.text(key)?;
        out.value(value, 0)?;
    }
    Ok(())
}

/// Adds an outcome, which takes at most `limit` bytes. Large values become `pieces`, if there are to be any.
pub(super) fn write_outcome<'v>(
    bytes: &mut Vec<u8>,
    outcome: &'v Outcome,
    limit: usize,
    pieces: Option<&mut Pieces<'v>>,
) -> Result<(), WireError> {
    let mut out = Out::new(bytes, limit, pieces);
    out.raw(&OUTCOME)?;
    out.raw(&outcome.id.to_le_bytes())?;
    out.length(outcome.set.0.len())?;
    for (key, value) in &outcome.set.0 {
        out.text(key)?;
        out.value(value, 0)?;
    }
    out.length(outcome.removed.len())?;
    for key in &outcome.removed {
        out.text(key)?;
    }
    match &outcome.error {
        None => out.raw(&[0]),
        Some(Fault { code, message }) => {
            out.raw(&[1])?;
            out.text(code)?;
            out.text(message)
        }
    }
}

/// Reads a request.
pub(super) fn read_execute(bytes: &[u8]) -> Result<Execute, WireError> {
    execute(Rest::new(bytes))
}

/// Reads a request of so many bytes while it comes.
pub(super) fn read_execute_from(
    source: &mut impl Source,
    length: usize,
) -> Result<Execute, WireError> {
    execute(Rest::new(Coming::new(source, length)))
}

fn execute(mut rest: Rest<impl Bytes>) -> Result<Execute, WireError> {
    rest.begin(EXECUTE)?;
    let id = rest.u64()?;
    let timeout_ms = Some(rest.u64()?).filter(|limit| *limit != NO_TIMEOUT);
    let depth = rest.u32()?;
    let label = rest.text()?.to_owned();
    let values = rest.values()?;
    rest.end()?;
    Ok(Execute {
        id,
        label,
        values,
        timeout_ms,
        depth,
    })
}

/// Reads an outcome.
pub(super) fn read_outcome(bytes: &[u8]) -> Result<Outcome, WireError> {
    outcome(Rest::new(bytes))
}

/// Reads an outcome of so many bytes while it comes.
pub(super) fn read_outcome_from(
    source: &mut impl Source,
    length: usize,
) -> Result<Outcome, WireError> {
    outcome(Rest::new(Coming::new(source, length)))
}

fn outcome(mut rest: Rest<impl Bytes>) -> Result<Outcome, WireError> {
    rest.begin(OUTCOME)?;
    let id = rest.u64()?;
    let set = rest.values()?;
    let mut removed = Vec::new();
    for _ in 0..rest.u32()? {
        rest.spend(VALUE_COST)?;
        removed.push(rest.text()?.to_owned());
    }
    let error = match rest.byte()? {
        0 => None,
        1 => Some(Fault {
            code: rest.text()?.to_owned(),
            message: rest.text()?.to_owned(),
        }),
        other => return Err(shape(format!("{other} says neither yes nor no"))),
    };
    rest.end()?;
    Ok(Outcome {
        id,
        set,
        removed,
        error,
    })
}

/// Where a record is written, up to a limit.
struct Out<'a, 'v> {
    bytes: &'a mut Vec<u8>,
    limit: usize,
    left: usize,
    pieces: Option<&'a mut Pieces<'v>>,
}

impl<'a, 'v> Out<'a, 'v> {
    fn new(bytes: &'a mut Vec<u8>, limit: usize, pieces: Option<&'a mut Pieces<'v>>) -> Self {
        Self {
            bytes,
            limit,
            left: limit,
            pieces,
        }
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.spend(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn spend(&mut self, count: usize) -> Result<(), WireError> {
        let limit = self.limit;
        let left = self.left.checked_sub(count);
        self.left = left.ok_or(WireError::TooLarge { limit })?;
        Ok(())
    }

    /// Adds bytes that may stay where they are.
    fn lent(&mut self, bytes: &'v [u8]) -> Result<(), WireError> {
        self.length(bytes.len())?;
        let after = self.bytes.len();
        let pieces = self.pieces.as_mut();
        if pieces.is_some_and(|pieces| pieces.take(after, bytes)) {
            self.spend(bytes.len())
        } else {
            self.raw(bytes)
        }
    }

    fn length(&mut self, length: usize) -> Result<(), WireError> {
        let limit = self.limit;
        let length = u32::try_from(length).map_err(|_| WireError::TooLarge { limit })?;
        self.raw(&length.to_le_bytes())
    }

    fn text(&mut self, text: &str) -> Result<(), WireError> {
        self.length(text.len())?;
        self.raw(text.as_bytes())
    }

    fn value(&mut self, value: &'v Value, depth: usize) -> Result<(), WireError> {
        if depth > MAX_DEPTH {
            return Err(shape(TooDeep));
        }
        match value {
            Value::Null => self.raw(&[tag::NULL]),
            Value::Bool(false) => self.raw(&[tag::FALSE]),
            Value::Bool(true) => self.raw(&[tag::TRUE]),
            Value::I64(number) => {
                self.raw(&[tag::I64])?;
                self.raw(&number.to_le_bytes())
            }
            Value::F64(number) => {
                self.raw(&[tag::F64])?;
                self.raw(&number.to_bits().to_le_bytes())
            }
            Value::Str(text) => {
                self.raw(&[tag::STR])?;
                self.lent(text.as_bytes())
            }
            Value::Bytes(bytes) => {
                self.raw(&[tag::BYTES])?;
                self.lent(bytes)
            }
            Value::List(list) => {
                self.raw(&[tag::LIST])?;
                self.length(list.len())?;
                let mut elements = list.iter();
                elements.try_for_each(|element| self.value(element, depth + 1))
            }
            Value::Map(map) => {
                self.raw(&[tag::MAP])?;
                self.length(map.len())?;
                let mut entries = map.iter();
                entries.try_for_each(|(key, value)| {
                    self.text(key)?;
                    self.value(value, depth + 1)
                })
            }
        }
    }
}

/// What was not read yet of a record.
struct Rest<B> {
    bytes: B,
    /// How much memory the values that follow may still take.
    left: usize,
}

/// Up to so many keys are compared with one another.
const FEW: usize = 16;

impl<B: Bytes> Rest<B> {
    fn new(bytes: B) -> Self {
        Self {
            bytes,
            left: MEMORY,
        }
    }

    fn begin(&mut self, expected: [u8; 4]) -> Result<(), WireError> {
        if self.array::<4>()? == expected {
            Ok(())
        } else {
            Err(shape("it begins as no such record of version 1 does"))
        }
    }

    fn end(&self) -> Result<(), WireError> {
        match self.bytes.left() {
            0 => Ok(()),
            more => Err(shape(format!("{more} bytes follow the record"))),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes.slice(N)?);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, WireError> {
        self.array().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_le_bytes)
    }

    fn length(&mut self) -> Result<usize, WireError> {
        let length = self.u32()?;
        Ok(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn bytes(&mut self) -> Result<Vec<u8>, WireError> {
        let length = self.length()?;
        self.bytes.block(length)
    }

    /// A text that is short, usually.
    fn text(&mut self) -> Result<&str, WireError> {
        let length = self.length()?;
        let text = std::str::from_utf8(self.bytes.slice(length)?);
        text.map_err(|error| shape(format!("a text: {error}")))
    }

    /// A text that can be long.
    fn value_text(&mut self) -> Result<String, WireError> {
        let text = String::from_utf8(self.bytes()?);
        text.map_err(|error| shape(format!("a text: {}", error.utf8_error())))
    }

    fn spend(&mut self, cost: usize) -> Result<(), WireError> {
        let left = self.left.checked_sub(cost);
        self.left = left.ok_or_else(|| shape("the values take more than 256 MiB of memory"))?;
        Ok(())
    }

    fn values(&mut self) -> Result<Values, WireError> {
        let count = self.u32()?;
        let mut entries: Vec<(String, Value)> = Vec::new();
        let mut many = BTreeSet::new();
        for _ in 0..count {
            let key = self.text()?.to_owned();
            let comes_twice = if entries.len() < FEW {
                entries.iter().any(|(known, _)| *known == key)
            } else {
                if many.is_empty() {
                    many.extend(entries.iter().map(|(known, _)| known.clone()));
                }
                !many.insert(key.clone())
            };
            if comes_twice {
                return Err(twice(&key));
            }
            let value = self.value(0)?;
            entries.push((key, value));
        }
        Ok(Values(entries))
    }

    fn value(&mut self, depth: usize) -> Result<Value, WireError> {
        self.spend(VALUE_COST)?;
        if depth > MAX_DEPTH {
            return Err(shape(TooDeep));
        }
        Ok(match self.byte()? {
            tag::NULL => Value::Null,
            tag::FALSE => Value::Bool(false),
            tag::TRUE => Value::Bool(true),
            tag::I64 => Value::I64(i64::from_le_bytes(self.array()?)),
            tag::F64 => Value::F64(f64::from_bits(self.u64()?)),
            tag::STR => Value::Str(self.value_text()?),
            tag::BYTES => Value::Bytes(self.bytes()?),
            tag::LIST => {
                let mut list = Vec::new();
                for _ in 0..self.u32()? {
                    list.push(self.value(depth + 1)?);
                }
                Value::List(list)
            }
            tag::MAP => Value::Map(self.map(depth)?),
            other => return Err(shape(format!("no value has the tag {other}"))),
        })
    }

    fn map(&mut self, depth: usize) -> Result<BTreeMap<String, Value>, WireError> {
        let mut map = BTreeMap::new();
        for _ in 0..self.u32()? {
            self.spend(if map.is_empty() { MAP_COST } else { VALUE_COST })?;
            let key = self.text()?.to_owned();
            match map.last_key_value().map(|(last, _): (&String, _)| last) {
                Some(last) if *last == key => return Err(twice(&key)),
                Some(last) if *last > key => {
                    let key = key.escape_debug();
                    return Err(shape(format!("the key `{key}` is not in its place")));
                }
                _ => {}
            }
            let value = self.value(depth + 1)?;
            map.insert(key, value);
        }
        Ok(map)
    }
}

#[cold]
fn twice(key: &str) -> WireError {
    shape(format!("the key `{}` comes twice", key.escape_debug()))
}

#[cold]
fn shape(problem: impl ToString) -> WireError {
    let message = problem.to_string();
    WireError::Shape { message }
}
