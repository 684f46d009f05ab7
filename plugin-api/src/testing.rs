//! A context in memory, so that a plugin's tests need no host.
#![expect(
    unsafe_code,
    reason = "it plays the host: a table of functions over the C ABI"
)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::abi::{self, Ctx, HostTable, Str, ValueRef, status};
use crate::context::Level;
use crate::error::Error;
use crate::export::{self, Entry, Restore};
use crate::value::Value;
use crate::view::{self, Shelf};

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
    state: State,
}

/// What a call left behind.
#[derive(Debug)]
pub struct Done {
    state: State,
}

#[derive(Debug, Default)]
struct State {
    token: u64,
    /// In the order the keys were first set, as in a host.
    values: Vec<(String, Value)>,
    deadline: Option<Instant>,
    cancelled: bool,
    lines: Vec<(u32, String)>,
    failure: Option<(String, String)>,
    others: BTreeMap<String, Entry>,
    reply: Option<Value>,
    shelf: Shelf,
}

impl Call {
    /// A call of `label` with no values.
    #[must_use]
    pub fn new(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            state: State::default(),
        }
    }

    /// Adds a value.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.state.set(key, value.into());
        self
    }

    /// Sets a deadline this far from now.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.state.deadline = Instant::now().checked_add(limit);
        self
    }

    /// Starts out cancelled.
    #[must_use]
    pub fn cancelled(mut self) -> Self {
        self.state.cancelled = true;
        self
    }

    /// Answers calls to another plugin of this name with `entry`.
    #[must_use]
    pub fn plugin(mut self, name: &str, entry: Entry) -> Self {
        self.state.others.insert(name.to_owned(), entry);
        self
    }

    /// Runs the entry point.
    ///
    /// # Errors
    ///
    /// What the entry point returned, or `call.panicked`.
    pub fn run(self, entry: Entry) -> Result<Done, Error> {
        // SAFETY: both are made for this one call.
        self.enter(|raw, label| unsafe { export::run(raw, label, entry) })
    }

    /// Runs `restore` with the values of this call, which a build whose state has this version left. The
    /// call's label is the version and no other.
    ///
    /// # Errors
    ///
    /// What `restore` returned, or `call.panicked`.
    pub fn restore(mut self, version: u32, restore: Restore) -> Result<Done, Error> {
        self.label = version.to_string();
        // SAFETY: both are made for this one call.
        self.enter(|raw, label| unsafe { export::run_restore(raw, label, Some(restore)) })
    }

    fn enter(mut self, shim: impl FnOnce(Ctx, Str) -> i32) -> Result<Done, Error> {
        let token = CALLS.with_borrow_mut(|calls| {
            let token = calls.len() as u64 + 1;
            self.state.token = token;
            calls.push(self.state);
            token
        });
        let raw = Ctx {
            token,
            host: &raw const TABLE,
        };
        let status = shim(raw, Str::new(&self.label));
        let Some(mut state) = CALLS.with_borrow_mut(Vec::pop) else {
            return Err(Error::new(Error::FAILED, "the call left no state"));
        };
        if status == status::OK {
            return Ok(Done { state });
        }
        let (code, message) = state
            .failure
            .take()
            .unwrap_or_else(|| (Error::FAILED.to_owned(), format!("answered {status}")));
        Err(Error::new(code, message))
    }
}

impl State {
    fn value(&self, key: &str) -> Option<&Value> {
        let found = self.values.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value)
    }

    fn set(&mut self, key: &str, value: Value) {
        match self.values.iter_mut().find(|(name, _)| name == key) {
            Some((_, place)) => *place = value,
            None if key.trim().is_empty() => {}
            None => self.values.push((key.to_owned(), value)),
        }
    }
}

impl Done {
    /// Hands the values over to `restore`, as a host does in an upgrade with what `save` left.
    ///
    /// # Errors
    ///
    /// What `restore` returned, or `call.panicked`.
    pub fn restore(self, version: u32, restore: Restore) -> Result<Self, Error> {
        let values = self.state.values.into_iter();
        let call = values.fold(Call::new(""), |call, (key, value)| call.with(&key, value));
        call.restore(version, restore)
    }

    /// The value under `key`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.state.value(key)
    }

    /// The text under `key`.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.value(key)?.as_str()
    }

    /// The log lines that were at least this severe.
    #[must_use]
    pub fn lines(&self, level: Level) -> Vec<&str> {
        self.state
            .lines
            .iter()
            .filter(|(severity, _)| *severity <= level as u32)
            .map(|(_, line)| line.as_str())
            .collect()
    }
}

thread_local! {
    /// The calls that run on this thread, outermost first.
    static CALLS: RefCell<Vec<State>> = const { RefCell::new(Vec::new()) };
}

static TABLE: HostTable = HostTable {
    size: size_of::<HostTable>() as u32,
    minor: abi::MINOR as u32,
    get,
    set,
    get_interned,
    set_interned,
    intern,
    remove,
    key_at,
    remaining,
    cancelled,
    fail,
    log,
    progress,
    call,
    #[cfg(feature = "next-minor")]
    next,
};

/// Runs `act` on the innermost call, if `token` names it.
fn innermost<T>(token: u64, expired: T, act: impl FnOnce(&mut State) -> T) -> T {
    CALLS.with_borrow_mut(|calls| match calls.last_mut() {
        Some(state) if state.token == token => act(state),
        _ => expired,
    })
}

/// # Safety
///
/// `key` is borrowed for the call.
unsafe fn name(key: Str) -> Result<String, i32> {
    // SAFETY: the caller's promise.
    let text = unsafe { view::text(key) };
    text.map(str::to_owned).ok_or(status::BAD_KEY)
}

unsafe extern "C" fn get(token: u64, key: Str, out: *mut ValueRef) -> i32 {
    // SAFETY: the plugin lends the key for this call.
    let key = match unsafe { name(key) } {
        Ok(key) => key,
        Err(status) => return status,
    };
    innermost(token, status::EXPIRED, |state| {
        state.shelf.clear();
        let values = &state.values;
        let Some((_, value)) = values.iter().find(|(name, _)| *name == key) else {
            return status::MISSING;
        };
        let Some(lent) = state.shelf.lend(value) else {
            return status::TOO_LARGE;
        };
        // SAFETY: the plugin passed a place to write to.
        unsafe { out.write(lent) };
        status::OK
    })
}

unsafe extern "C" fn set(token: u64, key: Str, value: ValueRef) -> i32 {
    // SAFETY: the plugin lends the key for this call.
    let key = match unsafe { name(key) } {
        Ok(key) => key,
        Err(status) => return status,
    };
    // SAFETY: the plugin lends the value for this call.
    let value = match unsafe { view::copy(value, usize::MAX) } {
        Ok(value) => value,
        Err(status) => return status,
    };
    innermost(token, status::EXPIRED, |state| {
        state.set(&key, value);
        status::OK
    })
}

/// No key is ever numbered here, so none can be asked for by number.
unsafe extern "C" fn get_interned(_token: u64, _key: u32, _out: *mut ValueRef) -> i32 {
    status::BAD_KEY
}

unsafe extern "C" fn set_interned(_token: u64, _key: u32, _value: ValueRef) -> i32 {
    status::BAD_KEY
}

/// A `static` key outlives the call and would keep the number for the next one.
unsafe extern "C" fn intern(_token: u64, _key: Str) -> u32 {
    0
}

unsafe extern "C" fn remove(token: u64, key: Str) -> i32 {
    // SAFETY: the plugin lends the key for this call.
    let key = match unsafe { name(key) } {
        Ok(key) => key,
        Err(status) => return status,
    };
    innermost(token, status::EXPIRED, |state| {
        let before = state.values.len();
        state.values.retain(|(name, _)| *name != key);
        if state.values.len() < before {
            status::OK
        } else {
            status::MISSING
        }
    })
}

unsafe extern "C" fn key_at(token: u64, index: u32, out: *mut Str) -> i32 {
    innermost(token, status::EXPIRED, |state| {
        let Some((key, _)) = state.values.get(index as usize) else {
            return status::MISSING;
        };
        // SAFETY: the plugin passed a place to write to.
        unsafe { out.write(Str::new(key)) };
        status::OK
    })
}

unsafe extern "C" fn remaining(token: u64) -> u64 {
    innermost(token, 0, |state| match state.deadline {
        Some(deadline) => deadline
            .saturating_duration_since(Instant::now())
            .as_nanos()
            .try_into()
            .unwrap_or(u64::MAX - 1),
        None => u64::MAX,
    })
}

unsafe extern "C" fn cancelled(token: u64) -> u32 {
    innermost(token, 1, |state| {
        let late = state
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now());
        u32::from(state.cancelled || late)
    })
}

unsafe extern "C" fn fail(token: u64, code: Str, message: Str) -> i32 {
    // SAFETY: the plugin lends both for this call.
    let code = unsafe { name(code) };
    // SAFETY: as above.
    let message = unsafe { name(message) };
    let (Ok(code), Ok(message)) = (code, message) else {
        return status::BAD_VALUE;
    };
    innermost(token, status::EXPIRED, |state| {
        state.failure = Some((code, message));
        status::OK
    })
}

unsafe extern "C" fn log(token: u64, level: u32, message: Str) -> i32 {
    // SAFETY: the plugin lends the text for this call.
    let line = match unsafe { name(message) } {
        Ok(line) => line,
        Err(status) => return status,
    };
    innermost(token, status::EXPIRED, |state| {
        state.lines.push((level, line));
        status::OK
    })
}

unsafe extern "C" fn progress(token: u64, _done: u64, _total: u64, _message: Str) -> i32 {
    innermost(token, status::EXPIRED, |_| status::OK)
}

unsafe extern "C" fn call(
    token: u64,
    plugin: Str,
    label: Str,
    input: ValueRef,
    out: *mut ValueRef,
) -> i32 {
    // SAFETY: the plugin lends both names for this call.
    let plugin = unsafe { name(plugin) };
    // SAFETY: as above.
    let label = unsafe { name(label) };
    let (Ok(plugin), Ok(label)) = (plugin, label) else {
        return status::BAD_KEY;
    };
    // SAFETY: the plugin lends the value for this call.
    let Ok(Value::Map(input)) = (unsafe { view::copy(input, usize::MAX) }) else {
        return status::BAD_VALUE;
    };
    let Some(entry) = innermost(token, None, |state| state.others.get(&plugin).copied()) else {
        let message = format!("the test gave no plugin `{plugin}`");
        let error = Value::from([("code", "plugin.not_found"), ("message", &message)]);
        return answer(token, error, status::FAILED, out);
    };
    let nested = input
        .into_iter()
        .fold(Call::new(&label), |call, (key, value)| {
            call.with(&key, value)
        });
    match nested.run(entry) {
        Ok(done) => {
            let values = Value::Map(done.state.values.into_iter().collect());
            answer(token, values, status::OK, out)
        }
        Err(error) => {
            let error = Value::from([("code", error.code()), ("message", error.message())]);
            answer(token, error, status::FAILED, out)
        }
    }
}

fn answer(token: u64, reply: Value, status: i32, out: *mut ValueRef) -> i32 {
    innermost(token, status::EXPIRED, |state| {
        state.shelf.clear();
        let Some(lent) = state.shelf.lend(state.reply.insert(reply)) else {
            return status::TOO_LARGE;
        };
        // SAFETY: the plugin passed a place to write to.
        unsafe { out.write(lent) };
        status
    })
}

#[cfg(feature = "next-minor")]
unsafe extern "C" fn next(_token: u64) -> u64 {
    1
}
