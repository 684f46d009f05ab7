//! The four lines of a `.minisig`.

use data_encoding::BASE64;

use super::KeyId;
use super::error::{SignError, format};
use super::lines::{self, TRUSTED, UNTRUSTED};

/// A signature that nobody has checked yet.
///
/// It is one over the message, and one over that and the trusted comment. Both must be good, see
/// [`PublicKey::verify`](super::PublicKey::verify).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    pub(super) untrusted_comment: String,
    pub(super) key_id: KeyId,
    pub(super) of_message: [u8; 64],
    pub(super) trusted_comment: String,
    pub(super) of_comment: [u8; 64],
}

/// The algorithm: Ed25519 over the BLAKE2b-512 of the message.
const PREHASHED: [u8; 2] = *b"ED";
/// What earlier versions of `minisign` used: Ed25519 over the message itself.
const LEGACY: [u8; 2] = *b"Ed";

impl Signature {
    /// Reads a signature.
    ///
    /// # Errors
    /// `sig.format` for anything but four lines of a prehashed signature, and for a comment of more than
    /// a kilobyte.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignError> {
        let [first, second, third, fourth] = lines::split(bytes).map_err(format)?;
        let untrusted_comment = lines::comment(first, UNTRUSTED).map_err(format)?;
        let packed = lines::bytes::<74>(second).map_err(format)?;
        let trusted_comment = lines::comment(third, TRUSTED).map_err(format)?;
        let of_comment = lines::bytes(fourth).map_err(format)?;
        let mut packed = &packed[..];
        match lines::take(&mut packed) {
            PREHASHED => {}
            LEGACY => return Err(format("it is of the old kind that is not prehashed")),
            _ => return Err(format("its algorithm is unknown")),
        }
        Ok(Self {
            untrusted_comment: untrusted_comment.to_owned(),
            key_id: KeyId::from_bytes(lines::take(&mut packed)),
            of_message: lines::take(&mut packed),
            trusted_comment: trusted_comment.to_owned(),
            of_comment: *of_comment,
        })
    }

    /// The four lines.
    pub fn to_text(&self) -> String {
        let packed = [&PREHASHED[..], &self.key_id.to_bytes(), &self.of_message];
        format!(
            "{UNTRUSTED}{}\n{}\n{TRUSTED}{}\n{}\n",
            self.untrusted_comment,
            BASE64.encode(&packed.concat()),
            self.trusted_comment,
            BASE64.encode(&self.of_comment),
        )
    }

    /// The key that it says it was made with.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The comment that is signed. It is worth something once the signature was checked.
    pub fn trusted_comment(&self) -> &str {
        &self.trusted_comment
    }

    /// The comment that anybody may have written.
    pub fn untrusted_comment(&self) -> &str {
        &self.untrusted_comment
    }
}
