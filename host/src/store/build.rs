//! A build: what is unpacked of a bundle, and whether it is still what was installed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use plg_packaging::bundle::{CONTENTS, Contents, MANIFEST, Member, MemberPath, SIGNATURE, Target};
use plg_packaging::manifest::Isolation;
use plg_packaging::{Digest, Manifest, PluginName};
use semver::Version;

use super::disk::Disk;
use super::error::StoreError;
use super::home::Home;
use super::records::{self, READABLE};
use super::set::Entry;
use super::step::Step;

/// An installed build, as a host needs it. It is not collected before this is dropped.
#[derive(Debug)]
#[non_exhaustive]
pub struct Build {
    /// What the store says of it.
    pub entry: Entry,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Where its files are. None of them is ever changed.
    pub directory: PathBuf,
    /// The library for this machine, which nobody has read yet, and the digest that its bytes must have;
    /// `None` for a plugin without one.
    pub library: Option<(PathBuf, Digest)>,
    /// Keeps the build from being collected.
    pub lease: Lease,
}

/// Keeps a build from being collected, until it is dropped.
#[derive(Debug)]
pub struct Lease(Option<File>);

/// What a host keeps of an installed build for as long as it has it loaded.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) name: PluginName,
    pub(crate) version: Version,
    /// What the bytes of its library must have.
    pub(crate) library: Digest,
    /// Where the key that signed it is trusted to have plugins run; `None` if it was not signed.
    pub(crate) signed_for: Option<Isolation>,
    /// Held, never looked at.
    pub(crate) _lease: Lease,
}

/// What is wrong with a build.
#[derive(Debug)]
pub(super) struct Flaw {
    path: PathBuf,
    why: String,
    found: Option<Digest>,
}

/// How much of a build is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Depth {
    /// Which files there are.
    List,
    /// Their bytes as well, but for the library: who loads it looks at the bytes that are loaded.
    Loading,
    /// All bytes.
    Whole,
}

/// Whether a member is kept on a machine of that platform.
pub(super) fn is_kept(path: &MemberPath, target: &Target) -> bool {
    path.target().is_none_or(|of| of == *target)
}

impl Build {
    pub(super) fn open(
        home: &Home,
        entry: Entry,
        target: &Target,
        lease: Lease,
    ) -> Result<Self, StoreError> {
        let directory = home.build(&entry.digest);
        let (contents, manifest) =
            check(&directory, &entry, target, Depth::Loading).map_err(|flaw| flaw.of(&entry))?;
        let library = contents.library(target).ok();
        Ok(Self {
            library: library.map(|member| (directory.join(member.path.as_str()), member.digest)),
            entry,
            manifest,
            directory,
            lease,
        })
    }

    /// Reads the library and says whether it is what was installed. A host that loads it does so itself.
    ///
    /// # Errors
    ///
    /// `store.tampered`.
    pub fn check_library(&self) -> Result<(), StoreError> {
        let Some((path, digest)) = &self.library else {
            return Ok(());
        };
        check_bytes(path, digest, u64::MAX)
            .map(drop)
            .map_err(|flaw| flaw.of(&self.entry))
    }
}

impl Installed {
    /// What a library with other bytes than those that were installed is refused with.
    pub(crate) fn tampered(&self, path: &Path, found: Digest) -> StoreError {
        StoreError::Tampered {
            name: self.name.clone(),
            version: self.version.clone(),
            path: path.to_owned(),
            why: differ(found, self.library),
            found: Some(Box::new(found)),
        }
    }
}

impl PartialEq for Installed {
    /// Two leases of one build are as good as each other.
    fn eq(&self, other: &Self) -> bool {
        let key = |of: &Self| (of.name.clone(), of.version.clone(), of.library);
        key(self) == key(other)
    }
}

impl Lease {
    /// Notes that this process has the build.
    pub(super) fn take(home: &Home, disk: &Disk, digest: &Digest) -> Result<Self, StoreError> {
        let path = home.lease(digest);
        loop {
            let file = match disk.shared_file(Step::Lease, &path) {
                Ok(file) => file,
                // Nobody can collect anything there.
                Err(StoreError::Disk { source, .. })
                    if source.kind() == ErrorKind::ReadOnlyFilesystem =>
                {
                    return Ok(Self(None));
                }
                Err(error) => return Err(error),
            };
            let read = |source| StoreError::read(&path, source);
            // A collection holds it for a moment only.
            file.lock_shared().map_err(read)?;
            // And may have removed the name in that moment.
            let named = fs::symlink_metadata(&path);
            let own = file.metadata().map_err(read)?;
            if named.is_ok_and(|named| (named.dev(), named.ino()) == (own.dev(), own.ino())) {
                return Ok(Self(Some(file)));
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Closing would do, unless the process forked meanwhile: the child has the file open too.
        if let Some(file) = &self.0 {
            let _ = file.unlock();
        }
    }
}

impl Flaw {
    fn new(path: &Path, why: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            why: why.into(),
            found: None,
        }
    }

    pub(super) fn of(self, entry: &Entry) -> StoreError {
        StoreError::Tampered {
            name: entry.name.clone(),
            version: entry.version.clone(),
            path: self.path,
            why: self.why,
            found: self.found.map(Box::new),
        }
    }
}

/// Compares a build with what was installed, and reads what it says.
pub(super) fn check(
    directory: &Path,
    entry: &Entry,
    target: &Target,
    depth: Depth,
) -> Result<(Contents, Manifest), Flaw> {
    let list = directory.join(CONTENTS);
    let bytes = check_bytes(&list, &entry.digest, READABLE)?;
    let contents = Contents::parse(&bytes).map_err(|error| Flaw::new(&list, error.to_string()))?;
    let kept = |member: &&Member| is_kept(&member.path, target);
    let kept: Vec<&Member> = contents.members.iter().filter(kept).collect();
    check_names(directory, entry, &kept)?;
    let path = directory.join(MANIFEST);
    let member = kept.iter().find(|member| member.path.as_str() == MANIFEST);
    let member = member.ok_or_else(|| Flaw::new(&path, "is not in the list"))?;
    let parsed = Manifest::parse(&check_bytes(&path, &member.digest, member.size)?)
        .map_err(|error| Flaw::new(&path, error.to_string()))?;
    if depth == Depth::List {
        return Ok((contents, parsed.manifest));
    }
    if let Some(signature) = &entry.signature {
        check_bytes(&directory.join(SIGNATURE), signature, READABLE)?;
    }
    let library = contents.libraries.get(target);
    for member in kept {
        let is_library = library == Some(&member.path);
        if !(is_library && depth == Depth::Loading) {
            check_bytes(
                &directory.join(member.path.as_str()),
                &member.digest,
                member.size,
            )?;
        }
    }
    Ok((contents, parsed.manifest))
}

/// Whether these files are there and nothing else is.
fn check_names(directory: &Path, entry: &Entry, kept: &[&Member]) -> Result<(), Flaw> {
    let mut missing: BTreeSet<PathBuf> = kept
        .iter()
        .map(|member| directory.join(member.path.as_str()))
        .collect();
    missing.insert(directory.join(CONTENTS));
    if entry.signature.is_some() {
        missing.insert(directory.join(SIGNATURE));
    }
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        let unread =
            |error: std::io::Error| Flaw::new(&directory, format!("cannot be read: {error}"));
        for name in fs::read_dir(&directory).map_err(unread)? {
            let name = name.map_err(unread)?;
            let path = name.path();
            let kind = name.file_type().map_err(unread)?;
            if kind.is_dir() {
                open.push(path);
            } else if !kind.is_file() {
                return Err(Flaw::new(&path, "is no regular file"));
            } else if !missing.remove(&path) {
                return Err(Flaw::new(&path, "was not installed"));
            }
        }
    }
    match missing.pop_first() {
        None => Ok(()),
        Some(path) => Err(Flaw::new(&path, "is gone")),
    }
}

fn check_bytes(path: &Path, expected: &Digest, limit: u64) -> Result<Vec<u8>, Flaw> {
    let bytes = match records::bytes(path, limit) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err(Flaw::new(path, "is gone")),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let why = format!("cannot be read: {}", cause.unwrap_or_default());
            return Err(Flaw::new(path, why));
        }
    };
    let found = Digest::of(&bytes);
    if found == *expected {
        return Ok(bytes);
    }
    Err(Flaw {
        path: path.to_owned(),
        why: differ(found, *expected),
        found: Some(found),
    })
}

fn differ(found: Digest, expected: Digest) -> String {
    format!("has the digest {found}, and {expected} was installed")
}
