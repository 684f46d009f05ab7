//! What a look sees of a place without reading it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A file as its attributes show it. Whoever writes to it changes one of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    device: u64,
    number: u64,
    mode: u32,
    owner: u32,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A directory, whatever is in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Identity {
    device: u64,
    number: u64,
    mode: u32,
    owner: u32,
    /// Numbers are used again; a directory that was removed and made again may have the same.
    made: Option<SystemTime>,
}

/// A place: a directory with a manifest and the files that may be its library, or a file alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Picture {
    Directory {
        itself: Identity,
        manifest: Stamp,
        /// As many as the manifest lets there be.
        libraries: Vec<Option<Stamp>>,
    },
    File(Stamp),
}

impl Stamp {
    pub(super) fn new(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            number: metadata.ino(),
            mode: metadata.mode(),
            owner: metadata.uid(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The file that a path leads to, over links.
    pub(super) fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self::new(&metadata))
    }

    /// For how long it has not been touched. Clocks differ between machines: what lies in the future
    /// says nothing.
    fn age(&self, now: SystemTime) -> Option<Duration> {
        let times = [self.modified, self.changed].into_iter();
        times
            .filter_map(|time| now.duration_since(moment(time)?).ok())
            .min()
    }
}

impl Identity {
    pub(super) fn new(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            number: metadata.ino(),
            mode: metadata.mode(),
            owner: metadata.uid(),
            made: metadata.created().ok(),
        }
    }

    /// The directory that a path leads to, over links.
    pub(super) fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self::new(&metadata))
    }

    /// Whether it is the same directory, if perhaps with another owner or mode.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let identity = |of: &Self| (of.device, of.number, of.made);
        identity(self) == identity(other)
    }
}

impl Picture {
    /// For how much longer it has to stay as it is to have come to rest.
    pub(super) fn restless_for(&self, settle: Duration, now: SystemTime) -> Duration {
        let stamps = match self {
            Self::Directory {
                manifest,
                libraries,
                ..
            } => [Some(*manifest)]
                .into_iter()
                .chain(libraries.iter().copied())
                .collect(),
            Self::File(stamp) => vec![Some(*stamp)],
        };
        let youngest = stamps
            .iter()
            .flatten()
            .filter_map(|stamp| stamp.age(now))
            .min();
        youngest.map_or(Duration::ZERO, |age| settle.saturating_sub(age))
    }
}

fn moment((seconds, nanoseconds): (i64, i64)) -> Option<SystemTime> {
    let nanoseconds = Duration::from_nanos(nanoseconds.try_into().ok()?);
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let moment = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(whole)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(whole)
    };
    moment?.checked_add(nanoseconds)
}
