//! A native plugin host.
//!
//! Finds plugins, checks them without mapping them, loads them into this process, calls their labels,
//! replaces them while calls run, and unloads them for real.
//!
//! # What a plugin can do to this process
//!
//! **In process there is no boundary.** A loaded plugin can read and write whatever the process can; it
//! can abort, overflow the stack, loop for ever, leak, start threads or change the working directory,
//! and no host can prevent that. What this host does prevent is loading the wrong file, a damaged one or
//! one for another ABI, a panic that leaves the plugin, a call into code that is gone, and the use of a
//! context after its call. Load only plugins whose authors you trust with the process.
//!
//! # A first host
//!
//! ```no_run
//! use plg_host::{Context, Host};
//!
//! let host = Host::builder().plugin_dir("plugins").build()?;
//! let report = host.load_all()?;
//! println!("{} loaded, {} failed", report.loaded.len(), report.failed.len());
//!
//! let hello = host.plugin("hello")?;
//! let mut ctx = Context::new().with("name", "Ada");
//! hello.call("greet", &mut ctx)?;
//! println!("{}", ctx.text("reply").unwrap_or("no reply"));
//!
//! let upgraded = host.upgrade("hello", "build/libhello.so")?;
//! println!("{} replaced {}: {:?}", upgraded.to, upgraded.from, upgraded.retired);
//! # Ok::<(), plg_host::Error>(())
//! ```
//!
//! # How it is built
//!
//! Three flows, and a module for each step:
//!
//! ```text
//! load     plugin.json -> Manifest -> Candidate -> preflight -> sealed image -> library -> Generation -> Handle
//! call     (plugin, label, Context) -> Handle -> gate -> Generation -> Transport -> outcome in the Context
//! upgrade  Candidate -> Generation n+1 -> init -> publish -> drain n -> retire n -> Unmapped | Retained
//! ```
//!
//! No lock is held while a plugin runs. What is checked is what is mapped: a file is read once. The new
//! generation stands before the old one goes.

mod builder;
pub mod builtin;
mod call;
mod catalog;
mod census;
mod changes;
pub mod codes;
#[cfg(feature = "conformance")]
pub mod conformance;
mod context;
mod contracts;
pub mod control;
pub mod deps;
mod discovery;
mod endpoint;
mod error;
mod events;
mod failed_builds;
pub mod history;
mod host;
mod inner;
mod installed;
mod keeper;
mod last_words;
mod limits;
mod loader;
pub mod machine;
mod metrics;
mod plugin;
pub mod policy;
pub mod quarantine;
pub mod runner;
mod schema;
pub mod sentinel;
mod state;
pub mod store;
mod transport;
pub mod trust;
mod upgrade;
#[cfg(feature = "watch")]
mod watch;

pub use builder::Builder;
#[doc(hidden)]
pub use builder::Faults;
pub use call::{CallError, CallFailure};
pub use census::Census;
pub use context::{Cancel, Context, Progress, json};
pub use contracts::{
    Contract, ContractDiscovery, ContractError, ContractFilter, ContractOptions, ContractType,
    Offer, SkippedProgram,
};
pub use discovery::{Candidate, DiscoverError, Discovery, MANIFEST};
pub use endpoint::{HttpError, HttpRequest, HttpResponse};
pub use error::Error;
pub use events::{Calls, Event, Events, Hook, HookOptions, Phase, Step, Subscription, Verdict};
pub use host::{Host, HostError, LoadReport};
pub use last_words::{Culprit, Death, Doing, Ending};
pub use limits::Limits;
pub use loader::{LoadError, preflight, probe};
pub use metrics::{LatencySnapshot, SAMPLED};
#[doc(hidden)]
pub use plugin::gate;
pub use plugin::{
    CanaryOptions, CanarySnapshot, GenerationSnapshot, Handle, LabelHandle, LabelSnapshot, Lease,
    LostThread, PluginSnapshot, RetainedSnapshot, ReturnPolicy, Unloaded,
};
pub use transport::Reason;
pub use transport::process::ProcessSnapshot;
pub use transport::process::sandbox::{Grant, Resources};
pub use upgrade::{UpgradeError, UpgradeOptions, Upgraded};
#[cfg(feature = "watch")]
pub use watch::{Watch, WatchOptions};

/// Numbers for the threads of a test that drives a [`gate`] itself.
#[doc(hidden)]
pub use plugin::thread::Number as ThreadNumber;

pub use plg_packaging::{Digest, Label, Manifest, Permission, PluginName};
pub use plg_plugin_api::process::wire::Pace;
pub use plg_plugin_api::{Kind, Value};
