//! Plugins that are compiled into the app.
//!
//! They stand behind the same look-up as the others, with the same handles, labels, deadlines and counts. A panic of
//! one is an error of its call. What is written for `plg_plugin_api::plugin!` can be registered as it is:
//!
//! ```
//! use plg_host::builtin::{Context, Error};
//! use plg_host::{Host, Manifest, PluginName};
//!
//! fn execute(ctx: &mut Context<'_>) -> Result<(), Error> {
//!     let reply = format!("Hello, {}!", ctx.get::<&str>("name")?);
//!     ctx.set("reply", reply)
//! }
//!
//! let host = Host::builder().build()?;
//! let manifest = Manifest::minimal(PluginName::new("greeter")?, "1.0.0".parse()?);
//! host.register_builtin(manifest, execute)?;
//!
//! let mut ctx = plg_host::Context::new().with("name", "Ada");
//! host.call("greeter", "greet", &mut ctx)?;
//! assert_eq!(ctx.text("reply"), Some("Hello, Ada!"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use plg_packaging::Manifest;

pub use plg_plugin_api::{Context, Error};

use crate::contracts::ContractType;
use crate::discovery::Candidate;
use crate::history::Why;
use crate::host::Host;
use crate::plugin::Handle;

/// A plugin that is part of the app. Functions and closures that take a [`Context`] are.
pub trait Builtin: Send + Sync + 'static {
    /// Answers a call, possibly several at once.
    ///
    /// # Errors
    ///
    /// What the caller is told; values that were set stay set.
    fn execute(&self, ctx: &mut Context<'_>) -> Result<(), Error>;

    /// Runs once before the first call.
    ///
    /// # Errors
    ///
    /// Why it cannot be registered.
    fn init(&self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let _ = ctx;
        Ok(())
    }

    /// Runs after the last call, when it is unloaded.
    ///
    /// # Errors
    ///
    /// Something for the log.
    fn stop(&self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let _ = ctx;
        Ok(())
    }

    /// The contracts that it offers, by name, each with a type; for [`Host::contract`].
    fn contracts(&self) -> Vec<(String, ContractType)> {
        Vec::new()
    }
}

impl<F> Builtin for F
where
    F: Fn(&mut Context<'_>) -> Result<(), Error> + Send + Sync + 'static,
{
    fn execute(&self, ctx: &mut Context<'_>) -> Result<(), Error> {
        self(ctx)
    }
}

impl Host {
    /// Loads a plugin that is compiled into the app. Its manifest says its name, version, labels and dependencies.
    /// Snapshots call its transport `builtin`. It can be unloaded, and then registered again; a build from a file
    /// can replace it, and then it does not come back by a rollback.
    ///
    /// # Errors
    ///
    /// `plugin.loaded` when there is a plugin of that name, `native.init` when its `init` fails, `deps.missing` and
    /// its like when what it needs is not loaded, `policy.denied` when its level is that, `host.closed` after a
    /// shutdown. Any other level changes nothing: what is compiled in runs in this process.
    pub fn register_builtin(
        &self,
        manifest: Manifest,
        code: impl Builtin,
    ) -> Result<Handle, crate::Error> {
        self.inner.check_open()?;
        let candidate = Candidate {
            // A path that no file has, for whoever shows where it is from.
            library: PathBuf::from(format!("builtin:{}", manifest.name)),
            manifest,
            directory: None,
            warnings: Vec::new(),
            installed: None,
        };
        self.inner.register(&candidate, Arc::new(code), Why::Asked)
    }
}
