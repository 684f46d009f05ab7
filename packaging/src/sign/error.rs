//! Why a key or a signature is refused.

use super::KeyId;

/// Why a key or a signature is refused. No message holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// There is no signature where one is needed.
    #[error("{what} is not signed")]
    Missing {
        /// What needs one.
        what: String,
    },
    /// The bytes are no signature.
    #[error("not a signature: {why}")]
    Format {
        /// What is wrong with them.
        why: String,
    },
    /// The signature is of other bytes, or made up.
    #[error("the signature is not one that key {key} made over these bytes")]
    Invalid {
        /// The key that it names.
        key: KeyId,
    },
    /// The signature is good, and of something else.
    #[error("the signature is of `{signed}`, but this is `{found}`")]
    Identity {
        /// What the signer put his name to.
        signed: String,
        /// What it came with.
        found: String,
    },
    /// The signature was made with another key than the one it is checked with.
    #[error("signed with key {signed}, and not with key {expected}")]
    OtherKey {
        /// The key that the signature names.
        signed: KeyId,
        /// The key that it was checked with.
        expected: KeyId,
    },
    /// The bytes are no key, or one that must not be used.
    #[error("not a usable key: {why}")]
    Key {
        /// What is wrong with them.
        why: String,
    },
    /// The password does not open the key, or there is none.
    #[error("the key does not open: {why}")]
    Password {
        /// What is wrong with it.
        why: &'static str,
    },
    /// The system has no random numbers for a new key.
    #[error("failed to draw random numbers: {why}")]
    Random {
        /// What the system said.
        why: String,
    },
}

impl SignError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "sig.missing",
            Self::Format { .. } => "sig.format",
            Self::Invalid { .. } => "sig.invalid",
            Self::Identity { .. } => "sig.identity",
            Self::OtherKey { .. } => "sig.untrusted",
            Self::Key { .. } => "sig.key",
            Self::Password { .. } => "sig.password",
            Self::Random { .. } => "io.failed",
        }
    }
}

pub(super) fn format(why: impl Into<String>) -> SignError {
    SignError::Format { why: why.into() }
}

pub(super) fn key(why: impl Into<String>) -> SignError {
    SignError::Key { why: why.into() }
}
