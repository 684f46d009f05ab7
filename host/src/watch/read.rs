//! From a place at rest to a build, if it is whole.

use std::path::Path;
use std::time::Instant;

use plg_packaging::Digest;

use super::options::WatchOptions;
use super::place::Place;
use crate::discovery::{self, Candidate, DiscoverError};
use crate::error::Error;
use crate::events::Subject;
use crate::inner::Inner;
use crate::loader::preflight::preflight;
use crate::loader::{Bytes, LoadError};

/// What stands at a place, read as one.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) candidate: Candidate,
    pub(super) bytes: Bytes,
    pub(super) digest: Digest,
}

/// Why it cannot be taken, and which bytes those are.
struct Refused(Error, Option<Digest>);

impl Place {
    /// Reads what stands at `path`. If it is not whole, it is read again later; if it stays like that, that
    /// is told.
    pub(super) fn read(
        &mut self,
        host: &Inner,
        path: &Path,
        options: &WatchOptions,
        now: Instant,
    ) -> Option<Found> {
        let unsettled = host.setup.faults.unsettled;
        let found = read(host, path);
        if !unsettled && !self.is_unchanged(path, &host.setup.discovery) {
            self.start_over(now);
            return None;
        }
        match found {
            Some(Ok(found)) => Some(found),
            Some(Err(refused)) => {
                self.refuse(host, path, refused, options, now);
                None
            }
            None => {
                self.rest();
                None
            }
        }
    }

    fn refuse(
        &mut self,
        host: &Inner,
        path: &Path,
        Refused(error, digest): Refused,
        options: &WatchOptions,
        now: Instant,
    ) {
        let left = self.may_be_unfinished_for(options.settle, now);
        if !left.is_zero() {
            self.look_again_in(left, now);
            return;
        }
        let subject = Subject {
            path: Some(path.to_owned()),
            plugin: self.held.as_ref().map(|held| held.name().clone()),
            digest,
            ..Subject::default()
        };
        self.tell(host, self.step(), subject, &error, digest);
        if depends_on_more(&error) {
            self.back_off(options, now);
        } else {
            self.rest();
        }
    }
}

/// `None` when nothing there is meant to be a plugin.
fn read(host: &Inner, path: &Path) -> Option<Result<Found, Refused>> {
    let rules = &host.setup.discovery;
    let found = match discovery::look_at(path, rules)? {
        Ok((candidate, bytes)) => check(host, candidate, bytes),
        Err(error) => {
            let digest = match &error {
                DiscoverError::Library { .. } => digest_at(host, path),
                _ => None,
            };
            Err(Refused(error.into(), digest))
        }
    };
    Some(found)
}

fn check(host: &Inner, candidate: Candidate, bytes: Option<Bytes>) -> Result<Found, Refused> {
    let loader = &host.setup.loader;
    let path = candidate.library.as_path();
    let bytes = match bytes {
        Some(bytes) => bytes,
        None => Bytes::read(path, loader.limits.image_bytes)
            .map_err(|error| Refused(error.into(), None))?,
    };
    let digest = Digest::of(bytes.as_slice());
    if !host.setup.faults.unsettled && candidate.program().is_none() {
        preflight(bytes.as_slice(), &loader.rules)
            .into_facts()
            .map_err(|finding| {
                let (path, finding) = (path.to_owned(), Box::new(finding));
                Refused(LoadError::Refused { path, finding }.into(), Some(digest))
            })?;
    }
    Ok(Found {
        candidate,
        bytes,
        digest,
    })
}

fn digest_at(host: &Inner, path: &Path) -> Option<Digest> {
    let bytes = Bytes::read(path, host.setup.loader.limits.image_bytes).ok()?;
    Some(Digest::of(bytes.as_slice()))
}

/// Whether it may work another time though the files at the place are the same.
fn depends_on_more(error: &Error) -> bool {
    match error {
        Error::Discover(error) => matches!(
            **error,
            DiscoverError::Read { .. }
                | DiscoverError::Unsafe { .. }
                | DiscoverError::NoLibrary { .. }
        ),
        Error::Load(error) => matches!(**error, LoadError::Read { .. }),
        _ => false,
    }
}
