//! Who is trusted to sign what.
//!
//! A trust store is a private directory with two files: `keys.json` says which keys may sign plugins of
//! which names, up to which level; `seen.json` remembers the highest version and number that each key
//! signed, so that nobody can go back to an old file by offering it again. A store that is not there
//! trusts nobody; one that others can write to, or that cannot be read as a whole, is an error.
//!
//! What a key signed counts for as long as the key does. When a stolen key signed a version or number that
//! is too high, revoke the key: what was remembered of it no longer counts, and the plugin or index goes on
//! with another key. An index should therefore be signed by more than one.
//!
//! | module | what it holds |
//! |---|---|
//! | [`store`] | [`Trust`]: the directory |
//! | [`key`] | [`TrustedKey`]: a key and what it may do |
//! | [`judgement`] | [`Terms`] and [`Judgement`]: whether a bundle may be installed |
//! | [`index`] | [`AcceptedIndex`]: which releases a source has |
//! | [`error`] | [`TrustError`], and [`Why`] a key is not trusted |

pub mod error;
mod file;
pub mod index;
pub mod judgement;
pub mod key;
pub mod store;

pub use error::{TrustError, Unsigned, Why};
pub use index::AcceptedIndex;
pub use judgement::{Judgement, Signer, Terms};
pub use key::{NamePattern, Revocation, TrustedKey};
pub use store::Trust;

/// Where a plugin runs: the level that a key is trusted for.
pub use plg_packaging::manifest::Isolation as Level;
