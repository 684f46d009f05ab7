//! The store: what is installed on this machine, and every earlier state of it.
//!
//! ```text
//! home/                      of this user alone
//!   lock                     who changes something holds it
//!   plg.lock                 what is installed: to replace this file is to change the set in force
//!   sets/7.json              the seventh set: all plugins, where from, by whom, with all digests
//!   builds/<digest>/         what is unpacked of a bundle, named by the digest of its list
//!   in-use/<digest>          held by every process that has the build loaded
//!   staging/                 what is not in force yet, or no more
//! ```
//!
//! Nothing in `sets` and `builds` is ever changed. A change unpacks to `staging`, brings that to the disk, gives
//! it its place, writes the next set, and then replaces `plg.lock`. A process that is killed anywhere on that way
//! leaves what was before or what was to be, and the next change sweeps what it left.
//!
//! The lock file and the set of its number say the same. Where they do not, somebody edited one of them; then
//! nothing is changed or loaded until [`Store::restore`] or [`Store::undo`] is asked for.
//!
//! | module | what it holds |
//! |---|---|
//! | `store` | [`Store`], [`Options`] |
//! | `install`, `bundle`, `judge` | from bundles to the set in force |
//! | `change` | remove, undo, restore |
//! | `collect` | what nobody needs any more |
//! | `build` | an installed build, checked |
//! | `set`, `pins`, `records` | the files, and what they say together |
//! | `writer`, `stage` | who changes something, and where it is made |
//! | `disk`, `step` | the only place that writes, and who is asked before |
//! | `home` | what is where |

mod build;
mod bundle;
mod change;
mod collect;
mod disk;
mod error;
mod home;
mod install;
mod judge;
mod pins;
mod records;
mod set;
mod stage;
mod step;
#[expect(
    clippy::module_inception,
    reason = "the module is named after the type in it"
)]
mod store;
mod writer;

pub(crate) use build::Installed;
pub use build::{Build, Lease};
pub use bundle::Bundle;
pub use collect::Collected;
pub use error::StoreError;
pub use install::InstallOptions;
pub use judge::{Asked, Judge, Judged, Named, Refusal, TrustAll};
pub use pins::{Pin, Pins};
pub use set::{Change, Difference, Entry, Needed, Set};
pub use step::{Answer, Step, StepHook};
pub use store::{Changed, Options, Progress, Store};
