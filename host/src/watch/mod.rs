//! Follows the plugin directories while calls run.
//!
//! The system's events are only a reason to look again, and so is the time: events get lost. A look takes
//! the picture of every place, from the attributes of its files alone; only a place whose picture differs
//! and has come to rest is read, and only other bytes or another manifest are a change.
//!
//! | module | what it holds |
//! |---|---|
//! | `options` | [`WatchOptions`] |
//! | `guard` | [`Watch`], and the thread behind it |
//! | `bell` | what wakes that thread |
//! | `sentries` | the directories that the system reports events of |
//! | `follower` | one look, and when the next one is due |
//! | `root` | one plugin directory: there, lost or back |
//! | `picture` | the attributes that say whether a place is as it was |
//! | `place` | one place: when it is read, and what became of it |
//! | `read` | from a place at rest to a build, if it is whole |
//! | `arrivals` | builds that are loaded or replace others |
//! | `departures` | plugins whose place is gone |

mod arrivals;
mod bell;
mod departures;
mod follower;
mod guard;
mod options;
mod picture;
mod place;
mod read;
mod root;
mod sentries;

pub use guard::Watch;
pub use options::WatchOptions;
