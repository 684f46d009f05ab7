//! SHA-256 as plg writes it everywhere: in manifests, bundles, lock files and events.

use std::{borrow::Cow, fmt, str::FromStr};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

const PREFIX: &str = "sha256:";
const HEX_LENGTH: usize = 64;

/// The SHA-256 of some bytes, written `sha256:` and 64 lower-case hex digits.
///
/// ```
/// use plg_packaging::Digest;
///
/// let digest = Digest::of(b"abc");
/// assert_eq!(
///     digest.to_string(),
///     "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
/// );
/// assert_eq!(digest.hex().parse::<Digest>(), Ok(digest));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Takes bytes as they come.
    pub fn hasher() -> Hasher {
        Hasher(sha2::Sha256::new())
    }

    /// A digest that was computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 lower-case hex digits without the prefix, fit for a file name.
    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

/// A digest of bytes that are not all there yet.
///
/// ```
/// use plg_packaging::Digest;
///
/// let mut hasher = Digest::hasher();
/// hasher.update(b"a");
/// hasher.update(b"bc");
/// assert_eq!(hasher.finish(), Digest::of(b"abc"));
/// ```
#[derive(Clone, Debug)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes that were taken.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// Another algorithm than SHA-256 is named; a weaker one is never accepted.
    #[error("digest algorithm {found} is not supported, expected `sha256`")]
    Algorithm {
        /// The part before the colon, escaped and in backticks.
        found: String,
    },
    /// A short digest identifies nothing.
    #[error("a sha256 digest has 64 hex digits, found {found} characters")]
    Length {
        /// How many characters stand after the prefix.
        found: usize,
    },
    /// Something that is not a hex digit.
    #[error("a sha256 digest has hex digits only, found another character at position {at}")]
    Digit {
        /// Where it stands, counted after the prefix.
        at: usize,
    },
}

impl FromStr for Digest {
    type Err = DigestError;

    /// Reads `sha256:<64 hex digits>` or the bare digits, in either case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = match text.split_once(':') {
            None => text,
            Some(("sha256", hex)) => hex,
            Some((other, _)) => {
                return Err(DigestError::Algorithm {
                    found: crate::text::Quoted(other).to_string(),
                });
            }
        };
        if hex.len() != HEX_LENGTH {
            return Err(DigestError::Length {
                found: hex.chars().count(),
            });
        }
        let mut bytes = [0; 32];
        HEXLOWER_PERMISSIVE
            .decode_mut(hex.as_bytes(), &mut bytes)
            .map_err(|partial| DigestError::Digit {
                at: partial.error.position,
            })?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; PREFIX.len() + HEX_LENGTH];
        text[..PREFIX.len()].copy_from_slice(PREFIX.as_bytes());
        HEXLOWER.encode_mut(&self.0, &mut text[PREFIX.len()..]);
        f.pad(std::str::from_utf8(&text).expect("the prefix and hex digits are ASCII"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <Cow<'de, str>>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn reads_what_it_writes_and_the_bare_digits() {
        let digest = Digest::of(b"abc");
        let written = digest.to_string();
        assert_eq!(written, format!("sha256:{ABC}"));
        for text in [&written, ABC, &ABC.to_uppercase()] {
            assert_eq!(text.parse(), Ok(digest));
        }
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{written}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        assert_eq!(Digest::from_bytes(*digest.as_bytes()), digest);
    }

    #[test]
    fn refuses_other_algorithms_short_digests_and_junk() {
        for algorithm in ["sha1", "SHA256", "md5", "", "sha256:sha256"] {
            let error = format!("{algorithm}:{ABC}").parse::<Digest>().unwrap_err();
            let expected = matches!(
                error,
                DigestError::Algorithm { .. } | DigestError::Length { .. }
            );
            assert!(expected, "{algorithm}: {error}");
        }
        assert_eq!(
            "sha256:ba78".parse::<Digest>(),
            Err(DigestError::Length { found: 4 })
        );
        assert_eq!(
            format!("{ABC}0").parse::<Digest>(),
            Err(DigestError::Length { found: 65 })
        );
        assert_eq!(
            "é".repeat(32).parse::<Digest>(),
            Err(DigestError::Digit { at: 0 })
        );
        let junk = format!("sha256:{}g", &ABC[..63]);
        assert_eq!(junk.parse::<Digest>(), Err(DigestError::Digit { at: 63 }));
    }
}
