//! Who decides how far a bundle is trusted.

use std::error::Error;

use plg_packaging::bundle::Head;

/// Decides how far a bundle is trusted, by what stands before its payload.
pub trait Judge {
    /// Looks at what the bundle from `origin` says about itself, and at its signature.
    ///
    /// # Errors
    ///
    /// A [`Refusal`], with which nothing of the bundle is used.
    fn judge(&self, head: &Head, origin: &str) -> Result<Judged, Refusal>;
}

/// How far a bundle is trusted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Judged {
    /// The level, as the set records it: `trusted`, `signed` or `isolated`.
    pub level: String,
    /// Who signed it, if that is known.
    pub signer: Option<String>,
}

/// Why a bundle is not trusted.
#[derive(Debug)]
pub struct Refusal {
    /// The stable code.
    pub code: &'static str,
    /// The words.
    pub source: Box<dyn Error + Send + Sync>,
}

/// Trusts whatever the operator names, signed or not: the digest is pinned in the lock file.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrustAll;

impl Judge for TrustAll {
    fn judge(&self, _head: &Head, _origin: &str) -> Result<Judged, Refusal> {
        Ok(Judged {
            level: "trusted".to_owned(),
            signer: None,
        })
    }
}

impl<F: Fn(&Head, &str) -> Result<Judged, Refusal>> Judge for F {
    fn judge(&self, head: &Head, origin: &str) -> Result<Judged, Refusal> {
        self(head, origin)
    }
}
