//! Codes of the store and its lock file.

use super::Code;

pub(super) const ROWS: &[Code] = &[];
