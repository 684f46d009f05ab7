//! The key that signs.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey};
use zeroize::Zeroizing;

use super::error::{SignError, format};
use super::public_key::{prehash, with_comment};
use super::{KeyId, PublicKey, Signature, key_file, lines};

/// The secret half of a key. It is wiped from memory when it is dropped, and never printed.
pub struct SecretKey {
    pub(super) id: KeyId,
    pub(super) seed: SigningKey,
}

impl SecretKey {
    /// A new key.
    ///
    /// # Errors
    /// `io.failed` when the system has no random numbers.
    pub fn generate() -> Result<Self, SignError> {
        let mut seed = Zeroizing::new([0; 32]);
        random(&mut *seed)?;
        let mut id = [0; KeyId::BYTES];
        random(&mut id)?;
        Ok(Self::from_seed(KeyId::from_bytes(id), &seed))
    }

    /// The key of a seed that is kept elsewhere, 32 random bytes.
    pub fn from_seed(id: KeyId, seed: &[u8; 32]) -> Self {
        Self {
            id,
            seed: SigningKey::from_bytes(seed),
        }
    }

    /// The number by which its signatures name it.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The half that everybody may know.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::of(self.id, self.seed.verifying_key())
    }

    /// Signs a message and a comment. The same ones always give the same signature.
    ///
    /// # Errors
    /// `sig.format` for a comment of more than a kilobyte, or one that holds control characters.
    pub fn sign(&self, message: &[u8], trusted_comment: &str) -> Result<Signature, SignError> {
        lines::check_comment(trusted_comment).map_err(format)?;
        let of_message = self.seed.sign(&prehash(message)).to_bytes();
        let signed = with_comment(&of_message, trusted_comment);
        Ok(Signature {
            untrusted_comment: format!("signature from plg secret key {}", self.id),
            key_id: self.id,
            of_message,
            trusted_comment: trusted_comment.to_owned(),
            of_comment: self.seed.sign(&signed).to_bytes(),
        })
    }

    /// The text of a `.key` file, which a password opens; without one, whoever reads the file has the key.
    ///
    /// It takes 128 MiB and part of a second, as it does for whoever guesses passwords.
    ///
    /// # Errors
    /// `io.failed` when the system has no random numbers.
    pub fn to_text(&self, password: Option<&str>) -> Result<Zeroizing<String>, SignError> {
        key_file::write(self, password)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.id)
    }
}

pub(super) fn random(bytes: &mut [u8]) -> Result<(), SignError> {
    getrandom::fill(bytes).map_err(|error| SignError::Random {
        why: error.to_string(),
    })
}
