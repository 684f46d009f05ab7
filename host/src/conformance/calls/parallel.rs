//! Several calls at once.

use std::collections::BTreeSet;
use std::thread;

use plg_plugin_api::Value;

use crate::conformance::finding::{Finding, expect, expect_code, expect_value, failed};
use crate::conformance::rule::{Needs, Rule};
use crate::conformance::subject::{Subject, number};

pub(super) const RULES: &[Rule<Subject>] = &[
    Rule::must(
        "parallel.count",
        Needs::Labels,
        "calls at once do not get in each other's way",
        |subject| {
            let counts =
                by_threads(|_| number(&subject.call("count", subject.context())?, "count"))?;
            let different: BTreeSet<_> = counts.iter().collect();
            expect("how many numbers differ", &different.len(), &counts.len())
        },
    ),
    Rule::must(
        "parallel.at_once",
        Needs::AtOnce,
        "calls run at the same time, and others are answered meanwhile",
        |subject| {
            let ended = subject.with_sleepers(THREADS, || {
                expect("`sleeping`", &subject.sleeping()?, &(THREADS as i64))?;
                let echoed = subject.echo(&Value::from("meanwhile"))?;
                expect_value("echo", echoed.as_ref(), &Value::from("meanwhile"))
            })?;
            let mut ended = ended.iter();
            ended.try_for_each(|outcome| expect_code(outcome, "call.cancelled"))?;
            subject.is_awake_soon()
        },
    ),
    Rule::must(
        "parallel.apart",
        Needs::Labels,
        "each call gets its own answer",
        |subject| {
            by_threads(|number| {
                let own = Value::from(format!("{number}:").repeat(500));
                expect_value("echo", subject.echo(&own)?.as_ref(), &own)
            })
            .map(drop)
        },
    ),
];

const THREADS: usize = 8;
const CALLS: usize = 50;

/// What each of so many calls by each of so many threads found.
fn by_threads<T: Send>(
    call: impl Fn(usize) -> Result<T, Finding> + Sync,
) -> Result<Vec<T>, Finding> {
    let call = &call;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let calls = (0..CALLS).map(move |index| call(thread * CALLS + index));
                scope.spawn(move || calls.collect::<Result<Vec<T>, Finding>>())
            })
            .collect();
        let mut found = Vec::new();
        for thread in threads {
            match thread.join() {
                Ok(outcome) => found.extend(outcome?),
                Err(_) => return failed("a call panicked in the host"),
            }
        }
        Ok(found)
    })
}
