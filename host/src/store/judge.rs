//! Who decides how far a bundle is trusted.

use std::error::Error;
use std::time::SystemTime;

use plg_packaging::bundle::Head;

use super::set::Entry;
use crate::trust::{AcceptedIndex, Judgement, Level, Terms, Trust, TrustError, Why};

/// Decides how far a bundle is trusted, by what stands before its payload.
pub trait Judge {
    /// Looks at what a bundle says about itself, and at its signature.
    ///
    /// # Errors
    ///
    /// A [`Refusal`], with which nothing of the bundle is used.
    fn judge(&self, asked: &Asked<'_>) -> Result<Judged, Refusal>;

    /// Is told that the bundle is about to come into force, after every byte of it was checked. What the judge has to
    /// remember of it is remembered now: were it later, a kill in between would let an older bundle in afterwards. If
    /// the change then fails, that stays remembered, and the same bundle may be installed again.
    ///
    /// # Errors
    ///
    /// A [`Refusal`], with which nothing is installed.
    fn accept(&self, _judged: &Judged) -> Result<(), Refusal> {
        Ok(())
    }
}

/// What a judge is asked about.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Asked<'a> {
    /// What stands before the payload.
    pub head: &'a Head,
    /// Where the bundle comes from.
    pub origin: &'a str,
    /// What is installed of that plugin.
    pub installed: Option<&'a Entry>,
}

/// How far a bundle is trusted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Judged {
    /// The level, as the set records it: `trusted`, `signed` or `isolated`.
    pub level: String,
    /// Who signed it, if that is known.
    pub signer: Option<String>,
    /// What the trust store says of it, to be remembered there.
    pub judgement: Option<Judgement>,
}

/// Why a bundle is not trusted.
#[derive(Debug)]
pub struct Refusal {
    /// The stable code.
    pub code: &'static str,
    /// The words.
    pub source: Box<dyn Error + Send + Sync>,
}

/// Trusts whatever comes, signed or not.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrustAll;

/// Judges files that the operator names. To name one is to trust it, so it need not be signed; but what
/// is signed must be so by a key that is trusted for it, and what was signed once must be so again.
#[derive(Clone, Debug)]
pub struct Named {
    trust: Trust,
    index: Option<AcceptedIndex>,
    any_key: bool,
    downgrade: bool,
}

/// The level of what the operator named and nobody signed.
const TRUSTED: &str = "trusted";
/// The level of what somebody signed who is trusted: it runs where that key's plugins may.
const SIGNED: &str = "signed";

impl Named {
    /// Judges with the keys of this trust store.
    #[must_use]
    pub fn new(trust: Trust) -> Self {
        Self {
            trust,
            index: None,
            any_key: false,
            downgrade: false,
        }
    }

    /// Lets only releases pass that this index lists.
    #[must_use]
    pub fn index(mut self, index: Option<AcceptedIndex>) -> Self {
        self.index = index;
        self
    }

    /// Takes a signature by a key that nobody knows for none.
    #[must_use]
    pub fn any_key(mut self, any_key: bool) -> Self {
        self.any_key = any_key;
        self
    }

    /// Lets a version pass that is older than one that was seen.
    #[must_use]
    pub fn downgrade(mut self, downgrade: bool) -> Self {
        self.downgrade = downgrade;
        self
    }

    fn look(&self, asked: &Asked<'_>) -> Result<Judged, TrustError> {
        let was_signed = asked
            .installed
            .is_some_and(|installed| installed.signer.is_some());
        let now = SystemTime::now();
        if let Some(index) = &self.index {
            index.check_time(now)?;
        }
        // Any key that is trusted at all vouches for whose it is; where it may run is asked when it is loaded.
        let terms = Terms::new(Level::Sandboxed, now)
            // An index lists what is listed.
            .allow_unsigned(self.index.is_none() || asked.head.listed.is_some())
            .was_signed(was_signed)
            .allow_downgrade(self.downgrade);
        let Some(listed) = &asked.head.listed else {
            self.trust
                .judge_plain(&asked.head.parsed.manifest, &terms)?;
            return Ok(Judged::trusted(None));
        };
        if let Some(index) = &self.index {
            index.check(listed)?;
        }
        let judgement = match self.trust.judge(listed, &terms) {
            Err(TrustError::Untrusted {
                why: Why::Unknown, ..
            }) if self.any_key => {
                let mut unsigned = listed.clone();
                unsigned.signature = None;
                self.trust.judge(&unsigned, &terms)?
            }
            judged => judged?,
        };
        Ok(Judged::trusted(Some(judgement)))
    }
}

impl Judge for Named {
    fn judge(&self, asked: &Asked<'_>) -> Result<Judged, Refusal> {
        self.look(asked).map_err(Refusal::from)
    }

    fn accept(&self, judged: &Judged) -> Result<(), Refusal> {
        match &judged.judgement {
            Some(judgement) => self.trust.remember(judgement).map_err(Refusal::from),
            None => Ok(()),
        }
    }
}

impl From<TrustError> for Refusal {
    fn from(error: TrustError) -> Self {
        Self {
            code: error.code(),
            source: Box::new(error),
        }
    }
}

impl Judge for TrustAll {
    fn judge(&self, _asked: &Asked<'_>) -> Result<Judged, Refusal> {
        Ok(Judged::trusted(None))
    }
}

impl<F: Fn(&Asked<'_>) -> Result<Judged, Refusal>> Judge for F {
    fn judge(&self, asked: &Asked<'_>) -> Result<Judged, Refusal> {
        self(asked)
    }
}

impl Judged {
    fn trusted(judgement: Option<Judgement>) -> Self {
        let signer = judgement
            .as_ref()
            .and_then(|judgement| judgement.signer.as_ref());
        Self {
            level: if signer.is_some() { SIGNED } else { TRUSTED }.to_owned(),
            signer: signer.map(|signer| signer.id().to_string()),
            judgement,
        }
    }
}
