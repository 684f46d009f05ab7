//! Code that is mapped into this process.
#![expect(
    unsafe_code,
    reason = "unmapping code needs the proof that nobody runs it"
)]

use std::thread;
use std::time::{Duration, Instant};

use plg_plugin_api::abi::status;

use super::Reason;
use crate::context::Context;
use crate::context::frame::Call;
use crate::loader::image::Image;
use crate::loader::library::{Library, Retained};
use crate::plugin::thread::{self as threads, Here};

/// A mapped library on its way from the first call to the last.
#[derive(Debug)]
pub(crate) struct InProcess {
    stage: Stage,
    /// Whether the preflight found that the library tracks what it leaves in the process.
    unloadable: bool,
}

#[derive(Debug)]
enum Stage {
    /// Answers calls, or would.
    Running(Library),
    /// `stop` was called; its threads may still be on their way out.
    Stopped(Library),
    /// `fini` was called: its code must not run again.
    Finished(Library),
    /// Closed, but something keeps it mapped.
    Closed(Box<Retained>),
}

impl InProcess {
    pub(crate) fn new(library: Library, unloadable: bool) -> Self {
        Self {
            stage: Stage::Running(library),
            unloadable,
        }
    }

    #[inline(always)]
    pub(crate) fn execute(
        &self,
        here: &Here,
        context: &mut Context,
        call: &Call<'_>,
        depth: u32,
    ) -> Option<i32> {
        match &self.stage {
            Stage::Running(library) => library.execute(here, context, call, depth),
            _ => Some(status::FAILED),
        }
    }

    /// Runs `init`; `None` when calls nest too deeply.
    pub(crate) fn init(&self, here: &Here, context: &mut Context, call: &Call<'_>) -> Option<i32> {
        match &self.stage {
            Stage::Running(library) => library.init(here, context, call),
            _ => Some(status::FAILED),
        }
    }

    /// The version of the state that `save` writes; `None` when the plugin hands none over.
    pub(crate) fn state_version(&self) -> Option<u32> {
        match &self.stage {
            Stage::Running(library) => library.state_version(),
            _ => None,
        }
    }

    /// Runs `save`; `None` when calls nest too deeply.
    pub(crate) fn save(&self, here: &Here, context: &mut Context, call: &Call<'_>) -> Option<i32> {
        match &self.stage {
            Stage::Running(library) => library.save(here, context, call),
            _ => Some(status::FAILED),
        }
    }

    /// Runs `restore`; `None` when calls nest too deeply.
    pub(crate) fn restore(
        &self,
        here: &Here,
        context: &mut Context,
        call: &Call<'_>,
    ) -> Option<i32> {
        match &self.stage {
            Stage::Running(library) => library.restore(here, context, call),
            _ => Some(status::FAILED),
        }
    }

    pub(crate) fn image(&self) -> Option<&Image> {
        self.library().map(Library::image)
    }

    pub(crate) fn mapped_bytes(&self) -> usize {
        match &self.stage {
            Stage::Running(library) | Stage::Stopped(library) | Stage::Finished(library) => {
                library.mapped().len()
            }
            Stage::Closed(retained) => retained.mapped_bytes(),
        }
    }

    #[cfg(feature = "next-minor")]
    pub(crate) fn next(&self) -> Option<u64> {
        self.library()?.next()
    }

    /// Stops the plugin, waits `patience` for its threads, lets it give back what it holds, and unmaps it. Each
    /// step that is done stays done when a later one has to wait.
    pub(crate) fn retire(
        self,
        here: &Here,
        call: &Call<'_>,
        patience: Duration,
    ) -> Result<(), (Box<Self>, Reason)> {
        let unloadable = self.unloadable;
        let retained = |stage, reason| Err((Box::new(Self { stage, unloadable }), reason));
        let stage = match self.stage {
            Stage::Running(library) => {
                stop(&library, here, call);
                Stage::Stopped(library)
            }
            stage => stage,
        };
        let stage = match stage {
            Stage::Stopped(library) => {
                if !wait(patience, || library.live() == 0) {
                    let threads = library.live();
                    return retained(Stage::Stopped(library), Reason::Threads(threads));
                }
                if !unloadable {
                    return retained(Stage::Stopped(library), Reason::NoHooks);
                }
                if library.fini() != 0 {
                    return retained(Stage::Stopped(library), Reason::Keys);
                }
                Stage::Finished(library)
            }
            stage => stage,
        };
        let stage = match stage {
            Stage::Finished(library) => {
                // Threads that begin to leave from now on find the keys deleted.
                let mut leaving = threads::leaving();
                let gone = wait(patience, || {
                    leaving.retain(|thread| threads::is_alive(*thread));
                    leaving.is_empty()
                });
                if !gone {
                    return retained(Stage::Finished(library), Reason::LeavingThreads);
                }
                // SAFETY: the gate was drained before this, so no call is inside; the plugin's threads
                // ended; its keys are deleted, and every thread that may have been running one of
                // their destructors is gone.
                match unsafe { library.close() } {
                    Ok(()) => return Ok(()),
                    Err(closed) => Stage::Closed(closed),
                }
            }
            stage => stage,
        };
        match stage {
            Stage::Closed(closed) => match closed.release() {
                Ok(()) => Ok(()),
                Err(closed) => retained(Stage::Closed(closed), Reason::StillMapped),
            },
            stage => retained(stage, Reason::StillMapped),
        }
    }

    fn library(&self) -> Option<&Library> {
        match &self.stage {
            Stage::Running(library) | Stage::Stopped(library) | Stage::Finished(library) => {
                Some(library)
            }
            Stage::Closed(_) => None,
        }
    }
}

/// A plugin that fails to stop is still asked how many threads it has, so the answer is only logged.
fn stop(library: &Library, here: &Here, call: &Call<'_>) {
    let mut context = Context::new();
    if library.stop(here, &mut context, call) != Some(status::OK) {
        let why = context.take_failure();
        let why = why.map_or_else(|| "it did not say why".to_owned(), |why| why.message);
        tracing::warn!(plugin = call.callee.name(), "`stop` failed: {why}");
    }
}

/// Waits until `done`, looking often at first and then every millisecond; says whether it came true.
pub(crate) fn wait(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    let mut looks = 0_u32;
    while !done() {
        if start.elapsed() >= limit {
            return false;
        }
        looks += 1;
        match looks {
            0..100 => std::hint::spin_loop(),
            // What is waited for may want this very processor. Yielding would give it away for a whole
            // turn of the scheduler, milliseconds; who slept is let in again at once.
            100..400 => thread::sleep(Duration::from_micros(20)),
            _ => thread::sleep(Duration::from_millis(1)),
        }
    }
    true
}
