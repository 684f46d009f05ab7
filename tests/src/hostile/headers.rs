//! Rows 16–20: headers that can be read in more than one way.

use super::{Case, everywhere, long, pax, record};
use crate::archive::{Entry, field};

pub(super) fn add(cases: &mut Vec<Case>) {
    let file = || Entry::new("assets/x", vec![b'x'; 600]);
    let mut bad = |row, what: &str, entries: &[Entry]| {
        everywhere(cases, row, "bundle.header", what, entries);
    };
    for size in [
        "0",
        "512",
        "1024",
        "1",
        "600",
        "18446744073709551615",
        "-1",
        "1e3",
        "",
    ] {
        let entries = [pax(b'x', &[record("size", size)]), file()];
        bad(16, &format!("PAX size {size:?} of a file of 600"), &entries);
    }
    let inner = Entry::new("assets/hidden", *b"hidden").bytes();
    let entries = [
        pax(b'x', &[record("size", &(inner.len() + 600).to_string())]),
        Entry::new("assets/x", []),
        Entry::new("assets/y", inner),
    ];
    bad(16, "PAX size that hides an entry", &entries);

    let path = [record("path", "assets/y")];
    bad(
        17,
        "PAX, then GNU long name",
        &[pax(b'x', &path), long(b'L', "assets/z"), file()],
    );
    bad(
        17,
        "GNU long name, then PAX",
        &[long(b'L', "assets/z"), pax(b'x', &path), file()],
    );
    bad(
        17,
        "PAX, then GNU long link",
        &[pax(b'x', &path), long(b'K', "assets/z"), file()],
    );
    bad(17, "GNU long link", &[long(b'K', "/etc/passwd"), file()]);
    bad(
        17,
        "GNU long name that would fit",
        &[long(b'L', "assets/z"), file()],
    );
    let in_ustar = Entry::new("././@LongLink", *b"assets/z\0").kind(b'L');
    bad(17, "GNU long name in a ustar header", &[in_ustar, file()]);
    bad(17, "PAX in a GNU header", &[pax(b'x', &path).gnu(), file()]);

    for (key, value) in [
        ("path", "../evil"),
        ("path", "assets/y"),
        ("size", "0"),
        ("comment", "x"),
        ("linkpath", "/"),
    ] {
        let entries = [pax(b'g', &[record(key, value)]), file()];
        bad(18, &format!("global PAX {key} {value}"), &entries);
    }

    for (what, body) in [
        ("too short a length", b"5 path=assets/y\n".to_vec()),
        ("too long a length", b"99 path=assets/y\n".to_vec()),
        ("a length of nothing", b"0 path=assets/y\n".to_vec()),
        ("no length", b" path=assets/y\n".to_vec()),
        ("a length with a sign", b"+17 path=assets/y\n".to_vec()),
        (
            "a huge length",
            b"99999999999999999999999 path=assets/y\n".to_vec(),
        ),
        ("no line break", b"16 path=assets/y".to_vec()),
        ("no equals sign", b"14 path assets\n".to_vec()),
        ("no space", b"17path=assets/y\n".to_vec()),
        ("nothing", Vec::new()),
        ("zeros", vec![0; 512]),
        ("a zero byte in the path", record("path", "assets/y\0z")),
        (
            "two paths",
            [record("path", "assets/y"), record("path", "assets/z")].concat(),
        ),
        ("a key of a megabyte", record(&"k".repeat(1 << 20), "x")),
        (
            "bytes that are not UTF-8",
            b"13 path=\xff\xff\xff\xff\n".to_vec(),
        ),
        ("an empty key", record("", "x")),
        ("only a time", record("mtime", "1.5")),
    ] {
        let header = Entry::new("PaxHeaders/x", body).kind(b'x');
        bad(19, &format!("PAX with {what}"), &[header, file()]);
    }
    numbers(&mut bad);
}

fn numbers(bad: &mut impl FnMut(u32, &str, &[Entry])) {
    let file = || Entry::new("assets/x", vec![b'x'; 600]);
    let raw = |range: std::ops::Range<usize>, bytes: &[u8]| {
        let mut entry = file();
        entry.header[range][..bytes.len()].copy_from_slice(bytes);
        entry
    };
    for (what, bytes) in [
        ("wrong", &b"000000\0 "[..]),
        ("missing", b"        "),
        ("zeros", &[0; 8]),
        ("junk", b"zzzzzz\0 "),
    ] {
        bad(20, &format!("checksum {what}"), &[raw(field::SUM, bytes)]);
    }
    bad(20, "a flipped bit", &[raw(0..1, b"b")]);
    for (what, size) in [
        ("junk", &b"0000000113z\0"[..]),
        ("junk in front", b"z0000001130\0"),
        ("a nine", b"00000001190\0"),
        ("a sign", b"-0000001130\0"),
        ("a plus", b"+0000001130\0"),
        ("spaces in front", b"       1130\0"),
        ("hex", b"0x258\0\0\0\0\0\0\0"),
        ("nothing", &[0; 12]),
        ("spaces", b"            "),
        ("bytes after the end", b"1130\0\0\0\x001130"),
        ("binary, 600", b"\x80\0\0\0\0\0\0\0\0\0\x02\x58"),
        (
            "binary, 2^63-1",
            b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
        ),
        ("binary, the most", &[0xff; 12]),
        (
            "binary, negative",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfd\xa8",
        ),
        ("base 64", b"-AAAAAAAAAAA"),
    ] {
        bad(
            20,
            &format!("size, {what}"),
            &[file().with(field::SIZE, size)],
        );
    }
    for (what, range) in [
        ("mode", field::MODE),
        ("owner", field::OWNER),
        ("group", field::GROUP),
        ("time", field::TIME),
        ("major number", field::MAJOR),
    ] {
        for junk in [
            &b"00000x0\0"[..],
            b"-000001\0",
            b"       \0",
            &[0x80, 0, 0, 0, 0, 0, 0, 1],
        ] {
            let name = format!("{what}, {}", junk.escape_ascii());
            bad(20, &name, &[file().with(range.clone(), junk)]);
        }
    }
    for (what, magic) in [
        ("none", &[0; 8][..]),
        ("half", b"ustar\0\0\0"),
        ("of GNU with a version", b"ustar 00"),
        ("of another version", b"ustar\x0001"),
        ("in capitals", b"USTAR\x0000"),
    ] {
        bad(
            20,
            &format!("magic, {what}"),
            &[file().with(field::MAGIC, magic)],
        );
    }
    bad(
        20,
        "a file with the name of a link",
        &[file().with(field::LINK, "/etc/passwd")],
    );
    bad(
        20,
        "bytes after the fields",
        &[file().with(field::REST, "\0\0\0\0\0\0\0\0tar\0")],
    );
    bad(
        20,
        "GNU header with a prefix",
        &[file().gnu().with(field::PREFIX, "assets")],
    );
}
