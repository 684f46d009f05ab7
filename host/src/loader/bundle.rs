//! The library in a bundle, taken out in memory: nothing is unpacked to the disk.

use std::path::Path;

use plg_packaging::Parsed;
use plg_packaging::bundle::{EXTENSION, Reader, Target};

use super::LoadError;
use super::image::{Bytes, open};
use crate::limits::Limits;

/// What a bundle has for this machine, after all of it was read and checked.
pub(crate) struct Bundled {
    pub(crate) parsed: Parsed,
    pub(crate) library: Bytes,
}

/// Whether a file is a bundle, by its name.
pub(crate) fn is_bundle(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == EXTENSION)
}

/// Reads a bundle.
pub(crate) fn read(path: &Path, limits: &Limits) -> Result<Bundled, LoadError> {
    let refused = |source| LoadError::Bundle {
        path: path.to_owned(),
        source,
    };
    let (file, _) = open(path)?;
    let reader = Reader::open(file, &limits.bundle).map_err(refused)?;
    let member = match reader.library(&Target::current()) {
        Ok(member) => member,
        Err(_) if reader.head().parsed.manifest.process.is_some() => {
            let path = path.to_owned();
            return Err(LoadError::Program { path });
        }
        Err(error) => return Err(refused(error)),
    };
    let parsed = reader.head().parsed.clone();
    let (_, bytes) = reader.extract(&member).map_err(refused)?;
    let (size, limit) = (bytes.len() as u64, limits.image_bytes);
    if size > limit {
        let path = path.to_owned();
        return Err(LoadError::TooLarge { path, size, limit });
    }
    Ok(Bundled {
        parsed,
        library: Bytes::taken(path, bytes),
    })
}

/// The bytes of a library, which may be in a bundle.
pub(crate) fn library(path: &Path, limits: &Limits) -> Result<Bytes, LoadError> {
    if is_bundle(path) {
        return Ok(read(path, limits)?.library);
    }
    Bytes::read(path, limits.image_bytes)
}
