//! The directory with the keys that are trusted, and the memory of what they signed.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use plg_packaging::bundle::Listed;
use plg_packaging::sign::KeyId;
use plg_packaging::{Manifest, PluginName, Text};

use super::file::{self, Content, Keys};
use super::judgement::{check_unsigned, judge};
use super::{
    AcceptedIndex, Judgement, Level, Revocation, Terms, TrustError, TrustedKey, Why, index,
};
use crate::state::Directory;

/// A trust store. Every question reads its files again, so a key that was revoked is not trusted from then
/// on by anybody.
#[derive(Clone, Debug)]
pub struct Trust {
    path: PathBuf,
}

/// How long another process may hold the store.
const PATIENCE: Duration = Duration::from_secs(2);

impl Trust {
    /// The store in that directory, which need not be there: then nobody is trusted.
    ///
    /// # Errors
    /// `trust.unsafe` when others can write to it or to a directory on the way, when it or a file in it is
    /// a link, belongs to somebody else or is damaged; the system's when it cannot be read.
    pub fn open(path: &Path) -> Result<Self, TrustError> {
        let trust = Self {
            path: path.to_owned(),
        };
        trust.content()?;
        Ok(trust)
    }

    /// The keys, also those that were revoked, in the order in which they were added.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn list(&self) -> Result<Vec<TrustedKey>, TrustError> {
        Ok(self.content()?.keys.keys)
    }

    /// How many different keys have to sign an index.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn threshold(&self) -> Result<usize, TrustError> {
        Ok(self.content()?.keys.threshold)
    }

    /// Says how many different keys have to sign an index, at least one.
    ///
    /// # Errors
    /// As [`open`](Self::open), and the system's when it cannot be written.
    pub fn set_threshold(&self, threshold: usize) -> Result<(), TrustError> {
        self.change_keys(|keys| {
            keys.threshold = threshold.max(1);
            Ok(())
        })
    }

    /// Trusts a key. One that is trusted already is from now on trusted for what this says; the former is
    /// returned. The store is made where there is none.
    ///
    /// # Errors
    /// `trust.collision` when another key of its id is there, `sig.untrusted` when it was revoked; as
    /// [`set_threshold`](Self::set_threshold).
    pub fn add(&self, key: TrustedKey) -> Result<Option<TrustedKey>, TrustError> {
        self.change_keys(|keys| {
            if let Some(other) = keys.of(key.id()).find(|other| other.key != key.key) {
                return Err(TrustError::Collision {
                    id: key.id(),
                    note: other.note.to_string(),
                });
            }
            let Some(before) = keys.keys.iter_mut().find(|before| before.key == key.key) else {
                keys.keys.push(key);
                return Ok(None);
            };
            match &before.revoked {
                Some(Revocation { when, why }) => Err(TrustError::Untrusted {
                    key: key.id(),
                    what: "anything".to_owned(),
                    why: Why::Revoked {
                        when: *when,
                        why: why.to_string(),
                    },
                }),
                None => Ok(Some(std::mem::replace(before, key))),
            }
        })
    }

    /// Trusts the keys of that id no more, for anything that they ever signed. What was remembered of them
    /// no longer counts. Those that were revoked before stay as they are.
    ///
    /// # Errors
    /// `trust.not_found`; as [`set_threshold`](Self::set_threshold).
    pub fn revoke(&self, id: KeyId, why: Text, now: SystemTime) -> Result<(), TrustError> {
        self.change_keys(|keys| {
            let mut found = false;
            for key in keys.keys.iter_mut().filter(|key| key.id() == id) {
                found = true;
                let (when, why) = (now, why.clone());
                key.revoked.get_or_insert(Revocation { when, why });
            }
            match found {
                true => Ok(()),
                false => Err(TrustError::NotFound { id }),
            }
        })
    }

    /// Whether a bundle may be installed on these terms. The bundle's members are not looked at: they are
    /// good if the reader takes them. Nothing is remembered yet, see [`remember`](Self::remember).
    ///
    /// # Errors
    /// The codes of [`TrustError`], above all `sig.missing`, `sig.untrusted` and `trust.rollback`.
    pub fn judge(&self, listed: &Listed, terms: &Terms) -> Result<Judgement, TrustError> {
        judge(&self.content()?, listed, terms)
    }

    /// Whether a bundle in the plain form, which cannot be signed, may be installed on these terms.
    ///
    /// # Errors
    /// `sig.missing`; as [`open`](Self::open).
    pub fn judge_plain(&self, manifest: &Manifest, terms: &Terms) -> Result<(), TrustError> {
        check_unsigned(&self.content()?, &manifest.name, &manifest.version, terms)
    }

    /// Fails for what is installed and was signed with a key that was revoked since, or that is not trusted for
    /// plugins that run at `level`. That a key expired or was never here says nothing against what is installed
    /// already.
    ///
    /// # Errors
    /// `sig.untrusted`; as [`open`](Self::open).
    pub fn check_installed(
        &self,
        name: &PluginName,
        signer: KeyId,
        level: Level,
    ) -> Result<(), TrustError> {
        let content = self.content()?;
        let objection = |key: &TrustedKey| key.objection_to_installed(level);
        match content.keys.of(signer).find_map(objection) {
            Some(why) => Err(TrustError::Untrusted {
                key: signer,
                what: name.to_string(),
                why,
            }),
            None => Ok(()),
        }
    }

    /// Remembers that a bundle was installed, so that none of a lower version will be.
    ///
    /// # Errors
    /// As [`set_threshold`](Self::set_threshold).
    pub fn remember(&self, judgement: &Judgement) -> Result<(), TrustError> {
        if judgement.signer.is_none() {
            return Ok(());
        }
        self.change(
            |directory, mut content| match content.seen.remember(judgement) {
                true => file::write_seen(directory, &content.seen),
                false => Ok(()),
            },
        )
    }

    /// Whether an index may be relied on: enough different keys signed it, and none of them signed a later
    /// one. One that is over is not refused, see [`AcceptedIndex::check_time`]. Nothing is remembered.
    ///
    /// # Errors
    /// The codes of [`TrustError`], above all `trust.index`, `trust.threshold`, `trust.rollback` and
    /// `trust.mismatch`.
    pub fn check_index(
        &self,
        bytes: &[u8],
        signatures: &[&[u8]],
        now: SystemTime,
    ) -> Result<AcceptedIndex, TrustError> {
        index::check(&self.content()?, bytes, signatures, now)
    }

    /// As [`check_index`](Self::check_index) for an index to install by: it must not be over, and none of a
    /// lower number will be accepted from now on.
    ///
    /// # Errors
    /// As there, and `trust.expired`; as [`set_threshold`](Self::set_threshold).
    pub fn accept_index(
        &self,
        bytes: &[u8],
        signatures: &[&[u8]],
        now: SystemTime,
    ) -> Result<AcceptedIndex, TrustError> {
        let check = |content: &Content| {
            let accepted = index::check(content, bytes, signatures, now)?;
            accepted.check_time(now)?;
            Ok::<_, TrustError>(accepted)
        };
        // What is refused leaves no trace, not even a store.
        check(&self.content()?)?;
        self.change(|directory, mut content| {
            let accepted = check(&content)?;
            if content.seen.remember_index(&accepted) {
                file::write_seen(directory, &content.seen)?;
            }
            Ok(accepted)
        })
    }

    fn content(&self) -> Result<Content, TrustError> {
        file::content(file::directory(&self.path)?.as_ref())
    }

    fn change_keys<T>(
        &self,
        change: impl FnOnce(&mut Keys) -> Result<T, TrustError>,
    ) -> Result<T, TrustError> {
        self.change(|directory, mut content| {
            let outcome = change(&mut content.keys)?;
            // The memory first: keys without one are an error.
            if !file::has_seen(directory) {
                file::write_seen(directory, &content.seen)?;
            }
            file::write_keys(directory, &content.keys)?;
            Ok(outcome)
        })
    }

    /// Changes the store while no other process does.
    fn change<T>(
        &self,
        change: impl FnOnce(&Directory, Content) -> Result<T, TrustError>,
    ) -> Result<T, TrustError> {
        let failed = |source| TrustError::Write {
            path: self.path.clone(),
            source,
        };
        if file::directory(&self.path)?.is_none() {
            Directory::create(&self.path).map_err(failed)?;
        }
        // Somebody may have put another one there meanwhile.
        let Some(directory) = file::directory(&self.path)? else {
            return Err(failed(std::io::ErrorKind::NotFound.into()));
        };
        let _lock = directory.lock(file::LOCK, PATIENCE).map_err(failed)?;
        change(&directory, file::content(Some(&directory))?)
    }
}

impl Keys {
    /// The keys of that id; there is more than one only where somebody wrote them there by hand.
    pub(super) fn of(&self, id: KeyId) -> impl Iterator<Item = &TrustedKey> {
        self.keys.iter().filter(move |key| key.id() == id)
    }

    /// Whether what that key signed counts.
    pub(super) fn is_in_force(&self, key: &str) -> bool {
        let trusted = self
            .keys
            .iter()
            .find(|trusted| trusted.key.to_string() == key);
        trusted.is_some_and(|trusted| trusted.revoked.is_none())
    }
}
