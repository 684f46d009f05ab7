//! Values as JSON, in the form that the native protocol gives them.
//!
//! A map of several keys is decided by its first: one that begins with `$` says what the object stands
//! for, and stands alone. So nothing is read twice, and no text has two meanings.

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::BASE64;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, SerializeMap, SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

use crate::value::Value;
use crate::view::MAX_DEPTH;

/// The key of an object that stands for bytes.
const BYTES: &str = "$bytes";
/// The key of an object that stands for a number that JSON does not have.
const F64: &str = "$f64";
/// The key of an object that stands for a map with keys that begin with `$`.
const MAP: &str = "$map";

/// What all values of one record may take in memory, in bytes. A short text can stand for much: a map of one
/// key takes a hundred times as much as the text of it.
pub(super) const MEMORY: usize = 256 << 20;
/// What a value takes, and a key of a map or a list's place for it.
pub(super) const VALUE_COST: usize = 64;
/// What the first key of a map brings with it.
pub(super) const MAP_COST: usize = 640;

/// The values of a call by key, in the order they were set; the `values` and the `set` of a record.
///
/// As JSON it is an object whose keys are the values' own, also where they begin with `$`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values(pub Vec<(String, Value)>);

impl Values {
    /// The value under `key`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        let found = self.0.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value)
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Values {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let entries = entries.into_iter();
        Self(
            entries
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }
}

impl IntoIterator for Values {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, Shown(value, 0))))
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Values, A::Error> {
                let mut left = MEMORY;
                // Keeps the order, and refuses a key that comes twice.
                let mut places = BTreeMap::new();
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    let seed = Seed::new(&mut left, 0);
                    let value = map.next_value_seed(seed)?;
                    if places.insert(key.clone(), ()).is_some() {
                        return Err(twice(&key));
                    }
                    entries.push((key, value));
                }
                Ok(Values(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// A value as it is written, and how deep it stands.
pub(super) struct Shown<'a>(pub(super) &'a Value, pub(super) usize);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(value, depth) = *self;
        if depth > MAX_DEPTH {
            return Err(S::Error::custom(TooDeep));
        }
        let tagged = |serializer: S, tag: &str, text: &str| {
            let mut object = serializer.serialize_map(Some(1))?;
            object.serialize_entry(tag, text)?;
            object.end()
        };
        match value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(flag) => serializer.serialize_bool(*flag),
            Value::I64(number) => serializer.serialize_i64(*number),
            Value::F64(number) if number.is_finite() => serializer.serialize_f64(*number),
            Value::F64(number) if number.is_nan() => tagged(serializer, F64, "nan"),
            Value::F64(number) if *number > 0.0 => tagged(serializer, F64, "inf"),
            Value::F64(_) => tagged(serializer, F64, "-inf"),
            Value::Str(text) => serializer.serialize_str(text),
            Value::Bytes(bytes) => tagged(serializer, BYTES, &BASE64.encode(bytes)),
            Value::List(list) => {
                let mut sequence = serializer.serialize_seq(Some(list.len()))?;
                for element in list {
                    sequence.serialize_element(&Shown(element, depth + 1))?;
                }
                sequence.end()
            }
            Value::Map(map) if map.keys().any(|key| key.starts_with('$')) => {
                let mut object = serializer.serialize_map(Some(1))?;
                object.serialize_entry(MAP, &Entries(map, depth + 1))?;
                object.end()
            }
            Value::Map(map) => Entries(map, depth).serialize(serializer),
        }
    }
}

/// A map as a plain object, and how deep it stands.
struct Entries<'a>(&'a BTreeMap<String, Value>, usize);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(map, depth) = *self;
        if depth > MAX_DEPTH {
            return Err(S::Error::custom(TooDeep));
        }
        serializer.collect_map(
            map.iter()
                .map(|(key, value)| (key, Shown(value, depth + 1))),
        )
    }
}

/// Reads one value.
struct Seed<'a> {
    /// How much memory the values that follow may still take.
    left: &'a mut usize,
    depth: usize,
    /// Whether this is what a `$map` holds: a map whose keys mean nothing.
    plain: bool,
}

impl<'a> Seed<'a> {
    fn new(left: &'a mut usize, depth: usize) -> Self {
        Self {
            left,
            depth,
            plain: false,
        }
    }

    fn below(&mut self) -> Seed<'_> {
        Seed::new(self.left, self.depth + 1)
    }

    fn spend<E: serde::de::Error>(&mut self, cost: usize) -> Result<(), E> {
        match self.left.checked_sub(cost) {
            Some(left) => *self.left = left,
            None => return Err(E::custom("the values take more than 256 MiB of memory")),
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<Value, D::Error> {
        self.spend(VALUE_COST)?;
        match self {
            Self { depth, .. } if depth > MAX_DEPTH => Err(D::Error::custom(TooDeep)),
            Self { plain: true, .. } => deserializer.deserialize_map(self),
            Self { .. } => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.plain { "an object" } else { "a value" })
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::I64(number))
    }

    /// As the host reads any JSON: what does not fit is the nearest floating-point number.
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::F64(number as f64), Value::I64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::F64(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Str(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Str(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut sequence: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = sequence.next_element_seed(self.below())? {
            list.push(element);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some(key) = object.next_key::<String>()? {
            if key.starts_with('$') && !self.plain {
                if !map.is_empty() {
                    return Err(A::Error::custom(format_args!(
                        "a map with the key `{}` is written as `$map`",
                        key.escape_debug()
                    )));
                }
                return self.tagged(&key, object);
            }
            self.spend(if map.is_empty() { MAP_COST } else { VALUE_COST })?;
            let value = object.next_value_seed(self.below())?;
            if map.contains_key(&key) {
                return Err(twice(&key));
            }
            map.insert(key, value);
        }
        Ok(Value::Map(map))
    }
}

impl Seed<'_> {
    /// What an object with a single key of our own stands for.
    fn tagged<'de, A: MapAccess<'de>>(self, tag: &str, mut object: A) -> Result<Value, A::Error> {
        let value = match tag {
            BYTES => {
                let text: String = object.next_value()?;
                let bytes = BASE64.decode(text.as_bytes());
                Value::Bytes(bytes.map_err(|error| {
                    A::Error::custom(format_args!("`$bytes` is not base64 with padding: {error}"))
                })?)
            }
            F64 => match object.next_value::<String>()?.as_str() {
                "nan" => Value::F64(f64::NAN),
                "inf" => Value::F64(f64::INFINITY),
                "-inf" => Value::F64(f64::NEG_INFINITY),
                other => {
                    return Err(A::Error::custom(format_args!(
                        "`$f64` is `{}`, expected `nan`, `inf` or `-inf`",
                        other.escape_debug()
                    )));
                }
            },
            MAP => object.next_value_seed(Seed {
                left: self.left,
                depth: self.depth + 1,
                plain: true,
            })?,
            other => {
                return Err(A::Error::custom(format_args!(
                    "no value is written as `{}`, expected `$bytes`, `$f64` or `$map`",
                    other.escape_debug()
                )));
            }
        };
        match object.next_key::<String>()? {
            None => Ok(value),
            Some(_) => Err(A::Error::custom(format_args!("`{tag}` stands alone"))),
        }
    }
}

#[cold]
fn twice<E: serde::de::Error>(key: &str) -> E {
    E::custom(format_args!("the key `{}` comes twice", key.escape_debug()))
}

pub(super) struct TooDeep;

impl fmt::Display for TooDeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the values nest more than {MAX_DEPTH} deep")
    }
}
