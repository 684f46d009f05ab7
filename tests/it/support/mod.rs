//! What the test modules share.

pub(crate) mod busy;
pub(crate) mod cc;
pub(crate) mod lines;
pub(crate) mod plugins;
pub(crate) mod process;

pub(crate) use plg_tests::fixtures::{Variant, library, plg, program, stamped, stamped_bytes};
pub(crate) use plg_tests::{wait_until, workspace};
