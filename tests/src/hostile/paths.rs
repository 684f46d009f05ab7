//! Rows 1–3 and 9–14: paths.

use super::{Case, case, everywhere, long};
use crate::archive::{self, Bundle, Entry, field, gzip, tar};

pub(super) fn add(cases: &mut Vec<Case>) {
    let mut bad = |row, name: &[u8]| {
        let shown = format!("path {}", name.escape_ascii());
        let entry = Entry::new("assets/x", b"evil".to_vec())
            .with(field::NAME, [0; 100])
            .with(field::NAME, name);
        everywhere(cases, row, "bundle.path", &shown, &[entry]);
    };
    for name in [
        "../evil",
        "a/../../evil",
        "./..",
        "assets/../../evil",
        "..",
        "assets/..",
    ] {
        bad(1, name.as_bytes());
    }
    for name in ["/x", "//x", "/", "C:\\x", "C:x", "\\\\srv\\x", "/assets/x"] {
        bad(2, name.as_bytes());
    }
    for name in ["..\\..\\evil", "assets\\x", "assets/..\\x", "\\"] {
        bad(3, name.as_bytes());
    }
    for name in [
        &b""[..],
        b".",
        b"./",
        b"assets/.",
        b"assets/x/",
        b"assets//x",
        b"assets/\0x",
        b"plugin.json\0.exe",
    ] {
        bad(10, name);
    }
    for name in [
        &b"assets/\xff"[..],
        b"assets/\xc3",
        b"assets/\xc0\xaf",
        b"assets/\xed\xa0\x80",
        b"assets/a\nb",
        b"assets/a\rb",
        b"assets/a\tb",
        b"assets/\x1b[2J",
        b"assets/\x7f",
        b"assets/\x01",
        "assets/\u{202e}gpj.exe".as_bytes(),
        "assets/\u{2066}x".as_bytes(),
        "assets/e\u{301}".as_bytes(),
        "assets/\u{e9}".as_bytes(),
        "assets/\u{200b}".as_bytes(),
        "assets/\u{feff}x".as_bytes(),
        "assets/\u{ff0e}\u{ff0e}".as_bytes(),
        "assets/\u{2215}x".as_bytes(),
        "assets/a b".as_bytes(),
        "assets/a:b".as_bytes(),
        "assets/a*b".as_bytes(),
        "assets/~x".as_bytes(),
    ] {
        bad(11, name);
    }
    for name in [
        "assets/con",
        "assets/nul.txt",
        "assets/AUX",
        "assets/Com1.log",
        "assets/lpt9",
        "assets/prn/x",
        "assets/x.",
        "assets/x ",
        "assets/x./y",
        " ",
    ] {
        bad(13, name.as_bytes());
    }
    for name in [
        ".ok",
        "lock.json",
        "MANIFEST",
        ".cargo-ok",
        "assets/.ok",
        "README.md",
        "bin/x",
        "lib/x.so",
        "Assets/x",
    ] {
        bad(14, name.as_bytes());
    }
    too_deep(cases);
    twice(cases);
}

/// Paths that are longer than any file system needs; only an extension of GNU tar can carry the longest.
fn too_deep(cases: &mut Vec<Case>) {
    let file = || Entry::new("assets/x", b"evil".to_vec());
    for (row, what, name) in [
        (9, "1500 components", vec!["d"; 1500].join("/")),
        (9, "9 components", "assets/b/c/d/e/f/g/h/i".to_owned()),
        (9, "241 bytes", format!("assets/{}", "a/".repeat(117))),
        (
            10,
            "a component of 300 bytes",
            format!("assets/{}", "a".repeat(300)),
        ),
        (1, "a long way up", "../".repeat(100) + "evil"),
        (10, "no long name at all", String::new()),
    ] {
        let entries = [long(b'L', name), file().gnu()];
        everywhere(
            cases,
            row,
            "bundle.path",
            &format!("GNU long name, {what}"),
            &entries,
        );
    }
    // In two parts, as ustar has it.
    for (what, prefix, name) in [
        ("9 components", "assets/b/c/d/e", "f/g/h/i"),
        ("up in front", "..", "evil"),
        ("an absolute beginning", "/etc", "passwd"),
        ("an empty end", "assets", ""),
        ("a zero byte in front", "assets\0x", "y"),
    ] {
        let entry = file()
            .with(field::NAME, [0; 100])
            .with(field::NAME, name)
            .with(field::PREFIX, prefix);
        everywhere(
            cases,
            9,
            "bundle.path",
            &format!("prefix and name, {what}"),
            &[entry],
        );
    }
    let entry = file()
        .with(field::PREFIX, [b'a'; 155])
        .with(field::NAME, [b'a'; 100]);
    everywhere(
        cases,
        9,
        "bundle.path",
        "prefix and name, 256 bytes",
        &[entry],
    );
}

fn twice(cases: &mut Vec<Case>) {
    let good = archive::good();
    let entries = good.entries();
    for place in 0..entries.len() {
        let mut twice = entries.clone();
        twice.push(entries[place].clone());
        let name = format!("member {place} again at the end");
        case(cases, 12, "bundle.duplicate", name, gzip(&tar(&twice)));
        // With other bytes, of which the last would win elsewhere.
        let mut other = entries[place].clone();
        other.body = vec![b'!'; other.body.len()];
        let mut twice = entries.clone();
        twice.push(other);
        let name = format!("member {place} again with other bytes");
        case(cases, 12, "bundle.duplicate", name, gzip(&tar(&twice)));
    }
    let mut dotted = entries.clone();
    dotted.push(Entry::new("./assets/readme.txt", *b"x"));
    case(
        cases,
        12,
        "bundle.path",
        "`a` and `./a`",
        gzip(&tar(&dotted)),
    );
    let mut directory = entries.clone();
    directory.push(Entry::new("assets/readme.txt/", []).kind(b'5'));
    case(
        cases,
        12,
        "bundle.kind",
        "a file, then a directory of its name",
        gzip(&tar(&directory)),
    );
    let mut plain = archive::plain();
    for (what, again) in [("library", 1), ("manifest", 0)] {
        let mut twice = plain.clone();
        twice.push(plain[again].clone());
        let name = format!("the {what} of the plain form twice");
        case(cases, 12, "bundle.duplicate", name, gzip(&tar(&twice)));
    }
    plain.push(Entry::new("LIBHELLO.so", *b"x"));
    case(
        cases,
        13,
        "bundle.duplicate",
        "case twins in the plain form",
        gzip(&tar(&plain)),
    );
    for (first, second) in [
        ("assets/Lib.so", "assets/lib.so"),
        ("assets/a", "assets/a/b"),
        ("assets/A", "assets/a/b"),
        ("assets/D/x", "assets/d/y"),
    ] {
        let bytes = list_of(&[first, second]);
        case(
            cases,
            13,
            "bundle.duplicate",
            format!("{first} and {second}"),
            bytes,
        );
    }
    let mut twin = entries;
    twin.push(Entry::new("assets/README.txt", *b"x"));
    case(
        cases,
        13,
        "bundle.duplicate",
        "a case twin that is not listed",
        gzip(&tar(&twin)),
    );
}

/// A bundle whose list has paths that cannot all be unpacked, which no writer would list.
fn list_of(paths: &[&str]) -> Vec<u8> {
    let mut bundle = Bundle::new([("assets/0", vec![0])]);
    let list = String::from_utf8(bundle.contents).expect("a list is text");
    let start = list
        .find("    {\n      \"path\": \"assets/0\"")
        .expect("it is listed");
    let end = start + list[start..].find('}').expect("it ends") + 1;
    let one = &list[start..end];
    let members: Vec<_> = paths
        .iter()
        .map(|path| one.replace("assets/0", path))
        .collect();
    let list = list.replace(one, &members.join(",\n"));
    bundle.contents = list.into_bytes();
    bundle.members = paths
        .iter()
        .map(|path| ((*path).to_owned(), vec![0]))
        .collect();
    bundle.bytes()
}
