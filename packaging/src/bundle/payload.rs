//! What comes after the head: every member as the list says, or the one library of the plain form.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::archive::Archive;
use super::gzip::Source;
use super::header::Entry;
use super::reader::refuse_gnu;
use super::roll::{self, Roll};
use super::{
    BundleError, CONTENTS, Contents, Head, Listed, MANIFEST, Member, MemberPath, SIGNATURE, Sink,
    Target,
};
use crate::Digest;

/// The payload on its way to a sink.
pub(super) struct Payload<'a, W, K> {
    pub(super) head: &'a Head,
    /// The first entry, whose header was read already.
    pub(super) first: Option<Entry>,
    pub(super) wanted: W,
    pub(super) sink: &'a mut K,
}

impl<W: FnMut(&MemberPath) -> bool, K: Sink> Payload<'_, W, K> {
    /// How many bytes are to be expected.
    pub(super) fn size(&self) -> u64 {
        match (&self.head.listed, &self.first) {
            (Some(listed), _) => {
                let sizes = listed.contents.members.iter().map(|member| member.size);
                sizes.fold(0, u64::saturating_add)
            }
            (None, Some(entry)) => entry.size,
            (None, None) => 0,
        }
    }

    /// Reads it all.
    pub(super) fn read<S: Source>(mut self, archive: Archive<S>) -> Result<Contents, BundleError> {
        match &self.head.listed {
            Some(listed) => self.read_listed(listed, archive),
            None => self.read_plain(archive),
        }
    }

    fn read_listed<S: Source>(
        &mut self,
        listed: &Listed,
        mut archive: Archive<S>,
    ) -> Result<Contents, BundleError> {
        let Listed {
            contents,
            bytes,
            signature,
        } = listed;
        for (name, bytes) in [
            (MANIFEST, Some(&self.head.manifest)),
            (CONTENTS, Some(bytes)),
            (SIGNATURE, signature.as_ref()),
        ] {
            if let Some(bytes) = bytes {
                self.hand_over(name, bytes)?;
            }
        }
        let mut roll = Roll::new(contents);
        let mut next = self.first.take();
        while let Some(entry) = next {
            refuse_gnu(&entry)?;
            let member = roll.next(&entry)?;
            self.copy(&mut archive, &entry, Some(member))?;
            next = archive.next()?;
        }
        archive.finish(false)?;
        roll.finish()?;
        Ok(contents.clone())
    }

    /// Reads the library, which nobody has listed, and makes the list.
    fn read_plain<S: Source>(&mut self, mut archive: Archive<S>) -> Result<Contents, BundleError> {
        let head = self.head;
        self.hand_over(MANIFEST, &head.manifest)?;
        let Some(entry) = self.first.take() else {
            return Err(BundleError::Missing {
                what: "library".to_owned(),
            });
        };
        let digest = self.copy(&mut archive, &entry, None)?;
        if let Some(more) = archive.next()? {
            return Err(match more.path.folded() {
                name if name == entry.path.folded() || name == MANIFEST => BundleError::Duplicate {
                    path: more.path.to_string(),
                    first: if name == MANIFEST {
                        name
                    } else {
                        entry.path.to_string()
                    },
                },
                _ => BundleError::Missing {
                    what: format!("`{CONTENTS}` as its second member, and more than a library"),
                },
            });
        }
        archive.finish(true)?;
        let manifest = Member::new(
            member_path(MANIFEST)?,
            head.manifest.len() as u64,
            Digest::of(&head.manifest),
        );
        let library = Member::new(entry.path.clone(), entry.size, digest);
        Contents::new(
            &head.parsed.manifest,
            BTreeMap::from([(Target::current(), entry.path)]),
            vec![manifest, library],
        )
    }

    /// Hands a member of the head over, which is in memory.
    fn hand_over(&mut self, name: &str, bytes: &[u8]) -> Result<(), BundleError> {
        let path = member_path(name)?;
        if !(self.wanted)(&path) {
            return Ok(());
        }
        let write = |sink: &mut K| {
            let mut file = sink.create(&path, false)?;
            file.write_all(bytes)?;
            sink.close(&path, file)
        };
        write(self.sink).map_err(|source| failed(&path, source))
    }

    /// Reads a member and hands it over if it is wanted. Whether it is the `listed` one is known before the
    /// sink is told that it is complete.
    fn copy<S: Source>(
        &mut self,
        archive: &mut Archive<S>,
        entry: &Entry,
        listed: Option<&Member>,
    ) -> Result<Digest, BundleError> {
        let path = &entry.path;
        let executable = listed.is_some_and(|member| member.executable);
        let mut file = None;
        if (self.wanted)(path) {
            let created = self.sink.create(path, executable);
            file = Some(created.map_err(|source| failed(path, source))?);
        }
        let mut hasher = Digest::hasher();
        archive.body(entry.size, path.as_str(), |piece| {
            hasher.update(piece);
            match &mut file {
                Some(file) => file.write_all(piece).map_err(|source| failed(path, source)),
                None => Ok(()),
            }
        })?;
        let digest = hasher.finish();
        if let Some(member) = listed {
            roll::check_digest(member, digest)?;
        }
        if let Some(file) = file {
            let closed = self.sink.close(path, file);
            closed.map_err(|source| failed(path, source))?;
        }
        Ok(digest)
    }
}

/// A name of the format as a path.
fn member_path(name: &str) -> Result<MemberPath, BundleError> {
    MemberPath::new(name).map_err(|error| BundleError::Path {
        path: name.to_owned(),
        why: error.to_string(),
    })
}

fn failed(path: &MemberPath, source: io::Error) -> BundleError {
    BundleError::Write {
        path: path.to_string(),
        source,
    }
}
