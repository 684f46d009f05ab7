//! What is to go into a bundle.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::plan::cores;
use super::source::Meter;
use super::{PackError, Plan, Progress, Source, Step, digests};
use crate::bundle::{BundleError, Contents, Limits, MANIFEST, Member, MemberPath, Target};
use crate::{Manifest, Parsed};

/// What is to go into a bundle: a manifest, and files by their places.
#[derive(Debug, Clone)]
pub struct Draft {
    parsed: Parsed,
    libraries: BTreeMap<Target, MemberPath>,
    files: Vec<File>,
}

/// A member, before anybody looked at its bytes.
#[derive(Debug, Clone)]
struct File {
    path: MemberPath,
    source: Source,
    executable: bool,
}

impl Draft {
    /// Begins with the bytes of a `plugin.json`, which are packed as they are.
    ///
    /// # Errors
    /// Those of [`Manifest::parse`].
    pub fn new(manifest: Vec<u8>) -> Result<Self, PackError> {
        let parsed =
            Manifest::parse(&manifest).map_err(|source| BundleError::Manifest { source })?;
        let mut draft = Self {
            parsed,
            libraries: BTreeMap::new(),
            files: Vec::new(),
        };
        draft.file(member_path(MANIFEST)?, manifest, false);
        Ok(draft)
    }

    /// The manifest, checked, with what is odd about it.
    pub fn parsed(&self) -> &Parsed {
        &self.parsed
    }

    /// Adds the library for a platform, as `lib/<target>/<name>`.
    ///
    /// # Errors
    /// `pack.path` when it cannot have that name, `pack.twice` when there is one for this platform.
    pub fn library(
        &mut self,
        target: Target,
        name: &str,
        source: impl Into<Source>,
    ) -> Result<(), PackError> {
        let path = member_path(&format!("lib/{target}/{name}"))?;
        if let Some(first) = self.libraries.get(&target) {
            return Err(PackError::Twice {
                first: first.clone(),
                second: path,
                target,
            });
        }
        self.file(path.clone(), source, false);
        self.libraries.insert(target, path);
        Ok(())
    }

    /// Adds a file. Two of one name are refused by [`plan`](Self::plan).
    pub fn file(&mut self, path: MemberPath, source: impl Into<Source>, executable: bool) {
        self.files.push(File {
            path,
            source: source.into(),
            executable,
        });
    }

    /// Reads every file, and lists what the bundle will hold.
    ///
    /// # Errors
    /// `pack.kind`, `pack.path` and `io.*` for files that cannot be packed; those of `bundle.*` that a reader with
    /// these limits would answer with.
    pub fn plan(
        self,
        limits: &Limits,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Plan, PackError> {
        let mut total = 0_u64;
        for file in &self.files {
            total = total.saturating_add(file.source.size()?);
        }
        let mut meter = Meter::new(Step::Digest, total, progress);
        let sources: Vec<&Source> = self.files.iter().map(|file| &file.source).collect();
        let digests = digests::of_all(&sources, cores(), &mut meter)?;
        let mut members = Vec::with_capacity(self.files.len());
        for (file, (size, digest)) in self.files.into_iter().zip(digests) {
            let mut member = Member::new(file.path, size, digest);
            member.executable = file.executable;
            members.push((member, file.source));
        }
        members.sort_by(|(one, _), (other, _)| one.path.cmp(&other.path));
        let listed = members.iter().map(|(member, _)| member.clone()).collect();
        let contents = Contents::new(&self.parsed.manifest, self.libraries, listed)?;
        Plan::new(self.parsed.manifest, contents, members, *limits)
    }
}

pub(super) fn member_path(path: &str) -> Result<MemberPath, PackError> {
    MemberPath::new(path).map_err(|source| PackError::Path {
        path: PathBuf::from(path),
        source,
    })
}
