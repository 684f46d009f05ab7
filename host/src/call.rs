//! Why a call failed.

use plg_packaging::{PluginName, TextError};
use thiserror::Error;

use crate::codes;
use crate::endpoint::HttpError;

/// A call that failed, and of what.
#[derive(Debug, Error)]
#[error("`{label}` of `{plugin}` {failure}")]
pub struct CallError {
    /// The plugin that was called.
    pub plugin: PluginName,
    /// The label that was called.
    pub label: String,
    /// Why it failed.
    pub failure: CallFailure,
}

/// Why a call failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CallFailure {
    /// The plugin does not have that label.
    #[error("does not exist; it has {}", list(known))]
    NoRoute {
        /// The labels it has.
        known: Vec<String>,
    },
    /// No plugin could have that label.
    #[error("is no label: {source}")]
    BadLabel {
        /// What is wrong with it.
        source: TextError,
    },
    /// The plugin reported an error.
    #[error("failed: {message} ({code})")]
    Failed {
        /// The plugin's code.
        code: String,
        /// The plugin's words.
        message: String,
    },
    /// The plugin panicked; the panic was caught and the plugin goes on.
    #[error("panicked: {message}")]
    Panicked {
        /// The message of the panic and its place.
        message: String,
    },
    /// The deadline passed, before the call or while the plugin looked.
    #[error("was not done before the deadline")]
    Timeout,
    /// The caller cancelled.
    #[error("was cancelled")]
    Cancelled,
    /// Calls from plugin to plugin nest deeper than the limit.
    #[error("would nest deeper than {limit} calls")]
    Depth {
        /// The limit.
        limit: u32,
    },
    /// The deadline passed, or the caller cancelled, and the plugin did not look: the thread goes on
    /// without its caller.
    #[error("was {}; thread `{thread}` has not come back from it", given_up(*cancelled))]
    Lost {
        /// The thread that runs it.
        thread: String,
        /// Whether the caller cancelled, as opposed to the deadline.
        cancelled: bool,
    },
    /// Too many threads did not come back from this build.
    #[error("cannot be called: {lost} threads did not come back from the plugin")]
    Stuck {
        /// How many.
        lost: usize,
    },
    /// Too many calls are inside the plugin, and too many wait.
    #[error("cannot be called: {in_flight} calls are inside the plugin and {queue} wait")]
    Overloaded {
        /// How many may be inside.
        in_flight: usize,
        /// How many may wait.
        queue: usize,
    },
    /// A hook objected.
    #[error("was vetoed: {reason}")]
    Vetoed {
        /// The hook's reason.
        reason: String,
    },
    /// A request for the plugin's own endpoints was not passed on.
    #[error("was not asked for: {source}")]
    Http {
        /// Why.
        source: HttpError,
    },
    /// The plugin is not loaded any more.
    #[error("cannot be called: the plugin is not loaded")]
    Unloaded,
    /// More threads call at once than a plugin has lanes for.
    #[error("cannot be called: too many threads call plugins")]
    TooManyThreads,
}

impl CallError {
    /// The stable code. An error of the plugin keeps its code if that is one of the context's or the
    /// host's, and is `call.failed` otherwise.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match &self.failure {
            CallFailure::NoRoute { .. } | CallFailure::BadLabel { .. } => "call.no_route",
            CallFailure::Failed { code, .. } => passed_on(code),
            CallFailure::Panicked { .. } => "call.panicked",
            CallFailure::Timeout
            | CallFailure::Lost {
                cancelled: false, ..
            } => "call.timeout",
            CallFailure::Cancelled | CallFailure::Lost { .. } => "call.cancelled",
            CallFailure::Stuck { .. } => "plugin.stuck",
            CallFailure::Overloaded { .. } => "call.overloaded",
            CallFailure::Vetoed { .. } => "hook.vetoed",
            CallFailure::Depth { .. } => "call.depth",
            CallFailure::Http { source } => source.code(),
            CallFailure::Unloaded => "plugin.unloaded",
            CallFailure::TooManyThreads => "call.threads",
        }
    }

    /// The code that the plugin itself gave, if the error is its.
    #[must_use]
    pub fn plugin_code(&self) -> Option<&str> {
        match &self.failure {
            CallFailure::Failed { code, .. } => Some(code),
            _ => None,
        }
    }
}

/// Codes of the context and of the host that a plugin passes on keep their meaning.
fn passed_on(code: &str) -> &'static str {
    const KNOWN: [&str; 18] = [
        "call.unavailable",
        "call.no_route",
        "call.panicked",
        "call.timeout",
        "call.cancelled",
        "call.depth",
        "call.overloaded",
        "call.threads",
        "plugin.stuck",
        "hook.vetoed",
        "ctx.missing",
        "ctx.type",
        "ctx.expired",
        "ctx.too_large",
        "ctx.key",
        "plugin.not_found",
        "plugin.unloaded",
        "io.emfile",
    ];
    if code.starts_with("proc.") || code.starts_with("http.") || code.starts_with("contract.") {
        // There are more of these, and none is met often.
        return codes::find(code).map_or("call.failed", |known| known.code);
    }
    KNOWN
        .into_iter()
        .find(|known| *known == code)
        .unwrap_or("call.failed")
}

fn given_up(cancelled: bool) -> &'static str {
    if cancelled {
        "cancelled"
    } else {
        "not done before the deadline"
    }
}

fn list(labels: &[String]) -> String {
    let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
    labels.join(", ")
}
