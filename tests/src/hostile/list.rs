//! Row 32: members and list that do not agree, and manifests that are none.

use super::{Case, case};
use crate::archive::{self, Bundle, Entry, gzip, tar};

pub(super) fn add(cases: &mut Vec<Case>) {
    let good = archive::good();
    let entries = good.entries();
    let mut add =
        |code, name: &str, entries: &[Entry]| case(cases, 32, code, name, gzip(&tar(entries)));
    const MISMATCH: &str = "bundle.manifest_mismatch";
    for place in 2..entries.len() {
        let mut fewer = entries.clone();
        fewer.remove(place);
        add(MISMATCH, &format!("member {place} is missing"), &fewer);
        let mut other = entries.clone();
        other[place].body[0] ^= 1;
        add(
            MISMATCH,
            &format!("member {place} has another byte"),
            &other,
        );
        let mut extra = entries.clone();
        extra.insert(place, Entry::new("assets/extra", *b"extra"));
        add(
            MISMATCH,
            &format!("an extra file before member {place}"),
            &extra,
        );
        if place > 2 {
            let mut swapped = entries.clone();
            swapped.swap(place - 1, place);
            add(
                MISMATCH,
                &format!("members {} and {place} are swapped", place - 1),
                &swapped,
            );
        }
        let mut shorter = good.clone();
        shorter.members[place - 2].1.pop();
        add(
            MISMATCH,
            &format!("member {place} is shorter"),
            &shorter.entries(),
        );
        let mut longer = good.clone();
        longer.members[place - 2].1.push(0);
        add(
            MISMATCH,
            &format!("member {place} is longer"),
            &longer.entries(),
        );
    }
    let mut extra = entries.clone();
    extra.push(Entry::new("assets/extra", *b"extra"));
    add(MISMATCH, "an extra file at the end", &extra);
    let mut other = entries.clone();
    other[0] = Entry::new(
        "plugin.json",
        b"{ \"name\": \"hello\", \"version\": \"1.2.3\" } ".to_vec(),
    );
    add(MISMATCH, "the manifest has another byte", &other);
    add("bundle.missing", "no members at all", &[]);
    add("bundle.missing", "no manifest", &entries[1..]);
    add(
        "bundle.missing",
        "no list",
        &[&entries[..1], &entries[2..]].concat(),
    );
    add("bundle.missing", "nothing but the manifest", &entries[..1]);
    let mut late = entries.clone();
    late.swap(0, 1);
    add("bundle.missing", "the list before the manifest", &late);
    let mut plain = archive::plain();
    plain.push(Entry::new("libother.so", *b"other"));
    add("bundle.missing", "two libraries and no list", &plain);
    add(
        "bundle.header",
        "a list in GNU tar's own format",
        &entries
            .iter()
            .map(|entry| entry.clone().gnu())
            .collect::<Vec<_>>(),
    );
    let mut mixed = entries;
    mixed[3] = mixed[3].clone().gnu();
    add(
        "bundle.header",
        "one member in GNU tar's own format",
        &mixed,
    );
    lists(&mut add, &good);
    manifests(&mut add, &good);
}

/// Lists that are none.
fn lists(add: &mut impl FnMut(&'static str, &str, &[Entry]), good: &Bundle) {
    let list = String::from_utf8(good.contents.clone()).expect("a list is text");
    let mut edited = |code, name: &str, from: &str, to: &str| {
        assert!(list.contains(from), "{from}");
        let mut bundle = good.clone();
        bundle.contents = list.replacen(from, to, 1).into_bytes();
        add(code, name, &bundle.entries());
    };
    const MISMATCH: &str = "bundle.manifest_mismatch";
    for (name, from, to) in [
        ("another size of the list", "\"size\": 700", "\"size\": 701"),
        (
            "another digest in the list",
            "\"digest\": \"sha256:",
            "\"digest\": \"sha256:00",
        ),
        ("a negative size", "\"size\": 700", "\"size\": -700"),
        ("a fraction of a size", "\"size\": 700", "\"size\": 700.0"),
        ("a digest of another kind", "\"sha256:", "\"sha1:"),
        (
            "a path that leads elsewhere",
            "assets/readme.txt",
            "../readme.txt",
        ),
        (
            "a field nobody knows",
            "\"format\": 1",
            "\"format\": 1,\n  \"extra\": 1",
        ),
        (
            "a key twice",
            "\"format\": 1",
            "\"format\": 1,\n  \"format\": 1",
        ),
        (
            "a field of a member nobody knows",
            "\"size\": 700",
            "\"size\": 700,\n      \"mode\": 511",
        ),
        ("other white space", "\"format\": 1", "\"format\":  1"),
        ("no line break at the end", "]\n}\n", "]\n}"),
        ("text after its end", "]\n}\n", "]\n}\n{}"),
        (
            "a byte order mark",
            "{\n  \"format\"",
            "\u{feff}{\n  \"format\"",
        ),
        (
            "an escape in a path",
            "assets/readme.txt",
            "assets/\\u0072eadme.txt",
        ),
        (
            "a library that is not listed",
            "\"lib/x86_64-unknown-linux-gnu/libhello.so\"",
            "\"lib/x86_64-unknown-linux-gnu/libother.so\"",
        ),
        (
            "a library of another target",
            "\"lib/x86_64-unknown-linux-gnu/libhello.so\"",
            "\"lib/aarch64-unknown-linux-gnu/libhello.so\"",
        ),
        (
            "a target twice",
            "\"aarch64-unknown-linux-gnu\": \"lib/",
            "\"x86_64-unknown-linux-gnu\": \"lib/",
        ),
        (
            "a member that is the list",
            "\"path\": \"assets/readme.txt\"",
            "\"path\": \"contents.json\"",
        ),
        (
            "no manifest among the members",
            "\"path\": \"plugin.json\"",
            "\"path\": \"plugin.so\"",
        ),
        (
            "a false that is left out otherwise",
            "\"size\": 700",
            "\"executable\": false,\n      \"size\": 700",
        ),
        (
            "format zero as a text",
            "\"format\": 1",
            "\"format\": \"1\"",
        ),
        ("no format", "\"format\": 1,\n", ""),
    ] {
        edited(MISMATCH, name, from, to);
    }
    edited(
        "bundle.format",
        "a later format",
        "\"format\": 1",
        "\"format\": 2,\n  \"later\": {}",
    );
    edited(
        "bundle.format",
        "format zero",
        "\"format\": 1",
        "\"format\": 0",
    );
    edited(
        "manifest.identity",
        "another name",
        "\"name\": \"hello\"",
        "\"name\": \"other\"",
    );
    edited(
        "manifest.identity",
        "another version",
        "\"version\": \"1.2.3\"",
        "\"version\": \"1.2.4\"",
    );
    edited(
        "manifest.identity",
        "a build of the version",
        "\"version\": \"1.2.3\"",
        "\"version\": \"1.2.3+twin\"",
    );
    let start = list
        .find("    {\n      \"path\": \"assets/readme.txt\"")
        .expect("it is listed");
    let end = start + list[start..].find("},\n").expect("it ends") + 3;
    let one = &list[start..end];
    edited(MISMATCH, "a member twice in the list", one, &one.repeat(2));
    edited(MISMATCH, "a member less in the list", one, "");
    for (name, bytes) in [
        ("an empty list", Vec::new()),
        ("a list that is no JSON", b"members".to_vec()),
        ("a list that is not UTF-8", vec![0xff; 40]),
        ("a list that is deep", vec![b'['; 100_000]),
        ("null", b"null".to_vec()),
    ] {
        let mut bundle = good.clone();
        bundle.contents = bytes;
        add(MISMATCH, name, &bundle.entries());
    }
}

/// Rows 34–40: what a manifest is refused for counts in a bundle too.
fn manifests(add: &mut impl FnMut(&'static str, &str, &[Entry]), good: &Bundle) {
    let deep = "[".repeat(100_000);
    for (code, name, text) in [
        (
            "manifest.json",
            "key twice",
            r#"{ "name": "hello", "name": "evil", "version": "1.2.3" }"#,
        ),
        ("manifest.json", "empty", ""),
        (
            "manifest.json",
            "byte order mark",
            "\u{feff}{ \"name\": \"hello\", \"version\": \"1.2.3\" }",
        ),
        (
            "manifest.json",
            "text after",
            r#"{ "name": "hello", "version": "1.2.3" } {}"#,
        ),
        (
            "manifest.json",
            "lone surrogate",
            r#"{ "name": "hello", "version": "1.2.3", "description": "\ud800" }"#,
        ),
        ("manifest.json", "depth", &deep),
        (
            "manifest.field",
            "zero in the name",
            r#"{ "name": "he\u0000llo", "version": "1.2.3" }"#,
        ),
        (
            "manifest.field",
            "escape in a text",
            r#"{ "name": "hello", "version": "1.2.3", "description": "\u001b[2J" }"#,
        ),
        (
            "manifest.unknown_field",
            "unknown in `source`",
            r#"{ "name": "hello", "version": "1.2.3", "source": { "mode": "local_so", "path": "a.so", "pth": 1 } }"#,
        ),
        (
            "manifest.path",
            "way up",
            r#"{ "name": "hello", "version": "1.2.3", "source": { "mode": "local_so", "path": "../a.so" } }"#,
        ),
        (
            "manifest.version",
            "twenty digits",
            r#"{ "name": "hello", "version": "10000000000000000000000.0.0" }"#,
        ),
        (
            "manifest.missing_field",
            "no version",
            r#"{ "name": "hello" }"#,
        ),
        (
            "manifest.identity",
            "other plugin",
            r#"{ "name": "other", "version": "1.2.3" }"#,
        ),
    ] {
        let listed = good.clone().with_manifest(text.as_bytes());
        add(code, &format!("manifest, {name}"), &listed.entries());
        if code != "manifest.identity" {
            let mut plain = archive::plain();
            plain[0] = Entry::new("plugin.json", text);
            add(code, &format!("manifest of the plain form, {name}"), &plain);
        }
    }
}
