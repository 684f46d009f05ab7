//! What the test modules share.

pub(crate) mod cc;

pub(crate) use plg_tests::fixtures::{Variant, library, plg, stamped, stamped_bytes};
pub(crate) use plg_tests::{wait_until, workspace};
