//! The checked manifest: whoever holds one need not check anything in it again.

use std::collections::BTreeMap;

use semver::{Version, VersionReq};
use serde::{Serialize, Serializer, ser::SerializeStruct};
use serde_json::{Map, Value};

use super::{
    problem::{Place, Problem, Report, code},
    process::Process,
    route::HttpServices,
    source::Source,
    word::words,
};
use crate::{
    name::{Label, Permission, PluginName},
    text::{Quoted, Text},
};

/// What a plugin says about itself: the contents of a `plugin.json`.
///
/// Read one with [`Manifest::parse`], or start from [`Manifest::minimal`] for a plugin that has no file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(
        title = "plugin.json",
        description = "What a plugin says about itself."
    )
)]
#[non_exhaustive]
pub struct Manifest {
    /// The version of this file format; 1 is the only one.
    #[cfg_attr(feature = "schema", schemars(default))]
    pub format: Format,
    /// The name of the plugin, and of the directory it stands in.
    pub name: PluginName,
    /// The version of the plugin.
    #[cfg_attr(feature = "schema", schemars(with = "super::schema::LooseVersion"))]
    pub version: Version,
    /// What the plugin does, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Text>,
    /// Who looks after it: mail addresses, or `Name <mail>`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub maintainers: Vec<Text>,
    /// Its home page or repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home: Option<Text>,
    /// Where its code comes from; left out, a library beside the manifest is looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The HTTP routes it wants to answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_services: Option<HttpServices>,
    /// The versions of the plugin interface it can be loaded with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<super::schema::Requirement>")
    )]
    pub api: Option<VersionReq>,
    /// The labels it answers to; empty when it does not say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub labels: Vec<Label>,
    /// The plugins it calls.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub dependencies: BTreeMap<PluginName, Dependency>,
    /// Where it would like to run. The operator decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// The program to run, for a plugin that is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The JSON Schema of the plugin's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<Map<String, Value>>,
    /// What it asks the operator for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub permissions: Vec<Permission>,
}

impl Manifest {
    /// The manifest of a plugin that has no `plugin.json`: a name, a version, and nothing else said.
    ///
    /// ```
    /// use plg_packaging::{Manifest, PluginName};
    ///
    /// let manifest = Manifest::minimal(PluginName::new("greeter")?, semver::Version::new(1, 2, 0));
    /// assert!(manifest.to_json().contains(r#""version": "1.2.0""#));
    /// # Ok::<(), plg_packaging::TextError>(())
    /// ```
    pub fn minimal(name: PluginName, version: Version) -> Self {
        Self {
            format: Format::default(),
            name,
            version,
            description: None,
            maintainers: Vec::new(),
            home: None,
            source: None,
            http_services: None,
            api: None,
            labels: Vec::new(),
            dependencies: BTreeMap::new(),
            isolation: None,
            process: None,
            config_schema: None,
            permissions: Vec::new(),
        }
    }

    /// The manifest as a `plugin.json`, always spelled the same way, with a line break at the end.
    pub fn to_json(&self) -> String {
        let mut json =
            serde_json::to_string_pretty(self).expect("every key of a manifest is a string");
        json.push('\n');
        json
    }

    /// Whether this manifest may stand in a directory called `dir_name`: a plugin is found by its directory, so the
    /// two names are one.
    ///
    /// # Errors
    /// The `manifest.identity` problem, for the caller to judge: a bundle or a bare library has no directory.
    pub fn check_identity(&self, dir_name: &str) -> Result<(), Problem> {
        if self.name == dir_name {
            return Ok(());
        }
        let report = Report::default();
        let message = format!(
            "the manifest names `{}`, but its directory is {}; rename one of them",
            self.name,
            Quoted(dir_name)
        );
        Err(Place::root(&report)
            .key("name")
            .problem(code::IDENTITY, message))
    }
}

/// The version of the file format a manifest is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Format(#[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1)))] u32);

impl Format {
    /// The format this crate writes, and the newest it reads.
    pub const CURRENT: Self = Self(1);

    /// The number.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The format called `number`.
    ///
    /// # Errors
    /// Says who has to act, when this crate cannot read that format.
    pub fn readable(number: u64) -> Result<Self, FormatError> {
        match number {
            0 => Err(FormatError::Zero),
            1 => Ok(Self(1)),
            number => Err(FormatError::TooNew { number }),
        }
    }
}

impl Default for Format {
    /// What a manifest that does not say is written in.
    fn default() -> Self {
        Self(1)
    }
}

/// A format this crate does not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// There never was a format 0.
    #[error("format 0 does not exist, expected {}", Format::CURRENT.0)]
    Zero,
    /// Written for a later version of plg.
    #[error("format {number} is newer than format {}, the newest this version reads: upgrade plg", Format::CURRENT.0)]
    TooNew {
        /// The format of the file.
        number: u64,
    },
}

/// A plugin that another one calls.
///
/// Written as the bare requirement, or as an object when there is more to say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dependency {
    /// The versions that will do.
    pub version: VersionReq,
    /// Whether the plugin can do without.
    pub optional: bool,
}

impl Dependency {
    /// A dependency on the versions that `version` matches.
    pub const fn new(version: VersionReq, optional: bool) -> Self {
        Self { version, optional }
    }
}

impl Serialize for Dependency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.optional {
            return self.version.serialize(serializer);
        }
        let mut object = serializer.serialize_struct("Dependency", 2)?;
        object.serialize_field("version", &self.version)?;
        object.serialize_field("optional", &self.optional)?;
        object.end()
    }
}

words! {
    /// Where a plugin would like to run.
    Isolation, "isolation" {
        /// In the host's own process.
        InProcess = "in-process",
        /// In a process of its own.
        Isolated = "isolated",
        /// In a process of its own that can reach next to nothing.
        Sandboxed = "sandboxed",
    }
}
