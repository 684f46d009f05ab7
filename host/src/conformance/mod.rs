//! Whether a plugin behaves as every plugin should, wherever it runs: `CONFORMANCE.md` states the labels and
//! the cases. Behind the feature `conformance`.
//!
//! ```no_run
//! let report = plg_host::conformance::Suite::new("plugins/mine").run();
//! for case in report.failed() {
//!     println!("{}: {}, but {}", case.id, case.required, case.verdict.reason());
//! }
//! assert!(report.conforms());
//! ```
//!
//! - [`Suite`]: what is judged, and how.
//! - [`Report`]: what came of it.
//! - `load`: what holds for every plugin.
//! - `calls`: what needs the labels. It knows a host and a name, and not what carries the calls.
//! - `wire`: programs alone, by raw requests.

mod calls;
mod finding;
mod load;
mod report;
mod rule;
mod subject;
mod suite;
mod wire;

pub use report::{Case, Part, Report, Verdict};
pub use suite::Suite;
