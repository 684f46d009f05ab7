//! `index.json`: which releases there are, each with the digest of its bundle, as a source states it.
//!
//! Whoever holds an index cannot be given an older build for a newer one, nor another build of a version.
//! It is signed as a whole by one or more keys, see [`sign::sign_index`](crate::sign::sign_index); its
//! number only ever rises, and it says until when it holds.

use std::collections::BTreeMap;
use std::time::SystemTime;

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::distinct::Distinct;
use crate::{Digest, PluginName};

/// Which releases there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Index {
    /// The version of the format.
    pub format: u64,
    /// Higher than that of every index before it.
    pub number: u64,
    /// When it was made.
    #[serde(with = "moment")]
    pub issued: SystemTime,
    /// Until when it holds.
    #[serde(with = "moment")]
    pub expires: SystemTime,
    /// The digests of the bundles, by plugin and version.
    pub releases: BTreeMap<PluginName, BTreeMap<Version, Digest>>,
}

/// Why bytes are no index.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// They do not have its form.
    #[error("not an index of releases")]
    Form {
        /// What it stumbled over.
        source: serde_json::Error,
    },
    /// Written for a later version of plg.
    #[error(
        "the index has format {found}, and this version reads format {}",
        Index::FORMAT
    )]
    Format {
        /// Its format.
        found: u64,
    },
    /// A number that leaves no room above it, which would be the end of all updates.
    #[error(
        "the index has number {found}, and no number is above {}",
        Index::NUMBERS
    )]
    Number {
        /// Its number.
        found: u64,
    },
    /// It never held.
    #[error("the index expires before it was issued")]
    Times,
    /// It is longer than it may be.
    #[error("the index has more than {limit} bytes")]
    TooLarge {
        /// The cap in bytes.
        limit: usize,
    },
}

impl IndexError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        "trust.index"
    }
}

/// The document before its parts are known to fit together.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIndex {
    format: u64,
    number: u64,
    #[serde(with = "moment")]
    issued: SystemTime,
    #[serde(with = "moment")]
    expires: SystemTime,
    releases: Distinct<PluginName, Distinct<Version, Digest>>,
}

/// The one field that is read before the others: a newer format may have fields that nobody here knows.
#[derive(Deserialize)]
struct FormatOnly {
    format: u64,
}

impl Index {
    /// The format this crate reads and writes.
    pub const FORMAT: u64 = 1;
    /// The highest number: what every reader of JSON reads exactly.
    pub const NUMBERS: u64 = 1 << 53;
    /// Bytes of an index.
    pub const BYTES: usize = 8 << 20;

    /// An index without releases. Times are kept to the second.
    ///
    /// # Errors
    /// `trust.index` for a number that is too high, or when it expires before it was issued.
    pub fn new(number: u64, issued: SystemTime, expires: SystemTime) -> Result<Self, IndexError> {
        let index = Self {
            format: Self::FORMAT,
            number,
            issued: moment::whole(issued),
            expires: moment::whole(expires),
            releases: BTreeMap::new(),
        };
        index.check()?;
        Ok(index)
    }

    /// Adds a release, in place of what that version was.
    pub fn insert(&mut self, name: PluginName, version: Version, digest: Digest) {
        let versions = self.releases.entry(name).or_default();
        versions.insert(version, digest);
    }

    /// Reads an `index.json`.
    ///
    /// # Errors
    /// `trust.index` for anything but an index of this format: unknown fields, a name or version that
    /// stands there twice, and numbers above [`NUMBERS`](Self::NUMBERS) included.
    pub fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        if bytes.len() > Self::BYTES {
            let limit = Self::BYTES;
            return Err(IndexError::TooLarge { limit });
        }
        let form = |source| IndexError::Form { source };
        let FormatOnly { format } = serde_json::from_slice(bytes).map_err(form)?;
        if format != Self::FORMAT {
            return Err(IndexError::Format { found: format });
        }
        let raw: RawIndex = serde_json::from_slice(bytes).map_err(form)?;
        let releases = raw.releases.0.into_iter();
        let index = Self {
            format: raw.format,
            number: raw.number,
            issued: raw.issued,
            expires: raw.expires,
            releases: releases
                .map(|(name, versions)| (name, versions.0))
                .collect(),
        };
        index.check()?;
        Ok(index)
    }

    /// The index as it is written and signed, with a line break at the end.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("every key of it is a string");
        json.push('\n');
        json
    }

    /// The digest of the bundle of a release.
    pub fn release(&self, name: &PluginName, version: &Version) -> Option<Digest> {
        self.releases.get(name)?.get(version).copied()
    }

    fn check(&self) -> Result<(), IndexError> {
        if self.number > Self::NUMBERS {
            let found = self.number;
            return Err(IndexError::Number { found });
        }
        if self.expires < self.issued {
            return Err(IndexError::Times);
        }
        Ok(())
    }
}

/// Moments as they stand in an index: RFC 3339 in UTC.
mod moment {
    use std::borrow::Cow;
    use std::time::{Duration, SystemTime};

    use jiff::Timestamp;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Without the part of a second, which nobody reads.
    pub(super) fn whole(at: SystemTime) -> SystemTime {
        let seconds = Timestamp::try_from(at).unwrap_or_default().as_second();
        let since = Duration::from_secs(seconds.unsigned_abs());
        let whole = match seconds >= 0 {
            true => SystemTime::UNIX_EPOCH.checked_add(since),
            false => SystemTime::UNIX_EPOCH.checked_sub(since),
        };
        whole.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    pub(super) fn serialize<S: Serializer>(
        at: &SystemTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        // What is ten thousand years off says nothing.
        let at = Timestamp::try_from(*at).unwrap_or_default();
        serializer.collect_str(&at)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SystemTime, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        let at: Timestamp = text.parse().map_err(D::Error::custom)?;
        Ok(at.into())
    }
}
