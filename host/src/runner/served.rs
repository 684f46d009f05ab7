//! A mapped library, as something that can be served.

use std::sync::Arc;

use plg_plugin_api::process::wire::Config;
use plg_plugin_api::process::{Answer, Call, Plugin, Values, lend, lend_aside, log};
use plg_plugin_api::{Error, Level};

use crate::loader::library::{Function, Library};

/// A library that answers calls over the protocol. It stays mapped to the end of the process.
pub(super) struct Served {
    library: Library,
    /// What the host calls this build, which need not be what the library says.
    version: String,
    manifest: String,
}

impl Served {
    pub(super) fn new(library: Library, version: String, manifest: String) -> Self {
        Self {
            library,
            version,
            manifest,
        }
    }
}

impl Plugin for Served {
    fn version(&self) -> &str {
        &self.version
    }

    fn capabilities(&self) -> &str {
        &self.manifest
    }

    fn start(&self, config: &Config) -> Result<(), Error> {
        lend_aside(config.values(), |context, label| {
            self.library.call_lent(Function::Init, context, label)
        })
    }

    fn execute(&self, call: &Arc<Call>, values: Values) -> Answer {
        lend(call, values, |context, label| {
            self.library.call_lent(Function::Execute, context, label)
        })
    }

    fn state_version(&self) -> Option<u32> {
        self.library.state_version()
    }

    fn save(&self, call: &Arc<Call>) -> Answer {
        lend(call, Values::default(), |context, label| {
            self.library.call_lent(Function::Save, context, label)
        })
    }

    fn restore(&self, call: &Arc<Call>, state: Values) -> Answer {
        lend(call, state, |context, label| {
            self.library.call_lent(Function::Restore, context, label)
        })
    }

    fn stop(&self) {
        let stopped = lend_aside(Values::default(), |context, label| {
            self.library.call_lent(Function::Stop, context, label)
        });
        if let Err(error) = stopped {
            log(Level::Error, format_args!("failed to stop: {error}"));
        }
    }
}
