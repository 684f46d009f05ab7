//! One running call.

use std::cell::RefCell;
use std::ptr;

use plg_plugin_api::Value;
use plg_plugin_api::abi::{Ctx, Str};
use plg_plugin_api::view::Shelf;

use super::table::TABLE;
use super::values::{Context, Failure};
use crate::limits::Limits;
use crate::plugin::thread::Here;

/// One running call, on the stack of its thread. The thread points to its innermost one, so a token
/// is good only while its call is the innermost of the calling thread.
pub(crate) struct Frame {
    pub(super) token: u64,
    /// The caller's context. The caller lent it mutably for as long as this frame is current.
    pub(super) context: *mut Context,
    pub(super) call: *const Call<'static>,
    /// What lists, maps and replies are lent from; made when first needed.
    pub(super) loans: RefCell<Option<Box<Loans>>>,
    outer: *const Frame,
}

/// What a frame's functions need to know of the call.
#[derive(Clone, Copy)]
pub(crate) struct Call<'call> {
    pub(crate) callee: &'call dyn Callee,
    pub(crate) label: &'call str,
}

/// The plugin that is called, as far as its context needs it.
pub(crate) trait Callee {
    /// Its name.
    fn name(&self) -> &str;

    /// What it is held to.
    fn limits(&self) -> &Limits;

    /// Calls another plugin for it.
    fn call_other(&self, plugin: &str, label: &str, context: &mut Context) -> Result<(), Failure>;
}

/// A call that runs in another process: one that counts, and no plugin finds it.
pub(crate) struct Nested<'here>(&'here Here);

impl<'here> Nested<'here> {
    /// Counts a call; `None` when calls nest too deeply.
    pub(crate) fn enter(here: &'here Here, depth_limit: u32) -> Option<Self> {
        let depth = here.depth.get();
        if depth >= depth_limit {
            return None;
        }
        here.depth.set(depth + 1);
        here.token.set(here.token.get().wrapping_add(1));
        Some(Self(here))
    }

    /// Which of the nested calls it is, from 1.
    pub(crate) fn depth(&self) -> u32 {
        self.0.depth.get()
    }
}

impl Drop for Nested<'_> {
    fn drop(&mut self) {
        self.0.depth.set(self.0.depth.get() - 1);
    }
}

/// Values lent to the plugin, with the arrays they need.
#[derive(Default)]
pub(super) struct Loans {
    pub(super) shelf: Shelf,
    pub(super) reply: Value,
}

impl Frame {
    /// Makes a call the innermost one of this thread while `run` runs, and gives `run` what to pass
    /// to the plugin. `None` when calls nest too deeply.
    #[inline(always)]
    pub(crate) fn enter<T>(
        here: &Here,
        context: &mut Context,
        call: &Call<'_>,
        depth_limit: u32,
        run: impl FnOnce(Ctx, Str) -> T,
    ) -> Option<T> {
        // Read before anything is written, while the compiler still knows it from where it was made.
        let label = Str::new(call.label);
        let depth = here.depth.get();
        if depth >= depth_limit {
            return None;
        }
        here.depth.set(depth + 1);
        let token = here.token.get().wrapping_add(1);
        here.token.set(token);
        let frame = Self {
            token,
            context: ptr::from_mut(context),
            call: ptr::from_ref(call).cast(),
            loans: RefCell::new(None),
            outer: here.frame.get(),
        };
        let current = Current {
            here,
            frame: &frame,
        };
        here.frame.set(&raw const frame);
        let raw = Ctx {
            token,
            host: &raw const TABLE,
        };
        let outcome = run(raw, label);
        drop(current);
        frame.end();
        Some(outcome)
    }

    /// Most calls lend nothing, and need no more than to know that.
    #[inline(always)]
    fn end(mut self) {
        #[cold]
        fn give_back(loans: Option<Box<Loans>>) {
            drop(loans);
        }

        if let loans @ Some(_) = self.loans.get_mut().take() {
            give_back(loans);
        }
        std::mem::forget(self);
    }
}

/// Takes the frame off its thread however the call ends.
struct Current<'frame> {
    here: &'frame Here,
    frame: &'frame Frame,
}

impl Drop for Current<'_> {
    #[inline]
    fn drop(&mut self) {
        self.here.frame.set(self.frame.outer);
        self.here.depth.set(self.here.depth.get() - 1);
    }
}
