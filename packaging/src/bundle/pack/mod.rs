//! Writing a bundle: the same files make the same bytes, whichever machine, directory or number of cores.
//!
//! A [`Draft`] collects what goes in. [`Draft::plan`] reads every file once, for the list of members, which stands
//! before them and which a signature covers. [`Plan::write`] reads them again, and fails if one is not the same any
//! more.
//!
//! ```
//! use plg_packaging::bundle::pack::Draft;
//! use plg_packaging::bundle::{Limits, Target};
//!
//! let manifest = br#"{ "name": "greeter", "version": "1.0.0" }"#;
//! let mut draft = Draft::new(manifest.to_vec())?;
//! draft.library(Target::current(), "libgreeter.so", b"the library".to_vec())?;
//! let plan = draft.plan(&Limits::default(), &mut |_| {})?;
//! let mut bundle = Vec::new();
//! // Here a signature for `plan.contents_json()` could be made.
//! plan.write(&mut bundle, None, &mut |_| {})?;
//! assert!(bundle.starts_with(b"\x1f\x8b"));
//! # Ok::<(), plg_packaging::bundle::PackError>(())
//! ```

mod archive;
mod block;
mod digests;
mod draft;
mod error;
mod gzip;
mod plan;
mod source;

pub use draft::Draft;
pub use error::PackError;
pub use plan::{Packed, Plan};
pub use source::{Progress, Source, Step};
