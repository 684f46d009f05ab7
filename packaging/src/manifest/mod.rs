//! `plugin.json`: bytes become a raw document in one pass, and the raw document becomes a checked [`Manifest`].
//!
//! Every problem is found in one go, each with a stable code and its JSON path:
//!
//! ```
//! use plg_packaging::Manifest;
//!
//! let error = Manifest::parse(br#"{ "name": 7, "version": "new", "source": { "mode": "local_so" } }"#).unwrap_err();
//! let found: Vec<_> = error.problems().iter().map(|problem| (problem.code, problem.path.as_str())).collect();
//! assert_eq!(
//!     found,
//!     [
//!         ("manifest.field", "$.name"),
//!         ("manifest.version", "$.version"),
//!         ("manifest.missing_field", "$.source.path"),
//!     ]
//! );
//! ```
//!
//! A new field goes to `raw`, `check` and `model`, and the schema is generated anew.

mod check;
mod json;
mod key;
mod model;
mod parse;
mod problem;
mod process;
mod raw;
mod route;
#[cfg(feature = "schema")]
mod schema;
mod source;
mod version;
mod word;

pub use model::{Dependency, Format, FormatError, Isolation, Manifest};
pub use parse::{MAX_BYTES, Parsed};
pub use problem::{ManifestError, Problem, code};
pub use process::{Dialect, IdleTimeout, Process, SocketKind, TimeoutError};
pub use route::{HttpRoute, HttpServices, Method, MethodError, RoutePattern, Segment};
#[cfg(feature = "schema")]
pub use schema::json_schema;
pub use source::{GitUrl, LibraryPath, RelativePath, Source};
pub use version::{VersionError, parse_version, precedence};
pub use word::WordError;
