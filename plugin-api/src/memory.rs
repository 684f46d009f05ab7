//! A host's table of functions over values in memory: behind a test, and behind a program that serves its
//! entry point.
#![expect(
    unsafe_code,
    reason = "it plays the host: a table of functions over the C ABI"
)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::abi::{self, Ctx, HostTable, Str, ValueRef, status, tag};
use crate::context::Level;
use crate::error::Error;
use crate::export::{self, Entry, Restore};
use crate::spare;
use crate::value::Value;
use crate::view::{self, Shelf};

/// What a call can reach besides its values.
pub(crate) trait Beyond {
    /// The time left until the caller's deadline.
    fn remaining(&self) -> Option<Duration>;
    /// Whether the caller has given up.
    fn cancelled(&self) -> bool;
    /// Takes a line for the log.
    fn log(&self, level: Level, message: &str);
    /// Takes how far the work is.
    fn progress(&self, done: u64, total: Option<u64>, message: &str);
    /// Calls another plugin and returns the values after its call.
    fn call(
        &self,
        plugin: &str,
        label: &str,
        input: BTreeMap<String, Value>,
    ) -> Result<Vec<(String, Value)>, Error>;
}

/// How a call ended, and what it left.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// All values, in the order their keys were first set.
    pub(crate) values: Vec<(String, Value)>,
    /// Which of them the call set.
    pub(crate) set: Vec<bool>,
    /// The keys that were there before and are not any more.
    pub(crate) removed: Vec<String>,
    /// Why it failed, if it did.
    pub(crate) error: Option<Error>,
}

/// Runs an entry point over these values.
pub(crate) fn run(
    label: &str,
    values: Vec<(String, Value)>,
    beyond: Rc<dyn Beyond>,
    entry: Entry,
) -> Ended {
    // SAFETY: both are made for this one call.
    enter(label, values, beyond, |raw, label| unsafe {
        export::run(raw, label, entry)
    })
}

/// Runs `restore` over these values; the label is the version of the state.
pub(crate) fn restore(
    label: &str,
    values: Vec<(String, Value)>,
    beyond: Rc<dyn Beyond>,
    restore: Restore,
) -> Ended {
    // SAFETY: both are made for this one call.
    enter(label, values, beyond, |raw, label| unsafe {
        export::run_restore(raw, label, Some(restore))
    })
}

/// Runs a function of the ABI over these values, which is given the token of the call and its label.
#[cfg(feature = "process")]
pub(crate) fn lend(
    label: &str,
    values: Vec<(String, Value)>,
    beyond: Rc<dyn Beyond>,
    function: impl FnOnce(Ctx, Str) -> i32,
) -> Ended {
    enter(label, values, beyond, function)
}

/// A call that runs.
struct Frame {
    token: u64,
    values: Ended,
    failure: Option<(String, String)>,
    reply: Option<Value>,
    shelf: Shelf,
    beyond: Rc<dyn Beyond>,
}

fn enter(
    label: &str,
    values: Vec<(String, Value)>,
    beyond: Rc<dyn Beyond>,
    shim: impl FnOnce(Ctx, Str) -> i32,
) -> Ended {
    let values = Ended {
        set: vec![false; values.len()],
        values,
        ..Ended::default()
    };
    // A context that somebody kept names no later call, on whichever thread.
    let token = TOKENS.fetch_add(1, Ordering::Relaxed);
    FRAMES.with_borrow_mut(|frames| {
        frames.push(Frame {
            token,
            values,
            failure: None,
            reply: None,
            shelf: Shelf::default(),
            beyond,
        });
    });
    let raw = Ctx {
        token,
        host: &raw const TABLE,
    };
    let status = shim(raw, Str::new(label));
    let Some(frame) = FRAMES.with_borrow_mut(Vec::pop) else {
        return Ended {
            error: Some(Error::failed("the call left no state")),
            ..Ended::default()
        };
    };
    let mut ended = frame.values;
    // As in the process of a host, whatever carries the call.
    ended.error = match (status, frame.failure) {
        (status::OK, _) => None,
        (status::PANICKED, said) => {
            let message = said.map_or_else(|| "it did not say why".to_owned(), |said| said.1);
            Some(Error::new("call.panicked", message))
        }
        (_, Some((code, message))) => Some(Error::new(code, message)),
        (status, None) => {
            let message = format!("it answered {status} and did not say why");
            Some(Error::failed(message))
        }
    };
    ended
}

impl Ended {
    fn position(&self, key: &str) -> Option<usize> {
        self.values.iter().position(|(name, _)| name == key)
    }

    fn set(&mut self, key: String, value: Value) {
        if key.trim().is_empty() {
            return;
        }
        self.removed.retain(|name| *name != key);
        match self.position(&key) {
            Some(place) => {
                spare::keep(std::mem::replace(&mut self.values[place].1, value));
                self.set[place] = true;
            }
            None => {
                self.values.push((key, value));
                self.set.push(true);
            }
        }
    }

    /// Whether there was such a key.
    fn remove(&mut self, key: &str) -> bool {
        let Some(place) = self.position(key) else {
            return false;
        };
        let (key, _) = self.values.remove(place);
        self.set.remove(place);
        // One that the call itself set is no loss to the caller; to name it anyway is harmless.
        self.removed.push(key);
        true
    }
}

/// The next call's number.
static TOKENS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The calls that run on this thread, outermost first.
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
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
fn innermost<T>(token: u64, expired: T, act: impl FnOnce(&mut Frame) -> T) -> T {
    FRAMES.with_borrow_mut(|frames| match frames.last_mut() {
        Some(frame) if frame.token == token => act(frame),
        _ => expired,
    })
}

/// What the innermost call reaches, if `token` names it. It is asked outside, since it may begin a call of
/// its own on this thread.
fn beyond(token: u64) -> Option<Rc<dyn Beyond>> {
    innermost(token, None, |frame| Some(frame.beyond.clone()))
}

/// # Safety
///
/// `key` is borrowed for the call.
unsafe fn name(key: Str) -> Result<String, i32> {
    // SAFETY: the caller's promise.
    let text = unsafe { view::text(key) };
    text.map(str::to_owned).ok_or(status::BAD_KEY)
}

/// What is meant for people, whatever bytes it has.
///
/// # Safety
///
/// `text` is borrowed for the call.
unsafe fn said(text: Str) -> String {
    // SAFETY: the caller's promise.
    let bytes = unsafe { view::bytes(text) };
    String::from_utf8_lossy(bytes).into_owned()
}

/// A copy of a value; a large one in memory that was kept.
///
/// # Safety
///
/// As for [`view::copy`].
unsafe fn keep(value: ValueRef) -> Result<Value, i32> {
    let is_large = value.len as usize >= spare::LARGE && value.bits != 0;
    if !is_large || !matches!(value.tag, tag::STR | tag::BYTES) {
        // SAFETY: the caller's promise is passed on.
        return unsafe { view::copy(value, usize::MAX) };
    }
    // SAFETY: part of the caller's promise.
    let copy = spare::copy(unsafe { view::payload(value) });
    match value.tag {
        tag::STR => String::from_utf8(copy).map_or(Err(status::BAD_VALUE), |text| Ok(text.into())),
        _ => Ok(Value::Bytes(copy)),
    }
}

unsafe extern "C" fn get(token: u64, key: Str, out: *mut ValueRef) -> i32 {
    // SAFETY: the plugin lends the key for this call.
    let key = match unsafe { name(key) } {
        Ok(key) => key,
        Err(status) => return status,
    };
    innermost(token, status::EXPIRED, |frame| {
        frame.shelf.clear();
        let values = &frame.values.values;
        let Some((_, value)) = values.iter().find(|(name, _)| *name == key) else {
            return status::MISSING;
        };
        let Some(lent) = frame.shelf.lend(value) else {
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
    let value = match unsafe { keep(value) } {
        Ok(value) => value,
        Err(status) => return status,
    };
    innermost(token, status::EXPIRED, |frame| {
        frame.values.set(key, value);
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
    innermost(token, status::EXPIRED, |frame| {
        if frame.values.remove(&key) {
            status::OK
        } else {
            status::MISSING
        }
    })
}

unsafe extern "C" fn key_at(token: u64, index: u32, out: *mut Str) -> i32 {
    innermost(token, status::EXPIRED, |frame| {
        let Some((key, _)) = frame.values.values.get(index as usize) else {
            return status::MISSING;
        };
        // SAFETY: the plugin passed a place to write to.
        unsafe { out.write(Str::new(key)) };
        status::OK
    })
}

unsafe extern "C" fn remaining(token: u64) -> u64 {
    let Some(beyond) = beyond(token) else {
        return 0;
    };
    match beyond.remaining() {
        Some(left) => left.as_nanos().try_into().unwrap_or(u64::MAX - 1),
        None => u64::MAX,
    }
}

unsafe extern "C" fn cancelled(token: u64) -> u32 {
    beyond(token).is_none_or(|beyond| beyond.cancelled()).into()
}

unsafe extern "C" fn fail(token: u64, code: Str, message: Str) -> i32 {
    // SAFETY: the plugin lends both for this call.
    let code = unsafe { said(code) };
    // SAFETY: as above.
    let message = unsafe { said(message) };
    innermost(token, status::EXPIRED, |frame| {
        frame.failure = Some((code, message));
        status::OK
    })
}

unsafe extern "C" fn log(token: u64, level: u32, message: Str) -> i32 {
    // SAFETY: the plugin lends the text for this call.
    let line = unsafe { said(message) };
    let Some(level) = Level::from_raw(level) else {
        return status::BAD_VALUE;
    };
    match beyond(token) {
        Some(beyond) => beyond.log(level, &line),
        None => return status::EXPIRED,
    }
    status::OK
}

unsafe extern "C" fn progress(token: u64, done: u64, total: u64, message: Str) -> i32 {
    // SAFETY: the plugin lends the text for this call.
    let message = unsafe { said(message) };
    match beyond(token) {
        Some(beyond) => beyond.progress(done, (total > 0).then_some(total), &message),
        None => return status::EXPIRED,
    }
    status::OK
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
    let Some(beyond) = beyond(token) else {
        return status::EXPIRED;
    };
    match beyond.call(&plugin, &label, input) {
        Ok(values) => {
            let values = Value::Map(values.into_iter().collect());
            answer(token, values, status::OK, out)
        }
        Err(error) => {
            let error = Value::from([("code", error.code()), ("message", error.message())]);
            answer(token, error, status::FAILED, out)
        }
    }
}

fn answer(token: u64, reply: Value, status: i32, out: *mut ValueRef) -> i32 {
    innermost(token, status::EXPIRED, |frame| {
        frame.shelf.clear();
        let Some(lent) = frame.shelf.lend(frame.reply.insert(reply)) else {
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
