//! Rows 4–8: entries that are no regular files.

use super::{Case, everywhere, pax, record};
use crate::archive::{Entry, field};

pub(super) fn add(cases: &mut Vec<Case>) {
    let link = |kind, name: &str, to: &str| Entry::new(name, []).kind(kind).with(field::LINK, to);
    for to in ["libhello.so", "../../evil", "/etc/passwd", "."] {
        for (row, kind) in [(4, b'2'), (5, b'1')] {
            let what = format!("link of kind {} to {to}", char::from(kind));
            let entry = link(kind, "assets/link", to);
            everywhere(cases, row, "bundle.kind", &what, &[entry]);
        }
    }
    let earlier = link(b'1', "assets/link", "plugin.json");
    everywhere(
        cases,
        5,
        "bundle.kind",
        "hard link to an earlier entry",
        &[earlier],
    );
    let entries = [
        link(b'2', "assets/target", "/tmp"),
        Entry::new("assets/target/", [])
            .kind(b'5')
            .with(field::MODE, "0000777\0"),
    ];
    everywhere(
        cases,
        6,
        "bundle.kind",
        "link, then directory of its name",
        &entries,
    );
    let entries = [
        link(b'2', "assets/d", "/tmp"),
        Entry::new("assets/d/evil", *b"x"),
    ];
    everywhere(
        cases,
        6,
        "bundle.kind",
        "link, then a file behind it",
        &entries,
    );
    for kind in 0..=255_u8 {
        let code = match kind {
            0 | b'0' => continue,
            b'x' | b'g' | b'L' | b'K' => "bundle.header",
            _ => "bundle.kind",
        };
        let what = format!("kind {kind:#04x}");
        let entry = Entry::new("assets/readme.txt", b"how to greet\n".to_vec()).kind(kind);
        everywhere(cases, 7, code, &what, &[entry]);
    }
    sparse(cases);
}

fn sparse(cases: &mut Vec<Case>) {
    // Offset and length of a piece, and a real size of eight tebibytes.
    let old = Entry::new("assets/x", vec![1; 512])
        .kind(b'S')
        .gnu()
        .with(386..398, "00000000000\0")
        .with(398..410, "00000001000\0")
        .with(483..495, b"\x80\0\0\0\0\x08\0\0\0\0\0\0");
    everywhere(
        cases,
        8,
        "bundle.kind",
        "sparse as GNU tar did it once",
        &[old],
    );
    let huge = Entry::new("assets/x", [])
        .kind(b'S')
        .gnu()
        .with(field::SIZE, b"\x80\0\0\0\0\x08\0\0\0\0\0\0");
    everywhere(
        cases,
        8,
        "bundle.kind",
        "sparse, of eight tebibytes",
        &[huge],
    );
    let file = || Entry::new("GNUSparseFile.0/x", vec![1; 512]);
    let eight_tebibytes = (8_u64 << 40).to_string();
    for (what, records) in [
        (
            "0.0",
            vec![
                record("GNU.sparse.size", &eight_tebibytes),
                record("GNU.sparse.numblocks", "1"),
                record("GNU.sparse.offset", "0"),
                record("GNU.sparse.numbytes", "512"),
            ],
        ),
        (
            "0.1",
            vec![
                record("GNU.sparse.name", "../evil"),
                record("GNU.sparse.size", &eight_tebibytes),
                record("GNU.sparse.map", "0,512"),
            ],
        ),
        (
            "1.0",
            vec![
                record("GNU.sparse.major", "1"),
                record("GNU.sparse.minor", "0"),
                record("GNU.sparse.name", "assets/x"),
                record("GNU.sparse.realsize", &eight_tebibytes),
            ],
        ),
        (
            "1.0 after other records",
            vec![record("mtime", "1.5"), record("GNU.sparse.major", "1")],
        ),
    ] {
        let entries = [pax(b'x', &records), file()];
        everywhere(
            cases,
            8,
            "bundle.kind",
            &format!("PAX sparse {what}"),
            &entries,
        );
    }
}
