//! What the test modules share.

pub(crate) mod bundles;
pub(crate) mod busy;
pub(crate) mod cc;
pub(crate) mod flaky;
pub(crate) mod lines;
pub(crate) mod plugins;
pub(crate) mod process;
pub(crate) mod programs;
pub(crate) mod run;
pub(crate) mod signed;
pub(crate) mod untouched;

use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use plg_tests::fixtures::{Variant, library, plg, program, stamped, stamped_bytes};
pub(crate) use plg_tests::{wait_until, workspace};

/// Sets a flag when it goes, also with a test that fails: threads that call until then would keep it from
/// ending.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
