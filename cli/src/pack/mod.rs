//! From a plugin's directory to what is packed.
//!
//! | module | what it does |
//! |---|---|
//! | `libraries` | builds or takes the library for each platform |
//! | `judge` | refuses libraries that could not be loaded, and versions that are too small |
//! | `files` | finds the manifest, the assets and the program |

pub(crate) mod files;
pub(crate) mod judge;
pub(crate) mod libraries;
