//! Writes archives by hand, byte for byte, the wrong ones too: no library for that would write them.

use std::collections::BTreeMap;
use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use plg_packaging::bundle::{CONTENTS, Contents, MANIFEST, Member, MemberPath, SIGNATURE};
use plg_packaging::{Digest, Manifest};

/// A block of a tar archive.
pub const BLOCK: usize = 512;

/// The fields of a header that tests spoil.
pub mod field {
    use std::ops::Range;

    /// The name.
    pub const NAME: Range<usize> = 0..100;
    /// The mode.
    pub const MODE: Range<usize> = 100..108;
    /// The owner.
    pub const OWNER: Range<usize> = 108..116;
    /// The group.
    pub const GROUP: Range<usize> = 116..124;
    /// The size.
    pub const SIZE: Range<usize> = 124..136;
    /// The time.
    pub const TIME: Range<usize> = 136..148;
    /// The checksum.
    pub const SUM: Range<usize> = 148..156;
    /// The kind.
    pub const KIND: Range<usize> = 156..157;
    /// Where a link leads.
    pub const LINK: Range<usize> = 157..257;
    /// The dialect.
    pub const MAGIC: Range<usize> = 257..265;
    /// The major number of a device.
    pub const MAJOR: Range<usize> = 329..337;
    /// What goes before the name.
    pub const PREFIX: Range<usize> = 345..500;
    /// Nothing.
    pub const REST: Range<usize> = 500..512;
}

/// An entry: a header and what follows it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The header.
    pub header: [u8; BLOCK],
    /// The bytes, which need not be as many as the header says.
    pub body: Vec<u8>,
}

impl Entry {
    /// A regular file in the form of ustar. A name of more than a hundred bytes is split at a `/`.
    ///
    /// # Panics
    ///
    /// When the name does not fit.
    #[must_use]
    pub fn new(name: impl AsRef<[u8]>, body: impl Into<Vec<u8>>) -> Self {
        let name = name.as_ref();
        let body = body.into();
        let mut header = [0; BLOCK];
        let (prefix, name) = match name.len() {
            0..=100 => (&[][..], name),
            length => {
                let slash = |at: &usize| name[*at] == b'/' && *at <= 155;
                let at = (length - 101..length)
                    .find(slash)
                    .expect("a long name has a `/` in the right place");
                (&name[..at], &name[at + 1..])
            }
        };
        header[..name.len()].copy_from_slice(name);
        header[field::PREFIX.start..][..prefix.len()].copy_from_slice(prefix);
        let size = format!("{:011o}\0", body.len());
        for (range, text) in [
            (field::MODE, "0000644\0"),
            (field::OWNER, "0000000\0"),
            (field::GROUP, "0000000\0"),
            (field::SIZE, size.as_str()),
            (field::TIME, "00000000000\0"),
            (field::KIND, "0"),
            (field::MAGIC, "ustar\x0000"),
        ] {
            header[range].copy_from_slice(text.as_bytes());
        }
        Self { header, body }.sum()
    }

    /// Sets a field, from its beginning, and the checksum.
    #[must_use]
    pub fn with(mut self, field: std::ops::Range<usize>, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.header[field][..bytes.len()].copy_from_slice(bytes);
        self.sum()
    }

    /// Sets the kind.
    #[must_use]
    pub fn kind(self, kind: u8) -> Self {
        self.with(field::KIND, [kind])
    }

    /// Makes it one of GNU tar's own format.
    #[must_use]
    pub fn gnu(self) -> Self {
        self.with(field::MAGIC, "ustar  \0")
    }

    /// Writes the checksum.
    #[must_use]
    pub fn sum(mut self) -> Self {
        self.header[field::SUM].fill(b' ');
        let sum: u32 = self.header.iter().copied().map(u32::from).sum();
        self.header[field::SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self
    }

    /// Header, bytes and what fills the last block.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.to_vec();
        bytes.extend_from_slice(&self.body);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }
}

/// An archive without its end marker.
#[must_use]
pub fn entries(entries: &[Entry]) -> Vec<u8> {
    let all: Vec<_> = entries.iter().map(Entry::bytes).collect();
    all.concat()
}

/// An archive.
#[must_use]
pub fn tar(all: &[Entry]) -> Vec<u8> {
    let mut bytes = entries(all);
    bytes.resize(bytes.len() + 2 * BLOCK, 0);
    bytes
}

/// Compresses.
///
/// # Panics
///
/// Never: memory takes everything.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

/// The manifest of the plugin that these bundles are of.
#[must_use]
pub fn manifest() -> Vec<u8> {
    b"{ \"name\": \"hello\", \"version\": \"1.2.3\" }\n".to_vec()
}

/// The members of a bundle, with what is listed and what is there apart from each other.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The manifest.
    pub manifest: Vec<u8>,
    /// The list.
    pub contents: Vec<u8>,
    /// The signature.
    pub signature: Option<Vec<u8>>,
    /// The others.
    pub members: Vec<(String, Vec<u8>)>,
}

impl Bundle {
    /// A good one: those members, and libraries for every target whose directory has a `.so`.
    ///
    /// # Panics
    ///
    /// When the members do not make a bundle.
    #[must_use]
    pub fn new<N: Into<String>>(members: impl IntoIterator<Item = (N, Vec<u8>)>) -> Self {
        let mut members: Vec<(String, Vec<u8>)> = members
            .into_iter()
            .map(|(name, bytes)| (name.into(), bytes))
            .collect();
        members.sort();
        let manifest = manifest();
        let mut listed = vec![member(MANIFEST, &manifest)];
        listed.extend(members.iter().map(|(name, bytes)| member(name, bytes)));
        let mut libraries = BTreeMap::new();
        for member in &listed {
            let is_library = member.path.as_str().ends_with(".so");
            if let Some(target) = member.path.target().filter(|_| is_library) {
                libraries.insert(target, member.path.clone());
            }
        }
        let parsed = Manifest::parse(&manifest).expect("the manifest is good");
        let contents =
            Contents::new(&parsed.manifest, libraries, listed).expect("the members make a bundle");
        Self {
            manifest,
            contents: contents.to_json().into_bytes(),
            signature: None,
            members,
        }
    }

    /// The same with another manifest, which is listed as it is.
    ///
    /// # Panics
    ///
    /// When the list is none.
    #[must_use]
    pub fn with_manifest(mut self, manifest: &[u8]) -> Self {
        let mut contents = Contents::parse(&self.contents).expect("the list is good");
        for listed in &mut contents.members {
            if listed.path == *MANIFEST {
                *listed = member(MANIFEST, manifest);
            }
        }
        self.contents = contents.to_json().into_bytes();
        self.manifest = manifest.to_vec();
        self
    }

    /// Its entries.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = vec![
            Entry::new(MANIFEST, self.manifest.clone()),
            Entry::new(CONTENTS, self.contents.clone()),
        ];
        if let Some(signature) = &self.signature {
            entries.push(Entry::new(SIGNATURE, signature.clone()));
        }
        let members = self.members.iter();
        entries.extend(members.map(|(name, bytes)| Entry::new(name, bytes.clone())));
        entries
    }

    /// The file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        gzip(&tar(&self.entries()))
    }
}

/// A small bundle that is good in every way.
#[must_use]
pub fn good() -> Bundle {
    Bundle::new([
        ("assets/readme.txt", b"how to greet\n".to_vec()),
        ("lib/aarch64-unknown-linux-gnu/libhello.so", vec![7; 700]),
        ("lib/x86_64-unknown-linux-gnu/libhello.so", vec![8; 1024]),
    ])
}

/// The plain form: a manifest and a library.
#[must_use]
pub fn plain() -> Vec<Entry> {
    vec![
        Entry::new(MANIFEST, manifest()),
        Entry::new("libhello.so", vec![9; 600]),
    ]
}

/// What a list says of a file.
///
/// # Panics
///
/// When it is no path of a member.
#[must_use]
pub fn member(name: &str, bytes: &[u8]) -> Member {
    let path = MemberPath::new(name).expect("a good path");
    Member::new(path, bytes.len() as u64, Digest::of(bytes))
}
