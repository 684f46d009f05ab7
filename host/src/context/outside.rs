//! What comes from a plugin in another process, held to the limits as what one in this process does.

use plg_plugin_api::{Level, Value};

use super::frame::Call;
use super::values::{Context, Progress, weight};
use crate::limits::Limits;

/// Sets a value.
///
/// # Errors
///
/// Which limit it is over.
pub(crate) fn accept(
    context: &mut Context,
    key: &str,
    value: Value,
    limits: &Limits,
) -> Result<(), String> {
    let (bytes, limit) = (key.len(), limits.key_bytes);
    if bytes > limit {
        return Err(format!("a key has {bytes} bytes, the limit is {limit}"));
    }
    let (bytes, limit) = (weight(&value), limits.value_bytes);
    if bytes > limit {
        return Err(format!(
            "the value of `{key}` has {bytes} bytes, the limit is {limit}"
        ));
    }
    let limit = limits.values;
    if context.len() >= limit && context.get(key).is_none() {
        return Err(format!("there are more than {limit} values"));
    }
    context.set(key, value);
    Ok(())
}

/// Logs a line of a plugin.
pub(crate) fn log(call: &Call<'_>, level: Level, message: &str) {
    let message = excerpt(message, call.callee.limits().text_bytes);
    let (plugin, label) = (call.callee.name(), call.label);
    match level {
        Level::Error => tracing::error!(target: "plg::plugin", plugin, label, "{message}"),
        Level::Warn => tracing::warn!(target: "plg::plugin", plugin, label, "{message}"),
        Level::Info => tracing::info!(target: "plg::plugin", plugin, label, "{message}"),
        Level::Debug => tracing::debug!(target: "plg::plugin", plugin, label, "{message}"),
        Level::Trace => tracing::trace!(target: "plg::plugin", plugin, label, "{message}"),
    }
}

/// Tells who watches the call how far it is.
pub(crate) fn progress(
    context: &Context,
    call: &Call<'_>,
    (done, total): (u64, Option<u64>),
    message: &str,
) {
    let message = excerpt(message, call.callee.limits().text_bytes);
    let (plugin, label) = (call.callee.name(), call.label);
    tracing::debug!(target: "plg::progress", plugin, label, done, total, "{message}");
    if let Some(watcher) = &context.bounds.watcher {
        let progress = Progress {
            plugin,
            label,
            done,
            total: total.filter(|total| *total > 0),
            message: &message,
        };
        let watch = std::panic::AssertUnwindSafe(|| (watcher.0)(&progress));
        if let Err(payload) = std::panic::catch_unwind(watch) {
            // Its drop could panic as well.
            std::mem::forget(payload);
        }
    }
}

/// The start of a text, of at most so many bytes.
pub(crate) fn excerpt(text: &str, limit: usize) -> String {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if end < text.len() {
        format!("{}…", &text[..end])
    } else {
        text.to_owned()
    }
}
