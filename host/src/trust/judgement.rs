//! Whether a bundle may be installed, and run where it is meant to run.

use std::time::SystemTime;

use plg_packaging::bundle::Listed;
use plg_packaging::manifest::precedence;
use plg_packaging::sign::statement::signature_of;
use plg_packaging::sign::{KeyId, PublicKey, SignError, verify_bundle};
use plg_packaging::{Digest, PluginName, Text};
use semver::Version;

use super::file::{Content, Seen};
use super::{Level, TrustError, TrustedKey, Unsigned, Why};

/// What is asked of a bundle.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Terms {
    level: Level,
    now: SystemTime,
    unsigned: bool,
    was_signed: bool,
    downgrade: bool,
}

impl Terms {
    /// It must be signed, with a key that is trusted at this level and now, and not be older than what was
    /// seen before.
    pub fn new(level: Level, now: SystemTime) -> Self {
        Self {
            level,
            now,
            unsigned: false,
            was_signed: false,
            downgrade: false,
        }
    }

    /// It may be unsigned, unless that is a step back: see [`was_signed`](Self::was_signed), and a key
    /// that is responsible for the name.
    pub fn allow_unsigned(self, unsigned: bool) -> Self {
        Self { unsigned, ..self }
    }

    /// Whether the build of that name that is installed is signed.
    pub fn was_signed(self, was_signed: bool) -> Self {
        Self { was_signed, ..self }
    }

    /// It may be older than what was seen before.
    pub fn allow_downgrade(self, downgrade: bool) -> Self {
        Self { downgrade, ..self }
    }
}

/// That a bundle may be installed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Judgement {
    /// The plugin.
    pub name: PluginName,
    /// Its version.
    pub version: Version,
    /// The digest of the bundle.
    pub digest: Digest,
    /// Who signed it; `None` for an unsigned one that was allowed.
    pub signer: Option<Signer>,
}

/// Who signed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Signer {
    /// The key.
    pub key: PublicKey,
    /// Whose it is, as the trust store notes it.
    pub note: Text,
}

impl Signer {
    /// The number of the key.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.key.id()
    }
}

impl From<&TrustedKey> for Signer {
    fn from(key: &TrustedKey) -> Self {
        Self {
            key: key.key.clone(),
            note: key.note.clone(),
        }
    }
}

pub(super) fn judge(
    content: &Content,
    listed: &Listed,
    terms: &Terms,
) -> Result<Judgement, TrustError> {
    let signer = match listed.signature {
        Some(_) => Some(signer(content, listed, terms)?),
        None => {
            check_unsigned(content, listed, terms)?;
            None
        }
    };
    Ok(Judgement {
        name: listed.contents.name.clone(),
        version: listed.contents.version.clone(),
        digest: Digest::of(&listed.bytes),
        signer,
    })
}

fn check_unsigned(content: &Content, listed: &Listed, terms: &Terms) -> Result<(), TrustError> {
    let name = &listed.contents.name;
    // One that is over still says that plugins of that name are signed.
    let responsible = content.keys.keys.iter().find(|key| key.is_for(name));
    let why = if !terms.unsigned {
        Unsigned::NotAllowed
    } else if let Some(key) = responsible {
        Unsigned::Responsible { key: key.id() }
    } else if terms.was_signed || content.seen.plugins.contains_key(name) {
        Unsigned::WasSigned
    } else {
        return Ok(());
    };
    Err(TrustError::Missing {
        name: name.clone(),
        version: listed.contents.version.clone(),
        why,
    })
}

fn signer(content: &Content, listed: &Listed, terms: &Terms) -> Result<Signer, TrustError> {
    let (name, version) = (&listed.contents.name, &listed.contents.version);
    let signature = signature_of(listed)?;
    let untrusted = |why| TrustError::Untrusted {
        key: signature.key_id(),
        what: format!("{name} {version}"),
        why,
    };
    // An id is only where to look: whoever makes a key can choose it.
    let mut of_that_id = content.keys.of(signature.key_id()).peekable();
    if of_that_id.peek().is_none() {
        return Err(untrusted(Why::Unknown));
    }
    let key = first(of_that_id, |key| verify_bundle(listed, &key.key))?;
    if let Some(why) = key.objection(name, terms.level, terms.now) {
        return Err(untrusted(why));
    }
    let highest = highest(content, name);
    if let Some(seen) = highest.filter(|seen| precedence(version, seen).is_lt())
        && !terms.downgrade
    {
        return Err(TrustError::Rollback {
            what: name.to_string(),
            found: version.to_string(),
            seen: seen.to_string(),
        });
    }
    Ok(Signer::from(key))
}

/// The first key that did sign, or what is wrong with the signature.
pub(super) fn first<'keys>(
    keys: impl Iterator<Item = &'keys TrustedKey>,
    verify: impl Fn(&TrustedKey) -> Result<(), SignError>,
) -> Result<&'keys TrustedKey, TrustError> {
    let mut problem = None;
    for key in keys {
        match verify(key) {
            Ok(()) => return Ok(key),
            // That it is of something else says that a key did sign.
            Err(error @ SignError::Identity { .. }) => return Err(error.into()),
            Err(error) => problem = Some(error),
        }
    }
    let what = "it".to_owned();
    Err(problem.unwrap_or(SignError::Missing { what }).into())
}

/// The highest version that keys signed which were not revoked. What a stolen key signed is nothing to go by.
fn highest<'content>(content: &'content Content, name: &PluginName) -> Option<&'content Version> {
    let versions = content.seen.plugins.get(name)?;
    let counts = |key: &str| content.keys.is_in_force(key);
    let versions = versions.iter().filter(|(key, _)| counts(key));
    let versions = versions.map(|(_, version)| version);
    versions.max_by(|one, other| precedence(one, other))
}

impl Seen {
    /// Remembers a bundle; says whether that is news.
    pub(super) fn remember(&mut self, judgement: &Judgement) -> bool {
        let Some(signer) = &judgement.signer else {
            // Nobody vouches for its version.
            return false;
        };
        let versions = self.plugins.entry(judgement.name.clone()).or_default();
        let key = signer.key.to_string();
        let is_higher = |seen: &Version| precedence(&judgement.version, seen).is_gt();
        if !versions.get(&key).is_none_or(is_higher) {
            return false;
        }
        versions.insert(key, judgement.version.clone());
        true
    }
}
