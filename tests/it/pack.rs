//! Writing bundles: the same bytes from the same files, and nothing that a reader would not take.

use std::fs;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use plg_packaging::Digest;
use plg_packaging::bundle::pack::{Draft, PackError, Packed, Plan, Progress, Step};
use plg_packaging::bundle::{Contents, Limits, Member, MemberPath, Memory, Reader, Target};
use plg_packaging::sign::{SecretKey, sign_bundle, verify_bundle};
use proptest::prelude::*;
use tempfile::TempDir;

const MANIFEST: &[u8] = br#"{ "name": "hello", "version": "1.2.3", "labels": ["greet"] }"#;
/// The bytes that are compressed at once.
const BLOCK: usize = 1 << 20;

#[test]
fn what_is_packed_is_read_back() {
    let key = SecretKey::generate().unwrap();
    let library = text(3 * BLOCK + 77);
    let mut draft = draft();
    let (first, second) = (Target::current(), target("aarch64-unknown-linux-gnu"));
    draft
        .library(first.clone(), "libhello.so", library.clone())
        .unwrap();
    draft
        .library(second.clone(), "libhello.so", noise(5000, 1))
        .unwrap();
    draft.file(path("assets/run.sh"), b"#!/bin/sh\n".to_vec(), true);
    draft.file(path("assets/empty"), Vec::new(), false);
    let plan = plan(draft);
    assert_eq!(plan.manifest().version.to_string(), "1.2.3");
    let signature = sign_bundle(plan.contents(), &key).unwrap().to_text();
    let (bytes, packed) = write(&plan, Some(signature.as_bytes()));
    assert_eq!(packed.packed_bytes, bytes.len() as u64);

    let reader = open(&bytes);
    let listed = reader.head().listed.clone().unwrap();
    assert_eq!(reader.head().manifest, MANIFEST);
    assert_eq!(listed.bytes, plan.contents_json().as_bytes());
    verify_bundle(&listed, &key.public_key()).unwrap();
    assert_eq!(reader.library(&second).unwrap().target(), Some(second));
    let (contents, memory) = unpack(&bytes);
    assert_eq!(&contents, plan.contents());
    let place = contents.library(&first).unwrap();
    assert_eq!(place.path.as_str(), format!("lib/{first}/libhello.so"));
    assert_eq!(memory.member(&place.path), Some(&library[..]));
    assert_eq!(memory.member(&path("assets/empty")), Some(&[][..]));
    let is_program = |member: &&Member| member.executable;
    let programs: Vec<_> = contents.members.iter().filter(is_program).collect();
    assert_eq!(programs[0].path.as_str(), "assets/run.sh");
    assert_eq!(programs.len(), 1);
}

/// What every tool sees, byte for byte where the format leaves a choice.
#[test]
fn the_archive_says_nothing_about_who_packed_it() {
    let mut draft = draft();
    draft.file(path("assets/run.sh"), b"#!/bin/sh\n".to_vec(), true);
    draft
        .library(Target::current(), "libhello.so", noise(700, 1))
        .unwrap();
    let plan = plan(draft);
    let (bytes, packed) = write(&plan, Some(b"a signature\n"));
    assert_eq!(bytes[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);

    let tar = gunzip(&bytes);
    assert_eq!(tar.len() as u64, packed.unpacked_bytes);
    let mut names = Vec::new();
    let mut archive = tar::Archive::new(&tar[..]);
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        let name = entry.path().unwrap().display().to_string();
        let mode = if name.ends_with(".sh") { 0o755 } else { 0o644 };
        assert_eq!(header.mode().unwrap(), mode, "{name}");
        assert_eq!(header.mtime().unwrap(), 0);
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert_eq!(header.username().unwrap(), Some(""));
        assert!(header.as_ustar().is_some(), "{name}");
        names.push(name);
    }
    let library = format!("lib/{}/libhello.so", Target::current());
    let expected = [
        "plugin.json",
        "contents.json",
        "contents.json.minisig",
        "assets/run.sh",
        &library,
    ];
    assert_eq!(names, expected);
    assert_eq!(tar[tar.len() - 1024..], [0; 1024]);
}

/// Anything that changes here changes the bytes of every bundle: only a new version of the compressor may.
#[test]
fn the_bytes_are_the_same_on_every_machine() {
    let mut draft = draft();
    let target = target("x86_64-unknown-linux-gnu");
    draft
        .library(target, "libhello.so", text(BLOCK + 999))
        .unwrap();
    draft.file(path("assets/noise"), noise(BLOCK + 999, 7), false);
    let plan = plan(draft);
    let digest = plan.contents().digest().hex();
    assert_eq!(
        digest,
        "96c8e05bdeeb7f58aeb9552d93adbb39695910d514087a3e951ed397e738814c"
    );
    assert_eq!(
        Digest::of(&write(&plan, None).0).hex(),
        "e529f51bd4db1ae8bb7d15599cf290ad9d9a2ec243a8914906820b0d06bc2aff"
    );
}

#[test]
fn neither_place_nor_time_nor_threads_change_the_bytes() {
    let (one, two) = (directory(), directory());
    for (place, mode, age) in [(&one, 0o600, 10), (&two, 0o666, 100_000)] {
        for (name, bytes) in [
            ("a", text(2 * BLOCK)),
            ("b", noise(BLOCK, 3)),
            ("c", text(9)),
        ] {
            let file = place.path().join(name);
            fs::write(&file, bytes).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let file = fs::File::options().append(true).open(file).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age))
                .unwrap();
        }
    }
    let pack = |place: &TempDir, names: &[&str], threads: usize| {
        let mut draft = draft();
        for name in names {
            let place = place.path().join(name);
            draft.file(path(&format!("assets/{name}")), place, false);
        }
        let plan = plan(draft).threads(NonZeroUsize::new(threads).unwrap());
        write(&plan, None).0
    };
    let bytes = pack(&one, &["a", "b", "c"], 1);
    for threads in [2, 3, 16] {
        assert_eq!(pack(&two, &["c", "a", "b"], threads), bytes, "{threads}");
    }
}

/// Sizes around those of a record and of a block, so that every part ends at, before and behind an edge.
#[test]
fn edges_of_records_and_blocks_are_no_edges_of_members() {
    // The head takes 3 records and the list's bytes; the last sizes let the archive end around a block's end.
    let mut sizes = vec![0, 1, 511, 512, 513, BLOCK - 1, BLOCK, BLOCK + 1];
    sizes.extend((0..10).map(|records| BLOCK - records * 512));
    let mut ends_at_edge = false;
    let kinds = [text(BLOCK + 1), noise(BLOCK + 1, 5)];
    for size in sizes {
        for bytes in kinds.iter().map(|bytes| &bytes[..size]) {
            let mut draft = draft();
            draft.file(path("assets/x"), bytes.to_vec(), false);
            let (bundle, packed) = write(&plan(draft), None);
            ends_at_edge |= packed.unpacked_bytes % BLOCK as u64 == 0;
            let (_, memory) = unpack(&bundle);
            assert!(memory.member(&path("assets/x")) == Some(bytes), "{size}");
            assert_eq!(gunzip(&bundle).len() as u64, packed.unpacked_bytes);
        }
    }
    assert!(ends_at_edge, "no archive ended with a block");
}

/// Bytes that do not shrink are stored, and those around them are still compressed.
#[test]
fn noise_costs_next_to_nothing() {
    let bytes = [noise(4 * BLOCK, 11), text(2 * BLOCK)].concat();
    let mut draft = draft();
    draft.file(path("assets/x"), bytes, false);
    let (bundle, _) = write(&plan(draft), None);
    let noise = 4 * BLOCK;
    assert!(
        (noise..noise + BLOCK).contains(&bundle.len()),
        "{}",
        bundle.len()
    );
    unpack(&bundle);
}

#[test]
fn a_file_that_changes_meanwhile_is_not_packed() {
    let place = directory();
    let file = place.path().join("x");
    let before = text(BLOCK + 5);
    let mut flipped = before.clone();
    flipped[BLOCK] ^= 1;
    let longer = [&before[..], b"."].concat();
    for after in [&flipped, &longer, &before[..BLOCK].to_vec(), &Vec::new()] {
        fs::write(&file, &before).unwrap();
        let mut draft = draft();
        draft.file(path("assets/x"), file.clone(), false);
        let plan = plan(draft);
        fs::write(&file, after).unwrap();
        let error = plan.write(Vec::new(), None, &mut |_| {}).unwrap_err();
        assert_eq!(error.code(), "pack.changed", "{error}");
        fs::remove_file(&file).unwrap();
        let error = plan.write(Vec::new(), None, &mut |_| {}).unwrap_err();
        assert_eq!(error.code(), "io.not_found", "{error}");
    }
}

#[test]
fn what_cannot_stand_in_a_bundle_is_refused() {
    let place = directory();
    let refused = |fill: &dyn Fn(&mut Draft) -> Result<(), PackError>, limits: &Limits| {
        let mut draft = draft();
        let outcome = fill(&mut draft).and_then(|()| draft.plan(limits, &mut |_| {}).map(drop));
        outcome.unwrap_err().code()
    };
    let limits = Limits::default();
    let here = Target::current;
    let bytes = |size| vec![0_u8; size];
    let with = |name: &'static str, size| {
        move |draft: &mut Draft| {
            draft.file(path(name), bytes(size), false);
            Ok(())
        }
    };
    let directory = |draft: &mut Draft| {
        draft.file(path("assets/x"), place.path().to_owned(), false);
        Ok(())
    };
    assert_eq!(refused(&directory, &limits), "pack.kind");
    let absent = |draft: &mut Draft| {
        draft.file(path("assets/x"), place.path().join("x"), false);
        Ok(())
    };
    assert_eq!(refused(&absent, &limits), "io.not_found");
    for name in ["../x.so", "a/../../x.so", ".so", "", "con.so"] {
        let named = |draft: &mut Draft| draft.library(here(), name, bytes(1));
        assert_eq!(refused(&named, &limits), "pack.path", "{name}");
    }
    // The format allows it; the header of a member has no room for it.
    let long = format!("assets/{}", "x".repeat(101));
    let long = |draft: &mut Draft| {
        draft.file(path(&long), bytes(1), false);
        Ok(())
    };
    assert_eq!(refused(&long, &limits), "pack.path");
    let twice = |draft: &mut Draft| {
        draft.library(here(), "a.so", bytes(1))?;
        draft.library(here(), "b.so", bytes(1))
    };
    assert_eq!(refused(&twice, &limits), "pack.twice");
    let twins = |draft: &mut Draft| {
        draft.file(path("assets/x"), bytes(1), false);
        draft.file(path("assets/X"), bytes(1), false);
        Ok(())
    };
    assert_eq!(refused(&twins, &limits), "bundle.duplicate");
    let small = Limits {
        member_bytes: 1000,
        unpacked_bytes: 10_000,
        members: 3,
        ..limits
    };
    assert_eq!(refused(&with("assets/x", 1001), &small), "bundle.too_large");
    let many_bytes = Limits {
        member_bytes: 100_000,
        ..small
    };
    assert_eq!(
        refused(&with("assets/x", 9000), &many_bytes),
        "bundle.too_large"
    );
    assert_eq!(
        refused(&with("assets/a/b/c/x", 1), &small),
        "bundle.too_many"
    );
    assert_eq!(
        Draft::new(b"{}".to_vec()).unwrap_err().code(),
        "manifest.missing_field"
    );
}

/// Where only the bundle itself shows that no reader would take it.
#[test]
fn a_bundle_that_no_reader_takes_is_no_success() {
    let write = |bytes: Vec<u8>, limits: Limits| {
        let mut draft = draft();
        draft.file(path("assets/x"), bytes, false);
        let plan = draft.plan(&limits, &mut |_| {}).unwrap();
        let error = plan.write(io::sink(), None, &mut |_| {}).unwrap_err();
        (error.code(), error.to_string())
    };
    let (code, text) = write(vec![0; 4 * BLOCK], Limits::default());
    assert_eq!(code, "bundle.too_large");
    assert!(text.contains("200 times"), "{text}");
    let limits = Limits {
        packed_bytes: 1000,
        ..Limits::default()
    };
    assert_eq!(write(noise(2000, 1), limits).0, "bundle.too_large");
}

/// A disk that fills up in the middle ends it, whatever the threads are doing.
#[test]
fn a_writer_that_fails_ends_it() {
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(bytes.len())
                .ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut draft = draft();
    draft.file(path("assets/x"), noise(8 * BLOCK, 1), false);
    let plan = plan(draft).threads(NonZeroUsize::new(3).unwrap());
    for room in [0, 10, 100, 2 * BLOCK, 8 * BLOCK] {
        let error = plan.write(Full(room), None, &mut |_| {}).unwrap_err();
        assert_eq!(error.code(), "io.failed", "{room}");
    }
}

#[test]
fn progress_goes_from_nothing_to_all_twice() {
    let mut draft = draft();
    draft.file(path("assets/x"), text(3 * BLOCK), false);
    let total = (3 * BLOCK + MANIFEST.len()) as u64;
    let mut seen: Vec<Progress> = Vec::new();
    let plan = draft
        .plan(&Limits::default(), &mut |progress| seen.push(progress))
        .unwrap();
    plan.write(io::sink(), None, &mut |progress| seen.push(progress))
        .unwrap();
    for step in [Step::Digest, Step::Write] {
        let done: Vec<u64> = seen
            .iter()
            .filter(|it| it.step == step)
            .map(|it| it.done)
            .collect();
        assert!(done.is_sorted() && done.len() > 3, "{done:?}");
        assert_eq!((done[0], done[done.len() - 1]), (0, total));
    }
    assert!(seen.is_sorted_by_key(|progress| progress.step));
    assert!(seen.iter().all(|progress| progress.total == total));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever the members are, what comes out is what went in.
    #[test]
    fn any_members_are_read_back(
        members in proptest::collection::btree_map("[a-z]{1,9}", (0..200_000_usize, any::<u64>(), any::<bool>()), 0..6),
        threads in 1..4_usize,
    ) {
        let mut draft = draft();
        let bytes = |size, seed, is_noise| if is_noise { noise(size, seed) } else { text(size) };
        for (name, &(size, seed, is_noise)) in &members {
            draft.file(path(&format!("assets/{name}")), bytes(size, seed, is_noise), is_noise);
        }
        let plan = plan(draft).threads(NonZeroUsize::new(threads).unwrap());
        let (bundle, _) = write(&plan, None);
        let (contents, memory) = unpack(&bundle);
        prop_assert_eq!(&contents, plan.contents());
        for (name, &(size, seed, is_noise)) in &members {
            let place = path(&format!("assets/{name}"));
            prop_assert!(memory.member(&place) == Some(&bytes(size, seed, is_noise)));
        }
    }
}

fn draft() -> Draft {
    Draft::new(MANIFEST.to_vec()).unwrap()
}

fn plan(draft: Draft) -> Plan {
    draft.plan(&Limits::default(), &mut |_| {}).unwrap()
}

fn write(plan: &Plan, signature: Option<&[u8]>) -> (Vec<u8>, Packed) {
    let mut bytes = Vec::new();
    let packed = plan.write(&mut bytes, signature, &mut |_| {}).unwrap();
    (bytes, packed)
}

fn open(bytes: &[u8]) -> Reader<&[u8]> {
    Reader::open(bytes, &Limits::default()).unwrap()
}

fn unpack(bytes: &[u8]) -> (Contents, Memory) {
    let mut memory = Memory::default();
    let contents = open(bytes).unpack(|_| true, &mut memory).unwrap();
    (contents, memory)
}

/// What any other tool makes of it: one member and nothing behind it.
fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut decoder = flate2::bufread::GzDecoder::new(bytes);
    let mut tar = Vec::new();
    io::copy(&mut decoder, &mut tar).unwrap();
    assert!(decoder.into_inner().is_empty(), "there is a second member");
    tar
}

fn path(text: &str) -> MemberPath {
    MemberPath::new(text).unwrap()
}

fn target(text: &str) -> Target {
    Target::new(text).unwrap()
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Bytes that shrink, as text and code do.
fn text(size: usize) -> Vec<u8> {
    let words = (0_u32..).flat_map(|number| {
        let number = number.wrapping_mul(2_654_435_761) >> 20;
        format!("word {number} of many\n").into_bytes()
    });
    words.take(size).collect()
}

/// Bytes that do not shrink.
fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    };
    (0..size).map(|_| next()).collect()
}
