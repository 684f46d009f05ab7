//! What holds for every plugin.

use std::time::Instant;

use super::finding::{Found, expect, expect_code, failed, shown};
use super::rule::{Needs, Rule};
use super::subject::Subject;
use crate::discovery::Candidate;
use crate::error::Error;

pub(super) const LOADED: Rule<Result<(), Error>> = Rule::must(
    "load.load",
    Needs::Nothing,
    "the plugin is loaded",
    |outcome| match outcome {
        Ok(()) => Ok(()),
        Err(error) => failed(format!("`{}`: {}", error.code(), error.in_full())),
    },
);

/// While it is loaded.
pub(super) const WHILE: &[Rule<(Subject, Candidate)>] = &[
    Rule::must(
        "load.identity",
        Needs::Nothing,
        "its name and version are those of its manifest",
        |(subject, candidate)| {
            let manifest = &candidate.manifest;
            expect("the name", &subject.plugin.name(), &manifest.name.as_str())?;
            let current = subject.plugin.snapshot().current;
            let version = current.map(|current| current.version);
            expect("the version", &version, &Some(manifest.version.clone()))
        },
    ),
    Rule::must(
        "load.no_route",
        Needs::Nothing,
        "a label that no plugin has fails with `call.no_route`",
        |(subject, _)| {
            let mut context = subject.context();
            let outcome = subject.plugin.call(NO_SUCH_LABEL, &mut context);
            expect_code(&outcome, "call.no_route")
        },
    ),
];

/// At its end.
pub(super) const END: &[Rule<(Subject, Candidate)>] = &[
    Rule::must(
        "load.unload",
        Needs::Nothing,
        "it goes when it is unloaded",
        |(subject, _)| goes(subject),
    ),
    Rule::must(
        "load.again",
        Needs::Nothing,
        "it can be loaded again after that",
        |(subject, candidate)| {
            let place = candidate.directory.as_ref().unwrap_or(&candidate.library);
            match subject.host.load(place) {
                Ok(_) => goes(subject),
                Err(error) => failed(format!("`{}`: {}", error.code(), error.in_full())),
            }
        },
    ),
];

pub(super) const NO_SUCH_LABEL: &str = "conformance.no-such-label";

fn goes(subject: &Subject) -> Found {
    let start = Instant::now();
    let limit = subject.host.inner.setup.loader.limits.grace;
    match subject.host.unload(subject.plugin.name()) {
        Ok(_) if start.elapsed() <= limit => Ok(()),
        Ok(gone) => {
            let took = start.elapsed();
            failed(format!("it took {took:?} until it was {}", shown(&gone)))
        }
        Err(error) => failed(format!("`{}`: {}", error.code(), error.in_full())),
    }
}
