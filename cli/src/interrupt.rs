//! Ctrl-C, for verbs that go on until it comes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::Exit;
use crate::problem::Problem;

/// Whether the user wants an end.
#[derive(Clone)]
pub(crate) struct Interrupt {
    came: Arc<AtomicBool>,
}

/// How long a verb may take to end by itself. After that a plugin or a tool holds it up.
const PATIENCE: Duration = Duration::from_secs(2);

impl Interrupt {
    /// From now on, Ctrl-C and a request to terminate do not end the process: `tell` is called, and the
    /// process ends with 0 when it is still there a moment later.
    pub(crate) fn listen(tell: impl FnOnce() + Send + 'static) -> Result<Self, Problem> {
        let failed = |error: io::Error| {
            Problem::new("io.failed", "failed to wait for signals").because(&error)
        };
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
        let interrupt = Self {
            came: Arc::new(AtomicBool::new(false)),
        };
        let came = interrupt.came.clone();
        let wait = move || {
            // They never end without a signal: nobody has a handle to close them.
            let _ = signals.forever().next();
            came.store(true, Ordering::Relaxed);
            tell();
            thread::sleep(PATIENCE);
            Exit::Ok.now()
        };
        let thread = thread::Builder::new().name("signals".to_owned());
        thread.spawn(wait).map_err(failed)?;
        Ok(interrupt)
    }

    /// Whether it came.
    pub(crate) fn came(&self) -> bool {
        self.came.load(Ordering::Relaxed)
    }
}
