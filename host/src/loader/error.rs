//! Why a file was not loaded.

use std::io;
use std::path::PathBuf;

use plg_packaging::bundle::BundleError;
use plg_packaging::{Digest, ManifestError};
use thiserror::Error;

use super::io_code;
use super::preflight::Finding;
use crate::store::StoreError;

/// Why a file was not loaded. No code of it ran in the host but for the last three: then constructors
/// and the getter of the descriptor did, and with [`Init`](Self::Init) the plugin itself. It is taken out
/// again, or retained where that cannot be.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not a regular file: a directory, a fifo, a socket or a device.
    #[error("`{}` is {found}, expected a regular file", path.display())]
    Kind {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// It is over [`Limits::image_bytes`](crate::Limits::image_bytes).
    #[error("`{}` has {size} bytes, the limit is {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The preflight found something that forbids mapping it.
    #[error("refused `{}`: {}", path.display(), finding.message)]
    Refused {
        /// The file.
        path: PathBuf,
        /// The first finding that refuses.
        finding: Box<Finding>,
    },
    /// It is no bundle, or not one for this machine.
    #[error("refused the bundle `{}`", path.display())]
    Bundle {
        /// The file.
        path: PathBuf,
        /// Why.
        source: BundleError,
    },
    /// It is a bundle with a program, which no host runs from there.
    #[error("`{}` has a program and no library: install it first", path.display())]
    Program {
        /// The file.
        path: PathBuf,
    },
    /// It is not what was installed.
    #[error(transparent)]
    Installed(Box<StoreError>),
    /// The manifest is not one.
    #[error("refused the manifest of `{}`", path.display())]
    Manifest {
        /// The directory or file.
        path: PathBuf,
        /// All problems of it.
        source: ManifestError,
    },
    /// Manifest, file and directory do not agree on what the plugin is called.
    #[error("`{}` is named `{found}`, expected `{expected}`", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// The name by the manifest or directory.
        expected: String,
        /// The name in the library.
        found: String,
    },
    /// The bytes are not the expected ones.
    #[error("`{}` has the digest {found}, expected {expected}", path.display())]
    Hash {
        /// The file.
        path: PathBuf,
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// These bytes crashed before and stay out until an operator clears them.
    #[error("`{}` is quarantined: {reason}", path.display())]
    Quarantined {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A child that tried to map it did not live through it.
    #[error("the probe of `{}` {ending}", path.display())]
    Probe {
        /// The file.
        path: PathBuf,
        /// How it ended.
        ending: String,
    },
    /// The child for the probe cannot be started.
    #[error("failed to start the probe `{}`", program.display())]
    ProbeStart {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// As many images are mapped as [`Limits::plugins`](crate::Limits::plugins) allows.
    #[error("{mapped} images are mapped, retained ones included; the limit is {limit}")]
    TooMany {
        /// How many are mapped.
        mapped: usize,
        /// The limit.
        limit: usize,
    },
    /// The sealed copy cannot be made.
    #[error("failed to make a sealed copy of `{}`", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The dynamic linker refused it.
    #[error("the dynamic linker refused `{}`: {message}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The linker's words.
        message: String,
    },
    /// The descriptor is not usable.
    #[error("the descriptor of `{}` is not usable: {problem}", path.display())]
    Descriptor {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The plugin's `abi_stable` layout differs.
    #[error("the boundary of `{}` is laid out differently: {difference}", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// The first difference, with the field.
        difference: String,
    },
    /// Its process cannot be started, or does not become ready.
    #[error("`{}` was not started: {message}", path.display())]
    Start {
        /// The file.
        path: PathBuf,
        /// The code: `proc.…`, or one of a call that failed.
        code: &'static str,
        /// What went wrong, with the last of what it wrote to its standard error.
        message: String,
    },
    /// The plugin's `init` refused.
    #[error("`{}` refused to start: {message} ({code})", path.display())]
    Init {
        /// The file.
        path: PathBuf,
        /// The plugin's code.
        code: String,
        /// The plugin's words.
        message: String,
    },
}

impl LoadError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { source, .. } | Self::Image { source, .. } => io_code(source),
            Self::Kind { .. } => "dir.kind",
            Self::TooLarge { .. } => "native.too_large",
            Self::Refused { finding, .. } => finding.code,
            Self::Bundle { source, .. } => source.code(),
            Self::Program { .. } => "bundle.program",
            Self::Installed(source) => source.code(),
            Self::Manifest { source, .. } => source.code(),
            Self::Identity { .. } => "manifest.identity",
            Self::Hash { .. } => "native.hash",
            Self::Quarantined { .. } => "native.quarantined",
            Self::Probe { .. } => "native.probe_crashed",
            Self::ProbeStart { .. } => "native.probe_start",
            Self::TooMany { .. } => "native.too_many",
            Self::Open { .. } => "native.dlopen",
            Self::Descriptor { .. } | Self::Init { .. } => "native.init",
            Self::Layout { .. } => "abi.layout",
            Self::Start { code, .. } => code,
        }
    }
}
