//! A context in memory, so that a plugin's tests need no host.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::context::Level;
use crate::error::Error;
use crate::export::{Entry, Restore};
use crate::memory::{self, Beyond, Ended};
use crate::value::Value;

/// One call of an entry point, without a host.
///
/// It goes through the same shim and the same table of functions as a real call, so a panic is
/// caught and values cross the boundary.
///
/// ```
/// use plg_plugin_api::testing::Call;
/// use plg_plugin_api::{Context, Error};
///
/// fn execute(ctx: &mut Context<'_>) -> Result<(), Error> {
///     let name: &str = ctx.get("name")?;
///     let reply = format!("Hello, {name}!");
///     ctx.set("reply", reply)
/// }
///
/// let done = Call::new("greet").with("name", "Ada").run(execute).unwrap();
/// assert_eq!(done.text("reply"), Some("Hello, Ada!"));
///
/// let error = Call::new("greet").run(execute).unwrap_err();
/// assert_eq!(error.code(), "ctx.missing");
/// ```
///
/// `init`, `stop` and `save` run the same way, with the label `""`. For `restore` there is
/// [`Call::restore`], and [`Done::restore`] for what a `save` left:
///
/// ```
/// use std::sync::atomic::{AtomicI64, Ordering};
///
/// use plg_plugin_api::testing::Call;
/// use plg_plugin_api::{Context, Error};
///
/// static TOTAL: AtomicI64 = AtomicI64::new(0);
///
/// fn save(ctx: &mut Context<'_>) -> Result<(), Error> {
///     ctx.set("total", TOTAL.load(Ordering::SeqCst))
/// }
///
/// fn restore(ctx: &mut Context<'_>, version: u32) -> Result<(), Error> {
///     if version != 1 {
///         return Err(Error::new("adder.state", format!("unknown version {version}")));
///     }
///     TOTAL.store(ctx.get("total")?, Ordering::SeqCst);
///     Ok(())
/// }
///
/// TOTAL.store(7, Ordering::SeqCst);
/// let saved = Call::new("").run(save).unwrap();
/// // The next build has statics of its own.
/// TOTAL.store(0, Ordering::SeqCst);
/// saved.restore(1, restore).unwrap();
/// assert_eq!(TOTAL.load(Ordering::SeqCst), 7);
///
/// let error = Call::new("").with("sum", 7).restore(9, restore).unwrap_err();
/// assert_eq!(error.code(), "adder.state");
/// ```
#[derive(Debug)]
pub struct Call {
    label: String,
    /// In the order the keys were first set, as in a host.
    values: Vec<(String, Value)>,
    stage: Stage,
}

/// What a call left behind.
#[derive(Debug)]
pub struct Done {
    values: Vec<(String, Value)>,
    lines: Vec<(Level, String)>,
}

/// What a test gave the call besides its values.
#[derive(Debug, Default)]
struct Stage {
    deadline: Option<Instant>,
    cancelled: bool,
    others: BTreeMap<String, Entry>,
    lines: RefCell<Vec<(Level, String)>>,
}

impl Call {
    /// A call of `label` with no values.
    #[must_use]
    pub fn new(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            values: Vec::new(),
            stage: Stage::default(),
        }
    }

    /// Adds a value.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        match self.values.iter_mut().find(|(name, _)| name == key) {
            Some((_, place)) => *place = value,
            None if key.trim().is_empty() => {}
            None => self.values.push((key.to_owned(), value)),
        }
        self
    }

    /// Sets a deadline this far from now.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.stage.deadline = Instant::now().checked_add(limit);
        self
    }

    /// Starts out cancelled.
    #[must_use]
    pub fn cancelled(mut self) -> Self {
        self.stage.cancelled = true;
        self
    }

    /// Answers calls to another plugin of this name with `entry`.
    #[must_use]
    pub fn plugin(mut self, name: &str, entry: Entry) -> Self {
        self.stage.others.insert(name.to_owned(), entry);
        self
    }

    /// Runs the entry point.
    ///
    /// # Errors
    ///
    /// What the entry point returned, or `call.panicked`.
    pub fn run(self, entry: Entry) -> Result<Done, Error> {
        let stage = Rc::new(self.stage);
        let ended = memory::run(&self.label, self.values, stage.clone(), entry);
        done(ended, &stage)
    }

    /// Runs `restore` with the values of this call, which a build whose state has this version left. The
    /// call's label is the version and no other.
    ///
    /// # Errors
    ///
    /// What `restore` returned, or `call.panicked`.
    pub fn restore(self, version: u32, restore: Restore) -> Result<Done, Error> {
        let stage = Rc::new(self.stage);
        let version = version.to_string();
        let ended = memory::restore(&version, self.values, stage.clone(), restore);
        done(ended, &stage)
    }
}

fn done(ended: Ended, stage: &Stage) -> Result<Done, Error> {
    match ended.error {
        Some(error) => Err(error),
        None => Ok(Done {
            values: ended.values,
            lines: stage.lines.take(),
        }),
    }
}

impl Beyond for Stage {
    fn remaining(&self) -> Option<Duration> {
        let deadline = self.deadline?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    fn cancelled(&self) -> bool {
        self.cancelled || self.remaining().is_some_and(|left| left.is_zero())
    }

    fn log(&self, level: Level, message: &str) {
        self.lines.borrow_mut().push((level, message.to_owned()));
    }

    fn progress(&self, _done: u64, _total: Option<u64>, _message: &str) {}

    fn call(
        &self,
        plugin: &str,
        label: &str,
        input: BTreeMap<String, Value>,
    ) -> Result<Vec<(String, Value)>, Error> {
        let Some(entry) = self.others.get(plugin) else {
            let message = format!("the test gave no plugin `{plugin}`");
            return Err(Error::new("plugin.not_found", message));
        };
        let nested = input
            .into_iter()
            .fold(Call::new(label), |call, (key, value)| {
                call.with(&key, value)
            });
        nested.run(*entry).map(|done| done.values)
    }
}

impl Done {
    /// Hands the values over to `restore`, as a host does in an upgrade with what `save` left.
    ///
    /// # Errors
    ///
    /// What `restore` returned, or `call.panicked`.
    pub fn restore(self, version: u32, restore: Restore) -> Result<Self, Error> {
        let values = self.values.into_iter();
        let call = values.fold(Call::new(""), |call, (key, value)| call.with(&key, value));
        call.restore(version, restore)
    }

    /// The value under `key`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        let found = self.values.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value)
    }

    /// The text under `key`.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.value(key)?.as_str()
    }

    /// The log lines that were at least this severe.
    #[must_use]
    pub fn lines(&self, level: Level) -> Vec<&str> {
        self.lines
            .iter()
            .filter(|(severity, _)| *severity <= level)
            .map(|(_, line)| line.as_str())
            .collect()
    }
}
