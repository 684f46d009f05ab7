//! A log that tests read.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span;

/// Keeps what is logged, one line for an event, and panics when it is told to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    panic_at: Option<&'static str>,
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.0, " {field}={value}");
    }
}

impl Lines {
    pub(crate) fn that_panic_at(text: &'static str) -> Self {
        Self {
            panic_at: Some(text),
            ..Self::default()
        }
    }

    /// How often this very line was logged.
    pub(crate) fn count(&self, line: &str) -> usize {
        let lines = self.lines.lock().expect("nobody panics inside");
        lines.iter().filter(|logged| *logged == line).count()
    }

    pub(crate) fn longest(&self) -> Option<usize> {
        let lines = self.lines.lock().expect("nobody panics inside");
        lines.iter().map(String::len).max()
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let metadata = event.metadata();
        let mut line = Line(format!("{} {}", metadata.level(), metadata.target()));
        event.record(&mut line);
        let panics = self.panic_at.is_some_and(|text| line.0.contains(text));
        assert!(!panics, "the subscriber panics");
        let mut lines = self.lines.lock().expect("nobody panics inside");
        lines.push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
