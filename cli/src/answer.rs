//! What a call of a plugin answered, and how it is shown.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use anstyle::Style;
use plg_host::{Context, Error, Handle, Value, json};
use serde::Serialize;

use crate::printable::printable;

/// What came of a call.
pub(crate) struct Answer {
    plugin: String,
    version: String,
    label: String,
    generation: u64,
    transport: &'static str,
    elapsed: Duration,
    context: Context,
}

/// An answer as JSON.
#[derive(Serialize)]
pub(crate) struct Document<'a> {
    plugin: &'a str,
    version: &'a str,
    label: &'a str,
    generation: u64,
    transport: &'a str,
    elapsed_us: f64,
    values: serde_json::Value,
}

impl Answer {
    /// Calls `label` and takes the time.
    pub(crate) fn of(handle: &Handle, label: &str, mut context: Context) -> Result<Self, Error> {
        let called = Instant::now();
        handle.call(label, &mut context)?;
        let elapsed = called.elapsed();
        let (version, generation, transport) = match handle.snapshot().current {
            Some(current) => (
                current.version.to_string(),
                current.number,
                current.transport,
            ),
            None => (String::new(), 0, ""),
        };
        Ok(Self {
            plugin: handle.name().to_owned(),
            version,
            label: label.to_owned(),
            generation,
            transport,
            elapsed,
            context,
        })
    }

    /// All there is, with every value that the call left.
    pub(crate) fn to_json(&self) -> Document<'_> {
        let nanoseconds = u32::try_from(self.elapsed.as_nanos()).map(f64::from);
        let elapsed_us = match nanoseconds {
            Ok(nanoseconds) => nanoseconds / 1000.0,
            // From four seconds on, microseconds are fine enough.
            Err(_) => (self.elapsed.as_secs_f64() * 1e6).round(),
        };
        Document {
            plugin: &self.plugin,
            version: &self.version,
            label: &self.label,
            generation: self.generation,
            transport: self.transport,
            elapsed_us,
            values: json::from_context(&self.context),
        }
    }

    /// Prints what the plugin set or changed of what it was `given`.
    pub(crate) fn print(&self, given: &Context, out: &mut impl Write) -> io::Result<()> {
        const KEY: Style = Style::new().bold();
        let mut silent = true;
        for (key, value) in self.context.iter() {
            if given.get(key) == Some(value) {
                continue;
            }
            silent = false;
            let (key, text) = (printable(key), shown(value));
            if text.contains('\n') {
                writeln!(out, "{KEY}{key}{KEY:#}:")?;
                for line in text.lines() {
                    writeln!(out, "  {line}")?;
                }
            } else {
                writeln!(out, "{KEY}{key}{KEY:#}: {text}")?;
            }
        }
        if silent && io::stdout().is_terminal() {
            writeln!(out, "({} set no values)", self.plugin)?;
        }
        out.flush()
    }
}

/// A text as it is, anything else as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::Str(text) => printable(text).into_owned(),
        other => printable(&json::from_value(other).to_string()).into_owned(),
    }
}
