//! What a plugin promises, compared between two of its manifests, and the version that the change asks for.
//!
//! A change breaks when something that worked with the old build may not work with the new one before somebody else
//! changes something too: a caller, another plugin, the operator. It adds when callers can do more. Everything else is
//! neutral.
//!
//! ```
//! use plg_packaging::{Manifest, contract};
//!
//! let old = Manifest::parse(br#"{ "name": "greeter", "version": "1.2.0", "labels": ["greet", "part"] }"#)?;
//! let new = Manifest::parse(br#"{ "name": "greeter", "version": "1.3.0", "labels": ["greet"] }"#)?;
//! let comparison = contract::compare(&old.manifest, &new.manifest).unwrap();
//! assert_eq!(comparison.differences()[0].to_string(), "label `part` is gone");
//! assert_eq!(comparison.least().to_string(), "2.0.0");
//! assert_eq!(comparison.check().unwrap_err().code(), "pack.breaks");
//! # Ok::<(), plg_packaging::ManifestError>(())
//! ```

mod difference;
mod requirement;

use std::fmt::Write as _;

use semver::Version;

use crate::manifest::{code, precedence};
use crate::{Manifest, PluginName};

pub use difference::{Difference, Part, Weight};

/// How one version of a plugin differs from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    name: PluginName,
    old: Version,
    new: Version,
    differences: Vec<Difference>,
}

/// Why a version may not follow another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContractError {
    /// Two plugins, and not two versions of one.
    #[error("the one before is `{old}` and the new one is `{new}`, expected the same plugin")]
    Identity {
        /// The name of the old one.
        old: PluginName,
        /// The name of the new one.
        new: PluginName,
    },
    /// More changed than the version says.
    #[error("`{}` {} does not say what changed since {}, expected {} or newer{}",
        .0.name, .0.new, .0.old, .0.least(), .0.reasons())]
    Breaks(Box<Comparison>),
}

impl ContractError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Identity { .. } => code::IDENTITY,
            Self::Breaks(_) => "pack.breaks",
        }
    }
}

/// Compares two manifests of one plugin.
///
/// # Errors
/// `manifest.identity` when they are of two plugins.
pub fn compare(old: &Manifest, new: &Manifest) -> Result<Comparison, ContractError> {
    if old.name != new.name {
        return Err(ContractError::Identity {
            old: old.name.clone(),
            new: new.name.clone(),
        });
    }
    Ok(Comparison {
        name: new.name.clone(),
        old: old.version.clone(),
        new: new.version.clone(),
        differences: difference::all(old, new),
    })
}

impl Comparison {
    /// What changed, the weightiest first.
    pub fn differences(&self) -> &[Difference] {
        &self.differences
    }

    /// The weight of the weightiest difference; neutral when there is none.
    pub fn weight(&self) -> Weight {
        let weights = self.differences.iter().map(|difference| difference.weight);
        weights.max().unwrap_or(Weight::Neutral)
    }

    /// The version of the old one.
    pub fn before(&self) -> &Version {
        &self.old
    }

    /// The version of the new one.
    pub fn after(&self) -> &Version {
        &self.new
    }

    /// The least version that says what changed, by cargo's rules: below 1.0.0 the first number that is not zero counts
    /// as the major one. A pre-release promises nothing, so anything may follow it.
    pub fn least(&self) -> Version {
        least(&self.old, self.weight())
    }

    /// Fails unless the new version is the least one or newer. Pre-releases of it are.
    ///
    /// # Errors
    /// `pack.breaks`, with every difference that asks for it.
    pub fn check(&self) -> Result<(), ContractError> {
        let core = |version: &Version| (version.major, version.minor, version.patch);
        let is_enough = core(&self.new) >= core(&self.least());
        if is_enough && precedence(&self.new, &self.old).is_ge() {
            return Ok(());
        }
        Err(ContractError::Breaks(Box::new(self.clone())))
    }

    fn reasons(&self) -> String {
        let weight = self.weight();
        let mut text = String::new();
        let reasons = self.differences.iter();
        for (place, reason) in reasons
            .filter(|reason| weight > Weight::Neutral && reason.weight == weight)
            .enumerate()
        {
            let between = if place == 0 { ": " } else { ", " };
            // Writing to a string does not fail.
            let _ = write!(text, "{between}{reason}");
        }
        text
    }
}

fn least(old: &Version, weight: Weight) -> Version {
    let next = |number: u64| number.saturating_add(1);
    let (major, minor, patch) = match (weight, old.major, old.minor) {
        _ if !old.pre.is_empty() => return old.clone(),
        (Weight::Neutral, ..) => return old.clone(),
        (Weight::Breaking, 0, 0) | (Weight::Adding, 0, _) => (0, old.minor, next(old.patch)),
        (Weight::Breaking, 0, minor) => (0, next(minor), 0),
        (Weight::Breaking, major, _) => (next(major), 0, 0),
        (Weight::Adding, major, minor) => (major, next(minor), 0),
    };
    Version::new(major, minor, patch)
}
