//! The author's side of a call.
#![expect(
    unsafe_code,
    reason = "every method is one call through the host's table"
)]

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::time::Duration;

use crate::abi::{self, Ctx, Str, ValueRef, level, status};
use crate::convert::{FromValue, IntoValue, View};
use crate::error::Error;
use crate::key::{AsKey, Resolved};
use crate::value::Value;
use crate::view;

/// What a plugin sees of one call: its label, the values, the deadline, and the way to the host.
///
/// Modelled on the context of steven-zou's go-plugin: string keys with get and set, blank keys
/// ignored, null a value of its own, and a label that selects what to do. Unlike there, deadline and
/// cancellation are real.
///
/// ```
/// use plg_plugin_api::{Context, Error};
///
/// fn execute(ctx: &mut Context<'_>) -> Result<(), Error> {
///     match ctx.label() {
///         "add" => {
///             let sum = ctx.get::<i64>("a")? + ctx.get::<i64>("b")?;
///             ctx.set("sum", sum)
///         }
///         other => Err(Error::unknown_label(other, &["add"])),
///     }
/// }
/// ```
pub struct Context<'call> {
    raw: Ctx,
    label: Str,
    /// Ties every borrow to the call, and to its thread: pointers are not `Send`.
    call: PhantomData<&'call mut *const ()>,
}

/// How severe a log line is; the same five levels as in `log` and `tracing`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u32)]
pub enum Level {
    /// Something failed.
    Error = level::ERROR,
    /// Something is off but the call goes on.
    Warn = level::WARN,
    /// Worth knowing in production.
    Info = level::INFO,
    /// Worth knowing while looking for a fault.
    Debug = level::DEBUG,
    /// Every step.
    Trace = level::TRACE,
}

impl Level {
    /// The level that crosses as this number.
    #[cfg(any(feature = "process", feature = "testing"))]
    pub(crate) const fn from_raw(number: u32) -> Option<Self> {
        match number {
            level::ERROR => Some(Self::Error),
            level::WARN => Some(Self::Warn),
            level::INFO => Some(Self::Info),
            level::DEBUG => Some(Self::Debug),
            level::TRACE => Some(Self::Trace),
            _ => None,
        }
    }

    /// The name: `error`, `warn`, `info`, `debug` or `trace`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl<'call> Context<'call> {
    /// Wraps what an entry point received.
    ///
    /// # Safety
    ///
    /// `raw` and `label` are what the host passed to the entry point that is running now, and nothing
    /// else wraps them. `raw.host` is not null and its table lives as long as the plugin.
    #[must_use]
    #[inline]
    pub unsafe fn from_raw(raw: Ctx, label: Str) -> Self {
        Self {
            raw,
            label,
            call: PhantomData,
        }
    }

    /// What the host passed to the entry point, for functions of its table that have no method here.
    #[must_use]
    #[inline]
    pub fn raw(&self) -> Ctx {
        self.raw
    }

    /// The label the caller asked for.
    #[must_use]
    #[inline]
    pub fn label(&self) -> &'call str {
        // SAFETY: the host's labels are UTF-8 and live for the call.
        let bytes = unsafe { view::bytes(self.label) };
        // SAFETY: as above.
        unsafe { std::str::from_utf8_unchecked(bytes) }
    }

    /// The value under `key`, as the type you ask for: `bool`, whole numbers, `f64`, `&str`,
    /// `String`, `&[u8]`, `Vec<u8>`, [`Value`], or an `Option` of one, for which null is `None`.
    ///
    /// # Errors
    ///
    /// `ctx.missing` when there is no such key, `ctx.type` when its value is of another kind.
    #[inline]
    pub fn get<'a, T: FromValue<'a>>(&'a self, key: impl AsKey) -> Result<T, Error> {
        let mut out = MaybeUninit::uninit();
        match self.look_up(&key, &mut out) {
            status::OK => self.convert(&key, &out),
            status => Err(refusal(status, "read", key.name())),
        }
    }

    /// Like [`get`](Self::get), with `None` when there is no such key.
    ///
    /// # Errors
    ///
    /// `ctx.type` when the value is of another kind.
    #[inline]
    pub fn find<'a, T: FromValue<'a>>(&'a self, key: impl AsKey) -> Result<Option<T>, Error> {
        let mut out = MaybeUninit::uninit();
        match self.look_up(&key, &mut out) {
            status::OK => self.convert(&key, &out).map(Some),
            status::MISSING => Ok(None),
            status => Err(refusal(status, "read", key.name())),
        }
    }

    /// A copy of the value under `key`, whatever its kind.
    #[must_use]
    pub fn value(&self, key: impl AsKey) -> Option<Value> {
        self.get(key).ok()
    }

    /// Stores a copy of `value`. A blank key is ignored.
    ///
    /// # Errors
    ///
    /// `ctx.too_large` when the key, the value or the number of values is over the host's limit.
    #[inline]
    pub fn set(&mut self, key: impl AsKey, value: impl IntoValue) -> Result<(), Error> {
        let raw = self.raw;
        let status = match key.resolve(raw, intern) {
            Resolved::Name(name) => value.lend(|value| {
                // SAFETY: the table is complete up to its frozen size, the key and the value are
                // borrowed for this statement.
                unsafe { (table(raw).set)(raw.token, Str::new(name), value) }
            }),
            Resolved::Interned(id) => value.lend(|value| {
                // SAFETY: as above.
                unsafe { (table(raw).set_interned)(raw.token, id, value) }
            }),
        };
        match status {
            Some(status::OK) => Ok(()),
            Some(status) => Err(refusal(status, "set", key.name())),
            None => Err(refusal(status::TOO_LARGE, "set", key.name())),
        }
    }

    /// Removes `key`, and says whether there was one.
    pub fn remove(&mut self, key: impl AsKey) -> bool {
        let key = Str::new(key.name());
        // SAFETY: the table is complete up to its frozen size and the key is borrowed for the call.
        unsafe { (table(self.raw).remove)(self.raw.token, key) == status::OK }
    }

    /// The keys there are, in the order they were first set.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        let mut key = Str::EMPTY;
        for index in 0.. {
            // SAFETY: the table is complete up to its frozen size and `key` is ours to write.
            let status = unsafe { (table(self.raw).key_at)(self.raw.token, index, &raw mut key) };
            if status != status::OK {
                break;
            }
            // SAFETY: the host wrote a key that lives until the next change.
            let bytes = unsafe { view::bytes(key) };
            keys.push(String::from_utf8_lossy(bytes).into_owned());
        }
        keys
    }

    /// The time left until the caller's deadline; `None` without one, zero when it passed.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        // SAFETY: the table is complete up to its frozen size.
        match unsafe { (table(self.raw).remaining)(self.raw.token) } {
            u64::MAX => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// Whether the caller has given up: it cancelled, or its deadline passed. Long work asks often.
    #[must_use]
    #[inline]
    pub fn cancelled(&self) -> bool {
        // SAFETY: the table is complete up to its frozen size.
        unsafe { (table(self.raw).cancelled)(self.raw.token) != 0 }
    }

    /// Writes a line to the host's log, where it carries the plugin's name and the label.
    pub fn log(&self, level: Level, message: impl fmt::Display) {
        let message = message.to_string();
        // SAFETY: the table is complete up to its frozen size and the text is borrowed for the call.
        unsafe { (table(self.raw).log)(self.raw.token, level as u32, Str::new(&message)) };
    }

    /// Says how far the work is; `total` is `None` while it is unknown.
    pub fn progress(&self, done: u64, total: Option<u64>, message: &str) {
        let total = total.unwrap_or(0);
        // SAFETY: the table is complete up to its frozen size and the text is borrowed for the call.
        unsafe {
            (table(self.raw).progress)(self.raw.token, done, total, Str::new(message));
        }
    }

    /// Calls another plugin with these values and returns the values after its call. It inherits
    /// this call's deadline and cancellation.
    ///
    /// # Errors
    ///
    /// The other plugin's error, or the host's: `plugin.not_found`, `call.depth` and so on.
    ///
    /// ```no_run
    /// # use plg_plugin_api::{Context, Error};
    /// fn execute(ctx: &mut Context<'_>) -> Result<(), Error> {
    ///     let outcome = ctx.call("text", "text.upper", [("text", "ada")])?;
    ///     ctx.set("shouted", &outcome["text"])
    /// }
    /// ```
    pub fn call(
        &mut self,
        plugin: &str,
        label: &str,
        input: impl Into<Value>,
    ) -> Result<BTreeMap<String, Value>, Error> {
        let mut shelf = view::Shelf::default();
        let input = input.into();
        let Some(input) = shelf.lend(&input) else {
            return Err(refusal(status::TOO_LARGE, "pass", "input"));
        };
        let mut out = ValueRef::NULL;
        // SAFETY: the table is complete up to its frozen size; texts and values are borrowed for the
        // call and `out` is ours to write.
        let status = unsafe {
            (table(self.raw).call)(
                self.raw.token,
                Str::new(plugin),
                Str::new(label),
                input,
                &raw mut out,
            )
        };
        // SAFETY: what the host wrote lives until its next function is called.
        let outcome = unsafe { view::copy(out, usize::MAX) };
        let mut values = match outcome {
            Ok(Value::Map(values)) => values,
            _ => BTreeMap::new(),
        };
        if status == status::OK {
            return Ok(values);
        }
        let mut take = |key: &str| match values.remove(key) {
            Some(Value::Str(text)) => Some(text),
            _ => None,
        };
        match (take("code"), take("message")) {
            (Some(code), Some(message)) => Err(Error::new(code, message)),
            _ => Err(refusal(status, "call", plugin)),
        }
    }

    /// States why the entry point fails; the export shim does this with the error it returns.
    pub(crate) fn fail(&self, error: &Error) {
        let (code, message) = (Str::new(error.code()), Str::new(error.message()));
        // SAFETY: the table is complete up to its frozen size and the texts are borrowed for the call.
        unsafe { (table(self.raw).fail)(self.raw.token, code, message) };
    }

    /// What the host's next minor appends, if this host has it.
    #[cfg(feature = "next-minor")]
    #[doc(hidden)]
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        let end = std::mem::offset_of!(abi::HostTable, next) + size_of::<usize>();
        if (table(self.raw).size as usize) < end {
            return None;
        }
        // SAFETY: the field lies inside the table that this host has.
        Some(unsafe { (table(self.raw).next)(self.raw.token) })
    }

    /// The host's answer; with `OK`, `out` is written.
    #[inline]
    fn look_up(&self, key: &impl AsKey, out: &mut MaybeUninit<ValueRef>) -> i32 {
        let raw = self.raw;
        match key.resolve(raw, intern) {
            Resolved::Name(name) => {
                // SAFETY: the table is complete up to its frozen size, the key is borrowed for the
                // call and `out` is ours to write.
                unsafe { (table(raw).get)(raw.token, Str::new(name), out.as_mut_ptr()) }
            }
            Resolved::Interned(id) => {
                // SAFETY: as above.
                unsafe { (table(raw).get_interned)(raw.token, id, out.as_mut_ptr()) }
            }
        }
    }

    /// Converts what the host wrote to `out` when it answered `OK`.
    #[inline]
    fn convert<'a, T: FromValue<'a>>(
        &self,
        key: &impl AsKey,
        out: &MaybeUninit<ValueRef>,
    ) -> Result<T, Error> {
        // SAFETY: the host wrote it because it answered `OK`.
        let value = unsafe { out.assume_init_ref() };
        // The host wrote the parts one by one just now. Reading all of them as one would have to wait
        // until they have reached the cache.
        match T::from_scalar(value.tag, value.bits) {
            Some(scalar) => Ok(scalar),
            // SAFETY: the value lives until this context changes it, which needs `&mut self`; lists
            // and maps are copied there, before the next call.
            None => unsafe { convert_any(key.name(), value) },
        }
    }
}

/// Converts a value of any kind.
///
/// # Safety
///
/// As for [`View::read`].
#[inline(never)]
unsafe fn convert_any<'a, T: FromValue<'a>>(name: &str, value: &ValueRef) -> Result<T, Error> {
    // SAFETY: the caller's promise.
    let view = unsafe { View::read(*value) };
    let found = view.kind();
    T::from_view(view).ok_or_else(|| mismatch(name, T::EXPECTED, found))
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("label", &self.label())
            .field("keys", &self.keys())
            .finish()
    }
}

/// The host's functions; every minor has the frozen ones.
#[inline]
fn table<'a>(raw: Ctx) -> &'a abi::HostTable {
    // SAFETY: `Context::from_raw` asked for a table that lives as long as the plugin.
    unsafe { &*raw.host }
}

#[cold]
fn intern(raw: Ctx, key: Str) -> u32 {
    // SAFETY: the table is complete up to its frozen size and keys are static.
    unsafe { (table(raw).intern)(raw.token, key) }
}

#[cold]
fn refusal(status: i32, attempt: &str, name: &str) -> Error {
    match status {
        status::MISSING => Error::new("ctx.missing", format!("no value under `{name}`")),
        status::EXPIRED => Error::new(
            "ctx.expired",
            format!("failed to {attempt} `{name}`: the call is over, or this is another thread"),
        ),
        status::TOO_LARGE => Error::new(
            "ctx.too_large",
            format!("failed to {attempt} `{name}`: over the host's limit"),
        ),
        status::BAD_KEY => Error::new("ctx.key", format!("the host refused the key `{name}`")),
        status::BAD_VALUE => Error::new("ctx.type", format!("the host refused `{name}`")),
        other => Error::new(
            Error::FAILED,
            format!("failed to {attempt} `{name}`: the host answered {other}"),
        ),
    }
}

#[cold]
fn mismatch(name: &str, expected: &str, found: crate::Kind) -> Error {
    Error::new(
        "ctx.type",
        format!("`{name}` is of kind {found}, expected {expected}"),
    )
}
