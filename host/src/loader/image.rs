//! A plugin's bytes: read once, then sealed, so that what was checked is what runs.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use plg_packaging::Digest;
use rustix::fs::{MemfdFlags, OFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::LoadError;

/// The bytes of a file that may become a plugin, read once.
#[derive(Debug)]
pub(crate) struct Bytes {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// Bytes that nobody can change any more, under a path that only this image has.
///
/// The dynamic linker matches libraries by path first, so the path must stay taken for as long as the
/// library may be mapped: keep the image as long as the library.
#[derive(Debug)]
pub(crate) struct Image {
    origin: PathBuf,
    size: u64,
    place: Place,
    digest: OnceLock<Digest>,
}

#[derive(Debug)]
enum Place {
    /// A sealed file in memory, reached through its descriptor.
    Memory(OwnedFd),
    /// A file in a private directory, under a name that is never used again.
    File {
        path: PathBuf,
        scratch: Arc<Scratch>,
    },
}

/// A private directory for images, for machines where files in memory cannot be mapped.
#[derive(Debug)]
pub(crate) struct Scratch {
    directory: PathBuf,
    next: AtomicU64,
}

impl Bytes {
    /// Reads a regular file of at most `limit` bytes.
    pub(crate) fn read(path: &Path, limit: u64) -> Result<Self, LoadError> {
        let failed = |source| LoadError::Read {
            path: path.to_owned(),
            source,
        };
        let (mut file, metadata) = open(path)?;
        let too_large = |size| LoadError::TooLarge {
            path: path.to_owned(),
            size,
            limit,
        };
        if metadata.len() > limit {
            return Err(too_large(metadata.len()));
        }
        let mut bytes = Vec::new();
        let size = usize::try_from(metadata.len()).unwrap_or(0);
        if bytes.try_reserve_exact(size.saturating_add(1)).is_err() {
            return Err(failed(io::ErrorKind::OutOfMemory.into()));
        }
        // The file may grow while it is read; one byte over the limit says so.
        let read = Read::by_ref(&mut file)
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if read as u64 > limit {
            return Err(too_large(read as u64));
        }
        Ok(Self {
            path: path.to_owned(),
            bytes,
        })
    }

    /// The bytes of an image that was kept, which were read from `path` once.
    pub(crate) fn kept(path: &Path, image: &mut File) -> Result<Self, LoadError> {
        let failed = |source| LoadError::Image {
            path: path.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        image.seek(SeekFrom::Start(0)).map_err(failed)?;
        image.read_to_end(&mut bytes).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            bytes,
        })
    }

    /// The bytes of an image.
    pub(crate) fn of(image: &Image) -> Result<Self, LoadError> {
        let file = image.reopen();
        let mut file = file.map_err(|source| LoadError::Image {
            path: image.origin.clone(),
            source,
        })?;
        Self::kept(&image.origin, &mut file)
    }

    /// Bytes that were taken out of the bundle at `path`.
    pub(crate) fn taken(path: &Path, bytes: Vec<u8>) -> Self {
        Self {
            path: path.to_owned(),
            bytes,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Seals the bytes in memory, or in `scratch` where that is given.
    pub(crate) fn seal(self, scratch: Option<&Arc<Scratch>>) -> Result<Image, LoadError> {
        let place = match scratch {
            None => seal_in_memory(&self.bytes),
            Some(scratch) => seal_in_file(&self.bytes, scratch),
        };
        match place {
            Ok(place) => Ok(Image {
                size: self.bytes.len() as u64,
                origin: self.path,
                place,
                digest: OnceLock::new(),
            }),
            Err(source) => Err(LoadError::Image {
                path: self.path,
                source,
            }),
        }
    }
}

/// Opens a regular file. A fifo or a socket of that name is refused without waiting for a writer.
pub(crate) fn open(path: &Path) -> Result<(File, Metadata), LoadError> {
    let failed = |source| LoadError::Read {
        path: path.to_owned(),
        source,
    };
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblock)
        .open(path)
        .map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(LoadError::Kind {
            path: path.to_owned(),
            found: kind(&metadata.file_type()),
        });
    }
    Ok((file, metadata))
}

impl Image {
    /// An image that another process sealed and gave to this one.
    pub(crate) fn given(origin: &Path, file: File) -> io::Result<Self> {
        Ok(Self {
            origin: origin.to_owned(),
            size: file.metadata()?.len(),
            place: Place::Memory(file.into()),
            digest: OnceLock::new(),
        })
    }

    /// The path the dynamic linker is given.
    pub(crate) fn path(&self) -> PathBuf {
        match &self.place {
            Place::Memory(file) => format!("/proc/self/fd/{}", file.as_raw_fd()).into(),
            Place::File { path, .. } => path.clone(),
        }
    }

    /// The file that the bytes are in, if they are not in memory.
    pub(crate) fn scratch(&self) -> Option<&Path> {
        match &self.place {
            Place::Memory(_) => None,
            Place::File { path, .. } => Some(path),
        }
    }

    /// The file the bytes were read from.
    pub(crate) fn origin(&self) -> &Path {
        &self.origin
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The SHA-256 of the bytes, taken when it is first asked for: most loads have nothing to compare
    /// it with.
    pub(crate) fn digest(&self) -> io::Result<Digest> {
        if let Some(digest) = self.digest.get() {
            return Ok(*digest);
        }
        let digest = Digest::of(&fs::read(self.path())?);
        Ok(*self.digest.get_or_init(|| digest))
    }

    /// The digest if it was asked for before.
    pub(crate) fn known_digest(&self) -> Option<Digest> {
        self.digest.get().copied()
    }

    /// Another handle to the bytes, for a child's standard input.
    pub(crate) fn reopen(&self) -> io::Result<File> {
        File::open(self.path())
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if let Place::File { path, scratch } = &self.place
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!(
                "failed to remove the image `{}` from `{}`: {error}",
                path.display(),
                scratch.directory.display(),
            );
        }
    }
}

impl Scratch {
    /// Makes a directory under `parent` that only this user can enter.
    pub(crate) fn create(parent: &Path) -> io::Result<Self> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        // Mappings are listed under a path without links in it.
        let parent = parent.canonicalize()?;
        loop {
            let number = MADE.fetch_add(1, Ordering::Relaxed);
            let directory = parent.join(format!("plg-{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&directory) {
                Ok(()) => {
                    return Ok(Self {
                        directory,
                        next: AtomicU64::new(0),
                    });
                }
                // Left behind by a process that had the same id.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Scratch {
    /// The directory itself.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Images keep the directory alive, so it is empty unless someone else wrote to it.
        let _ = fs::remove_dir(&self.directory);
    }
}

fn seal_in_memory(bytes: &[u8]) -> io::Result<Place> {
    let file = memfd_create(c"plg", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    fcntl_add_seals(
        &file,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(Place::Memory(file.into()))
}

fn seal_in_file(bytes: &[u8], scratch: &Arc<Scratch>) -> io::Result<Place> {
    let number = scratch.next.fetch_add(1, Ordering::Relaxed);
    let path = scratch.directory.join(format!("{number}.so"));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(&path)?;
    if let Err(error) = file.write_all(bytes) {
        let _ = fs::remove_file(&path);
        return Err(error);
    }
    Ok(Place::File {
        path,
        scratch: scratch.clone(),
    })
}

/// What a file is when it is not a regular one.
pub(crate) fn kind(file: &fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match file {
        file if file.is_dir() => "a directory",
        file if file.is_symlink() => "a symbolic link",
        file if file.is_fifo() => "a fifo",
        file if file.is_socket() => "a socket",
        file if file.is_file() => "a regular file",
        _ => "a device",
    }
}
