//! What stands before the payload: enough to list a bundle, judge its signature and decide.

use super::{BundleError, Contents};
use crate::Parsed;

/// The first members of a bundle, read and checked against each other.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// The checked `plugin.json`, with what is odd about it.
    pub parsed: Parsed,
    /// The bytes of the `plugin.json`.
    pub manifest: Vec<u8>,
    /// What the bundle lists; `None` in the plain form, a manifest and a library.
    pub listed: Option<Listed>,
}

/// The list of members, as it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// What the list says.
    pub contents: Contents,
    /// The bytes of the `contents.json`, which a signature covers.
    pub bytes: Vec<u8>,
    /// The bytes of its signature, if there is one. Nobody has checked it yet.
    pub signature: Option<Vec<u8>>,
}

impl Listed {
    /// The list that stands in these bytes, and its signature.
    ///
    /// # Errors
    /// Those of [`Contents::parse`].
    pub fn parse(bytes: Vec<u8>, signature: Option<Vec<u8>>) -> Result<Self, BundleError> {
        Ok(Self {
            contents: Contents::parse(&bytes)?,
            bytes,
            signature,
        })
    }
}
