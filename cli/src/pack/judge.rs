//! What is not packed, because it could not be loaded or would surprise others.

use plg_host::preflight::{self, Finding, Rules, Severity};
use plg_host::{Host, LoadError, Manifest};
use plg_packaging::bundle::Target;
use plg_packaging::contract::{self, Comparison};
use plg_packaging::manifest::{Isolation, code};

use super::libraries::Library;
use crate::problem::Problem;

/// Refuses a library that a host would refuse. One for another machine is only looked at from the outside.
pub(crate) fn library(library: &Library, manifest: &Manifest) -> Result<(), Problem> {
    if library.target != Target::current() {
        let verdict = preflight::check_foreign(&library.bytes, &library.target);
        return verdict.map_err(|finding| refused(library, finding));
    }
    let rules = Rules {
        isolated: !matches!(manifest.isolation, None | Some(Isolation::InProcess)),
        ..Rules::default()
    };
    let host = Host::builder().preflight(rules).build()?;
    let report = host.preflight(&library.bytes);
    let refuses = |finding: &Finding| finding.severity == Severity::Refuse;
    if let Some(finding) = report.findings.into_iter().find(refuses) {
        return Err(refused(library, finding));
    }
    let note = report.facts.as_ref().and_then(|facts| facts.plugin_note());
    match note {
        Some(note) if note.name != manifest.name.as_str() => {
            let detail = format!(
                "`{}` is the plugin `{}`, and the manifest is of `{}`",
                library.path.display(),
                note.name,
                manifest.name
            );
            let problem = Problem::new(code::IDENTITY, detail);
            Err(problem.help("pack the library of this plugin"))
        }
        _ => Ok(()),
    }
}

/// A library that says another version than the manifest; both may be meant.
pub(crate) fn other_version(library: &Library, manifest: &Manifest) -> Option<Problem> {
    let facts = preflight::inspect(&library.bytes).ok()?;
    let note = facts.plugin_note()?;
    if note.version == manifest.version.to_string() {
        return None;
    }
    let detail = format!(
        "the library for `{}` says version {}, and the manifest says {}",
        library.target, note.version, manifest.version
    );
    let problem = Problem::new(code::VERSION, detail);
    Some(problem.help("give `plugin.json` and the crate or source the same version"))
}

/// Compares with the build that this one would replace. With `force` a version that is too small passes.
pub(crate) fn contract(
    before: Option<&Manifest>,
    now: &Manifest,
    force: bool,
) -> Result<Option<Comparison>, Problem> {
    let Some(before) = before else {
        return Ok(None);
    };
    let comparison = contract::compare(before, now).map_err(|error| Problem::from(&error))?;
    match comparison.check() {
        Err(error) if !force => Err(Problem::from(&error)
            .with("least", comparison.least().to_string())
            .with("differences", differences(&comparison))),
        _ => Ok(Some(comparison)),
    }
}

/// The differences as JSON.
pub(crate) fn differences(comparison: &Comparison) -> serde_json::Value {
    serde_json::json!(comparison.differences())
}

fn refused(library: &Library, finding: Finding) -> Problem {
    Problem::from(plg_host::Error::from(LoadError::Refused {
        path: library.path.clone(),
        finding: Box::new(finding),
    }))
}
