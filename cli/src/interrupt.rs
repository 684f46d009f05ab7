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

/// How long a verb may take to end by itself: plugins in processes of their own have five seconds. After that a
/// plugin or a tool holds it up.
const PATIENCE: Duration = Duration::from_secs(6);

impl Interrupt {
    /// From now on, Ctrl-C and a request to terminate do not end the process: `tell` is called, and the
    /// process ends with 0 when it is still there a moment later. The second one ends it at once, with 1.
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
            let mut signals = signals.forever();
            let _ = signals.next();
            came.store(true, Ordering::Relaxed);
            let patience = move || {
                thread::sleep(PATIENCE);
                Exit::Ok.now()
            };
            // Without that thread a second signal is what there is.
            let _ = thread::Builder::new()
                .name("patience".to_owned())
                .spawn(patience);
            tell();
            let _ = signals.next();
            Exit::Other.now()
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
