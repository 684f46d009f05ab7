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
/// `restore` as authors write it: the number is the version of the state in the context.
pub type Restore = fn(&mut Context<'_>, u32) -> Result<(), Error>;

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
    /// The version of the state that `save` writes.
    pub state: Option<u32>,
    /// Puts the state into its context, for the build that comes next.
    pub save: Option<Entry>,
    /// Takes over the state of the build before, after `init` and before the first call.
    pub restore: Option<Restore>,
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
            state: None,
            save: None,
            restore: None,
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

/// The functions that a plugin's table points to.
#[derive(Clone, Copy, Debug)]
pub struct Shims {
    /// Runs [`Exports::execute`].
    pub execute: abi::EntryPoint,
    /// Runs [`Exports::init`], if there is one.
    pub init: abi::EntryPoint,
    /// Runs [`Exports::stop`], if there is one.
    pub stop: abi::EntryPoint,
    /// Runs [`Exports::save`].
    pub save: abi::EntryPoint,
    /// Runs [`Exports::restore`].
    pub restore: abi::EntryPoint,
}

/// The descriptor in the form a `static` can have.
#[derive(Debug)]
#[repr(transparent)]
pub struct Table(abi::Descriptor);

// SAFETY: the pointers go to functions and to `'static` labels that nobody writes.
unsafe impl Sync for Table {}

impl Table {
    /// A descriptor of what `exports` has.
    ///
    /// # Panics
    ///
    /// At compile time, when `exports` has some of `state`, `save` and `restore` but not all three.
    #[must_use]
    pub const fn new<const N: usize>(
        exports: &Exports,
        shims: Shims,
        labels: &'static Labels<N>,
    ) -> Self {
        let (state_version, save, restore) = match (exports.state, exports.save, exports.restore) {
            (Some(version), Some(_), Some(_)) => (version, Some(shims.save), Some(shims.restore)),
            (None, None, None) => (0, None, None),
            _ => panic!("`state`, `save` and `restore` go together"),
        };
        Self(abi::Descriptor {
            size: size_of::<abi::Descriptor>() as u32,
            minor: abi::MINOR as u32,
            execute: Some(shims.execute),
            init: Some(shims.init),
            stop: Some(shims.stop),
            live: Some(live),
            fini: Some(fini),
            labels: labels.0.as_ptr(),
            label_count: N,
            state_version,
            reserved: 0,
            save,
            restore,
            #[cfg(feature = "next-minor")]
            next,
        })
    }
}

/// Runs `entry` and reports how it ended. No panic leaves.
///
/// # Safety
///
/// `raw` and `label` are what the host passed to the entry point that calls this.
#[inline]
pub unsafe fn run<F>(raw: Ctx, label: Str, entry: F) -> i32
where
    F: FnOnce(&mut Context<'_>) -> Result<(), Error>,
{
    // SAFETY: the caller vouches for both, and nothing else wraps them.
    let mut context = unsafe { Context::from_raw(raw, label) };
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
pub unsafe fn run_init(raw: Ctx, label: Str, init: Option<Entry>) -> i32 {
    panic::set_hook(Box::new(note_panic));
    // SAFETY: the caller's promise is passed on.
    unsafe { run_optional(raw, label, init) }
}

/// Runs `stop` or `save`, if there is one.
///
/// # Safety
///
/// As for [`run`].
pub unsafe fn run_optional(raw: Ctx, label: Str, entry: Option<Entry>) -> i32 {
    match entry {
        // SAFETY: the caller's promise is passed on.
        Some(entry) => unsafe { run(raw, label, entry) },
        None => status::OK,
    }
}

/// Runs `restore`, if there is one, with the version that the label names.
///
/// # Safety
///
/// As for [`run`].
pub unsafe fn run_restore(raw: Ctx, label: Str, restore: Option<Restore>) -> i32 {
    let Some(restore) = restore else {
        return status::OK;
    };
    let entry = |context: &mut Context<'_>| {
        let version = context.label();
        let version = version.parse().map_err(|_| {
            Error::failed(format!(
                "the state's version is `{version}`, expected a whole number"
            ))
        })?;
        restore(context, version)
    };
    // SAFETY: the caller's promise is passed on.
    unsafe { run(raw, label, entry) }
}

thread_local! {
    /// What the hook saw of the panic that is being caught on this thread.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps message and place of a panic. It takes no backtrace: std would keep this plugin's file
/// mapped in its symbol cache for good.
pub(crate) fn note_panic(info: &PanicHookInfo<'_>) {
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
/// - `init: function`: runs once before the first call, over the operator's configuration for the plugin as
///   values; an error refuses the load;
/// - `stop: function`: ends the plugin's threads before it is unloaded;
/// - `state: 1, save: function, restore: function`: hands the plugin's state over in an upgrade, see
///   below;
/// - `manifest: include_bytes!("…")`: the manifest to embed. Without it, `plugin.json` beside
///   `Cargo.toml` is embedded; a crate without one says `manifest: b""`.
///
/// The functions have the signature of `execute`; `restore` gets a number besides. Use it once in a
/// crate of type `cdylib`.
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
///
/// # State across an upgrade
///
/// Every build has statics of its own, so a new one begins with none of what the old one knew. A plugin
/// that wants to keep something has `save`, which puts it into the context as values, and `restore`,
/// which finds those values in the new build, after `init` and before the first call:
///
/// ```
/// use std::sync::atomic::{AtomicI64, Ordering};
///
/// use plg_plugin_api::{Context, Error, plugin};
///
/// static TOTAL: AtomicI64 = AtomicI64::new(0);
///
/// fn execute(ctx: &mut Context<'_>) -> Result<(), Error> {
///     let by: i64 = ctx.get("by")?;
///     ctx.set("total", TOTAL.fetch_add(by, Ordering::SeqCst) + by)
/// }
///
/// fn save(ctx: &mut Context<'_>) -> Result<(), Error> {
///     ctx.set("total", TOTAL.load(Ordering::SeqCst))
/// }
///
/// fn restore(ctx: &mut Context<'_>, version: u32) -> Result<(), Error> {
///     let total: i64 = match version {
///         2 => ctx.get("total")?,
///         // The first builds called it otherwise.
///         1 => ctx.get("sum")?,
///         other => {
///             let message = format!("the state is of version {other}, expected 1 or 2");
///             return Err(Error::new("adder.state", message));
///         }
///     };
///     TOTAL.store(total, Ordering::SeqCst);
///     Ok(())
/// }
///
/// plugin!(execute, state: 2, save: save, restore: restore, manifest: b"");
/// # fn main() {}
/// ```
///
/// - `state` is the version of what `save` writes. Raise it when you change that. `restore` is told the
///   version that the old build had, which is a higher one when somebody goes back to this build.
/// - `save` may run while calls do, and more than once: an upgrade that fails leaves its build in
///   service. So it takes a copy and ends nothing.
/// - What does not fit the host's limits for values cannot be handed over; `ctx.set` says so.
/// - An error of either ends the upgrade, and the old build goes on answering. Let `restore` change
///   nothing before it has read everything.
/// - A build without them begins with nothing. `restore` is not called where there is nothing to take
///   over: at a first load, and after a build that saves nothing.
///
/// The three go together:
///
/// ```compile_fail
/// # use plg_plugin_api::{Context, Error, plugin};
/// # fn execute(_: &mut Context<'_>) -> Result<(), Error> { Ok(()) }
/// # fn save(_: &mut Context<'_>) -> Result<(), Error> { Ok(()) }
/// plugin!(execute, state: 1, save: save, manifest: b"");
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
            static PLG_TABLE: $crate::export::Table = $crate::export::Table::new(
                &PLG_EXPORTS,
                $crate::export::Shims {
                    execute: plg_execute,
                    init: plg_init,
                    stop: plg_stop,
                    save: plg_save,
                    restore: plg_restore,
                },
                &PLG_LABELS,
            );

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
            unsafe extern "C" fn plg_execute(
                context: $crate::abi::Ctx,
                label: $crate::abi::Str,
            ) -> i32 {
                // SAFETY: the host passed both to this entry point.
                unsafe { $crate::export::run(context, label, PLG_EXPORTS.execute) }
            }

            unsafe extern "C" fn plg_init(
                context: $crate::abi::Ctx,
                label: $crate::abi::Str,
            ) -> i32 {
                // SAFETY: the host passed both to this entry point.
                unsafe { $crate::export::run_init(context, label, PLG_EXPORTS.init) }
            }

            unsafe extern "C" fn plg_stop(
                context: $crate::abi::Ctx,
                label: $crate::abi::Str,
            ) -> i32 {
                // SAFETY: the host passed both to this entry point.
                unsafe { $crate::export::run_optional(context, label, PLG_EXPORTS.stop) }
            }

            unsafe extern "C" fn plg_save(
                context: $crate::abi::Ctx,
                label: $crate::abi::Str,
            ) -> i32 {
                // SAFETY: the host passed both to this entry point.
                unsafe { $crate::export::run_optional(context, label, PLG_EXPORTS.save) }
            }

            unsafe extern "C" fn plg_restore(
                context: $crate::abi::Ctx,
                label: $crate::abi::Str,
            ) -> i32 {
                // SAFETY: the host passed both to this entry point.
                unsafe { $crate::export::run_restore(context, label, PLG_EXPORTS.restore) }
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
    ($exports:ident, state, $value:expr) => {
        $exports.state = Some($value);
    };
    ($exports:ident, save, $value:expr) => {
        $exports.save = Some($value);
    };
    ($exports:ident, restore, $value:expr) => {
        $exports.restore = Some($value);
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
