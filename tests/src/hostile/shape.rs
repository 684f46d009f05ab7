//! Rows 21–24: archives that end too early, or go on after their end.

use super::{Case, case};
use crate::archive::{self, BLOCK, Bundle, Entry, entries, gzip, tar};

pub(super) fn add(cases: &mut Vec<Case>) {
    truncated(cases);
    trailing(cases);
}

fn truncated(cases: &mut Vec<Case>) {
    // Ten kibibytes and some, with lengths that fill a block, nearly do, and just do not.
    let bundle = Bundle::new([
        ("assets/a", vec![1; 511]),
        ("assets/b", vec![2; 512]),
        ("assets/c", vec![3; 513]),
        ("assets/d", Vec::new()),
        ("lib/x86_64-unknown-linux-gnu/libhello.so", vec![4; 2000]),
    ]);
    let whole = tar(&bundle.entries());
    let marker = whole.len() - 2 * BLOCK;
    for at in (0..whole.len()).step_by(BLOCK) {
        for cut in [at.saturating_sub(1), at, at + 1] {
            let row = if cut == marker { 22 } else { 21 };
            let bytes = gzip(&whole[..cut]);
            case(
                cases,
                row,
                "bundle.truncated",
                format!("cut at {cut} of the archive"),
                bytes,
            );
        }
    }
    let cut = whole.len() - 1;
    case(
        cases,
        22,
        "bundle.truncated",
        "the last byte is missing",
        gzip(&whole[..cut]),
    );
    let plain = tar(&archive::plain());
    for cut in [
        plain.len() - 2 * BLOCK,
        plain.len() - BLOCK,
        plain.len() - 1,
    ] {
        let name = format!("the plain form, cut at {cut}");
        case(cases, 22, "bundle.truncated", name, gzip(&plain[..cut]));
    }
    let packed = gzip(&whole);
    for cut in 2..packed.len() {
        let name = format!("cut at {cut} of the file");
        case(cases, 21, "bundle.truncated", name, packed[..cut].to_vec());
    }
}

fn trailing(cases: &mut Vec<Case>) {
    let good = archive::good().entries();
    let mut add = |row, name: &str, bytes: Vec<u8>| {
        case(cases, row, "bundle.trailing", name, gzip(&bytes));
    };
    for (form, members) in [("listed", &good), ("plain", &archive::plain())] {
        let whole = tar(members);
        let more = Entry::new("assets/more", *b"more");
        let with = |bytes: &[u8]| [&whole, bytes].concat();
        add(
            23,
            &format!("{form}: an entry after the end"),
            with(&more.bytes()),
        );
        add(
            23,
            &format!("{form}: an archive after the end"),
            with(&tar(&[more])),
        );
        add(
            23,
            &format!("{form}: junk after the end"),
            with(&[b'!'; BLOCK]),
        );
        let filled = whole.len().next_multiple_of(20 * BLOCK);
        let mut junk = whole.clone();
        junk.resize(filled, 0);
        junk.push(b'!');
        add(
            23,
            &format!("{form}: a byte after the last record"),
            junk.clone(),
        );
        *junk.last_mut().expect("it has bytes") = 0;
        add(
            23,
            &format!("{form}: a zero after the last record"),
            junk.clone(),
        );
        junk.resize(filled + BLOCK, 0);
        add(
            23,
            &format!("{form}: zeros after the last record"),
            junk.clone(),
        );
        junk.resize(filled, 0);
        junk[filled - 1] = 1;
        add(23, &format!("{form}: a byte in the last record"), junk);
        for count in 1..=3 {
            for place in 1..members.len() {
                let (before, after) = members.split_at(place);
                let gap = vec![0; count * BLOCK];
                let bytes = [entries(before), gap, tar(after)].concat();
                let name = format!("{form}: {count} blocks of zeros before entry {place}");
                add(24, &name, bytes);
            }
        }
    }
    // What the listed form does not have, as nobody needs tar to write it.
    let whole = tar(&good);
    let mut filled = whole.clone();
    filled.resize(whole.len().next_multiple_of(20 * BLOCK), 0);
    add(23, "listed: a record filled with zeros", filled);
    let mut one = whole;
    one.push(0);
    add(23, "listed: one zero", one);
}
