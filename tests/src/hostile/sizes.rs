//! Rows 28–30: bombs.

use std::io::Write;

use flate2::{Compress, Compression, Crc, FlushCompress};

use super::{Case, case};
use crate::archive::{self, BLOCK, Bundle, Entry, entries, field, manifest};

const MEBIBYTE: usize = 1 << 20;

pub(super) fn add(cases: &mut Vec<Case>) {
    let zeros = vec![0; MEBIBYTE];
    let size = |count: usize| format!("{:011o}\0", count * MEBIBYTE);
    let plain = |count: usize| {
        let library = Entry::new("libhello.so", []).with(field::SIZE, size(count));
        entries(&[Entry::new("plugin.json", manifest()), library])
    };
    let end = [0; 2 * BLOCK];
    let mut bomb = |name: &str, bytes| case(cases, 28, "bundle.too_large", name, bytes);
    bomb(
        "a library of a gibibyte of zeros",
        repeat(&plain(1024), &zeros, 1024, &end),
    );
    bomb(
        "20 mebibytes in 20 kibibytes",
        repeat(&plain(20), &zeros, 20, &end),
    );
    bomb("a manifest of a gibibyte", {
        let manifest = Entry::new("plugin.json", []).with(field::SIZE, size(1024));
        repeat(&manifest.bytes(), &zeros, 1024, &end)
    });
    bomb("more in the archive than in the list", {
        let mut head = Bundle::new([("assets/a", vec![0; 10])]).entries();
        head[2] = Entry::new("assets/a", []).with(field::SIZE, size(1024));
        repeat(&entries(&head), &zeros, 1024, &end)
    });
    bomb("more in the list than is allowed", {
        let mut bundle = Bundle::new([("assets/a", vec![0; 77])]);
        let list = String::from_utf8(bundle.contents).expect("a list is text");
        bundle.contents = list
            .replace("\"size\": 77", "\"size\": 1073741824")
            .into_bytes();
        bundle.bytes()
    });
    bomb("sizes in the list that overflow", {
        let mut bundle = Bundle::new([("assets/a", vec![0; 77]), ("assets/b", vec![0; 77])]);
        let list = String::from_utf8(bundle.contents).expect("a list is text");
        bundle.contents = list
            .replace("\"size\": 77", "\"size\": 18446744073709551615")
            .into_bytes();
        bundle.bytes()
    });
    bomb("a manifest over its cap", {
        let mut bundle = archive::good();
        bundle.manifest = vec![b' '; MEBIBYTE + 1];
        bundle.bytes()
    });
    bomb("a list over its cap", {
        let mut bundle = archive::good();
        bundle.contents = vec![b' '; MEBIBYTE + 1];
        bundle.bytes()
    });
    bomb("a signature over its cap", {
        let mut bundle = archive::good();
        bundle.signature = Some(vec![b' '; (8 << 10) + 1]);
        bundle.bytes()
    });
    many(cases);
}

fn many(cases: &mut Vec<Case>) {
    let empty =
        |count: usize| Bundle::new((0..count).map(|one| (format!("assets/{one:06}"), Vec::new())));
    // With the manifest and `assets` itself these are one too many.
    case(
        cases,
        29,
        "bundle.too_many",
        "4095 empty files",
        empty(4095).bytes(),
    );
    let extra = entries(&vec![Entry::new("assets/more", []); 2000]);
    let head = entries(&archive::good().entries());
    let bytes = repeat(&head, &extra, 100, &[0; 2 * BLOCK]);
    case(
        cases,
        29,
        "bundle.manifest_mismatch",
        "200,000 entries that are not listed",
        bytes,
    );
    let head = entries(&archive::plain());
    let bytes = repeat(&head, &extra, 100, &[0; 2 * BLOCK]);
    case(
        cases,
        29,
        "bundle.missing",
        "200,000 entries after a library",
        bytes,
    );
    let deep = (0..3200).map(|one| (format!("assets/{:03}/{one:06}", one % 1000), Vec::new()));
    case(
        cases,
        30,
        "bundle.too_many",
        "3200 files in 1000 directories",
        Bundle::new(deep).bytes(),
    );
}

/// A gzip member of `head`, `times` times `unit`, and `tail`. The unit is compressed once.
///
/// # Panics
///
/// Never: memory takes everything.
#[must_use]
pub fn repeat(head: &[u8], unit: &[u8], times: usize, tail: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut sum = Crc::new();
    sum.update(head);
    let (packed, mut one) = (whole_blocks(unit), Crc::new());
    one.update(unit);
    let mut write = |part: &[u8]| bytes.write_all(part).expect("memory takes everything");
    write(&whole_blocks(head));
    for _ in 0..times {
        write(&packed);
        sum.combine(&one);
    }
    sum.update(tail);
    write(&whole_blocks(tail));
    // The last block, which is empty.
    write(&[0x03, 0x00]);
    write(&sum.sum().to_le_bytes());
    write(&sum.amount().to_le_bytes());
    bytes
}

/// Deflate blocks that end at a byte and refer to nothing before them.
fn whole_blocks(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(bytes.len() + 1024);
    let mut compress = Compress::new(Compression::best(), false);
    compress
        .compress_vec(bytes, &mut packed, FlushCompress::Full)
        .expect("there is room");
    packed
}
