//! A key and what it may do.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use plg_packaging::sign::{KeyId, PublicKey};
use plg_packaging::{PluginName, Text, TextError};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Level, Why};
use crate::state::time;

/// A key of the trust store.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TrustedKey {
    /// The key.
    pub key: PublicKey,
    /// Whose it is, for people.
    pub note: Text,
    /// The plugins that it may sign.
    pub names: Vec<NamePattern>,
    /// Where plugins that it signed may run. A level includes those that let a plugin do less.
    #[serde(deserialize_with = "levels")]
    pub levels: Vec<Level>,
    /// Whether it may sign indexes of releases.
    pub index: bool,
    /// Since when it is trusted.
    #[serde(with = "time")]
    pub added: SystemTime,
    /// Until when.
    #[serde(default, with = "optional", skip_serializing_if = "Option::is_none")]
    pub expires: Option<SystemTime>,
    /// That it is not trusted any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
}

/// That a key is not trusted any more, for anything that it ever signed.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Revocation {
    /// Since when.
    #[serde(with = "time")]
    pub when: SystemTime,
    /// The reason, for people.
    pub why: Text,
}

impl TrustedKey {
    /// A key that may sign every plugin, up to running isolated, and no index.
    #[must_use]
    pub fn new(key: PublicKey, added: SystemTime) -> Self {
        Self {
            key,
            note: Text::new("").unwrap_or_else(|_| unreachable!("an empty note is a text")),
            names: vec![NamePattern::ALL],
            levels: vec![Level::Isolated],
            index: false,
            added,
            expires: None,
            revoked: None,
        }
    }

    /// The number by which signatures name it.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.key.id()
    }

    /// Whether it is responsible for plugins of that name, in force or not.
    #[must_use]
    pub fn is_for(&self, name: &PluginName) -> bool {
        self.names.iter().any(|pattern| pattern.matches(name))
    }

    /// Why it is not trusted for anything any more; `None` while it is.
    #[must_use]
    pub fn is_over(&self, now: SystemTime) -> Option<Why> {
        if let Some(Revocation { when, why }) = &self.revoked {
            let (when, why) = (*when, why.to_string());
            return Some(Why::Revoked { when, why });
        }
        let when = self.expires.filter(|expires| *expires <= now)?;
        Some(Why::Expired { when })
    }

    /// Why it is not trusted for plugins of that name at that level; `None` when it is.
    pub(super) fn objection(
        &self,
        name: &PluginName,
        level: Level,
        now: SystemTime,
    ) -> Option<Why> {
        if let Some(over) = self.is_over(now) {
            return Some(over);
        }
        if !self.is_for(name) {
            let trusted = self.names.clone();
            return Some(Why::Name { trusted });
        }
        self.objection_to_level(level)
    }

    /// Why nothing that it signed runs at that level any more; `None` where it does.
    pub(super) fn objection_to_installed(&self, level: Level) -> Option<Why> {
        match &self.revoked {
            Some(Revocation { when, why }) => Some(Why::Revoked {
                when: *when,
                why: why.to_string(),
            }),
            None => self.objection_to_level(level),
        }
    }

    fn objection_to_level(&self, level: Level) -> Option<Why> {
        // The first level is the one that lets a plugin do most.
        if self.levels.iter().any(|trusted| *trusted <= level) {
            return None;
        }
        let trusted = self.levels.clone();
        Some(Why::Level {
            wanted: level,
            trusted,
        })
    }
}

/// The names of plugins: one name, all that begin alike (`acme-*`), or all (`*`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamePattern {
    text: Cow<'static, str>,
}

impl NamePattern {
    /// All names.
    pub const ALL: Self = Self {
        text: Cow::Borrowed("*"),
    };

    /// Whether it is a name of these.
    #[must_use]
    pub fn matches(&self, name: &PluginName) -> bool {
        match self.text.strip_suffix('*') {
            Some(prefix) => name.as_str().starts_with(prefix),
            None => name.as_str() == self.text,
        }
    }
}

impl FromStr for NamePattern {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_suffix('*') {
            Some("") => {}
            Some(prefix) => drop(PluginName::new(prefix)?),
            None => drop(PluginName::new(text)?),
        }
        let text = Cow::Owned(text.to_owned());
        Ok(Self { text })
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl Serialize for NamePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for NamePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

fn levels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Level>, D::Error> {
    let words = <Vec<Cow<'de, str>>>::deserialize(deserializer)?;
    let levels = words.iter().map(|word| word.parse());
    levels.collect::<Result<_, _>>().map_err(D::Error::custom)
}

/// A moment that may be missing.
mod optional {
    use std::time::SystemTime;

    use serde::{Deserializer, Serializer};

    use crate::state::time;

    pub(super) fn serialize<S: Serializer>(
        at: &Option<SystemTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => time::serialize(at, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        time::deserialize(deserializer).map(Some)
    }
}
