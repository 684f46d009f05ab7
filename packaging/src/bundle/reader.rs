//! Reads a bundle once, from its beginning to its end, and checks everything on the way.

use std::io::Read;

use super::archive::Archive;
use super::gzip::Inflater;
use super::header::Entry;
use super::payload::Payload;
use super::roll;
use super::{
    BundleError, CONTENTS, Contents, Head, Limits, Listed, MANIFEST, MemberPath, Memory, SIGNATURE,
    Sink, Target, pipe,
};
use crate::{Manifest, manifest};

/// The largest `contents.json`, which is that of a manifest.
const MAX_CONTENTS: u64 = manifest::MAX_BYTES as u64;
/// The largest signature; minisign's have about 300 bytes.
const MAX_SIGNATURE: u64 = 8 << 10;
/// A payload up to this size is done before a thread would have started.
const SMALL: u64 = 256 << 10;

/// A bundle of which the head was read.
pub struct Reader<R> {
    archive: Archive<Inflater<R>>,
    head: Head,
    /// The first entry of the payload, whose header was read to know where the head ends.
    first: Option<Entry>,
}

impl<R: Read + Send> Reader<R> {
    /// Reads the manifest and, unless this is the plain form, the list of members and its signature. The
    /// payload is not read.
    ///
    /// # Errors
    /// Every code of [`BundleError`] but `bundle.platform`, for what is wrong up to there.
    pub fn open(source: R, limits: &Limits) -> Result<Self, BundleError> {
        let mut archive = Archive::new(Inflater::new(source, limits), limits);
        let missing = |what: &str| BundleError::Missing {
            what: what.to_owned(),
        };
        let Some(entry) = archive.next()? else {
            archive.finish(true)?;
            return Err(missing("members"));
        };
        if entry.path != *MANIFEST {
            return Err(missing("`plugin.json` as its first member"));
        }
        let bytes = document(&mut archive, &entry, manifest::MAX_BYTES as u64)?;
        let parsed = Manifest::parse(&bytes).map_err(|source| BundleError::Manifest { source })?;
        let Some(second) = archive.next()? else {
            archive.finish(true)?;
            return Err(missing("member but `plugin.json`"));
        };
        let mut head = Head {
            parsed,
            manifest: bytes,
            listed: None,
        };
        if second.path != *CONTENTS {
            if !is_library(&second.path) {
                return Err(missing("`contents.json` as its second member"));
            }
            return Ok(Self {
                archive,
                head,
                first: Some(second),
            });
        }
        refuse_gnu(&entry)?;
        refuse_gnu(&second)?;
        let bytes = document(&mut archive, &second, MAX_CONTENTS)?;
        let contents = Contents::parse(&bytes)?;
        check_list(&contents, &bytes, &head, limits)?;
        let mut first = archive.next()?;
        let mut signature = None;
        if let Some(entry) = first.take_if(|entry| entry.path == *SIGNATURE) {
            refuse_gnu(&entry)?;
            signature = Some(document(&mut archive, &entry, MAX_SIGNATURE)?);
            first = archive.next()?;
        }
        head.listed = Some(Listed {
            contents,
            bytes,
            signature,
        });
        Ok(Self {
            archive,
            head,
            first,
        })
    }

    /// What is known before the payload is read.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The path of the library for a platform. That of the plain form is taken to be for this one.
    ///
    /// # Errors
    /// `bundle.platform` when there is none.
    pub fn library(&self, target: &Target) -> Result<MemberPath, BundleError> {
        if let Some(listed) = &self.head.listed {
            return Ok(listed.contents.library(target)?.path.clone());
        }
        let has = Target::current();
        match &self.first {
            Some(entry) if has == *target => Ok(entry.path.clone()),
            _ => Err(BundleError::Platform {
                name: self.head.parsed.manifest.name.clone(),
                wanted: target.clone(),
                has: vec![has],
            }),
        }
    }

    /// Reads and checks all the rest, and keeps nothing of it.
    ///
    /// # Errors
    /// Every code of [`BundleError`] but `bundle.platform`.
    pub fn verify(self) -> Result<Contents, BundleError> {
        self.unpack(|_| false, &mut Nowhere)
    }

    /// Reads and checks all the rest, and hands the members that `wanted` says yes to on to `sink`, the
    /// manifest, the list and the signature among them. Bytes come to the sink before they are checked, and
    /// nothing of them may be used before this returns.
    ///
    /// # Errors
    /// Every code of [`BundleError`] but `bundle.platform`, and those of [`io_code`](super::error::io_code)
    /// for what the sink says.
    pub fn unpack<S: Sink>(
        self,
        wanted: impl FnMut(&MemberPath) -> bool,
        sink: &mut S,
    ) -> Result<Contents, BundleError> {
        let Self {
            archive,
            head,
            first,
        } = self;
        let (mut inflater, archive) = archive.split();
        let payload = Payload {
            head: &head,
            first,
            wanted,
            sink,
        };
        if payload.size() <= SMALL {
            return payload.read(archive.join(inflater));
        }
        inflater.hurry();
        pipe::ahead(&mut inflater, |source| payload.read(archive.join(source)))
    }

    /// Reads and checks all the rest, and keeps one member in memory.
    ///
    /// # Errors
    /// Every code of [`BundleError`] but `bundle.platform`; `bundle.missing` if there is no such member.
    pub fn extract(self, path: &MemberPath) -> Result<(Contents, Vec<u8>), BundleError> {
        let mut memory = Memory::default();
        let contents = self.unpack(|member| member == path, &mut memory)?;
        let bytes = memory.take(path).ok_or_else(|| BundleError::Missing {
            what: format!("member `{path}`"),
        })?;
        Ok((contents, bytes))
    }
}

/// Reads a member of the head.
fn document<R: Read>(
    archive: &mut Archive<Inflater<R>>,
    entry: &Entry,
    limit: u64,
) -> Result<Vec<u8>, BundleError> {
    if entry.size > limit {
        return Err(BundleError::TooLarge {
            what: format!("`{}`", entry.path),
            limit,
        });
    }
    let mut bytes = Vec::new();
    archive.body(entry.size, entry.path.as_str(), |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes)
}

/// Fails for a list that is not of this manifest, is spelled in a way of its own, or promises too much.
fn check_list(
    contents: &Contents,
    bytes: &[u8],
    head: &Head,
    limits: &Limits,
) -> Result<(), BundleError> {
    // One list has one spelling, so that its digest and its signature are of the same bytes.
    if contents.to_json().as_bytes() != bytes {
        return Err(BundleError::Mismatch {
            path: CONTENTS.to_owned(),
            why: "it is not spelled as the format says",
        });
    }
    roll::check_limits(contents, limits)?;
    roll::check_manifest(contents, &head.manifest)?;
    contents.check_identity(&head.parsed.manifest)
}

/// What GNU tar writes by itself is let pass only in the plain form, which is made with it.
pub(super) fn refuse_gnu(entry: &Entry) -> Result<(), BundleError> {
    if !entry.is_gnu {
        return Ok(());
    }
    Err(BundleError::Header {
        at: entry.at,
        why: "it is in GNU tar's own format; use `--format=ustar`".to_owned(),
    })
}

/// The library of the plain form.
fn is_library(path: &MemberPath) -> bool {
    let path = path.as_str();
    path.ends_with(".so") && !path.contains('/')
}

/// Where members go that are only checked.
struct Nowhere;

impl Sink for Nowhere {
    type File = std::io::Sink;

    fn create(&mut self, _path: &MemberPath, _executable: bool) -> std::io::Result<Self::File> {
        Ok(std::io::sink())
    }

    fn close(&mut self, _path: &MemberPath, _file: Self::File) -> std::io::Result<()> {
        Ok(())
    }
}
