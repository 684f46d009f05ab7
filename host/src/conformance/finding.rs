//! What a case finds, and the comparisons that find it.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

use plg_plugin_api::Value;

use crate::call::CallFailure;
use crate::error::Error;

/// A case that held, or what speaks against that.
pub(super) type Found = Result<(), Finding>;

/// Why a case did not hold.
#[derive(Debug)]
pub(super) enum Finding {
    Failed(String),
    Skipped(String),
}

/// How soon "soon" is.
pub(super) const SOON: Duration = Duration::from_secs(2);
/// The most letters of what a plugin said that a report repeats.
const SHOWN: usize = 200;

pub(super) fn failed<T>(why: impl Into<String>) -> Result<T, Finding> {
    Err(Finding::Failed(why.into()))
}

pub(super) fn skipped<T>(why: impl Into<String>) -> Result<T, Finding> {
    Err(Finding::Skipped(why.into()))
}

/// Whether something is what it should be.
pub(super) fn expect<T: Debug + PartialEq>(what: &str, found: &T, expected: &T) -> Found {
    if found == expected {
        return Ok(());
    }
    failed(format!(
        "{what} is {}, expected {}",
        shown(found),
        shown(expected)
    ))
}

/// Whether a value is there, of that kind and bit by bit; one nan is as good as another.
pub(super) fn expect_value(key: &str, found: Option<&Value>, expected: &Value) -> Found {
    match found {
        Some(found) if is_same(found, expected) => Ok(()),
        Some(found) => failed(format!(
            "`{key}` is {}, expected {}",
            shown(found),
            shown(expected)
        )),
        None => failed(format!(
            "nothing is under `{key}`, expected {}",
            shown(expected)
        )),
    }
}

/// Whether a call succeeded.
pub(super) fn expect_ok(outcome: &Result<(), Error>) -> Found {
    match outcome {
        Ok(()) => Ok(()),
        Err(error) => failed(format!("the call failed with `{}`: {error}", error.code())),
    }
}

/// Whether a call failed with that code of the host's.
pub(super) fn expect_code(outcome: &Result<(), Error>, expected: &str) -> Found {
    match outcome {
        Ok(()) => failed(format!("the call succeeded, expected `{expected}`")),
        Err(error) if error.code() == expected => Ok(()),
        Err(error) => failed(format!(
            "the call failed with `{}`, expected `{expected}`: {error}",
            error.code()
        )),
    }
}

/// Whether a call failed with that code of the plugin's own and that message.
pub(super) fn expect_told(outcome: &Result<(), Error>, code: &str, message: &str) -> Found {
    let Err(error) = outcome else {
        return failed(format!("the call succeeded, expected `{code}`"));
    };
    match error {
        Error::Call(call) => match &call.failure {
            CallFailure::Failed {
                code: found,
                message: said,
            } => {
                expect("the code", &found.as_str(), &code)?;
                expect("the message", &said.as_str(), &message)
            }
            other => failed(format!("the call {other}, expected `{code}`")),
        },
        other => failed(format!("`{}`, expected `{code}`: {other}", other.code())),
    }
}

/// Waits for something that should be so soon.
pub(super) fn soon(mut is_so: impl FnMut() -> Result<bool, Finding>, what: &str) -> Found {
    within(SOON, &mut is_so, what)
}

/// Waits for something that should be so within `limit`.
pub(super) fn within(
    limit: Duration,
    mut is_so: impl FnMut() -> Result<bool, Finding>,
    what: &str,
) -> Found {
    let start = Instant::now();
    loop {
        if is_so()? {
            return Ok(());
        }
        if start.elapsed() > limit {
            return failed(format!("{what} within {limit:?}"));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Something as a report shows it.
pub(super) fn shown(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    if text.chars().count() <= SHOWN {
        return text;
    }
    let start: String = text.chars().take(SHOWN).collect();
    format!("{start}…")
}

fn is_same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::F64(left), Value::F64(right)) => {
            left.to_bits() == right.to_bits() || (left.is_nan() && right.is_nan())
        }
        (Value::List(left), Value::List(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| is_same(l, r))
        }
        (Value::Map(left), Value::Map(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(l, r)| l.0 == r.0 && is_same(l.1, r.1))
        }
        (left, right) => left == right,
    }
}
