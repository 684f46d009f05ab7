//! What `plugin!` exports: shims that no panic leaves.
#![expect(
    unsafe_code,
    reason = "the shims receive what the host passes over the C ABI"
)]

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};

use crate::abi::{self, Ctx, Str, status};
use crate::context::Context;
use crate::error::Error;

/// An entry point as authors write it.
pub type Entry = fn(&mut Context<'_>) -> Result<(), Error>;

/// What a plugin offers, as `plugin!` collects it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Exports {
    /// Answers every call.
    pub execute: Entry,
    /// Runs once before the first call; an error refuses the load.
    pub init: Option<Entry>,
    /// Ends the plugin's threads before it is unloaded.
    pub stop: Option<Entry>,
    /// The labels that `execute` answers; empty when the plugin does not say.
    pub labels: &'static [&'static str],
}

impl Exports {
    /// A plugin that only answers calls.
    #[must_use]
    pub const fn new(execute: Entry) -> Self {
        Self {
            execute,
            init: None,
            stop: None,
            labels: &[],
        }
    }
}

/// Labels in the form the descriptor points to.
#[derive(Debug)]
pub struct Labels<const N: usize>([Str; N]);

// SAFETY: the pointers go to `'static` text that nobody writes.
unsafe impl<const N: usize> Sync for Labels<N> {}

impl<const N: usize> Labels<N> {
    /// Converts `labels`, of which there are `N`.
    #[must_use]
    pub const fn new(labels: &'static [&'static str]) -> Self {
        let mut out = [Str::EMPTY; N];
        let mut index = 0;
        while index < N {
            out[index] = Str::new(labels[index]);
            index += 1;
        }
        Self(out)
    }
}

/// The descriptor in the form a `static` can have.
#[derive(Debug)]
#[repr(transparent)]
pub struct Table(abi::Descriptor);

// SAFETY: the pointers go to functions and to `'static` labels that nobody writes.
unsafe impl Sync for Table {}

impl Table {
    /// A descriptor of these entry points.
    #[must_use]
    pub const fn new<const N: usize>(
        execute: abi::EntryPoint,
        init: abi::EntryPoint,
        stop: abi::EntryPoint,
        labels: &'static Labels<N>,
    ) -> Self {
        Self(abi::Descriptor {
            size: size_of::<abi::Descriptor>() as u32,
            minor: abi::MINOR as u32,
            execute: Some(execute),
            init: Some(init),
            stop: Some(stop),
            live: Some(live),
            fini: Some(fini),
            labels: labels.0.as_ptr(),
            label_count: N,
            #[cfg(feature = "next-minor")]
            next,
        })
    }
}

/// Runs `execute` and reports how it ended. No panic leaves.
///
/// # Safety
///
/// `raw` is what the host passed to the entry point that calls this.
#[inline]
pub unsafe fn run(raw: Ctx, entry: Entry) -> i32 {
    // SAFETY: the caller vouches for `raw`, and nothing else wraps it.
    let mut context = unsafe { Context::from_raw(raw) };
    match panic::catch_unwind(AssertUnwindSafe(|| entry(&mut context))) {
        Ok(Ok(())) => status::OK,
        outcome => settle(&context, outcome),
    }
}

/// Runs `init` after the panic hook is in place.
///
/// # Safety
///
/// As for [`run`].
pub unsafe fn run_init(raw: Ctx, init: Option<Entry>) -> i32 {
    panic::set_hook(Box::new(note_panic));
    match init {
        // SAFETY: the caller's promise is passed on.
        Some(init) => unsafe { run(raw, init) },
        None => status::OK,
    }
}

/// Runs `stop`, if there is one.
///
/// # Safety
///
/// As for [`run`].
pub unsafe fn run_stop(raw: Ctx, stop: Option<Entry>) -> i32 {
    match stop {
        // SAFETY: the caller's promise is passed on.
        Some(stop) => unsafe { run(raw, stop) },
        None => status::OK,
    }
}

thread_local! {
    /// What the hook saw of the panic that is being caught on this thread.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps message and place of a panic. It takes no backtrace: std would keep this plugin's file
/// mapped in its symbol cache for good.
fn note_panic(info: &PanicHookInfo<'_>) {
    let message = info
        .payload_as_str()
        .unwrap_or("a payload that is not text");
    let text = match info.location() {
        Some(place) => format!("{message} at {}:{}", place.file(), place.line()),
        None => message.to_owned(),
    };
    // A thread on its way out may have lost its thread-locals; a second panic here would abort.
    let _ = LAST_PANIC.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = Some(text);
        }
    });
}

/// Reports what was caught. Both the report and the drop of what was caught may panic again, so they
/// stand in a catch of their own.
#[cold]
fn settle(context: &Context<'_>, outcome: Result<Result<(), Error>, Box<dyn Any + Send>>) -> i32 {
    let (status, payload) = match outcome {
        Ok(Ok(())) => (status::OK, None),
        Ok(Err(error)) => {
            context.fail(&error);
            (status::FAILED, None)
        }
        Err(payload) => {
            let text = LAST_PANIC
                .try_with(|last| last.try_borrow_mut().ok()?.take())
                .ok()
                .flatten()
                .or_else(|| text_of(payload.as_ref()))
                .unwrap_or_else(|| "a payload that is not text".to_owned());
            context.fail(&Error::new("call.panicked", text));
            (status::PANICKED, Some(payload))
        }
    };
    if let Err(second) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // Dropping this one could panic as well, without end; a leak is the lesser evil.
        std::mem::forget(second);
    }
    status
}

fn text_of(payload: &(dyn Any + Send)) -> Option<String> {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
}

unsafe extern "C" fn live() -> u32 {
    crate::hooks::live_threads()
}

unsafe extern "C" fn fini() -> u32 {
    if crate::hooks::live_threads() > 0 {
        return crate::hooks::live_threads();
    }
    // The hook is a box of this image; std would drop it after the image is gone.
    let taken = panic::catch_unwind(|| drop(panic::take_hook()));
    if let Err(payload) = taken {
        std::mem::forget(payload);
    }
    crate::hooks::give_back()
}

#[cfg(feature = "next-minor")]
unsafe extern "C" fn next() -> u64 {
    77
}

/// Exports a plugin: `plugin!(execute)`, and after the entry point, in any order,
///
/// - `labels: ["greet", "part"]`: what `execute` answers, so that the host knows a label before the
///   first call and refuses others;
/// - `init: function`: runs once before the first call; an error refuses the load;
/// - `stop: function`: ends the plugin's threads before it is unloaded;
/// - `manifest: include_bytes!("…")`: the manifest to embed. Without it, `plugin.json` beside
///   `Cargo.toml` is embedded; a crate without one says `manifest: b""`.
///
/// All three functions have the signature of `execute`. Use it once in a crate of type `cdylib`.
///
/// ```
/// use plg_plugin_api::{Context, Error, plugin};
///
/// fn execute(ctx: &mut Context<'_>) -> Result<(), Error> {
///     ctx.set("label", ctx.label())
/// }
///
/// plugin!(execute, labels: ["echo"], manifest: b"");
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! plugin {
    ($execute:path $(, $key:ident : $value:expr)* $(,)?) => {
        const _: () = {
            const PLG_EXPORTS: $crate::export::Exports = {
                #[allow(unused_mut, reason = "only options write to it")]
                let mut exports = $crate::export::Exports::new($execute);
                $($crate::__plugin_option!(exports, $key, $value);)*
                exports
            };
            const PLG_MANIFEST: &[u8] = $crate::__plugin_manifest!($($key, $value;)*);
            static PLG_LABELS: $crate::export::Labels<{ PLG_EXPORTS.labels.len() }> =
                $crate::export::Labels::new(PLG_EXPORTS.labels);
            static PLG_TABLE: $crate::export::Table =
                $crate::export::Table::new(plg_execute, plg_init, plg_stop, &PLG_LABELS);

            #[used]
            #[unsafe(export_name = "plg_note_v1")]
            #[unsafe(link_section = ".plgnote")]
            static PLG_NOTE: $crate::abi::Note<{ PLG_MANIFEST.len() }> = $crate::abi::Note::new(
                env!("CARGO_PKG_NAME"),
                env!("CARGO_PKG_VERSION"),
                $crate::__plugin_flags!(),
                PLG_MANIFEST,
            );

            #[unsafe(export_name = "plg_descriptor_v1")]
            extern "C" fn plg_descriptor() -> *const $crate::abi::Descriptor {
                (&raw const PLG_TABLE).cast()
            }

            #[unsafe(export_name = "execute")]
            unsafe extern "C" fn plg_execute(context: $crate::abi::Ctx) -> i32 {
                // SAFETY: the host passed it to this entry point.
                unsafe { $crate::export::run(context, PLG_EXPORTS.execute) }
            }

            unsafe extern "C" fn plg_init(context: $crate::abi::Ctx) -> i32 {
                // SAFETY: the host passed it to this entry point.
                unsafe { $crate::export::run_init(context, PLG_EXPORTS.init) }
            }

            unsafe extern "C" fn plg_stop(context: $crate::abi::Ctx) -> i32 {
                // SAFETY: the host passed it to this entry point.
                unsafe { $crate::export::run_stop(context, PLG_EXPORTS.stop) }
            }
        };

        $crate::__unload_hooks!();
        $crate::__layout!();
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __plugin_option {
    ($exports:ident, labels, $value:expr) => {
        $exports.labels = &$value;
    };
    ($exports:ident, init, $value:expr) => {
        $exports.init = Some($value);
    };
    ($exports:ident, stop, $value:expr) => {
        $exports.stop = Some($value);
    };
    ($exports:ident, manifest, $value:expr) => {};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __plugin_manifest {
    () => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.json"))
    };
    (manifest, $value:expr; $($rest:tt)*) => {
        $value
    };
    ($key:ident, $value:expr; $($rest:tt)*) => {
        $crate::__plugin_manifest!($($rest)*)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __plugin_flags {
    () => {{
        let mut flags = $crate::hooks::FLAG;
        if cfg!(panic = "unwind") {
            flags |= $crate::abi::flag::UNWIND;
        }
        if cfg!(debug_assertions) {
            flags |= $crate::abi::flag::DEBUG;
        }
        flags
    }};
}

/// Exports the plugin's `abi_stable` layout.
#[cfg(feature = "abi_stable")]
#[doc(hidden)]
#[macro_export]
macro_rules! __layout {
    () => {
        #[unsafe(no_mangle)]
        extern "C" fn plg_layout_v1() -> *const ::core::ffi::c_void {
            ::core::ptr::from_ref($crate::layout::boundary()).cast()
        }
    };
}

#[cfg(not(feature = "abi_stable"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __layout {
    () => {};
}
