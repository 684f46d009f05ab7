//! The fixture that keeps its callers inside until a test lets them go.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering};

use plg_host::{Context, Handle, Host};

use super::plugins::with_header;
use super::wait_until;

/// Where the fixture counts; it lies where a thread that never comes back can find it for ever.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Board {
    inside: AtomicI32,
    most: AtomicI32,
    entered: AtomicI32,
    open: AtomicI32,
}

impl Board {
    pub(crate) fn new() -> &'static Self {
        Box::leak(Box::default())
    }

    /// A context that shows the plugin this board.
    pub(crate) fn context(&'static self) -> Context {
        let address = std::ptr::from_ref(self).expose_provenance();
        Context::new().with("board", i64::try_from(address).unwrap())
    }

    /// Threads that are inside now.
    pub(crate) fn inside(&self) -> i32 {
        self.inside.load(Ordering::SeqCst)
    }

    /// The most threads that ever were inside at once.
    pub(crate) fn most(&self) -> i32 {
        self.most.load(Ordering::SeqCst)
    }

    /// How many went in.
    pub(crate) fn entered(&self) -> i32 {
        self.entered.load(Ordering::SeqCst)
    }

    /// Lets everybody leave.
    pub(crate) fn open(&self) {
        self.open.store(1, Ordering::SeqCst);
    }

    /// Keeps who enters from now on.
    pub(crate) fn shut(&self) {
        self.open.store(0, Ordering::SeqCst);
    }

    pub(crate) fn wait_for(&self, inside: i32) {
        wait_until(&format!("{inside} inside"), || self.inside() == inside);
    }
}

/// `fixtures/c/busy.c` with these macros.
pub(crate) fn busy_library(defines: &[&str]) -> PathBuf {
    with_header("busy.c", &[], defines)
}

/// The fixture, loaded.
pub(crate) fn busy(host: &Host) -> Handle {
    host.load(busy_library(&[])).expect("the fixture loads")
}

/// Another plugin of the same code.
pub(crate) fn busy_named(host: &Host, name: &str) -> Handle {
    let library = busy_library(&[&format!("NAME=\"{name}\"")]);
    host.load(library).expect("the fixture loads")
}
