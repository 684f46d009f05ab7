//! The keys of objects: those that fields claim, those that nobody knows, and those that stand twice.

use std::{borrow::Cow, collections::BTreeSet, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::{
    json::{Field, Reading, Shape},
    problem::{Place, code},
};
use crate::text::Quoted;

/// A key, borrowed from the document unless it is escaped.
pub(super) struct Key<'de>(pub(super) Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// The keys of one object that no field claimed.
#[derive(Default)]
pub(super) struct Strays(BTreeSet<String>);

/// Whether a stray key is a mistake that may be overlooked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    Warns,
    /// What is asked for here decides what runs and with which rights, so a misspelt key must not be overlooked.
    Fails,
}

impl Strays {
    /// Reads past the value of a key that is not among `known`.
    pub(super) fn read_past<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        object: &mut A,
        place: Place<'_>,
        known: &[&str],
        unknown: Unknown,
    ) -> Result<(), A::Error> {
        let here = place.key(key);
        if self.0.insert(key.to_ascii_lowercase()) {
            let meant = Meant { key, known };
            match unknown {
                Unknown::Warns => here.warn(
                    code::UNKNOWN_FIELD,
                    format_args!("unknown field is ignored{meant}"),
                ),
                Unknown::Fails => {
                    here.error(code::UNKNOWN_FIELD, format_args!("unknown field{meant}"))
                }
            }
        } else {
            report_duplicate(here, key);
        }
        object.next_value_seed(Reading::<Value>::at(here))?;
        Ok(())
    }
}

/// Reads the value of a known key, unless the field was read before.
pub(super) fn read_once<'de, T: Shape<'de>, A: MapAccess<'de>>(
    field: &mut Field<T>,
    key: &str,
    object: &mut A,
    here: Place<'_>,
) -> Result<(), A::Error> {
    if matches!(field, Field::Absent) {
        *field = object.next_value_seed(Reading::at(here))?;
    } else {
        report_duplicate(here, key);
        object.next_value_seed(Reading::<Value>::at(here))?;
    }
    Ok(())
}

/// A key that stands twice means different things to different readers, so it is a problem at every level.
pub(super) fn report_duplicate(here: Place<'_>, key: &str) {
    here.error(
        code::JSON,
        format_args!(
            "the key stands twice in one object, here as {}",
            Quoted(key)
        ),
    );
}

/// Asks for the known key that was probably meant, worked out only when somebody reads it.
struct Meant<'a> {
    key: &'a str,
    known: &'a [&'a str],
}

impl fmt::Display for Meant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match nearest(self.key, self.known) {
            Some(meant) => write!(f, ", did you mean `{meant}`?"),
            None => Ok(()),
        }
    }
}

/// The known key within two typing mistakes of `key`.
fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    const LONGEST: usize = 32;
    if key.len() > LONGEST || key.len() < 3 {
        return None;
    }
    let key = key.to_ascii_lowercase();
    let distances = known
        .iter()
        .map(|known| (distance(key.as_bytes(), known.as_bytes()), *known));
    distances
        .filter(|(distance, _)| *distance <= 2)
        .min()
        .map(|(_, known)| known)
}

/// How many single-byte edits lead from one word to the other (Levenshtein).
fn distance(from: &[u8], to: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, b) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}
