//! What there is to know of a plugin to place it among others.

use std::collections::BTreeMap;

use plg_packaging::manifest::Dependency;
use plg_packaging::{Manifest, PluginName};
use semver::Version;

/// One version of a plugin, and what it depends on.
///
/// ```
/// use plg_host::deps::Package;
/// use plg_packaging::Manifest;
///
/// let json = br#"{ "name": "chat", "version": "1.0.0", "dependencies": { "greeter": "^1.2" } }"#;
/// let package = Package::from(&Manifest::parse(json)?.manifest);
/// assert_eq!(package.dependencies["greeter"].version.to_string(), "^1.2");
/// # Ok::<(), plg_packaging::ManifestError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Package {
    /// The plugin.
    pub name: PluginName,
    /// The version of it.
    pub version: Version,
    /// What that version depends on.
    pub dependencies: BTreeMap<PluginName, Dependency>,
}

impl Package {
    /// A plugin that depends on nothing yet.
    #[must_use]
    pub fn new(name: PluginName, version: Version) -> Self {
        Self {
            name,
            version,
            dependencies: BTreeMap::new(),
        }
    }

    /// The same, depending on `on` as well.
    #[must_use]
    pub fn with(mut self, on: PluginName, dependency: Dependency) -> Self {
        self.dependencies.insert(on, dependency);
        self
    }
}

impl From<&Manifest> for Package {
    fn from(manifest: &Manifest) -> Self {
        Self {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            dependencies: manifest.dependencies.clone(),
        }
    }
}
