//! Why a bundle is refused.

use std::io;

use super::{Target, contents::Format};
use crate::text::Quoted;
use crate::{ManifestError, PluginName};

/// Why bytes are not a bundle, or not one for here. Nothing of it was used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// It cannot be read.
    #[error("failed to read the bundle")]
    Read {
        /// What the system said.
        source: io::Error,
    },
    /// A member cannot be written.
    #[error("failed to write `{path}`")]
    Write {
        /// The member or file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The outside is not the one gzip member that it has to be.
    #[error("not a bundle: {why}")]
    Gzip {
        /// What was seen.
        why: String,
    },
    /// A header that can be read in more than one way, or in none.
    #[error("the header at byte {at} of the archive is refused: {why}")]
    Header {
        /// Where it begins, counted in the unpacked archive.
        at: u64,
        /// What is wrong with it.
        why: String,
    },
    /// Something else than a regular file.
    #[error("{} is {kind}, and a bundle holds regular files only", Quoted(path))]
    Kind {
        /// The member.
        path: String,
        /// What it is.
        kind: String,
    },
    /// A path that leads elsewhere or does not mean the same everywhere.
    #[error("a member is refused: {why}")]
    Path {
        /// The path as it stands there, cut to what can be shown.
        path: String,
        /// The rule it breaks.
        why: String,
    },
    /// Two members of one name, or of names that some systems take for one.
    #[error("{} stands where {} does", Quoted(path), Quoted(first))]
    Duplicate {
        /// The second.
        path: String,
        /// The first.
        first: String,
    },
    /// It ends in the middle.
    #[error("the bundle ends in {inside}; copy it again")]
    Truncated {
        /// What was being read.
        inside: String,
    },
    /// There is more after its end.
    #[error("the bundle has {what} after its end")]
    Trailing {
        /// What is there.
        what: String,
    },
    /// It is larger than it may be.
    #[error("{what} is larger than the {limit} bytes that are allowed")]
    TooLarge {
        /// The file, the archive or a member.
        what: String,
        /// The cap in bytes.
        limit: u64,
    },
    /// It unpacks to more than its size lets expect.
    #[error("the bundle unpacks to more than {limit} times its size")]
    Ratio {
        /// The cap.
        limit: u64,
    },
    /// It has more members than it may have.
    #[error("the bundle has more than the {limit} members that are allowed, directories included")]
    TooMany {
        /// The cap.
        limit: usize,
    },
    /// The list of members is not one.
    #[error("`contents.json` is no list of members")]
    Contents {
        /// What it stumbled over.
        source: serde_json::Error,
    },
    /// A member and the list of members do not agree.
    #[error("{} does not match `contents.json`: {why}", Quoted(path))]
    Mismatch {
        /// The member.
        path: String,
        /// How they differ.
        why: &'static str,
    },
    /// A member that every bundle has is not there.
    #[error("the bundle has no {what}")]
    Missing {
        /// What is missing, and where it was expected.
        what: String,
    },
    /// Written for a later version of plg.
    #[error("the bundle has format {found}, and this version reads formats 1 to {}", Format::CURRENT.number())]
    Format {
        /// Its format.
        found: u64,
    },
    /// There is no library for a platform.
    #[error(
        "`{name}` has no library for `{wanted}`, there is one for {}",
        list(has)
    )]
    Platform {
        /// The plugin.
        name: PluginName,
        /// The platform.
        wanted: Target,
        /// Those that it has libraries for.
        has: Vec<Target>,
    },
    /// List and manifest speak of different plugins.
    #[error("`contents.json` is of `{listed}`, but `plugin.json` is of `{described}`")]
    Identity {
        /// Name and version in the list.
        listed: String,
        /// Name and version in the manifest.
        described: String,
    },
    /// Its manifest is not one.
    #[error("the bundle's `plugin.json` is refused")]
    Manifest {
        /// All problems of it.
        source: ManifestError,
    },
}

impl BundleError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { source } | Self::Write { source, .. } => io_code(source),
            Self::Gzip { .. } => "bundle.gzip",
            Self::Header { .. } => "bundle.header",
            Self::Kind { .. } => "bundle.kind",
            Self::Path { .. } => "bundle.path",
            Self::Duplicate { .. } => "bundle.duplicate",
            Self::Truncated { .. } => "bundle.truncated",
            Self::Trailing { .. } => "bundle.trailing",
            Self::TooLarge { .. } | Self::Ratio { .. } => "bundle.too_large",
            Self::TooMany { .. } => "bundle.too_many",
            Self::Contents { .. } | Self::Mismatch { .. } => "bundle.manifest_mismatch",
            Self::Missing { .. } => "bundle.missing",
            Self::Format { .. } => "bundle.format",
            Self::Platform { .. } => "bundle.platform",
            Self::Identity { .. } => "manifest.identity",
            Self::Manifest { source } => source.code(),
        }
    }
}

/// The code of what a system says.
pub fn io_code(error: &io::Error) -> &'static str {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    match error.kind() {
        io::ErrorKind::NotFound => "io.not_found",
        io::ErrorKind::PermissionDenied => "io.denied",
        _ if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => "io.emfile",
        _ => "io.failed",
    }
}

fn list(targets: &[Target]) -> String {
    if targets.is_empty() {
        return "no platform at all".to_owned();
    }
    let names: Vec<String> = targets.iter().map(|target| format!("`{target}`")).collect();
    names.join(", ")
}
