//! Plugin versions: semver 2, read as loosely as Go plugins write them.
//!
//! The loose grammar is that of Masterminds/semver, which existing manifests were checked with: an optional `v`, one to
//! three numeric parts, leading zeros allowed. What comes out is always strict.

use std::cmp::Ordering;

use semver::{BuildMetadata, Prerelease, Version};

use crate::text::Quoted;

/// Versions longer than this name nothing and make tables unreadable.
const MAX_LENGTH: usize = 128;

/// Reads a version; says whether it had to be rewritten to be strict semver.
///
/// ```
/// use plg_packaging::manifest::parse_version;
///
/// let (version, rewritten) = parse_version("v01.2")?;
/// assert_eq!((version.to_string().as_str(), rewritten), ("1.2.0", true));
/// assert!(parse_version("99999999999999999999.0.0").is_err());
/// # Ok::<(), plg_packaging::manifest::VersionError>(())
/// ```
///
/// # Errors
/// Says what stands where a version was expected.
pub fn parse_version(text: &str) -> Result<(Version, bool), VersionError> {
    if text.len() > MAX_LENGTH {
        return Err(VersionError::TooLong {
            length: text.len(),
            limit: MAX_LENGTH,
        });
    }
    if let Ok(version) = Version::parse(text) {
        return Ok((version, false));
    }
    loose(text).map(|version| (version, true))
}

/// Which of two versions is newer. Build metadata never decides: `1.0.0+a` and `1.0.0+b` are equal here, although they
/// are different versions for `==` and for the ordinary ordering of [`Version`].
///
/// ```
/// use std::cmp::Ordering;
/// use plg_packaging::manifest::{parse_version, precedence};
///
/// let (a, _) = parse_version("1.0.0+build.1")?;
/// let (b, _) = parse_version("1.0.0+build.2")?;
/// assert_ne!(a, b);
/// assert_eq!(precedence(&a, &b), Ordering::Equal);
/// # Ok::<(), plg_packaging::manifest::VersionError>(())
/// ```
pub fn precedence(left: &Version, right: &Version) -> Ordering {
    left.cmp_precedence(right)
}

/// Why a text is not a version, not even a loose one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VersionError {
    /// Longer than any version needs to be.
    #[error("version is {length} bytes long, at most {limit} are allowed")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The cap in bytes.
        limit: usize,
    },
    /// Neither semver nor one of the loose spellings.
    #[error("{shown} is not a version, expected `major.minor.patch` as in `1.2.3`")]
    Shape {
        /// The text, escaped and in backticks.
        shown: String,
    },
    /// A part is a number, but one that no machine word holds.
    #[error("{part} in {shown} is larger than {}", u64::MAX)]
    TooLarge {
        /// The part, escaped and in backticks.
        part: String,
        /// The whole text, likewise.
        shown: String,
    },
}

fn loose(text: &str) -> Result<Version, VersionError> {
    let shape = || VersionError::Shape {
        shown: Quoted(text).to_string(),
    };
    let bare = text.strip_prefix('v').unwrap_or(text);
    let (bare, build) = match bare.split_once('+') {
        Some((bare, build)) => (
            bare,
            BuildMetadata::new(non_empty(build).ok_or_else(shape)?).map_err(|_| shape())?,
        ),
        None => (bare, BuildMetadata::EMPTY),
    };
    let (numbers, pre) = match bare.split_once('-') {
        Some((numbers, pre)) => (numbers, prerelease(pre).ok_or_else(shape)?),
        None => (bare, Prerelease::EMPTY),
    };
    let mut parts = [0; 3];
    for (index, part) in numbers.split('.').enumerate() {
        let slot = parts.get_mut(index).ok_or_else(shape)?;
        if !is_number(part) {
            return Err(shape());
        }
        *slot = part.parse().map_err(|_| VersionError::TooLarge {
            part: Quoted(part).to_string(),
            shown: Quoted(text).to_string(),
        })?;
    }
    let [major, minor, patch] = parts;
    Ok(Version {
        major,
        minor,
        patch,
        pre,
        build,
    })
}

/// Masterminds allows leading zeros in the numeric identifiers of a pre-release; semver does not.
fn prerelease(text: &str) -> Option<Prerelease> {
    let identifiers: Vec<&str> = non_empty(text)?
        .split('.')
        .map(|identifier| match identifier.trim_start_matches('0') {
            _ if !is_number(identifier) => identifier,
            "" => "0",
            digits => digits,
        })
        .collect();
    Prerelease::new(&identifiers.join(".")).ok()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn non_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
