//! `plg check`: would it load here, and if not, why not.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use clap::Args;
use plg_host::preflight::{Facts, Finding, Rules, Severity};
use plg_host::{Candidate, DiscoverError, Error, Host, LoadError};
use plg_packaging::manifest::code;
use plg_packaging::{Digest, Manifest};
use serde_json::{Value, json};

use super::Global;
use crate::artifact::{self, Profile};
use crate::exit::Exit;
use crate::library;
use crate::output::Output;
use crate::printable::printable;
use crate::problem::{Failure, Problem};
use crate::target::Target;

/// Check whether a plugin would load here, without mapping it
///
/// Every finding is printed. The exit status is 0 when it would load, and 4 when it would be refused.
/// What its `init` would say is not known before it is loaded. Of a plugin that is a program only the manifest is
/// judged: it is not started.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg check target/debug/libhello.so
  plg check hello --hardened --json")]
pub(crate) struct Check {
    /// A path, or the name of a plugin in the plugin directory
    #[arg(value_name = "PATH_OR_NAME")]
    plugin: String,
    /// Refuse search paths and unlisted dependencies instead of warning of them
    #[arg(long)]
    hardened: bool,
    /// Judge it for a process of its own
    #[arg(long)]
    isolated: bool,
    /// Allow a library that it depends on, for instance `libssl.so.3`; can be repeated
    #[arg(long, value_name = "LIBRARY")]
    allow: Vec<String>,
    /// Check the release build of a crate
    #[arg(long)]
    release: bool,
}

/// Everything there is to say.
struct Verdict {
    library: PathBuf,
    digest: Digest,
    plugin: Option<(String, String)>,
    findings: Vec<Finding>,
}

impl Check {
    pub(super) fn run(self, global: &Global, output: &mut Output) -> Result<Exit, Failure> {
        let target = Target::find(&self.plugin, global.plugin_dir())?;
        let built = target.built(Profile::release(self.release))?;
        let verdict = self.judge(&target, built.library)?;
        if built.stale {
            output.warn(&Problem::new(
                "build.stale",
                format!("`{}` is older than its sources", verdict.library.display()),
            ));
        }
        let refusal = verdict.refusal();
        let exit = refusal.map_or(Exit::Ok, |_| Exit::Refused);
        if output.is_json() {
            output.json(&verdict.to_json(exit))?;
        } else {
            verdict.print(&mut output.text())?;
        }
        Ok(exit)
    }

    fn judge(&self, target: &Target, library: PathBuf) -> Result<Verdict, Problem> {
        let rules = Rules {
            hardened: self.hardened,
            isolated: self.isolated,
            allow_needed: self.allow.clone(),
            ..Rules::default()
        };
        let host = Host::builder().preflight(rules).build()?;
        let bytes = library::read(&library)?;
        // A program is not mapped, so nothing that is looked for in a library matters.
        let is_program = match target {
            Target::Directory(directory) => artifact::program(directory)?.is_some(),
            _ => false,
        };
        let report = (!is_program).then(|| host.preflight(&bytes));
        let (mut findings, facts) = match report {
            Some(report) => (report.findings, report.facts),
            None => (Vec::new(), None),
        };
        let facts = facts.as_ref();
        // A crate is loaded from its library, wherever its manifest stands.
        let loaded = match target {
            Target::Directory(directory) | Target::Make(directory) => directory.as_path(),
            Target::Library(_) | Target::Crate(_) | Target::Installed(_) => library.as_path(),
        };
        let candidate = match host.candidate(loaded) {
            Ok(candidate) => Some(candidate),
            Err(error) => {
                add_refusal(&error, &mut findings);
                None
            }
        };
        if let Some(candidate) = &candidate {
            judge_manifest(candidate, facts, loaded, &mut findings);
        }
        findings.sort_by_key(|finding| finding.severity);
        let note = facts.and_then(Facts::plugin_note);
        let plugin = match (&candidate, note) {
            (Some(Candidate { manifest, .. }), _) => {
                Some((manifest.name.to_string(), manifest.version.to_string()))
            }
            (None, Some(note)) => Some((note.name.clone(), note.version.clone())),
            (None, None) => None,
        };
        Ok(Verdict {
            digest: Digest::of(&bytes),
            library,
            plugin,
            findings,
        })
    }
}

/// What the host says about the files around the library. A finding of the preflight is there already.
fn add_refusal(error: &Error, findings: &mut Vec<Finding>) {
    if let Error::Discover(discover) = error
        && let DiscoverError::Library { source, .. } = &**discover
        && let LoadError::Refused { .. } = source
    {
        return;
    }
    let problem = Problem::from(error);
    findings.push(Finding {
        code: problem.code(),
        severity: Severity::Refuse,
        message: problem.sentence(),
        help: problem.advice().unwrap_or_default().to_owned(),
    });
}

/// What the manifest has that is odd, and whether all agree on the name.
fn judge_manifest(
    candidate: &Candidate,
    facts: Option<&Facts>,
    loaded: &Path,
    findings: &mut Vec<Finding>,
) {
    let mut add = |severity, code, message: String, help: &str| {
        findings.push(Finding {
            code,
            severity,
            message,
            help: help.to_owned(),
        });
    };
    for warning in &candidate.warnings {
        let message = format!("{}: {}", warning.path, warning.message);
        add(
            Severity::Warn,
            warning.code,
            message,
            "the plugin's author: see the manifest",
        );
    }
    if candidate.directory.is_none() {
        return;
    }
    let name = &candidate.manifest.name;
    let embedded = facts
        .and_then(Facts::plugin_note)
        .filter(|note| !note.manifest.is_empty())
        .map(|note| Manifest::parse(&note.manifest));
    match embedded {
        Some(Ok(embedded)) if embedded.manifest.name != *name => {
            let message = format!(
                "the library is named `{}`, expected `{name}`",
                embedded.manifest.name
            );
            let help = "the operator: put the library of this plugin beside its manifest";
            add(Severity::Refuse, code::IDENTITY, message, help);
        }
        Some(Err(error)) => {
            let message = format!("the manifest in the library: {error}");
            let help = "the plugin's author: mend the manifest and build again";
            add(Severity::Refuse, error.code(), message, help);
        }
        _ => {}
    }
    let directory = loaded.canonicalize().unwrap_or_default();
    let directory = directory.file_name().unwrap_or_default().to_string_lossy();
    if let Err(problem) = candidate.manifest.check_identity(&directory) {
        // By its path it loads; a host that looks through the directory above passes it over.
        let help = "the operator: give the directory the plugin's name";
        add(Severity::Warn, problem.code, problem.message, help);
    }
}

impl Verdict {
    fn refusal(&self) -> Option<&Finding> {
        let refuses = |finding: &&Finding| finding.severity == Severity::Refuse;
        self.findings.iter().find(refuses)
    }

    fn to_json(&self, exit: Exit) -> Value {
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|finding| {
                json!({
                    "code": finding.code,
                    "severity": word(finding.severity),
                    "message": finding.message,
                    "help": finding.help,
                })
            })
            .collect();
        let mut document = json!({
            "library": self.library,
            "digest": self.digest.to_string(),
            "plugin": self.plugin.as_ref().map(|(name, _)| name),
            "version": self.plugin.as_ref().map(|(_, version)| version),
            "loads": exit == Exit::Ok,
            "exit_status": exit.status(),
            "findings": findings,
        });
        if let Some(refusal) = self.refusal() {
            document["code"] = refusal.code.into();
        }
        document
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let what = match &self.plugin {
            Some((name, version)) => printable(&format!("{name} {version}")).into_owned(),
            None => "the file".to_owned(),
        };
        for finding in &self.findings {
            let (style, word) = (style(finding.severity), word(finding.severity));
            writeln!(
                out,
                "{style}{word}[{}]{style:#}: {}",
                finding.code,
                printable(&finding.message)
            )?;
            writeln!(out, "  help: {}", printable(&finding.help))?;
        }
        let (verdict, style) = match self.refusal() {
            Some(_) => ("would be refused", style(Severity::Refuse)),
            None => ("would load", AnsiColor::Green.on_default().bold()),
        };
        let library = self.library.display();
        writeln!(out, "{what} {style}{verdict}{style:#}: {library}")
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Refuse => "refuse",
        Severity::Warn => "warn",
        Severity::Note => "note",
    }
}

fn style(severity: Severity) -> Style {
    match severity {
        Severity::Refuse => AnsiColor::Red.on_default().bold(),
        Severity::Warn => AnsiColor::Yellow.on_default().bold(),
        Severity::Note => Style::new().bold(),
    }
}
