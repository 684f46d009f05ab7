//! The `.plg` file: a gzip'd tar with a strict grammar, described in `packaging/FORMAT.md`.
//!
//! | module | what it holds |
//! |---|---|
//! | [`contents`] | `contents.json`: the digest of every member, and what a signature covers |
//! | [`path`] | [`MemberPath`]: where a member may stand |
//! | [`target`] | [`Target`]: the platform that a library is for |
//! | [`reader`] | [`Reader`]: reads a bundle and checks everything on the way |
//! | [`head`] | [`Head`]: what is known before the payload is read |
//! | [`sink`] | [`Sink`]: where members go |
//! | [`directory`] | [`Directory`]: a new directory as a sink |
//! | [`memory`] | [`Memory`]: a sink for members that are not written at all |
//! | [`pack`] | [`pack::Draft`]: from files to a bundle |
//! | [`limits`] | [`Limits`]: how much a bundle may take |
//! | [`error`] | [`BundleError`]: why a bundle is refused |

mod archive;
pub mod contents;
pub mod directory;
pub mod error;
mod gzip;
pub mod head;
mod header;
pub mod limits;
pub mod memory;
pub mod pack;
pub mod path;
mod payload;
mod pipe;
pub mod reader;
mod roll;
pub mod sink;
pub mod target;

pub use contents::{Contents, Member};
pub use directory::Directory;
pub use error::BundleError;
pub use head::{Head, Listed};
pub use limits::Limits;
pub use memory::Memory;
pub use pack::{Draft, PackError};
pub use path::MemberPath;
pub use reader::Reader;
pub use sink::Sink;
pub use target::Target;

/// The name of the member that describes the plugin, always the first.
pub const MANIFEST: &str = "plugin.json";
/// The name of the member with the digests of all others.
pub const CONTENTS: &str = "contents.json";
/// The name of the signature of [`CONTENTS`], in minisign's format.
pub const SIGNATURE: &str = "contents.json.minisig";
/// How the name of a bundle ends.
pub const EXTENSION: &str = "plg";
