//! Rows 25–27 and 31: what is around the archive.

use super::{Case, case};
use crate::archive::{self, Entry, gzip, tar};

pub(super) fn add(cases: &mut Vec<Case>) {
    let good = archive::good().bytes();
    let archive = tar(&archive::good().entries());
    let more = tar(&[Entry::new("assets/more", *b"more")]);
    for (what, second) in [
        ("of more entries", gzip(&more)),
        ("of the same", good.clone()),
        ("of nothing", gzip(&[])),
    ] {
        let bytes = [good.clone(), second].concat();
        case(
            cases,
            25,
            "bundle.trailing",
            format!("a second gzip member {what}"),
            bytes,
        );
    }
    let (one, two) = archive.split_at(1024);
    let bytes = [gzip(one), gzip(two)].concat();
    case(
        cases,
        25,
        "bundle.trailing",
        "an archive in two gzip members",
        bytes,
    );
    for (what, junk) in [
        ("a zero", &[0][..]),
        ("a byte", b"!"),
        ("a block of zeros", &[0; 512]),
        ("half a header", &[0x1f, 0x8b]),
    ] {
        let bytes = [&good, junk].concat();
        case(
            cases,
            26,
            "bundle.trailing",
            format!("{what} after the gzip member"),
            bytes,
        );
    }
    header(cases, &good);
    for (what, bytes) in [
        ("nothing", Vec::new()),
        ("one byte", vec![0x1f]),
        ("another byte", vec![b'x']),
        ("zip", b"PK\x03\x04\x14\0\0\0\x08\0".to_vec()),
        ("an empty zip", b"PK\x05\x06\0\0\0\0".to_vec()),
        ("xz", b"\xfd7zXZ\0\0\x04".to_vec()),
        ("zstd", b"\x28\xb5\x2f\xfd\x04\0".to_vec()),
        ("bzip2", b"BZh91AY&SY".to_vec()),
        ("a library", b"\x7fELF\x02\x01\x01".to_vec()),
        ("plain tar", archive),
        (
            "HTML",
            b"<!DOCTYPE html><html><title>404</title></html>".to_vec(),
        ),
        (
            "more HTML",
            b"\n  <HTML><body>Not found</body></html>".to_vec(),
        ),
        ("JSON", b"{\"message\": \"not found\"}".to_vec()),
        ("zlib", b"\x78\x9c\x03\0\0\0\0\x01".to_vec()),
        ("zeros", vec![0; 1024]),
        ("compress", b"\x1f\x9d\x90".to_vec()),
        ("half a magic number", vec![0x1f, 0x8a, 8, 0]),
    ] {
        case(cases, 31, "bundle.gzip", what, bytes);
    }
}

fn header(cases: &mut Vec<Case>, good: &[u8]) {
    let mut bad = |name: String, bytes: Vec<u8>| case(cases, 27, "bundle.gzip", name, bytes);
    for back in 1..=8 {
        let mut bytes = good.to_vec();
        let at = bytes.len() - back;
        bytes[at] ^= 1;
        let what = if back > 4 { "checksum" } else { "size" };
        bad(format!("{what} wrong in byte {back} from the end"), bytes);
    }
    for bit in [0, 1, 2, 4, 5, 6, 7] {
        let mut bytes = good.to_vec();
        bytes[3] = 1 << bit;
        bad(format!("flag {bit}"), bytes);
    }
    let with = |flags: u8, field: &[u8]| {
        let mut bytes = good.to_vec();
        bytes[3] = flags;
        bytes.splice(10..10, field.iter().copied());
        bytes
    };
    let name = [vec![b'a'; 1 << 20], vec![0]].concat();
    bad("a name of a megabyte".to_owned(), with(8, &name));
    bad(
        "a name of 256 bytes".to_owned(),
        with(8, &name[(1 << 20) - 256..]),
    );
    bad("a comment".to_owned(), with(16, b"hello\0"));
    bad("an extra field".to_owned(), with(4, b"\x04\0abcd"));
    bad("a checksum of the header".to_owned(), with(2, b"\0\0"));
    for method in [0, 7, 9, 255] {
        let mut bytes = good.to_vec();
        bytes[2] = method;
        bad(format!("method {method}"), bytes);
    }
    // A kind of block that deflate does not have.
    let mut bytes = good[..10].to_vec();
    bytes.extend_from_slice(&[0x07, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bad("compressed bytes that are none".to_owned(), bytes);
}
