//! Why a store refuses, or cannot do, what it is asked for.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use plg_packaging::bundle::BundleError;
use plg_packaging::{Digest, Permission, PluginName};
use semver::Version;

use super::step::Step;
use crate::deps::DependencyError;
use crate::loader::io_code;
use crate::quarantine::{self, Cause, Quarantine};

/// Why the store did not do what was asked for. Unless it says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Others could change what is in the store.
    #[error("refused the store `{}`: {why}", path.display())]
    Unsafe {
        /// The home, or what is wrong in it.
        path: PathBuf,
        /// Who could.
        why: String,
    },
    /// Another process is changing the store.
    #[error("another process has held `{}` for {patience:?}", path.display())]
    Busy {
        /// The lock.
        path: PathBuf,
        /// How long it was waited for.
        patience: Duration,
    },
    /// The disk did not take a step.
    #[error("failed to write `{}` ({step})", path.display())]
    Disk {
        /// The step.
        step: Step,
        /// What it would have changed.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no bundle, or not one for here.
    #[error("refused the bundle `{origin}`")]
    Bundle {
        /// Where it comes from.
        origin: String,
        /// Why.
        source: Box<BundleError>,
    },
    /// Who made it is not trusted with that.
    #[error("refused the bundle `{origin}`")]
    Untrusted {
        /// Where it comes from.
        origin: String,
        /// The code.
        code: &'static str,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The lock file does not say what is installed.
    #[error("`{}` does not match the store: {why}", path.display())]
    Mismatch {
        /// The lock file.
        path: PathBuf,
        /// The first difference.
        why: String,
    },
    /// The lock file pins other bytes of that version.
    #[error("`{name}` {version} is locked to {locked}, and the bundle is {offered}")]
    Locked {
        /// The plugin.
        name: PluginName,
        /// The version that both are.
        version: Version,
        /// What is installed.
        locked: Box<Digest>,
        /// What was to be installed.
        offered: Box<Digest>,
    },
    /// The lock file, or a set, is not one.
    #[error("`{}` is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A newer version of plg wrote it.
    #[error("`{}` has the format {found}, and {known} is the newest that this version of plg knows", path.display())]
    Format {
        /// The lock file or a set.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest of ours.
        known: u64,
    },
    /// What is installed is not what was installed.
    #[error("`{name}` {version} was changed after it was installed: `{}` {why}", path.display())]
    Tampered {
        /// The plugin.
        name: PluginName,
        /// Its version.
        version: Version,
        /// The file.
        path: PathBuf,
        /// How it was changed.
        why: String,
        /// The digest of what is there now, where it can be read.
        found: Option<Box<Digest>>,
    },
    /// There is no such plugin in the store.
    #[error("`{name}` is not installed")]
    NotInstalled {
        /// The plugin.
        name: PluginName,
    },
    /// There is no such set.
    #[error("there is no set {number} in the store")]
    NoSet {
        /// Its number.
        number: u64,
    },
    /// There is nothing to go back to.
    #[error("nothing was installed before the set {number}")]
    NothingBefore {
        /// The set in force.
        number: u64,
    },
    /// An older version than the one that is installed.
    #[error("`{name}` {installed} is installed, and {offered} is older")]
    Downgrade {
        /// The plugin.
        name: PluginName,
        /// The version that is installed.
        installed: Version,
        /// The version of the bundle.
        offered: Version,
    },
    /// It asks for more than the build that is installed.
    #[error(
        "`{name}` {version} asks for more than {installed} did: {}",
        list(asks)
    )]
    NeedsConsent {
        /// The plugin.
        name: PluginName,
        /// The version that is installed.
        installed: Box<Version>,
        /// The version of the bundle.
        version: Version,
        /// What it asks for and the installed one did not.
        asks: Vec<Permission>,
    },
    /// Two bundles of one plugin are to be installed at once.
    #[error("two of the bundles are `{name}`")]
    Twice {
        /// The plugin.
        name: PluginName,
    },
    /// Plugins would lack what they depend on.
    #[error(transparent)]
    Dependency(Box<DependencyError>),
    /// The change is in force, and could neither be brought to the disk nor taken back.
    #[error("the set {number} is in force, and may be lost if the machine stops")]
    Unsettled {
        /// The set.
        number: u64,
        /// What failed.
        source: Box<StoreError>,
    },
}

impl StoreError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsafe { .. } => "store.unsafe",
            Self::Busy { .. } => "store.busy",
            Self::Disk { source, .. } | Self::Read { source, .. } => io_code(source),
            Self::Bundle { source, .. } => source.code(),
            Self::Untrusted { code, .. } => code,
            Self::Mismatch { .. } | Self::Locked { .. } => "lock.mismatch",
            Self::Damaged { .. } => "lock.damaged",
            Self::Format { .. } => "store.format",
            Self::Tampered { .. } => "store.tampered",
            Self::NotInstalled { .. } => "store.not_installed",
            Self::NoSet { .. } | Self::NothingBefore { .. } => "store.no_set",
            Self::Downgrade { .. } => "install.downgrade",
            Self::NeedsConsent { .. } => "upgrade.needs_consent",
            Self::Twice { .. } => "install.twice",
            Self::Dependency(error) => error.code(),
            Self::Unsettled { .. } => "store.unsettled",
        }
    }

    /// Lets the bytes that were found in place of an installed build be loaded no more; says whether
    /// this error is about such bytes.
    pub fn quarantine(&self, quarantine: &Quarantine) -> bool {
        let Self::Tampered {
            name,
            version,
            found: Some(found),
            ..
        } = self
        else {
            return false;
        };
        let entry = quarantine::Entry {
            plugin: name.clone(),
            version: version.clone(),
            reason: self.to_string(),
            cause: Cause::Other,
            since: SystemTime::now(),
        };
        quarantine.add(**found, entry);
        true
    }

    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Read { path, source }
    }
}

impl From<DependencyError> for StoreError {
    fn from(error: DependencyError) -> Self {
        Self::Dependency(Box::new(error))
    }
}

fn list(permissions: &[Permission]) -> String {
    let names: Vec<String> = permissions
        .iter()
        .map(|permission| format!("`{permission}`"))
        .collect();
    names.join(", ")
}
