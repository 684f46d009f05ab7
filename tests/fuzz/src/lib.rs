//! What has to hold for any bytes whatever. A target of the fuzzer calls one of these, and the replay of the
//! corpus all of them.

use std::collections::BTreeMap;
use std::io::{self, Write};

use flate2::{Compression, GzBuilder};
use plg_packaging::bundle::{BundleError, Contents, Limits, MemberPath, Reader, Sink};
use plg_packaging::{Digest, Manifest};

/// Small enough for many runs a second.
const LIMITS: Limits = Limits {
    packed_bytes: 1 << 20,
    unpacked_bytes: 1 << 20,
    member_bytes: 1 << 19,
    ratio: 200,
    members: 64,
};

/// The first byte of an input for [`bundle`]: what follows is the file.
pub const FILE: u8 = b'f';
/// What follows is the archive. Its checksums are made right, or no change of a header would get far.
pub const ARCHIVE: u8 = b'a';

/// No bytes make the reader of bundles panic, take more than its limits, or accept what it does not deliver.
///
/// # Panics
///
/// When that does not hold.
pub fn bundle(input: &[u8]) {
    let file = match input {
        [ARCHIVE, archive @ ..] => stored(&with_sums(archive)),
        [_, file @ ..] => file.to_vec(),
        [] => return,
    };
    let open = || Reader::open(&file[..], &LIMITS);
    let mut taken = Taken::default();
    let unpacked = open().and_then(|reader| reader.unpack(|_| true, &mut taken));
    let verified = open().and_then(Reader::verify);
    assert!(
        taken.bytes <= LIMITS.unpacked_bytes,
        "{} bytes",
        taken.bytes
    );
    match (unpacked, verified) {
        (Ok(contents), Ok(same)) => {
            assert_eq!(contents, same);
            assert_eq!(
                Contents::parse(contents.to_json().as_bytes()).unwrap(),
                contents
            );
            for member in &contents.members {
                assert_eq!(
                    taken.files.remove(&member.path),
                    Some((member.size, member.digest))
                );
            }
            // What is left is the list itself and its signature.
            assert!(
                taken
                    .files
                    .keys()
                    .all(|path| path.as_str().starts_with("contents.json"))
            );
        }
        (Err(one), Err(other)) => assert_eq!(shown(&one), shown(&other)),
        (one, other) => panic!("{one:?} and {other:?}"),
    }
}

/// What is accepted as a manifest or a list is written and read back as the same.
///
/// # Panics
///
/// When that does not hold.
pub fn manifest(input: &[u8]) {
    if let Ok(parsed) = Manifest::parse(input) {
        let written = parsed.manifest.to_json();
        let again = Manifest::parse(written.as_bytes()).unwrap();
        assert_eq!(again.manifest, parsed.manifest);
    }
    if let Ok(contents) = Contents::parse(input) {
        assert_eq!(
            Contents::parse(contents.to_json().as_bytes()).unwrap(),
            contents
        );
    }
}

/// Bytes as a gzip member that is not compressed, always the same.
///
/// # Panics
///
/// Never: memory takes everything.
pub fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::none());
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

fn shown(error: &BundleError) -> (&'static str, String) {
    (error.code(), error.to_string())
}

/// Writes the checksum into every block that looks like a header.
fn with_sums(archive: &[u8]) -> Vec<u8> {
    let mut archive = archive.to_vec();
    for block in archive.chunks_exact_mut(512) {
        if block[257..].starts_with(b"ustar") {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().copied().map(u32::from).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    archive
}

/// What came to the sink.
#[derive(Default)]
struct Taken {
    files: BTreeMap<MemberPath, (u64, Digest)>,
    bytes: u64,
}

impl Sink for Taken {
    type File = Vec<u8>;

    fn create(&mut self, path: &MemberPath, _executable: bool) -> io::Result<Vec<u8>> {
        assert!(!self.files.contains_key(path), "`{path}` twice");
        Ok(Vec::new())
    }

    fn close(&mut self, path: &MemberPath, file: Vec<u8>) -> io::Result<()> {
        self.bytes += file.len() as u64;
        self.files
            .insert(path.clone(), (file.len() as u64, Digest::of(&file)));
        Ok(())
    }
}
