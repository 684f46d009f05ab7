//! The context that an app fills and reads.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use compact_str::CompactString;
use plg_plugin_api::Value;
use smallvec::SmallVec;

use super::keys::KeyId;

/// The values of one call, with its deadline: filled by the caller, changed by the plugin, read by
/// the caller. Reusing one for many calls saves the allocations.
///
/// ```
/// use plg_host::Context;
///
/// let mut ctx = Context::new().with("name", "Ada");
/// ctx.set("count", 3);
/// assert_eq!(ctx.text("name"), Some("Ada"));
/// assert_eq!(ctx.get("missing"), None);
/// ```
#[derive(Clone, Default)]
pub struct Context {
    entries: SmallVec<[Entry; INLINE]>,
    guesses: Guesses,
    /// Where each key stands, kept once there are too many to look through.
    index: Option<HashMap<CompactString, usize>>,
    pub(super) bounds: Bounds,
    /// What the plugin said through `fail` in the call that runs or ran last.
    pub(super) failure: Option<Box<Failure>>,
}

/// Where a key stood when it was last placed, by a few bits of its name and of its number. A guess is
/// looked at first and checked, so a wrong one costs a search and nothing else.
#[derive(Clone, Default)]
struct Guesses {
    names: [u8; GUESSES],
    ids: [u8; GUESSES],
}

/// Until when a call may run.
#[derive(Clone, Debug, Default)]
pub(super) struct Bounds {
    pub(super) deadline: Option<Instant>,
    pub(super) cancel: Option<Cancel>,
    pub(super) watcher: Option<Watcher>,
    /// What keeps calls with the same key in the same build while there are two.
    pub(super) key: Option<Arc<str>>,
}

/// What a plugin says about how far its work is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// The plugin.
    pub plugin: &'a str,
    /// The label that was called.
    pub label: &'a str,
    /// How much is done, in units of the plugin's choice.
    pub done: u64,
    /// How much there is; `None` while it is unknown.
    pub total: Option<u64>,
    /// What it is doing.
    pub message: &'a str,
}

/// Receives progress on the thread of the call.
#[derive(Clone)]
pub(super) struct Watcher(pub(super) Arc<dyn Fn(&Progress<'_>) + Send + Sync>);

/// Why the plugin says it failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// Cancels the calls of every context it was given to.
///
/// A plugin sees it when it asks; a plugin that never asks goes on.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

#[derive(Clone)]
pub(super) struct Entry {
    key: CompactString,
    id: Option<KeyId>,
    pub(super) value: Value,
}

const INLINE: usize = 8;
const GUESSES: usize = 32;
/// Above this many values a hash beats looking through them.
const LINEAR: usize = 16;

impl Context {
    /// A context without values.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value, replacing the one under that key. A blank key is ignored.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.set(key, value);
        self
    }

    /// Sets a value, replacing the one under that key. A blank key is ignored.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        if key.trim().is_empty() {
            return;
        }
        let place = self.place(key);
        place.value = value.into();
    }

    /// The value under `key`; `None` when there is none. Null is a value.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        let position = self.position(key.as_bytes())?;
        Some(&self.entries[position].value)
    }

    /// The text under `key`; `None` when there is none or it is of another kind.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// Removes the value under `key` and returns it.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let position = self.position(key.as_bytes())?;
        let entry = self.entries.remove(position);
        self.guess_again();
        if self.index.take().is_some() {
            self.reindex();
        }
        Some(entry.value)
    }

    /// Removes every value and keeps the deadline and the room.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.index = None;
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys and values, in the order the keys were first set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries
            .iter()
            .map(|entry| (entry.key.as_str(), &entry.value))
    }

    /// Sets the deadline of the calls that follow. A call that starts later is refused with
    /// `call.timeout`, and a plugin that asks is told how long it has.
    ///
    /// The caller has its answer in time even when the plugin's code never looks: such a call of code in this
    /// process runs on another thread, which costs microseconds and a copy of the values. A thread that does not
    /// come back is left to itself and named in the plugin's snapshot, and the context is then as it was before
    /// the call.
    #[must_use]
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.bounds.deadline = Some(deadline);
        self
    }

    /// Sets the deadline to this far from now; one beyond what the clock can say is none.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.bounds.deadline = Instant::now().checked_add(limit);
        self
    }

    /// Lets `cancel` cancel the calls that follow, as a deadline that comes when it is used.
    #[must_use]
    pub fn cancelled_by(mut self, cancel: &Cancel) -> Self {
        self.bounds.cancel = Some(cancel.clone());
        self
    }

    /// Lets `watch` see the progress that plugins report in the calls that follow. It runs on the
    /// thread of the call, which may not be the caller's when there is a deadline; a panic in it is swallowed.
    #[must_use]
    pub fn on_progress(mut self, watch: impl Fn(&Progress<'_>) + Send + Sync + 'static) -> Self {
        self.bounds.watcher = Some(Watcher(Arc::new(watch)));
        self
    }

    /// Keeps calls with the same `key`, a user's name for instance, in the same build of a plugin while a
    /// canary is under way.
    #[must_use]
    pub fn sticky(mut self, key: &str) -> Self {
        self.bounds.key = Some(key.into());
        self
    }

    /// See [`sticky`](Self::sticky).
    pub(crate) fn sticky_key(&self) -> Option<&str> {
        self.bounds.key.as_deref()
    }

    /// The place under `key`, made when there is none.
    pub(super) fn place(&mut self, key: &str) -> &mut Entry {
        let position = match self.position(key.as_bytes()) {
            Some(position) => position,
            None => self.add(key),
        };
        &mut self.entries[position]
    }

    fn add(&mut self, key: &str) -> usize {
        let position = self.entries.len();
        self.guesses.name(key.as_bytes(), position);
        let key = CompactString::from(key);
        if let Some(index) = &mut self.index {
            index.insert(key.clone(), position);
        }
        self.entries.push(Entry {
            key,
            id: None,
            value: Value::Null,
        });
        if self.index.is_none() && self.entries.len() > LINEAR {
            self.reindex();
        }
        position
    }

    #[cold]
    fn reindex(&mut self) {
        if self.entries.len() > LINEAR {
            let keys = self.entries.iter().map(|entry| entry.key.clone());
            self.index = Some(keys.zip(0..).collect());
        }
    }

    /// Values moved, as one was removed.
    #[cold]
    fn guess_again(&mut self) {
        for (position, entry) in self.entries.iter().enumerate() {
            self.guesses.name(entry.key.as_bytes(), position);
            if let Some(id) = entry.id {
                self.guesses.id(id, position);
            }
        }
    }

    #[inline]
    pub(super) fn position(&self, key: &[u8]) -> Option<usize> {
        let guess = usize::from(self.guesses.names[Guesses::of_name(key)]);
        match self.entries.get(guess) {
            Some(entry) if entry.key.as_bytes() == key => Some(guess),
            _ => self.search(key),
        }
    }

    fn search(&self, key: &[u8]) -> Option<usize> {
        match &self.index {
            None => self
                .entries
                .iter()
                .position(|entry| entry.key.as_bytes() == key),
            Some(index) => index.get(std::str::from_utf8(key).ok()?).copied(),
        }
    }

    /// The value under `key`, if it stands where it was last placed. Never panics.
    #[inline(always)]
    pub(super) fn expected(&mut self, key: &[u8]) -> Option<&mut Value> {
        let guess = self.guesses.names[Guesses::of_name(key)];
        let entry = self.entries.get_mut(usize::from(guess))?;
        (entry.key.as_bytes() == key).then_some(&mut entry.value)
    }

    /// The value under the key of this number, likewise.
    #[inline(always)]
    pub(super) fn expected_number(&mut self, id: KeyId) -> Option<&mut Value> {
        let guess = self.guesses.ids[Guesses::of_id(id)];
        let entry = self.entries.get_mut(usize::from(guess))?;
        (entry.id == Some(id)).then_some(&mut entry.value)
    }

    /// Where the key of this number stands.
    #[inline]
    pub(super) fn position_of(&mut self, id: KeyId) -> Option<usize> {
        let guess = usize::from(self.guesses.ids[Guesses::of_id(id)]);
        match self.entries.get(guess) {
            Some(entry) if entry.id == Some(id) => Some(guess),
            _ => self.search_number(id),
        }
    }

    /// An entry that was set by name has no number yet.
    #[cold]
    fn search_number(&mut self, id: KeyId) -> Option<usize> {
        let known = self.entries.iter().position(|entry| entry.id == Some(id));
        let position = known.or_else(|| self.position(id.name().as_bytes()))?;
        self.entries[position].id = Some(id);
        self.guesses.id(id, position);
        Some(position)
    }

    #[inline]
    pub(super) fn entry(&self, position: usize) -> Option<&Entry> {
        self.entries.get(position)
    }

    #[inline]
    pub(super) fn entry_mut(&mut self, position: usize) -> Option<&mut Entry> {
        self.entries.get_mut(position)
    }

    /// Whether the caller gave up, by its deadline or by cancelling.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.bounds.is_over()
    }

    /// Whether the caller may give up.
    #[inline(always)]
    pub(crate) fn is_bounded(&self) -> bool {
        self.bounds.deadline.is_some() | self.bounds.cancel.is_some()
    }

    /// When the caller gives up.
    pub(crate) fn end(&self) -> Option<Instant> {
        self.bounds.deadline
    }

    /// What the caller cancels with.
    pub(crate) fn canceller(&self) -> Option<Cancel> {
        self.bounds.cancel.clone()
    }

    /// Whether the deadline has passed, as opposed to being cancelled.
    pub(crate) fn is_late(&self) -> bool {
        self.bounds.is_late()
    }

    /// About how many bytes the keys and values take.
    pub(crate) fn bytes(&self) -> usize {
        let entries = self.entries.iter();
        entries
            .map(|entry| entry.key.len() + weight(&entry.value))
            .sum()
    }

    /// All values as one map.
    pub(super) fn into_map(self) -> Value {
        let entries = self.entries.into_iter();
        Value::Map(
            entries
                .map(|entry| (entry.key.into_string(), entry.value))
                .collect(),
        )
    }

    /// Says why the call that runs fails.
    pub(crate) fn fail(&mut self, code: String, message: String) {
        self.failure = Some(Box::new(Failure { code, message }));
    }

    #[inline]
    pub(crate) fn forget_failure(&mut self) {
        if self.failure.is_some() {
            drop(self.take_failure());
        }
    }

    #[cold]
    pub(crate) fn take_failure(&mut self) -> Option<Box<Failure>> {
        self.failure.take()
    }

    /// A context for a call made during this one, under the same bounds.
    pub(crate) fn nested(&self) -> Self {
        Self {
            bounds: self.bounds.clone(),
            ..Self::default()
        }
    }
}

impl Guesses {
    #[inline]
    fn of_name(key: &[u8]) -> usize {
        let (first, last) = (key.first().unwrap_or(&0), key.last().unwrap_or(&0));
        let mixed = usize::from(*first) * 7 + usize::from(*last) + key.len() * 3;
        mixed % GUESSES
    }

    #[inline]
    fn of_id(id: KeyId) -> usize {
        id.raw() as usize % GUESSES
    }

    /// Positions that do not fit are never found by guessing.
    fn name(&mut self, key: &[u8], position: usize) {
        self.names[Self::of_name(key)] = u8::try_from(position).unwrap_or(u8::MAX);
    }

    fn id(&mut self, id: KeyId, position: usize) {
        self.ids[Self::of_id(id)] = u8::try_from(position).unwrap_or(u8::MAX);
    }
}

impl Bounds {
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        (self.deadline.is_some() || self.cancel.is_some()) && self.is_over_now()
    }

    #[cold]
    fn is_over_now(&self) -> bool {
        self.is_cancelled() || self.is_late()
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(Cancel::is_cancelled)
    }

    fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| deadline <= Instant::now())
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watcher")
    }
}

impl Entry {
    pub(super) fn key(&self) -> &str {
        &self.key
    }
}

impl Cancel {
    /// Not cancelled yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels, for good.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: AsRef<str>, V: Into<Value>> Extend<(K, V)> for Context {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, values: I) {
        for (key, value) in values {
            self.set(key.as_ref(), value);
        }
    }
}

impl<K: AsRef<str>, V: Into<Value>> FromIterator<(K, V)> for Context {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(values: I) -> Self {
        let mut context = Self::new();
        context.extend(values);
        context
    }
}

/// About how many bytes a value takes.
pub(super) fn weight(value: &Value) -> usize {
    match value {
        Value::Str(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => list.iter().map(|value| 16 + weight(value)).sum(),
        Value::Map(map) => {
            let entries = map.iter();
            entries
                .map(|(key, value)| 16 + key.len() + weight(value))
                .sum()
        }
        _ => size_of::<u64>(),
    }
}
