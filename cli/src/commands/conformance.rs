//! `plg conformance`: whether a plugin behaves as every plugin should.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use plg_host::Host;
use plg_host::conformance::{Case, Report, Suite, Verdict};
use serde_json::{Value, json};

use super::Global;
use crate::artifact::Profile;
use crate::exit::Exit;
use crate::home::Home;
use crate::output::Output;
use crate::printable::printable;
use crate::problem::{Failure, Problem};
use crate::target::{Loadable, Target};

/// Judge whether a plugin behaves as every plugin should
///
/// The plugin is loaded into a host and called: values of every kind, errors, deadlines, logs, calls of other plugins.
/// A program is asked by raw requests besides, and has to end when it should. host/CONFORMANCE.md states the cases, and
/// the labels that most of them need; a plugin without these is judged by the rest. A crate is built first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg conformance plugins/py-upper
  plg conformance tests/fixtures/conformance --isolated
  plg conformance target/debug/libmine.so --json")]
pub(crate) struct Conformance {
    /// A directory, a library, a bundle, or the name of a plugin in the plugin directory
    #[arg(value_name = "PATH")]
    plugin: String,
    /// Run a library in a process of its own
    #[arg(long)]
    isolated: bool,
    /// Show what passed and what was skipped as well
    #[arg(long, short)]
    all: bool,
    /// Build and judge the release build of a crate
    #[arg(long)]
    release: bool,
    #[command(flatten)]
    home: Home,
}

impl Conformance {
    pub(super) fn run(self, global: &Global, output: &mut Output) -> Result<Exit, Failure> {
        let target = Target::find_installed(&self.plugin, global, &self.home)?;
        let path = match target.loadable(Profile::release(self.release))? {
            Loadable::Path(path) => path,
            Loadable::Installed { .. } => target.directory().map(PathBuf::from).unwrap_or_default(),
        };
        let mut suite = Suite::new(&path).isolated(self.isolated);
        if self.isolated {
            suite = suite.host(Host::builder().runner("/proc/self/exe"));
        }
        let report = suite.run();
        if let Some(case) = report.case("load.load")
            && let Verdict::Failed(reason) = &case.verdict
            && !output.is_json()
        {
            let detail = format!("`{}` cannot be judged: {reason}", path.display());
            return Err(Problem::new("conformance.failed", detail).into());
        }
        if output.is_json() {
            output.json(&to_json(&report))?;
        } else {
            self.print(&report, &mut output.text())?;
        }
        Ok(if report.conforms() {
            Exit::Ok
        } else {
            Exit::PluginFailed
        })
    }

    fn print(&self, report: &Report, out: &mut impl Write) -> io::Result<()> {
        if let Some((name, version)) = &report.plugin {
            let transport = report.transport.unwrap_or("not loaded");
            writeln!(out, "{name} {version}, {transport}")?;
        }
        let mut skipped: Vec<(&str, usize)> = Vec::new();
        for case in &report.cases {
            if let Verdict::Skipped(why) = &case.verdict
                && !self.all
            {
                match skipped.iter_mut().find(|(known, _)| known == why) {
                    Some((_, count)) => *count += 1,
                    None => skipped.push((why, 1)),
                }
                continue;
            }
            if self.all || case.verdict != Verdict::Passed {
                line(case, out)?;
            }
        }
        for (why, count) in skipped {
            writeln!(out, "  {count} skipped: {}", printable(why))?;
        }
        let (passed, failed, skipped) = report.counts();
        writeln!(out, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

fn line(case: &Case, out: &mut impl Write) -> io::Result<()> {
    let word = match &case.verdict {
        Verdict::Failed(_) if !case.is_must => "should",
        verdict => verdict.as_str(),
    };
    writeln!(out, "  {word:<8}{:<22}{}", case.id, case.required)?;
    match case.verdict.reason() {
        "" => Ok(()),
        reason => writeln!(out, "          {}", printable(reason)),
    }
}

fn to_json(report: &Report) -> Value {
    let cases = report.cases.iter().map(|case| {
        json!({
            "id": case.id,
            "required": case.required,
            "must": case.is_must,
            "verdict": case.verdict.as_str(),
            "reason": case.verdict.reason(),
        })
    });
    let (passed, failed, skipped) = report.counts();
    json!({
        "path": report.path,
        "plugin": report.plugin.as_ref().map(|(name, _)| name),
        "version": report.plugin.as_ref().map(|(_, version)| version),
        "transport": report.transport,
        "labels": report.has_labels,
        "conforms": report.conforms(),
        "passed": passed,
        "failed": failed,
        "skipped": skipped,
        "cases": cases.collect::<Vec<_>>(),
    })
}
