//! Which releases a source has, as its keys say.

use std::collections::BTreeMap;
use std::time::SystemTime;

use plg_packaging::bundle::Listed;
use plg_packaging::sign::{Signature, verify_index};
use plg_packaging::{Digest, Index};

use super::file::{Content, Seen, SeenIndex};
use super::judgement::first;
use super::{Signer, TrustError, TrustedKey, Why};

/// An index that enough trusted keys signed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AcceptedIndex {
    /// What it says.
    pub index: Index,
    /// The digest of its file.
    pub digest: Digest,
    /// Who signed it.
    pub signers: Vec<Signer>,
}

impl AcceptedIndex {
    /// Fails unless this is the bundle that the index lists as this release.
    ///
    /// # Errors
    /// `trust.mismatch`.
    pub fn check(&self, listed: &Listed) -> Result<(), TrustError> {
        let (name, version) = (&listed.contents.name, &listed.contents.version);
        let found = Digest::of(&listed.bytes);
        let release = self.index.release(name, version);
        if release == Some(found) {
            return Ok(());
        }
        Err(TrustError::Mismatch {
            what: format!("`{name} {version}`"),
            found,
            listed: release,
            number: self.index.number,
        })
    }

    /// Fails once the index is over. For what runs that is a warning; nothing may be installed by it.
    ///
    /// # Errors
    /// `trust.expired`.
    pub fn check_time(&self, now: SystemTime) -> Result<(), TrustError> {
        let (number, when) = (self.index.number, self.index.expires);
        match now < when {
            true => Ok(()),
            false => Err(TrustError::Expired { number, when }),
        }
    }
}

pub(super) fn check(
    content: &Content,
    bytes: &[u8],
    signatures: &[&[u8]],
    now: SystemTime,
) -> Result<AcceptedIndex, TrustError> {
    let index = Index::parse(bytes)?;
    let signers = signers(content, &index, bytes, signatures, now)?;
    let digest = Digest::of(bytes);
    check_seen(content, &index, digest)?;
    Ok(AcceptedIndex {
        index,
        digest,
        signers,
    })
}

/// The different keys that signed, if they are enough.
fn signers(
    content: &Content,
    index: &Index,
    bytes: &[u8],
    signatures: &[&[u8]],
    now: SystemTime,
) -> Result<Vec<Signer>, TrustError> {
    let mut signers: BTreeMap<String, &TrustedKey> = BTreeMap::new();
    let mut ignored = Vec::new();
    for signature in signatures {
        let signature = Signature::parse(signature)?;
        let mut of_that_id = content.keys.of(signature.key_id()).peekable();
        if of_that_id.peek().is_none() {
            ignored.push((signature.key_id(), Why::Unknown));
            continue;
        }
        let key = first(of_that_id, |key| {
            verify_index(index, bytes, &signature, &key.key)
        })?;
        let no_index = (!key.index).then_some(Why::NoIndex);
        match key.is_over(now).or(no_index) {
            Some(why) => ignored.push((key.id(), why)),
            None => drop(signers.insert(key.key.to_string(), key)),
        }
    }
    if signers.len() < content.keys.threshold {
        return Err(TrustError::Threshold {
            signed: signers.len(),
            needed: content.keys.threshold,
            ignored,
        });
    }
    Ok(signers.into_values().map(Signer::from).collect())
}

/// Fails for an index that is older than one of keys which are trusted now, and for another one of its
/// number. What keys signed that are trusted no more is nothing to go by: so a stolen key that signed the
/// last number there is takes it along when it is revoked.
fn check_seen(content: &Content, index: &Index, digest: Digest) -> Result<(), TrustError> {
    let seen = content.seen.indexes.iter();
    let seen = seen.filter(|(key, _)| content.keys.is_in_force(key));
    let Some(highest) = seen.map(|(_, seen)| *seen).max_by_key(|seen| seen.number) else {
        return Ok(());
    };
    if index.number < highest.number {
        return Err(TrustError::Rollback {
            what: "the index".to_owned(),
            found: format!("number {}", index.number),
            seen: format!("number {}", highest.number),
        });
    }
    if index.number == highest.number && digest != highest.digest {
        return Err(TrustError::Mismatch {
            what: "the index".to_owned(),
            found: digest,
            listed: Some(highest.digest),
            number: index.number,
        });
    }
    Ok(())
}

impl Seen {
    /// Remembers an index; says whether that is news.
    pub(super) fn remember_index(&mut self, accepted: &AcceptedIndex) -> bool {
        let mut is_news = false;
        for signer in &accepted.signers {
            let seen = SeenIndex {
                number: accepted.index.number,
                digest: accepted.digest,
            };
            let before = self.indexes.insert(signer.key.to_string(), seen);
            is_news |= before.is_none_or(|before| before.number != seen.number);
        }
        is_news
    }
}
