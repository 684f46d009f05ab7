//! Codes of signatures and trust.

use super::Code;

pub(super) const ROWS: &[Code] = &[];
