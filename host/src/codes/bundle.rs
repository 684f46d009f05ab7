//! Codes of bundles.

use super::Code;

pub(super) const ROWS: &[Code] = &[];
