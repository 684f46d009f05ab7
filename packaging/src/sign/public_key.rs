//! The key that checks signatures.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use blake2::{Blake2b512, Digest};
use data_encoding::BASE64;
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::{SignError, key};
use super::lines::{self, UNTRUSTED};
use super::{KeyId, Signature};

/// The public half of a key. It prints as the second line of its file.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    id: KeyId,
    point: VerifyingKey,
}

/// The algorithm: Ed25519.
pub(super) const ALGORITHM: [u8; 2] = *b"Ed";

impl PublicKey {
    /// How many bytes a key has, with its id and algorithm.
    const BYTES: usize = ALGORITHM.len() + KeyId::BYTES + 32;

    /// The key of that point.
    ///
    /// # Errors
    /// `sig.key` for bytes that are no point, for a point that anybody can sign for, and for one that can
    /// be written in two ways.
    pub fn new(id: KeyId, point: [u8; 32]) -> Result<Self, SignError> {
        if !is_canonical(&point) {
            return Err(key(
                "its point is not written in the one way that is allowed",
            ));
        }
        let point = VerifyingKey::from_bytes(&point);
        let point = point.map_err(|_| key("it is no point of the curve"))?;
        if point.is_weak() || !point.to_edwards().is_torsion_free() {
            return Err(key("its point is of small order"));
        }
        Ok(Self { id, point })
    }

    /// The key of a point that was computed and not read, and so is a good one.
    pub(super) fn of(id: KeyId, point: VerifyingKey) -> Self {
        Self { id, point }
    }

    /// Reads a `.pub` file: a comment that nobody relies on, and the key; or the key alone.
    ///
    /// # Errors
    /// `sig.key`.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignError> {
        if bytes.starts_with(UNTRUSTED.as_bytes()) {
            let [comment, line] = lines::split(bytes).map_err(key)?;
            lines::comment(comment, UNTRUSTED).map_err(key)?;
            return line.parse();
        }
        let [line] = lines::split(bytes).map_err(key)?;
        line.parse()
    }

    /// The text of a `.pub` file.
    pub fn to_text(&self) -> String {
        format!("{UNTRUSTED}minisign public key {}\n{self}\n", self.id)
    }

    /// The number by which signatures name it.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Fails unless this key signed these bytes, and with them the trusted comment.
    ///
    /// # Errors
    /// `sig.untrusted` when the signature names another key, `sig.invalid` when it is not one over these
    /// bytes and its comment.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), SignError> {
        self.verify_comment(signature)?;
        self.verify_message(message, signature)
    }

    /// Fails unless this key signed the trusted comment.
    pub(super) fn verify_comment(&self, signature: &Signature) -> Result<(), SignError> {
        if signature.key_id != self.id {
            return Err(SignError::OtherKey {
                signed: signature.key_id,
                expected: self.id,
            });
        }
        let signed = with_comment(&signature.of_message, &signature.trusted_comment);
        self.verify_bytes(&signed, &signature.of_comment)
    }

    /// Fails unless this key signed these bytes.
    pub(super) fn verify_message(
        &self,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), SignError> {
        self.verify_bytes(&prehash(message), &signature.of_message)
    }

    fn verify_bytes(&self, bytes: &[u8], signature: &[u8; 64]) -> Result<(), SignError> {
        // Strict: no point of small order, and one spelling for each signature.
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        let outcome = self.point.verify_strict(bytes, &signature);
        outcome.map_err(|_| SignError::Invalid { key: self.id })
    }
}

/// What is signed of a message.
pub(super) fn prehash(message: &[u8]) -> [u8; 64] {
    Blake2b512::digest(message).into()
}

/// What the second signature is over.
pub(super) fn with_comment(of_message: &[u8; 64], comment: &str) -> Vec<u8> {
    [&of_message[..], comment.as_bytes()].concat()
}

/// Whether a point is written with the smallest number that means it, which is less than 2^255 - 19.
fn is_canonical(point: &[u8; 32]) -> bool {
    let [lowest, middle @ .., highest] = point;
    let is_above =
        *lowest >= 0xed && middle.iter().all(|byte| *byte == 0xff) && highest & 0x7f == 0x7f;
    !is_above
}

impl FromStr for PublicKey {
    type Err = SignError;

    /// Reads the second line of a `.pub` file.
    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let packed = lines::bytes::<{ Self::BYTES }>(line).map_err(key)?;
        let mut packed = &packed[..];
        if lines::take(&mut packed) != ALGORITHM {
            return Err(key("its algorithm is unknown"));
        }
        let id = KeyId::from_bytes(lines::take(&mut packed));
        Self::new(id, lines::take(&mut packed))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let packed = [&ALGORITHM[..], &self.id.to_bytes(), self.point.as_bytes()];
        f.pad(&BASE64.encode(&packed.concat()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <Cow<'de, str>>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
