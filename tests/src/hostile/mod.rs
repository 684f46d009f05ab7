//! Bundles that have to be refused, with the code for each. The rows are those of the catalogue of attacks
//! on archives that the tests go through.
//!
//! | row | what is wrong |
//! |---|---|
//! | 1–3, 9–14 | paths that lead elsewhere, are not portable, or stand twice |
//! | 4–8 | entries that are no regular files |
//! | 16–20 | headers that can be read in more than one way |
//! | 21–24 | archives that end too early, or go on |
//! | 25–27, 31 | what is around the archive |
//! | 28–30 | bombs |
//! | 32 | members and list that do not agree |

mod headers;
mod kinds;
mod list;
mod outside;
mod paths;
mod shape;
mod sizes;

use std::io::Read;

use flate2::read::GzDecoder;

use crate::archive::{self, Entry};

pub use sizes::repeat;

/// A bundle that has to be refused.
#[derive(Clone)]
pub struct Case {
    /// The row of the catalogue.
    pub row: u32,
    /// What is wrong, in words.
    pub name: String,
    /// The file.
    pub bytes: Vec<u8>,
    /// The code that says so.
    pub code: &'static str,
}

impl Case {
    /// The archive inside, if there is a whole one.
    #[must_use]
    pub fn archive(&self) -> Option<Vec<u8>> {
        let mut archive = Vec::new();
        // More is a bomb.
        let mut source = GzDecoder::new(&self.bytes[..]).take(1 << 20);
        let count = source.read_to_end(&mut archive).ok()?;
        (count < 1 << 20).then_some(archive)
    }
}

/// All of them.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    paths::add(&mut cases);
    kinds::add(&mut cases);
    headers::add(&mut cases);
    shape::add(&mut cases);
    outside::add(&mut cases);
    sizes::add(&mut cases);
    list::add(&mut cases);
    cases
}

/// Adds a case.
fn case(
    cases: &mut Vec<Case>,
    row: u32,
    code: &'static str,
    name: impl Into<String>,
    bytes: Vec<u8>,
) {
    cases.push(Case {
        row,
        name: name.into(),
        bytes,
        code,
    });
}

/// Adds a case for each place that entries can stand in: in front of everything, after the list, after all
/// members, and as the library of the plain form.
fn everywhere(cases: &mut Vec<Case>, row: u32, code: &'static str, name: &str, bad: &[Entry]) {
    let good = archive::good().entries();
    let plain = archive::plain();
    for (place, (before, after)) in [
        ("first", good.split_at(0)),
        ("after the list", good.split_at(2)),
        ("last", good.split_at(good.len())),
        ("for the library", plain.split_at(1)),
    ] {
        let all = [before, bad, after].concat();
        let bytes = archive::gzip(&archive::tar(&all));
        case(cases, row, code, format!("{name}, {place}"), bytes);
    }
}

/// The record of a PAX header for a key and its value.
fn record(key: &str, value: &str) -> Vec<u8> {
    // The length counts its own digits.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n").into_bytes()
}

/// A PAX header with those records.
fn pax(kind: u8, records: &[Vec<u8>]) -> Entry {
    Entry::new("PaxHeaders/x", records.concat()).kind(kind)
}

/// GNU tar's way to write a long name, or that of a link.
fn long(kind: u8, name: impl AsRef<[u8]>) -> Entry {
    let mut body = name.as_ref().to_vec();
    body.push(0);
    Entry::new("././@LongLink", body).kind(kind).gnu()
}
