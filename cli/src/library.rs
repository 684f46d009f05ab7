//! Reading a library without mapping it.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use plg_host::{Limits, LoadError};
use plg_packaging::bundle::Target;

use crate::bundle;
use crate::problem::Problem;

/// The bytes of a library, which may be in a bundle. What is no regular file is not opened, because a fifo would
/// wait for its writer and a device may never end.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let failed = |source| {
        let path = path.to_owned();
        Problem::from(plg_host::Error::from(LoadError::Read { path, source }))
    };
    let refused = |error: LoadError| Err(Problem::from(plg_host::Error::from(error)));
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        let kind = metadata.file_type();
        let found = if kind.is_dir() {
            "a directory"
        } else if kind.is_fifo() {
            "a fifo"
        } else if kind.is_socket() {
            "a socket"
        } else {
            "a device"
        };
        let path = path.to_owned();
        return refused(LoadError::Kind { path, found });
    }
    let (size, limit) = (metadata.len(), Limits::default().image_bytes);
    if size > limit {
        let path = path.to_owned();
        return refused(LoadError::TooLarge { path, size, limit });
    }
    if bundle::is_one(path) {
        let reader = bundle::open(path)?;
        let refused = |error| bundle::of_file(path, &Problem::from(&error));
        let member = reader.library(&Target::current()).map_err(refused)?;
        return Ok(reader.extract(&member).map_err(refused)?.1);
    }
    fs::read(path).map_err(failed)
}
