//! The file formats of plg, and nothing else: no networking, no code loading.
//!
//! | module | what it holds |
//! |---|---|
//! | [`bundle`] | `.plg`: a plugin for any number of platforms in one file |
//! | [`contract`] | what changed between two versions of a plugin, and the version that asks for |
//! | [`manifest`] | `plugin.json`: bytes in, a checked [`Manifest`] or every problem at once out |
//! | [`name`] | [`PluginName`], [`Label`] and [`Permission`]: the strings that have rules |
//! | [`text`] | [`Text`], prose that is safe to print, and the error all checked strings share |
//! | [`sign`] | keys and signatures in minisign's format, over bundles and indexes |
//! | [`index`] | [`Index`]: which releases there are, as a source states and signs it |
//! | [`digest`] | [`Digest`], a SHA-256 that prints as `sha256:…` |
//!
//! ```
//! use plg_packaging::Manifest;
//!
//! let parsed = Manifest::parse(br#"{ "name": "greeter", "version": "1.0.0" }"#)?;
//! assert_eq!(parsed.manifest.name.as_str(), "greeter");
//! assert!(parsed.warnings.is_empty());
//! # Ok::<(), plg_packaging::ManifestError>(())
//! ```

pub mod bundle;
pub mod contract;
pub mod digest;
mod distinct;
pub mod index;
pub mod manifest;
pub mod name;
pub mod sign;
pub mod text;

pub use digest::Digest;
pub use index::Index;
pub use manifest::{Manifest, ManifestError, Parsed, Problem};
pub use name::{Label, Permission, PluginName};
pub use text::{Text, TextError};
