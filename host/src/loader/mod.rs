//! From a file to code that can be called.
//!
//! The file is read once. [`preflight`] looks at those bytes without mapping them; [`image`] seals them;
//! [`library`] maps the sealed bytes, never the path the user gave. [`probe`] tries a doubtful image in
//! a child first. [`load`](self) goes through these steps in order.

pub(crate) mod bundle;
mod error;
pub(crate) mod image;
#[cfg(feature = "abi_stable")]
mod layout;
pub(crate) mod library;
mod load;
pub mod preflight;
pub mod probe;

pub use error::LoadError;
pub(crate) use image::Bytes;
pub(crate) use load::{Known, Loader, Mapped, manifest_of, manifest_under};
pub(crate) use plg_packaging::bundle::error::io_code;
