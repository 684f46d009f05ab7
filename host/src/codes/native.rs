pub(super) const ROWS: &[super::Code] = &[];
