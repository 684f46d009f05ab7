//! How a call reaches a plugin's code.

mod builtin;
mod in_process;
pub(crate) mod process;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use plg_plugin_api::abi::status;

use crate::context::Context;
use crate::context::frame::Call;
use crate::contracts::Offered;
use crate::loader::image::Image;
use crate::plugin::thread::Here;

pub(crate) use builtin::Builtin;
pub(crate) use in_process::{InProcess, wait};
use process::{Process, ProcessSnapshot};

/// A plugin's code, wherever it runs.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each generation, and a call of mapped code follows no further pointer"
)]
pub(crate) enum Transport {
    /// Mapped into this process.
    InProcess(InProcess),
    /// A process of its own.
    Process(Arc<Process>),
    /// Compiled into the app.
    Builtin(Box<Builtin>),
}

/// Why code that is no longer called is still there. [`Unloaded`](crate::Unloaded) shows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// Calls are still inside it.
    Calls(usize),
    /// Leases hold it.
    Leases(usize),
    /// Threads that it started are alive.
    Threads(u32),
    /// Threads of the host are on their way out and may still run its destructors.
    LeavingThreads,
    /// It does not track what it leaves in the process, so unmapping it could crash.
    NoHooks,
    /// It could not give back all its keys.
    Keys,
    /// It was closed, and something else keeps it mapped.
    StillMapped,
}

impl Transport {
    /// Runs a call; `None` when calls nest too deeply.
    #[inline(always)]
    pub(crate) fn execute(
        &self,
        here: &Here,
        context: &mut Context,
        call: &Call<'_>,
        depth: u32,
    ) -> Option<i32> {
        /// Kept out of the way of the call that takes nanoseconds.
        #[cold]
        #[inline(never)]
        fn far(
            process: &Process,
            here: &Here,
            context: &mut Context,
            call: &Call<'_>,
            depth: u32,
        ) -> Option<i32> {
            process.execute(here, context, call, depth)
        }

        match self {
            Self::InProcess(code) => code.execute(here, context, call, depth),
            Self::Process(process) => far(process, here, context, call, depth),
            Self::Builtin(code) => code.execute(here, context, call, depth),
        }
    }

    /// Ends the code for good; nobody calls it any more. Waits up to `patience` for each thing that has
    /// to come to an end.
    ///
    /// # Errors
    ///
    /// What is left of it and why, to be tried again later.
    pub(crate) fn retire(
        self,
        here: &Here,
        call: &Call<'_>,
        patience: Duration,
    ) -> Result<(), (Box<Self>, Reason)> {
        match self {
            Self::InProcess(code) => code
                .retire(here, call, patience)
                .map_err(|(code, reason)| (Box::new(Self::InProcess(*code)), reason)),
            Self::Process(process) => {
                process.stop();
                Ok(())
            }
            Self::Builtin(code) => {
                code.stop(here, call);
                Ok(())
            }
        }
    }

    /// Prepares the code; [`status::OK`](plg_plugin_api::abi::status::OK) when it has nothing to do.
    pub(crate) fn init(&self, here: &Here, context: &mut Context, call: &Call<'_>) -> Option<i32> {
        match self {
            Self::InProcess(code) => code.init(here, context, call),
            Self::Process(process) => Some(process.init(context)),
            Self::Builtin(code) => code.init(here, context, call),
        }
    }

    /// What snapshots call it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::InProcess(_) => "in-process",
            Self::Process(_) => "process",
            Self::Builtin(_) => "builtin",
        }
    }

    /// The contracts that it says it offers.
    pub(crate) fn offered(&self) -> Option<&Offered> {
        match self {
            Self::InProcess(_) => None,
            Self::Process(process) => process.offered(),
            Self::Builtin(code) => Some(code.offered()),
        }
    }

    /// Its process, if it has one of its own.
    pub(crate) fn process(&self) -> Option<ProcessSnapshot> {
        match self {
            Self::InProcess(_) | Self::Builtin(_) => None,
            Self::Process(process) => Some(process.snapshot()),
        }
    }

    /// The bytes of the library, wherever that is mapped; a program has none.
    pub(crate) fn library(&self) -> Option<&Image> {
        match self {
            Self::InProcess(code) => code.image(),
            Self::Process(process) => process.library(),
            Self::Builtin(_) => None,
        }
    }

    /// Whether the code runs in this process.
    pub(crate) fn is_here(&self) -> bool {
        matches!(self, Self::InProcess(_) | Self::Builtin(_))
    }

    /// How long nothing went wrong with it, as far as that is watched.
    pub(crate) fn clean_for(&self) -> Duration {
        match self {
            Self::InProcess(_) | Self::Builtin(_) => Duration::ZERO,
            Self::Process(process) => process.clean_for(),
        }
    }

    /// Whether the host knows all labels of the code. Those that only the library's descriptor lists are known to
    /// who maps it.
    pub(crate) fn shows_labels(&self) -> bool {
        match self {
            Self::InProcess(_) | Self::Builtin(_) => true,
            Self::Process(process) => process.library().is_none(),
        }
    }

    /// Bytes of address space that it takes in this process.
    pub(crate) fn mapped_bytes(&self) -> usize {
        match self {
            Self::InProcess(code) => code.mapped_bytes(),
            Self::Process(_) | Self::Builtin(_) => 0,
        }
    }

    /// The version of the state that `save` writes; `None` when the plugin hands none over.
    pub(crate) fn state_version(&self) -> Option<u32> {
        match self {
            Self::InProcess(code) => code.state_version(),
            Self::Process(process) => process.state_version(),
            Self::Builtin(_) => None,
        }
    }

    /// Has the plugin put its state into `context`, and answers as a call does. Calls may be inside it.
    pub(crate) fn save(&self, here: &Here, context: &mut Context, call: &Call<'_>) -> Option<i32> {
        match self {
            Self::InProcess(code) => code.save(here, context, call),
            Self::Process(process) => Some(process.save(context, call)),
            Self::Builtin(_) => Some(status::FAILED),
        }
    }

    /// Has the plugin take over the state in `context`, and answers as a call does. The call's label is
    /// the `state_version` of the build that saved it. Nobody calls the plugin yet.
    pub(crate) fn restore(
        &self,
        here: &Here,
        context: &mut Context,
        call: &Call<'_>,
    ) -> Option<i32> {
        match self {
            Self::InProcess(code) => code.restore(here, context, call),
            Self::Process(process) => Some(process.restore(context, call)),
            Self::Builtin(_) => Some(status::FAILED),
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Calls(count) => write!(f, "{count} calls are still inside it"),
            Self::Leases(count) => write!(f, "{count} leases hold it"),
            Self::Threads(count) => write!(f, "{count} threads that it started are alive"),
            Self::LeavingThreads => f.write_str("threads on their way out may still run its code"),
            Self::NoHooks => f.write_str("it has no unload hooks"),
            Self::Keys => f.write_str("it could not give back its thread-local keys"),
            Self::StillMapped => f.write_str("something keeps it mapped"),
        }
    }
}
