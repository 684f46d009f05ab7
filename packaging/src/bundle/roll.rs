//! Calls the roll: the entries of an archive against the list of members.

use super::header::Entry;
use super::{BundleError, CONTENTS, Contents, Limits, MANIFEST, Member, MemberPath, SIGNATURE};
use crate::Digest;

/// What a header takes in the archive, and at most what fills the last block.
const BLOCK: u64 = 512;

/// The members that have not come yet, in their order.
pub(super) struct Roll<'a> {
    all: &'a [Member],
    place: usize,
}

impl<'a> Roll<'a> {
    pub(super) fn new(contents: &'a Contents) -> Self {
        Self {
            all: &contents.members,
            place: 0,
        }
    }

    /// The member that `entry` is, which has to be the next.
    pub(super) fn next(&mut self, entry: &Entry) -> Result<&'a Member, BundleError> {
        let Some(member) = self.peek() else {
            return Err(self.unexpected(entry));
        };
        if member.path != entry.path {
            return Err(self.unexpected(entry));
        }
        self.place += 1;
        check_size(member, entry.size)?;
        Ok(member)
    }

    /// Fails unless all have come.
    pub(super) fn finish(mut self) -> Result<(), BundleError> {
        match self.peek() {
            None => Ok(()),
            Some(member) => Err(mismatch(&member.path, "it is listed and missing")),
        }
    }

    /// The next member. The manifest stands before the list and was compared with it then.
    fn peek(&mut self) -> Option<&'a Member> {
        let member = self.all.get(self.place)?;
        if member.path == *MANIFEST {
            self.place += 1;
            return self.all.get(self.place);
        }
        Some(member)
    }

    /// Why an entry is not the one that has to come.
    fn unexpected(&mut self, entry: &Entry) -> BundleError {
        let folded = entry.path.folded();
        if let Some(first) = [MANIFEST, CONTENTS]
            .into_iter()
            .find(|name| folded == *name)
        {
            return BundleError::Duplicate {
                path: entry.path.to_string(),
                first: first.to_owned(),
            };
        }
        let next = self.peek();
        let listed = self
            .all
            .iter()
            .find(|member| member.path.folded() == folded);
        match (listed, next) {
            (None, _) if entry.path == *SIGNATURE => {
                mismatch(&entry.path, "it does not follow the list that it signs")
            }
            (None, _) => mismatch(&entry.path, "it is not listed"),
            // It came already, unless it is listed further on.
            (Some(member), Some(next)) if member.path == entry.path && next.path < member.path => {
                mismatch(&next.path, "it is listed and not in its place")
            }
            (Some(member), _) => BundleError::Duplicate {
                path: entry.path.to_string(),
                first: member.path.to_string(),
            },
        }
    }
}

/// Fails for a list that promises more than is allowed, before any of it is read.
pub(super) fn check_limits(contents: &Contents, limits: &Limits) -> Result<(), BundleError> {
    let directories: std::collections::BTreeSet<_> = contents
        .members
        .iter()
        .flat_map(|member| member.path.directories())
        .collect();
    if contents.members.len() + directories.len() > limits.members {
        return Err(BundleError::TooMany {
            limit: limits.members,
        });
    }
    let mut total = 0_u64;
    for member in &contents.members {
        if member.size > limits.member_bytes {
            return Err(BundleError::TooLarge {
                what: format!("`{}`", member.path),
                limit: limits.member_bytes,
            });
        }
        let blocks = member.size.div_ceil(BLOCK).saturating_add(1);
        total = total.saturating_add(blocks.saturating_mul(BLOCK));
    }
    if total > limits.unpacked_bytes {
        return Err(BundleError::TooLarge {
            what: "the unpacked bundle".to_owned(),
            limit: limits.unpacked_bytes,
        });
    }
    Ok(())
}

/// Fails unless `bytes` are those of the listed manifest.
pub(super) fn check_manifest(contents: &Contents, bytes: &[u8]) -> Result<(), BundleError> {
    let listed = contents
        .members
        .iter()
        .find(|member| member.path == *MANIFEST);
    let Some(member) = listed else {
        return Err(BundleError::Mismatch {
            path: MANIFEST.to_owned(),
            why: "it is not listed",
        });
    };
    check_size(member, bytes.len() as u64)?;
    check_digest(member, Digest::of(bytes))
}

/// Fails unless the bytes of a member have the digest that is listed.
pub(super) fn check_digest(member: &Member, found: Digest) -> Result<(), BundleError> {
    if member.digest == found {
        return Ok(());
    }
    Err(mismatch(&member.path, "its bytes have another digest"))
}

fn check_size(member: &Member, found: u64) -> Result<(), BundleError> {
    if member.size == found {
        return Ok(());
    }
    Err(mismatch(&member.path, "it has another size"))
}

fn mismatch(path: &MemberPath, why: &'static str) -> BundleError {
    BundleError::Mismatch {
        path: path.to_string(),
        why,
    }
}
