//! Code that was compiled into the app.
#![expect(
    unsafe_code,
    reason = "its code is called as that of a mapped plugin is, with what a call lends"
)]

use std::fmt;
use std::sync::Arc;

use plg_packaging::PluginName;
use plg_plugin_api::Error;
use plg_plugin_api::abi::{Ctx, Str};
use plg_plugin_api::export;

use crate::builtin;
use crate::context::Context;
use crate::context::frame::{Call, Frame};
use crate::contracts::Offered;
use crate::plugin::thread::Here;

/// A plugin that is part of the app.
pub(crate) struct Builtin {
    name: PluginName,
    code: Arc<dyn builtin::Builtin>,
    offered: Offered,
}

type Entry = fn(&dyn builtin::Builtin, &mut builtin::Context<'_>) -> Result<(), Error>;

impl Builtin {
    pub(crate) fn new(name: PluginName, code: Arc<dyn builtin::Builtin>) -> Self {
        let mut offered = Offered::new();
        for (contract, kind) in code.contracts() {
            offered.entry(contract).or_default().push(Arc::new(kind));
        }
        Self {
            name,
            code,
            offered,
        }
    }

    pub(crate) fn offered(&self) -> &Offered {
        &self.offered
    }

    pub(crate) fn execute(
        &self,
        here: &Here,
        context: &mut Context,
        call: &Call<'_>,
        depth: u32,
    ) -> Option<i32> {
        self.run(here, context, call, depth, |code, ctx| code.execute(ctx))
    }

    pub(crate) fn init(&self, here: &Here, context: &mut Context, call: &Call<'_>) -> Option<i32> {
        let depth = call.callee.limits().depth;
        self.run(here, context, call, depth, |code, ctx| code.init(ctx))
    }

    /// Has it end what it began. Its code stays: it is the app's.
    pub(crate) fn stop(&self, here: &Here, call: &Call<'_>) {
        use plg_plugin_api::abi::status;
        let (mut context, depth) = (Context::new(), call.callee.limits().depth);
        let answer = self.run(here, &mut context, call, depth, |code, ctx| code.stop(ctx));
        if answer != Some(status::OK) {
            let why = context.take_failure();
            let why = why.map_or_else(|| "it did not say why".to_owned(), |why| why.message);
            tracing::warn!(plugin = self.name.as_str(), "`stop` failed: {why}");
        }
    }

    fn run(
        &self,
        here: &Here,
        context: &mut Context,
        call: &Call<'_>,
        depth: u32,
        entry: Entry,
    ) -> Option<i32> {
        let run = |raw: Ctx, label: Str| {
            // SAFETY: the frame made both for this call, and nothing else wraps them.
            unsafe { export::run(raw, label, |ctx| entry(&*self.code, ctx)) }
        };
        Frame::enter(here, context, call, depth, run)
    }
}

impl fmt::Debug for Builtin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builtin")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
