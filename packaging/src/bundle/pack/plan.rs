//! What a bundle will hold, and writing it.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::thread;

use super::archive::Archive;
use super::draft::member_path;
use super::gzip::{self, Sizes};
use super::source::Meter;
use super::{PackError, Progress, Source, Step, archive};
use crate::Manifest;
use crate::bundle::gzip::HARMLESS;
use crate::bundle::{BundleError, CONTENTS, Contents, Limits, MANIFEST, Member, SIGNATURE, roll};
use crate::manifest::MAX_BYTES;

/// What a bundle will hold: every digest is known, and nothing is written yet.
#[derive(Debug, Clone)]
pub struct Plan {
    manifest: Manifest,
    contents: Contents,
    json: String,
    members: Vec<(Member, Source)>,
    limits: Limits,
    threads: NonZeroUsize,
}

/// A bundle that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Packed {
    /// Bytes of the file.
    pub packed_bytes: u64,
    /// Bytes of all members together, headers and padding included.
    pub unpacked_bytes: u64,
}

/// More threads than this wait for the one that reads.
const MOST_THREADS: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// How many threads there is work for.
pub(super) fn cores() -> NonZeroUsize {
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    cores.min(MOST_THREADS)
}

impl Plan {
    pub(super) fn new(
        manifest: Manifest,
        contents: Contents,
        members: Vec<(Member, Source)>,
        limits: Limits,
    ) -> Result<Self, PackError> {
        let plan = Self {
            manifest,
            json: contents.to_json(),
            contents,
            members,
            limits,
            threads: cores(),
        };
        plan.check()?;
        Ok(plan)
    }

    /// Compresses on that many threads instead of one for each core. The bytes are the same.
    #[must_use]
    pub fn threads(self, threads: NonZeroUsize) -> Self {
        Self { threads, ..self }
    }

    /// The checked manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What the bundle will list.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The `contents.json` as it will stand in the bundle, which is what a signature covers.
    pub fn contents_json(&self) -> &str {
        &self.json
    }

    /// Writes the bundle. `signature` is the text of the `contents.json.minisig`, if it is to be signed; whether it
    /// is right is for the caller to know.
    ///
    /// # Errors
    /// `pack.changed` when a file is not what it was; `bundle.too_large` when only the bundle itself shows that it is;
    /// `io.*`. What was written until then is of no use.
    pub fn write(
        &self,
        out: impl Write,
        signature: Option<&[u8]>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Packed, PackError> {
        let total = self.members.iter().map(|(member, _)| member.size).sum();
        let mut meter = Meter::new(Step::Write, total, progress);
        let sizes = gzip::compress(out, self.threads, |blocks| {
            let mut archive = Archive::new(blocks);
            let (first, others): (Vec<_>, Vec<_>) = self
                .members
                .iter()
                .partition(|(member, _)| member.path == *MANIFEST);
            for (member, source) in first {
                archive.member(member, source, &mut meter)?;
            }
            archive.bytes(&member_path(CONTENTS)?, self.json.as_bytes())?;
            if let Some(signature) = signature {
                archive.bytes(&member_path(SIGNATURE)?, signature)?;
            }
            for (member, source) in others {
                archive.member(member, source, &mut meter)?;
            }
            archive.finish()
        })?;
        self.check_written(sizes)
    }

    /// Fails where a reader would, as far as that is known before anything is written.
    fn check(&self) -> Result<(), PackError> {
        let limits = &self.limits;
        roll::check_limits(&self.contents, limits)?;
        if self.json.len() > MAX_BYTES {
            return Err(too_large("`contents.json`", MAX_BYTES as u64));
        }
        let mut unpacked = archive::END + archive::size(self.json.len() as u64);
        for (member, _) in &self.members {
            archive::check_path(&member.path)?;
            unpacked = unpacked.saturating_add(archive::size(member.size));
        }
        if unpacked > limits.unpacked_bytes {
            return Err(too_large("the unpacked bundle", limits.unpacked_bytes));
        }
        Ok(())
    }

    fn check_written(&self, sizes: Sizes) -> Result<Packed, PackError> {
        let limits = &self.limits;
        if sizes.packed > limits.packed_bytes {
            return Err(too_large("the bundle", limits.packed_bytes));
        }
        let allowed = sizes.packed.saturating_mul(limits.ratio);
        if sizes.unpacked > allowed.max(HARMLESS) {
            let limit = limits.ratio;
            return Err(BundleError::Ratio { limit }.into());
        }
        Ok(Packed {
            packed_bytes: sizes.packed,
            unpacked_bytes: sizes.unpacked,
        })
    }
}

fn too_large(what: &str, limit: u64) -> PackError {
    let what = what.to_owned();
    BundleError::TooLarge { what, limit }.into()
}

impl From<io::Error> for PackError {
    fn from(source: io::Error) -> Self {
        Self::Write { source }
    }
}
