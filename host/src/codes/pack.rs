//! Codes of packing.

use super::Code;

pub(super) const ROWS: &[Code] = &[];
