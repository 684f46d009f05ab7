//! Hears what plugins log.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, Subscriber};
use tracing::{Event, Level, Metadata, dispatcher};

/// A line that a plugin logged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Heard {
    pub(super) level: Level,
    pub(super) plugin: String,
    pub(super) message: String,
}

/// What is logged on this thread, and on those that work for it, while `run` runs.
pub(super) fn listen<T>(run: impl FnOnce() -> T) -> (T, Vec<Heard>) {
    let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
    let ear = dispatcher::Dispatch::new(Ear(heard.clone()));
    let outcome = dispatcher::with_default(&ear, run);
    let heard = heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (outcome, heard)
}

struct Ear(Arc<Mutex<Vec<Heard>>>);

/// Where the host logs what plugins say.
const TARGET: &str = "plg::plugin";

impl Subscriber for Ear {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == TARGET
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let heard = Heard {
            level: *event.metadata().level(),
            plugin: line.plugin,
            message: line.message,
        };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(heard);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    plugin: String,
    message: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "plugin" {
            value.clone_into(&mut self.plugin);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}
