//! A plugin in a host, as the cases ask it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use plg_plugin_api::Value;

use super::finding::{Finding, Found, expect_ok, failed, skipped, soon};
use crate::context::{Cancel, Context};
use crate::error::Error;
use crate::host::Host;
use crate::plugin::Handle;

/// A plugin that is loaded.
pub(super) struct Subject {
    pub(super) host: Host,
    pub(super) plugin: Handle,
}

/// How long a call may take when the case does not say.
const ANSWER: Duration = Duration::from_secs(30);

impl Subject {
    /// Values for a call that may take its time.
    pub(super) fn context(&self) -> Context {
        Context::new().timeout(ANSWER)
    }

    /// Calls a label of the suite, and returns the values that it left.
    pub(super) fn call(&self, label: &str, mut context: Context) -> Result<Context, Finding> {
        let outcome = self.ask(label, &mut context);
        match outcome {
            Ok(()) => Ok(context),
            Err(error) if error.code() == "call.no_route" => {
                failed(format!("the plugin has no `conformance.{label}`"))
            }
            outcome => {
                expect_ok(&outcome)?;
                Ok(context)
            }
        }
    }

    /// Calls a label of the suite.
    pub(super) fn ask(&self, label: &str, context: &mut Context) -> Result<(), Error> {
        self.plugin.call(&format!("conformance.{label}"), context)
    }

    /// What comes back from a call with `value`.
    pub(super) fn echo(&self, value: &Value) -> Result<Option<Value>, Finding> {
        let context = self.context().with("value", value.clone());
        Ok(self.call("echo", context)?.remove("echo"))
    }

    /// How many calls sleep.
    pub(super) fn sleeping(&self) -> Result<i64, Finding> {
        number(&self.call("sleeping", self.context())?, "sleeping")
    }

    /// Whether those that slept have come back.
    pub(super) fn is_awake_soon(&self) -> Found {
        soon(
            || Ok(self.sleeping()? == 0),
            "`conformance.sleep` did not end",
        )
    }

    /// Starts so many sleeps, does `meanwhile` once all of them run, and then cancels them. Returns how each ended.
    pub(super) fn with_sleepers(
        &self,
        count: usize,
        meanwhile: impl FnOnce() -> Found,
    ) -> Result<Vec<Result<(), Error>>, Finding> {
        let cancel = Cancel::new();
        let asleep = Arc::new(AtomicUsize::new(0));
        thread::scope(|scope| {
            let sleepers: Vec<_> = (0..count)
                .map(|_| {
                    let asleep = asleep.clone();
                    let context = self.context().cancelled_by(&cancel);
                    let mut context = context.on_progress(move |_| {
                        asleep.fetch_add(1, Ordering::SeqCst);
                    });
                    scope.spawn(move || self.ask("sleep", &mut context))
                })
                .collect();
            let all_sleep = || Ok(asleep.load(Ordering::SeqCst) >= count);
            let what = "`conformance.sleep` did not report that it sleeps";
            let found = soon(all_sleep, what).and_then(|()| meanwhile());
            cancel.cancel();
            let ended: Vec<_> = sleepers
                .into_iter()
                .map(thread::ScopedJoinHandle::join)
                .collect();
            found?;
            ended
                .into_iter()
                .map(|ended| ended.or_else(|_| failed("a call panicked in the host")))
                .collect()
        })
    }

    /// What a call reports while it runs.
    pub(super) fn progress_of(&self, label: &str) -> Result<(Context, Vec<Report>), Finding> {
        let reports: Arc<Mutex<Vec<Report>>> = Arc::default();
        let seen = reports.clone();
        let context = self.context().on_progress(move |progress| {
            let report = (progress.done, progress.total, progress.message.to_owned());
            seen.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(report);
        });
        let context = self.call(label, context)?;
        let reports = reports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Ok((context, reports))
    }
}

/// How much was done, of how much, and what.
pub(super) type Report = (u64, Option<u64>, String);

/// The whole number under `key`.
pub(super) fn number(context: &Context, key: &str) -> Result<i64, Finding> {
    match context.get(key) {
        Some(Value::I64(number)) => Ok(*number),
        Some(other) => failed(format!("`{key}` is of kind {}, expected i64", other.kind())),
        None => failed(format!("nothing is under `{key}`")),
    }
}

/// Passes over a case whose label a plugin may leave out.
pub(super) fn skip_if_missing(outcome: &Result<(), Error>, label: &str) -> Found {
    match outcome {
        Err(error) if error.code() == "call.no_route" => {
            skipped(format!("the plugin leaves `conformance.{label}` out"))
        }
        _ => Ok(()),
    }
}
