//! Moments as they stand in files: RFC 3339 in UTC.

use std::borrow::Cow;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    // A clock that is ten thousand years off says nothing.
    let at = Timestamp::try_from(*at).unwrap_or_default();
    serializer.collect_str(&at)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<SystemTime, D::Error> {
    let text = <Cow<'de, str>>::deserialize(deserializer)?;
    let at: Timestamp = text.parse().map_err(D::Error::custom)?;
    Ok(at.into())
}
