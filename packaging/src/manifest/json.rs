//! Reading JSON leniently: a value of the wrong type is reported with its place and read past, so that one pass finds
//! every problem.
//!
//! Recursion here is as deep as the document is nested, and `serde_json` stops at 128 levels.

use std::{
    borrow::Cow,
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    marker::PhantomData,
};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, map};

use super::{
    key::{Key, report_duplicate},
    problem::{Place, code},
};
use crate::text::Quoted;

/// What was found where a field may stand.
#[derive(Default)]
pub(super) enum Field<T> {
    /// The key is not there.
    #[default]
    Absent,
    /// The key is there and says `null`, which means the same.
    Null,
    /// The value has another type; that is reported already.
    Wrong,
    /// The value.
    Is(T),
}

/// A type that a JSON value can have. Whatever a shape does not accept is reported as a wrong type.
pub(super) trait Shape<'de>: Sized {
    /// What an author should have written, for instance `a string`.
    const EXPECTED: &'static str;

    fn from_null() -> Field<Self> {
        Field::Null
    }

    fn from_bool(_: bool) -> Option<Self> {
        None
    }

    fn from_number(_: Number) -> Option<Self> {
        None
    }

    fn from_text(_: Cow<'de, str>) -> Option<Self> {
        None
    }

    fn from_list<A: SeqAccess<'de>>(list: A, place: Place<'_>) -> Result<Option<Self>, A::Error> {
        Value::from_list(list, place)?;
        Ok(None)
    }

    fn from_object<A: MapAccess<'de>>(
        object: A,
        place: Place<'_>,
    ) -> Result<Option<Self>, A::Error> {
        Value::from_object(object, place)?;
        Ok(None)
    }
}

/// Reads the value at a place as a `T`.
pub(super) struct Reading<'p, T> {
    place: Place<'p>,
    shape: PhantomData<T>,
}

impl<'p, T> Reading<'p, T> {
    pub(super) fn at(place: Place<'p>) -> Self {
        Self {
            place,
            shape: PhantomData,
        }
    }
}

impl<'de, T: Shape<'de>> DeserializeSeed<'de> for Reading<'_, T> {
    type Value = Field<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field<T>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Shape<'de>> Reading<'_, T> {
    fn accept(self, value: Option<T>, found: impl fmt::Display) -> Field<T> {
        match value {
            Some(value) => Field::Is(value),
            None => {
                self.place.error(
                    code::FIELD,
                    format_args!("expected {}, found {found}", T::EXPECTED),
                );
                Field::Wrong
            }
        }
    }
}

impl<'de, T: Shape<'de>> Visitor<'de> for Reading<'_, T> {
    type Value = Field<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_unit<E>(self) -> Result<Field<T>, E> {
        Ok(T::from_null())
    }

    fn visit_bool<E>(self, value: bool) -> Result<Field<T>, E> {
        Ok(self.accept(T::from_bool(value), value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Field<T>, E> {
        Ok(self.accept(
            T::from_number(value.into()),
            format_args!("the number {value}"),
        ))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Field<T>, E> {
        Ok(self.accept(
            T::from_number(value.into()),
            format_args!("the number {value}"),
        ))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Field<T>, E> {
        let number = Number::from_f64(value).and_then(T::from_number);
        Ok(self.accept(number, format_args!("the number {value}")))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Field<T>, E> {
        Ok(self.accept(
            T::from_text(Cow::Borrowed(value)),
            format_args!("the string {}", Quoted(value)),
        ))
    }

    fn visit_str<E>(self, value: &str) -> Result<Field<T>, E> {
        let owned = T::from_text(Cow::Owned(value.to_owned()));
        Ok(self.accept(owned, format_args!("the string {}", Quoted(value))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Field<T>, A::Error> {
        let value = T::from_list(list, self.place)?;
        Ok(self.accept(value, "a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Field<T>, A::Error> {
        let value = T::from_object(object, self.place)?;
        Ok(self.accept(value, "an object"))
    }
}

impl<'de> Shape<'de> for Cow<'de, str> {
    const EXPECTED: &'static str = "a string";

    fn from_text(text: Cow<'de, str>) -> Option<Self> {
        Some(text)
    }
}

impl<'de> Shape<'de> for u64 {
    const EXPECTED: &'static str = "a whole number";

    fn from_number(number: Number) -> Option<Self> {
        number.as_u64()
    }
}

impl<'de> Shape<'de> for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_bool(value: bool) -> Option<Self> {
        Some(value)
    }
}

/// A list whose items keep their positions, whether they could be read or not.
impl<'de, T: Shape<'de>> Shape<'de> for Vec<Field<T>> {
    const EXPECTED: &'static str = "a list";

    fn from_list<A: SeqAccess<'de>>(
        mut list: A,
        place: Place<'_>,
    ) -> Result<Option<Self>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(Reading::at(place.index(items.len())))? {
            items.push(never_null(item, place.index(items.len())));
        }
        Ok(Some(items))
    }
}

/// An object whose keys are the author's own words, so they are compared exactly.
impl<'de, T: Shape<'de>> Shape<'de> for BTreeMap<Cow<'de, str>, Field<T>> {
    const EXPECTED: &'static str = "an object";

    fn from_object<A: MapAccess<'de>>(
        mut object: A,
        place: Place<'_>,
    ) -> Result<Option<Self>, A::Error> {
        let mut entries = Self::new();
        while let Some(Key(key)) = object.next_key()? {
            match entries.entry(key) {
                Entry::Vacant(entry) => {
                    let here = place.key(entry.key());
                    let value = never_null(object.next_value_seed(Reading::at(here))?, here);
                    entry.insert(value);
                }
                Entry::Occupied(entry) => {
                    let here = place.key(entry.key());
                    report_duplicate(here, entry.key());
                    object.next_value_seed(Reading::<Value>::at(here))?;
                }
            }
        }
        Ok(Some(entries))
    }
}

/// Any JSON at all: schemas, and what stands under keys nobody knows.
impl<'de> Shape<'de> for Value {
    const EXPECTED: &'static str = "a value";

    fn from_null() -> Field<Self> {
        Field::Is(Self::Null)
    }

    fn from_bool(value: bool) -> Option<Self> {
        Some(Self::Bool(value))
    }

    fn from_number(number: Number) -> Option<Self> {
        Some(Self::Number(number))
    }

    fn from_text(text: Cow<'de, str>) -> Option<Self> {
        Some(Self::String(text.into_owned()))
    }

    fn from_list<A: SeqAccess<'de>>(
        mut list: A,
        place: Place<'_>,
    ) -> Result<Option<Self>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(Reading::at(place.index(items.len())))? {
            items.push(value_or_null(item));
        }
        Ok(Some(Self::Array(items)))
    }

    fn from_object<A: MapAccess<'de>>(
        object: A,
        place: Place<'_>,
    ) -> Result<Option<Self>, A::Error> {
        Ok(Map::from_object(object, place)?.map(Self::Object))
    }
}

/// A free-form object, checked for keys that stand twice at every level.
impl<'de> Shape<'de> for Map<String, Value> {
    const EXPECTED: &'static str = "an object";

    fn from_object<A: MapAccess<'de>>(
        mut object: A,
        place: Place<'_>,
    ) -> Result<Option<Self>, A::Error> {
        let mut entries = Self::new();
        while let Some(Key(key)) = object.next_key()? {
            let value = value_or_null(object.next_value_seed(Reading::at(place.key(&key)))?);
            match entries.entry(key.into_owned()) {
                map::Entry::Vacant(entry) => {
                    entry.insert(value);
                }
                map::Entry::Occupied(entry) => {
                    report_duplicate(place.key(entry.key()), entry.key())
                }
            }
        }
        Ok(Some(entries))
    }
}

fn never_null<'de, T: Shape<'de>>(item: Field<T>, here: Place<'_>) -> Field<T> {
    match item {
        Field::Null => {
            here.error(
                code::FIELD,
                format_args!("expected {}, found null", T::EXPECTED),
            );
            Field::Wrong
        }
        item => item,
    }
}

/// `Value` accepts everything, so nothing but a value ever comes back.
fn value_or_null(field: Field<Value>) -> Value {
    match field {
        Field::Is(value) => value,
        Field::Absent | Field::Null | Field::Wrong => Value::Null,
    }
}
