//! What is judged, and how.

use std::path::{Path, PathBuf};

use plg_packaging::manifest::Dialect;
use plg_plugin_api::Value;

use super::report::{Case, Report};
use super::rule::Abilities;
use super::subject::Subject;
use super::{calls, load, wire};
use crate::builder::Builder;
use crate::discovery::Candidate;
use crate::error::Error;
use crate::host::Host;
use crate::limits::Limits;

/// A run of the suite.
///
/// ```no_run
/// let report = plg_host::conformance::Suite::new("libmine.so").run();
/// let (passed, failed, skipped) = report.counts();
/// println!("{passed} passed, {failed} failed, {skipped} skipped");
/// ```
#[derive(Debug)]
#[must_use]
pub struct Suite {
    path: PathBuf,
    others: Vec<PathBuf>,
    builder: Builder,
    isolated: bool,
}

/// How deep calls nest here: as deep as it takes to see that there is a limit.
const DEPTH: u32 = 8;

impl Suite {
    /// Judges the plugin at `path`: a directory with a `plugin.json`, a library or a bundle.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let limits = Limits {
            depth: DEPTH,
            ..Limits::default()
        };
        Self {
            path: path.as_ref().to_owned(),
            others: Vec::new(),
            builder: Host::builder().limits(limits),
            isolated: false,
        }
    }

    /// Loads another plugin before, which this one depends on.
    pub fn with(mut self, path: impl AsRef<Path>) -> Self {
        self.others.push(path.as_ref().to_owned());
        self
    }

    /// Sets the host up in another way. How deep calls may nest is how deep they will.
    pub fn host(mut self, builder: Builder) -> Self {
        self.builder = builder;
        self
    }

    /// Runs a library in a process of its own. The host that does needs a [`runner`](Builder::runner).
    pub fn isolated(mut self, isolated: bool) -> Self {
        self.isolated = isolated;
        self
    }

    /// Runs every case. It takes some seconds, and as many more as the plugin misses deadlines.
    #[must_use]
    pub fn run(self) -> Report {
        let mut report = Report {
            path: self.path.clone(),
            plugin: None,
            transport: None,
            has_labels: false,
            cases: Vec::new(),
        };
        match self.load(&mut report) {
            Ok((subject, candidate)) => {
                report
                    .cases
                    .push(load::LOADED.case(Abilities::default(), &Ok(())));
                judge(&mut report, (subject, candidate));
            }
            Err(error) => {
                report
                    .cases
                    .push(load::LOADED.case(Abilities::default(), &Err(error)));
                skip(&mut report);
            }
        }
        report
    }

    fn load(self, report: &mut Report) -> Result<(Subject, Candidate), Error> {
        let host = self.builder.build()?;
        for other in &self.others {
            host.load(other)?;
        }
        let candidate = host.candidate(&self.path)?;
        let manifest = &candidate.manifest;
        report.plugin = Some((manifest.name.clone(), manifest.version.clone()));
        let plugin = host.load(&self.path)?;
        if self.isolated {
            host.isolate(plugin.name())?;
        }
        Ok((Subject { host, plugin }, candidate))
    }
}

fn judge(report: &mut Report, judged: (Subject, Candidate)) {
    let (subject, candidate) = &judged;
    let current = subject.plugin.snapshot().current;
    report.transport = current.map(|current| current.transport);
    let abilities = abilities(subject);
    report.has_labels = abilities.labels;

    let case = |rule: &super::rule::Rule<_>| rule.case(abilities, &judged);
    let mut cases: Vec<Case> = load::WHILE.iter().map(case).collect();
    let calls: Vec<Case> = calls::rules()
        .map(|rule| rule.case(abilities, subject))
        .collect();
    cases.extend(load::END.iter().map(case));
    report.cases.extend(cases);
    report.cases.extend(calls);

    let native = |dialect| dialect == Dialect::Native;
    match candidate.program() {
        Some((directory, process)) if native(process.dialect) => {
            report
                .cases
                .extend(wire::cases(abilities, candidate, directory, process));
        }
        Some(_) => report
            .cases
            .extend(wire::skipped("the program speaks another protocol")),
        None => report
            .cases
            .extend(wire::skipped("the plugin is a library")),
    }
}

/// Whether the plugin has the labels, and takes several calls at once.
fn abilities(subject: &Subject) -> Abilities {
    let mut context = subject.context();
    match subject.ask("about", &mut context) {
        Err(error) if error.code() == "call.no_route" => Abilities::default(),
        _ => Abilities {
            labels: context.get("suite").is_some(),
            serial: context.get("serial") == Some(&Value::Bool(true)),
        },
    }
}

/// Passes over all that takes a plugin that is loaded.
fn skip(report: &mut Report) {
    let why = "the plugin is not loaded";
    let load = load::WHILE.iter().chain(load::END);
    report.cases.extend(load.map(|rule| rule.skipped(why)));
    report
        .cases
        .extend(calls::rules().map(|rule| rule.skipped(why)));
    report.cases.extend(wire::skipped(why));
}
