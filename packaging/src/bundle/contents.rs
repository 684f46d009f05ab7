//! `contents.json`: which members a bundle has, each with size and digest.
//!
//! It names the plugin and its version and is what a signature covers, so a signature cannot be moved to
//! another plugin, version or platform. Its own digest identifies the bundle, signed or not and however
//! it was compressed.

use std::collections::BTreeMap;

use semver::Version;
use serde::{Deserialize, Serialize};

use super::{BundleError, CONTENTS, MANIFEST, MemberPath, SIGNATURE, Target};
use crate::{Digest, Manifest, PluginName};

/// What a bundle holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Contents {
    /// The version of the bundle format.
    pub format: Format,
    /// The plugin.
    pub name: PluginName,
    /// Its version.
    pub version: Version,
    /// The library to load, by platform.
    pub libraries: BTreeMap<Target, MemberPath>,
    /// Every member but this list and its signature, by path.
    pub members: Vec<Member>,
}

/// A file in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Member {
    /// Where it stands.
    pub path: MemberPath,
    /// Its bytes.
    pub size: u64,
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// Whether it is unpacked as a program, with mode 0755 and not 0644.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

impl Member {
    /// A file that is no program.
    pub const fn new(path: MemberPath, size: u64, digest: Digest) -> Self {
        Self {
            path,
            size,
            digest,
            executable: false,
        }
    }
}

/// The version of the bundle format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Format(u64);

impl Format {
    /// The format this crate writes, and the newest it reads.
    pub const CURRENT: Self = Self(1);

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// The document before its parts are known to fit together.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawContents {
    #[serde(rename = "format")]
    _format: u64,
    name: PluginName,
    version: Version,
    #[serde(deserialize_with = "distinct")]
    libraries: BTreeMap<Target, MemberPath>,
    members: Vec<Member>,
}

/// The one field that is read before the others: a newer format may have fields that nobody here knows.
#[derive(Deserialize)]
struct FormatOnly {
    format: u64,
}

impl Contents {
    /// The list for a plugin with these members, which are sorted here.
    ///
    /// # Errors
    /// `bundle.manifest_mismatch` or `bundle.duplicate` when they do not make a bundle.
    pub fn new(
        manifest: &Manifest,
        libraries: BTreeMap<Target, MemberPath>,
        mut members: Vec<Member>,
    ) -> Result<Self, BundleError> {
        members.sort_by(|one, other| one.path.cmp(&other.path));
        let contents = Self {
            format: Format::CURRENT,
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            libraries,
            members,
        };
        contents.check()?;
        Ok(contents)
    }

    /// Reads a `contents.json`.
    ///
    /// # Errors
    /// `bundle.format` for a format that is newer than this crate, `bundle.manifest_mismatch` and
    /// `bundle.duplicate` for what is no list of members.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let no_list = |source: serde_json::Error| BundleError::Contents { source };
        let FormatOnly { format } = serde_json::from_slice(bytes).map_err(no_list)?;
        if format == 0 || format > Format::CURRENT.0 {
            return Err(BundleError::Format { found: format });
        }
        let raw: RawContents = serde_json::from_slice(bytes).map_err(no_list)?;
        let contents = Self {
            format: Format(format),
            name: raw.name,
            version: raw.version,
            libraries: raw.libraries,
            members: raw.members,
        };
        // There is one file, and a list that speaks of it twice.
        let twice = |pair: &&[Member]| pair[0].path == pair[1].path;
        if let Some(pair) = contents.members.windows(2).find(twice) {
            return Err(BundleError::Mismatch {
                path: pair[0].path.to_string(),
                why: "it is listed twice",
            });
        }
        contents.check()?;
        Ok(contents)
    }

    /// The list as it stands in a bundle, always spelled the same way, with a line break at the end.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("every key of it is a string");
        json.push('\n');
        json
    }

    /// What identifies the bundle: the digest of [`to_json`](Self::to_json).
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_json().as_bytes())
    }

    /// The member of that path.
    pub fn member(&self, path: &MemberPath) -> Option<&Member> {
        let place = self
            .members
            .binary_search_by(|member| member.path.cmp(path))
            .ok()?;
        self.members.get(place)
    }

    /// The library for a platform.
    ///
    /// # Errors
    /// `bundle.platform` when there is none, with those that there are.
    pub fn library(&self, target: &Target) -> Result<&Member, BundleError> {
        let path = self.libraries.get(target);
        path.and_then(|path| self.member(path))
            .ok_or_else(|| BundleError::Platform {
                name: self.name.clone(),
                wanted: target.clone(),
                has: self.libraries.keys().cloned().collect(),
            })
    }

    /// Fails unless `manifest` is of this plugin and version.
    ///
    /// # Errors
    /// `manifest.identity`.
    pub fn check_identity(&self, manifest: &Manifest) -> Result<(), BundleError> {
        if self.name == manifest.name && self.version == manifest.version {
            return Ok(());
        }
        Err(BundleError::Identity {
            listed: format!("{} {}", self.name, self.version),
            described: format!("{} {}", manifest.name, manifest.version),
        })
    }

    fn check(&self) -> Result<(), BundleError> {
        let mismatch = |path: &MemberPath, why| BundleError::Mismatch {
            path: path.to_string(),
            why,
        };
        for pair in self.members.windows(2) {
            if pair[0].path == pair[1].path {
                return Err(BundleError::Duplicate {
                    path: pair[1].path.to_string(),
                    first: pair[0].path.to_string(),
                });
            }
            if pair[0].path > pair[1].path {
                return Err(mismatch(
                    &pair[1].path,
                    "it is not listed in the order of the paths",
                ));
            }
        }
        check_tree(&self.members)?;
        for member in &self.members {
            if [CONTENTS, SIGNATURE].contains(&member.path.as_str()) {
                return Err(mismatch(&member.path, "it cannot list itself"));
            }
        }
        if !self.members.iter().any(|member| member.path == *MANIFEST) {
            return Err(BundleError::Mismatch {
                path: MANIFEST.to_owned(),
                why: "it is not listed",
            });
        }
        for (target, path) in &self.libraries {
            if self.member(path).is_none() {
                return Err(mismatch(
                    path,
                    "it is a library and not listed among the members",
                ));
            }
            if path.target().is_some_and(|of| of != *target) {
                return Err(mismatch(
                    path,
                    "it stands in the directory of another target",
                ));
            }
        }
        Ok(())
    }
}

/// Fails for paths that some systems take for one, and for a file where others need a directory.
fn check_tree(members: &[Member]) -> Result<(), BundleError> {
    let mut files: BTreeMap<String, &MemberPath> = BTreeMap::new();
    for member in members {
        if let Some(first) = files.insert(member.path.folded(), &member.path) {
            return Err(BundleError::Duplicate {
                path: member.path.to_string(),
                first: first.to_string(),
            });
        }
    }
    let mut directories = BTreeMap::new();
    for member in members {
        for directory in member.path.directories() {
            let folded = directory.to_ascii_lowercase();
            if let Some(first) = files.get(&folded) {
                return Err(BundleError::Duplicate {
                    path: member.path.to_string(),
                    first: first.to_string(),
                });
            }
            let known = directories.entry(folded).or_insert(directory);
            if *known != directory {
                return Err(BundleError::Duplicate {
                    path: member.path.to_string(),
                    first: (*known).to_owned(),
                });
            }
        }
    }
    Ok(())
}

/// Reads a map in which no key stands twice; the ordinary way would keep the last.
fn distinct<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<Target, MemberPath>, D::Error> {
    struct Distinct;

    impl<'de> serde::de::Visitor<'de> for Distinct {
        type Value = BTreeMap<Target, MemberPath>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("libraries by target")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut map: A,
        ) -> Result<Self::Value, A::Error> {
            let mut libraries = BTreeMap::new();
            while let Some((target, path)) = map.next_entry()? {
                if libraries.insert(target, path).is_some() {
                    return Err(serde::de::Error::custom(
                        "a target stands twice in `libraries`",
                    ));
                }
            }
            Ok(libraries)
        }
    }

    deserializer.deserialize_map(Distinct)
}
