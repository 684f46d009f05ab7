//! The functions a plugin calls.
//!
//! What comes in is hostile: a token may be old, text not UTF-8, a value endless. Every function
//! answers with a status; a panic of the host stops here and never enters a plugin.
#![expect(
    unsafe_code,
    reason = "the functions receive addresses from plugins and write to places they name"
)]

use std::panic::{self, AssertUnwindSafe};
use std::time::Instant;

use plg_plugin_api::Value;
use plg_plugin_api::abi::{self, HostTable, Str, ValueRef, level, status, tag};
use plg_plugin_api::view;

use super::frame::{Call, Frame, Loans};
use super::keys::KeyId;
use super::values::{Context, Failure, Progress};
use crate::limits::Limits;
use crate::plugin::thread::HERE;

/// The host's functions, the same for every plugin.
pub(crate) static TABLE: HostTable = HostTable {
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

/// A running call that is the innermost one of this thread.
#[derive(Clone, Copy)]
struct Running<'frame>(&'frame Frame);

impl<'frame> Running<'frame> {
    /// The caller's context, for the length of one function.
    #[inline]
    fn context(self) -> &'frame mut Context {
        // SAFETY: the caller lent it mutably to the frame; the plugin is inside the call on this
        // thread, and each function of the table takes it once.
        unsafe { &mut *self.0.context }
    }

    #[inline]
    fn call(self) -> &'frame Call<'frame> {
        // SAFETY: `Frame::enter` borrows the call for as long as the frame is current. The cast only
        // shortens the lifetime it was stored with.
        unsafe { &*self.0.call.cast() }
    }

    fn limits(self) -> &'frame Limits {
        self.call().callee.limits()
    }
}

/// Runs `act` if `token` names the innermost call of this thread.
#[inline(always)]
fn during<T>(token: u64, expired: T, failed: T, act: impl FnOnce(Running<'_>) -> T) -> T {
    let frame = HERE.with(|here| here.frame.get());
    // SAFETY: null, or a frame that takes itself off the thread before it goes.
    let Some(frame) = (unsafe { frame.as_ref() }) else {
        return expired_use(expired);
    };
    if frame.token != token {
        return expired_use(expired);
    }
    match panic::catch_unwind(AssertUnwindSafe(|| act(Running(frame)))) {
        Ok(answer) => answer,
        Err(payload) => {
            // Dropping it could panic again, in the middle of a plugin's call.
            std::mem::forget(payload);
            failed
        }
    }
}

#[cold]
fn expired_use<T>(answer: T) -> T {
    let told = panic::catch_unwind(|| {
        tracing::debug!("a plugin used a context after its call or on another thread");
    });
    // A subscriber's panic stops here as well, and dropping it could panic again.
    std::mem::forget(told);
    answer
}

/// Gives `act` the context if `token` names the innermost call of this thread: for what cannot panic, so
/// that most of what a busy plugin does takes a few instructions. `None` says to go the whole way, through
/// [`during`].
#[inline(always)]
fn shortcut<T>(token: u64, act: impl FnOnce(&mut Context) -> Option<T>) -> Option<T> {
    let frame = HERE.with(|here| here.frame.get());
    // SAFETY: as in `during`.
    let frame = unsafe { frame.as_ref() }?;
    if frame.token == token {
        act(Running(frame).context())
    } else {
        None
    }
}

/// What can be lent as it is.
#[inline(always)]
fn plain(value: &Value) -> Option<ValueRef> {
    match value {
        Value::I64(number) => Some(view::lend_i64(*number)),
        Value::F64(number) => Some(view::lend_f64(*number)),
        Value::Bool(flag) => Some(view::lend_bool(*flag)),
        Value::Str(text) => view::lend_str(text),
        _ => None,
    }
}

/// Replaces a scalar by another of its kind: there is nothing to drop.
#[inline(always)]
fn replace(place: &mut Value, value: ValueRef) -> Option<()> {
    match (value.tag, place) {
        (tag::I64, Value::I64(place)) => *place = value.bits.cast_signed(),
        (tag::F64, Value::F64(place)) => *place = f64::from_bits(value.bits),
        (tag::BOOL, Value::Bool(place)) => *place = value.bits != 0,
        _ => return None,
    }
    Some(())
}

unsafe extern "C" fn get(token: u64, key: Str, out: *mut ValueRef) -> i32 {
    let lent = shortcut(token, |context| {
        // SAFETY: the plugin lends the key for this call.
        let key = unsafe { view::bytes(key) };
        plain(context.expected(key)?)
    });
    match lent {
        Some(lent) => {
            // SAFETY: the plugin passed a place to write to.
            unsafe { out.write(lent) };
            status::OK
        }
        // SAFETY: the plugin's promises are passed on.
        None => unsafe { lend_by_name(token, key, out) },
    }
}

/// # Safety
///
/// As for [`get`].
#[cold]
unsafe fn lend_by_name(token: u64, key: Str, out: *mut ValueRef) -> i32 {
    during(token, status::EXPIRED, status::FAILED, |running| {
        // SAFETY: the plugin lends the key for this call.
        let key = unsafe { view::bytes(key) };
        match running.context().position(key) {
            // SAFETY: the plugin passed a place to write to.
            Some(position) => unsafe { lend(running, position, out) },
            None => status::MISSING,
        }
    })
}

unsafe extern "C" fn get_interned(token: u64, key: u32, out: *mut ValueRef) -> i32 {
    let lent = shortcut(token, |context| {
        plain(context.expected_number(KeyId::from_raw(key)?)?)
    });
    match lent {
        Some(lent) => {
            // SAFETY: the plugin passed a place to write to.
            unsafe { out.write(lent) };
            status::OK
        }
        // SAFETY: the plugin's promises are passed on.
        None => unsafe { lend_by_number(token, key, out) },
    }
}

/// # Safety
///
/// As for [`get_interned`].
#[cold]
unsafe fn lend_by_number(token: u64, key: u32, out: *mut ValueRef) -> i32 {
    during(token, status::EXPIRED, status::FAILED, |running| {
        let Some(id) = KeyId::from_raw(key) else {
            return status::BAD_KEY;
        };
        match running.context().position_of(id) {
            // SAFETY: the plugin passed a place to write to.
            Some(position) => unsafe { lend(running, position, out) },
            None => status::MISSING,
        }
    })
}

unsafe extern "C" fn set(token: u64, key: Str, value: ValueRef) -> i32 {
    let replaced = shortcut(token, |context| {
        // SAFETY: the plugin lends the key for this call.
        let key = unsafe { view::bytes(key) };
        replace(context.expected(key)?, value)
    });
    match replaced {
        Some(()) => status::OK,
        // SAFETY: the plugin's promises are passed on.
        None => unsafe { write_by_name(token, key, value) },
    }
}

/// # Safety
///
/// As for [`set`].
#[cold]
unsafe fn write_by_name(token: u64, key: Str, value: ValueRef) -> i32 {
    during(token, status::EXPIRED, status::FAILED, |running| {
        // SAFETY: the plugin lends the key for this call.
        let key = unsafe { view::bytes(key) };
        if let Some(position) = running.context().position(key) {
            // SAFETY: the plugin lends the value for this call.
            return unsafe { write(running, position, value) };
        }
        match std::str::from_utf8(key) {
            // SAFETY: the plugin lends the value for this call.
            Ok(key) => unsafe { add(running, key, value) },
            Err(_) => status::BAD_KEY,
        }
    })
}

unsafe extern "C" fn set_interned(token: u64, key: u32, value: ValueRef) -> i32 {
    let replaced = shortcut(token, |context| {
        replace(context.expected_number(KeyId::from_raw(key)?)?, value)
    });
    match replaced {
        Some(()) => status::OK,
        // SAFETY: the plugin's promises are passed on.
        None => unsafe { write_by_number(token, key, value) },
    }
}

/// # Safety
///
/// As for [`set_interned`].
#[cold]
unsafe fn write_by_number(token: u64, key: u32, value: ValueRef) -> i32 {
    during(token, status::EXPIRED, status::FAILED, |running| {
        let Some(id) = KeyId::from_raw(key) else {
            return status::BAD_KEY;
        };
        if let Some(position) = running.context().position_of(id) {
            // SAFETY: the plugin lends the value for this call.
            return unsafe { write(running, position, value) };
        }
        match id.name() {
            "" => status::BAD_KEY,
            // SAFETY: the plugin lends the value for this call.
            key => unsafe { add(running, key, value) },
        }
    })
}

unsafe extern "C" fn intern(token: u64, key: Str) -> u32 {
    during(token, 0, 0, |running| {
        // SAFETY: the plugin lends the key for this call.
        match unsafe { view::text(key) } {
            Some(key) if !key.trim().is_empty() && key.len() <= running.limits().key_bytes => {
                KeyId::of(key).map_or(0, KeyId::raw)
            }
            _ => 0,
        }
    })
}

unsafe extern "C" fn remove(token: u64, key: Str) -> i32 {
    during(token, status::EXPIRED, status::FAILED, |running| {
        // SAFETY: the plugin lends the key for this call.
        let Some(key) = (unsafe { view::text(key) }) else {
            return status::BAD_KEY;
        };
        match running.context().remove(key) {
            Some(_) => status::OK,
            None => status::MISSING,
        }
    })
}

unsafe extern "C" fn key_at(token: u64, index: u32, out: *mut Str) -> i32 {
    during(token, status::EXPIRED, status::FAILED, |running| {
        let Some(entry) = running.context().entry(index as usize) else {
            return status::MISSING;
        };
        // SAFETY: the plugin passed a place to write to.
        unsafe { out.write(Str::new(entry.key())) };
        status::OK
    })
}

unsafe extern "C" fn remaining(token: u64) -> u64 {
    during(token, 0, 0, |running| {
        match running.context().bounds.deadline {
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                left.as_nanos().try_into().unwrap_or(u64::MAX - 1)
            }
            None => u64::MAX,
        }
    })
}

/// An expired context answers as a cancelled one, so that a thread that polls it ends.
unsafe extern "C" fn cancelled(token: u64) -> u32 {
    during(token, 1, 1, |running| {
        u32::from(running.context().bounds.is_over())
    })
}

unsafe extern "C" fn fail(token: u64, code: Str, message: Str) -> i32 {
    during(token, status::EXPIRED, status::FAILED, |running| {
        // SAFETY: the plugin lends the text for this call.
        let code = unsafe { excerpt(code, 128) };
        // SAFETY: the plugin lends the text for this call.
        let message = unsafe { excerpt(message, running.limits().text_bytes) };
        running.context().failure = Some(Box::new(Failure { code, message }));
        status::OK
    })
}

unsafe extern "C" fn log(token: u64, level: u32, message: Str) -> i32 {
    during(token, status::EXPIRED, status::FAILED, |running| {
        // SAFETY: the plugin lends the text for this call.
        let message = unsafe { excerpt(message, running.limits().text_bytes) };
        let (plugin, label) = (running.call().callee.name(), running.call().label);
        match level {
            level::ERROR => tracing::error!(target: "plg::plugin", plugin, label, "{message}"),
            level::WARN => tracing::warn!(target: "plg::plugin", plugin, label, "{message}"),
            level::INFO => tracing::info!(target: "plg::plugin", plugin, label, "{message}"),
            level::DEBUG => tracing::debug!(target: "plg::plugin", plugin, label, "{message}"),
            level::TRACE => tracing::trace!(target: "plg::plugin", plugin, label, "{message}"),
            _ => return status::BAD_VALUE,
        }
        status::OK
    })
}

unsafe extern "C" fn progress(token: u64, done: u64, total: u64, message: Str) -> i32 {
    during(token, status::EXPIRED, status::FAILED, |running| {
        // SAFETY: the plugin lends the text for this call.
        let message = unsafe { excerpt(message, running.limits().text_bytes) };
        let (plugin, label) = (running.call().callee.name(), running.call().label);
        tracing::debug!(target: "plg::progress", plugin, label, done, total, "{message}");
        if let Some(watcher) = running.context().bounds.watcher.clone() {
            (watcher.0)(&Progress {
                plugin,
                label,
                done,
                total: (total > 0).then_some(total),
                message: &message,
            });
        }
        status::OK
    })
}

unsafe extern "C" fn call(
    token: u64,
    plugin: Str,
    label: Str,
    input: ValueRef,
    out: *mut ValueRef,
) -> i32 {
    during(token, status::EXPIRED, status::FAILED, |running| {
        // SAFETY: the plugin lends the text for this call.
        let (Some(plugin), Some(label)) = (unsafe { view::text(plugin) }, {
            // SAFETY: as above.
            unsafe { view::text(label) }
        }) else {
            return status::BAD_KEY;
        };
        // SAFETY: the plugin lends the value for this call.
        let input = match unsafe { view::copy(input, running.limits().value_bytes) } {
            Ok(Value::Map(input)) => input,
            Ok(_) => return status::BAD_VALUE,
            Err(status) => return status,
        };
        let mut nested = running.context().nested();
        nested.extend(input);
        let outcome = running.call().callee.call_other(plugin, label, &mut nested);
        let (status, reply) = match outcome {
            Ok(()) => (status::OK, nested.into_map()),
            Err(Failure { code, message }) => (
                status::FAILED,
                Value::from([("code", code), ("message", message)]),
            ),
        };
        let mut loans = running.0.loans.borrow_mut();
        let Loans { shelf, reply: kept } = &mut **loans.get_or_insert_default();
        shelf.clear();
        *kept = reply;
        let Some(lent) = shelf.lend(kept) else {
            return status::TOO_LARGE;
        };
        // SAFETY: the plugin passed a place to write to.
        unsafe { out.write(lent) };
        status
    })
}

#[cfg(feature = "next-minor")]
unsafe extern "C" fn next(token: u64) -> u64 {
    during(token, 0, 0, |_| 1)
}

/// Lends the value at `position` to the plugin.
///
/// # Safety
///
/// `out` is the plugin's to write.
#[inline]
unsafe fn lend(running: Running<'_>, position: usize, out: *mut ValueRef) -> i32 {
    let Some(entry) = running.context().entry(position) else {
        return status::MISSING;
    };
    let lent = match &entry.value {
        Value::I64(number) => Some(view::lend_i64(*number)),
        Value::Str(text) => view::lend_str(text),
        Value::F64(number) => Some(view::lend_f64(*number)),
        Value::Bool(flag) => Some(view::lend_bool(*flag)),
        Value::Bytes(bytes) => view::lend_bytes(bytes),
        Value::Null => Some(ValueRef::NULL),
        nested => lend_nested(running, nested),
    };
    let Some(lent) = lent else {
        return status::TOO_LARGE;
    };
    // SAFETY: the caller's promise.
    unsafe { out.write(lent) };
    status::OK
}

#[cold]
fn lend_nested(running: Running<'_>, value: &Value) -> Option<ValueRef> {
    let mut loans = running.0.loans.borrow_mut();
    let shelf = &mut loans.get_or_insert_default().shelf;
    shelf.clear();
    shelf.lend(value)
}

/// Stores a copy of the plugin's value at `position`.
///
/// # Safety
///
/// Every address in `value` is good for this call.
#[inline]
unsafe fn write(running: Running<'_>, position: usize, value: ValueRef) -> i32 {
    let Some(entry) = running.context().entry_mut(position) else {
        return status::MISSING;
    };
    match (value.tag, &mut entry.value) {
        (tag::I64, place) => *place = Value::I64(value.bits.cast_signed()),
        (tag::F64, place) => *place = Value::F64(f64::from_bits(value.bits)),
        (tag::BOOL, place) => *place = Value::Bool(value.bits != 0),
        // The allocation of the text before serves the next one.
        (tag::STR, Value::Str(place))
            if value.len as usize <= running.limits().value_bytes && is_apart(value, place) =>
        {
            // SAFETY: the caller's promise.
            let Ok(text) = std::str::from_utf8(unsafe { view::payload(value) }) else {
                return status::BAD_VALUE;
            };
            place.clear();
            place.push_str(text);
        }
        (_, place) => {
            // SAFETY: the caller's promise.
            match unsafe { view::copy(value, running.limits().value_bytes) } {
                Ok(copied) => *place = copied,
                Err(status) => return status,
            }
        }
    }
    status::OK
}

/// Whether a text lies outside `place`, which it would be copied into. A plugin may set a part of what
/// it got from the same key.
fn is_apart(text: ValueRef, place: &String) -> bool {
    let own = place.as_bytes().as_ptr_range();
    text.bits != 0 && !own.contains(&std::ptr::with_exposed_provenance(text.bits as usize))
}

/// Stores a copy of the plugin's value under a new key.
///
/// # Safety
///
/// Every address in `value` is good for this call.
#[cold]
unsafe fn add(running: Running<'_>, key: &str, value: ValueRef) -> i32 {
    let limits = running.limits();
    if key.trim().is_empty() {
        return status::OK;
    }
    if key.len() > limits.key_bytes || running.context().len() >= limits.values {
        return status::TOO_LARGE;
    }
    // SAFETY: the caller's promise.
    match unsafe { view::copy(value, limits.value_bytes) } {
        Ok(copied) => {
            running.context().set(key, copied);
            status::OK
        }
        Err(status) => status,
    }
}

/// A plugin's text, at most `limit` bytes of it.
///
/// # Safety
///
/// The text is good for this call.
unsafe fn excerpt(text: Str, limit: usize) -> String {
    // SAFETY: the caller's promise.
    let bytes = unsafe { view::bytes(text) };
    match bytes.get(..limit) {
        Some(start) if start.len() < bytes.len() => {
            String::from_utf8_lossy(start).into_owned() + "…"
        }
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}
