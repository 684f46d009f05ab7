//! What went wrong, ready to be shown as text or as JSON.

use std::error::Error as StdError;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use plg_host::control::ControlError;
use plg_host::history::HistoryError;
use plg_host::quarantine::QuarantineError;
use plg_host::store::StoreError;
use plg_host::trust::TrustError;
use plg_host::{CallFailure, DiscoverError, Error, LoadError, codes};
use plg_packaging::bundle::{BundleError, PackError};
use plg_packaging::contract::ContractError;
use plg_packaging::index::IndexError;
use plg_packaging::sign::SignError;
use plg_packaging::{ManifestError, Problem as Mistake};
use serde_json::{Map, Value, json};

use crate::exit::Exit;
use crate::printable::printable;

/// Why a verb did not end well.
pub(crate) enum Failure {
    /// It could not be done.
    Problem(Box<Problem>),
    /// What it found could not be printed.
    Output(io::Error),
}

/// What went wrong: a stable code, the words, and what to do.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    code: &'static str,
    detail: String,
    causes: Vec<String>,
    help: Option<String>,
    /// More members of the JSON object.
    members: Map<String, Value>,
}

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HELP: Style = AnsiColor::Cyan.on_default().bold();
const FAINT: Style = Style::new().dimmed();

impl Problem {
    pub(crate) fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            causes: Vec::new(),
            help: None,
            members: Map::new(),
        }
    }

    /// Replaces what the table of codes advises by something that fits better.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds an error and what caused it.
    pub(crate) fn because(mut self, error: &dyn StdError) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            self.causes.push(error.to_string());
            cause = error.source();
        }
        self
    }

    /// Adds a member to the JSON object.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.members.insert(key.to_owned(), value.into());
        self
    }

    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// The status with which the process should end.
    pub(crate) fn exit(&self) -> Exit {
        Exit::of(self.code)
    }

    /// The object of RFC 9457, with members of our own.
    pub(crate) fn to_json(&self) -> Value {
        let row = codes::find(self.code);
        let mut object = json!({
            "type": format!("urn:plg:{}", self.code),
            "title": row.map_or(self.code, |row| row.summary),
            "detail": self.detail,
            "code": self.code,
            "exit_status": self.exit().status(),
            "causes": self.causes,
        });
        if let Some(row) = row {
            object["severity"] = row.severity.as_str().into();
            object["actor"] = row.actor.as_str().into();
        }
        if let Some(help) = self.advice() {
            object["help"] = help.into();
        }
        for (key, value) in &self.members {
            object[key] = value.clone();
        }
        object
    }

    /// Writes it as an error.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write_as("error", ERROR, out)?;
        writeln!(out, "{FAINT}for more: plg explain {}{FAINT:#}", self.code)
    }

    /// Writes it as something that did not stop the verb.
    pub(crate) fn write_warning(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write_as("warning", WARNING, out)
    }

    fn write_as(&self, kind: &str, style: Style, out: &mut dyn Write) -> io::Result<()> {
        let detail = printable(&self.detail);
        writeln!(out, "{style}{kind}[{}]{style:#}: {detail}", self.code)?;
        for cause in &self.causes {
            let mut lines = cause.lines();
            let first = lines.next().unwrap_or_default();
            writeln!(out, "  caused by: {}", printable(first))?;
            for line in lines {
                writeln!(out, "             {}", printable(line))?;
            }
        }
        match self.advice() {
            Some(help) => writeln!(out, "{HELP}help{HELP:#}: {}", printable(help)),
            None => Ok(()),
        }
    }

    /// The words with their causes.
    pub(crate) fn sentence(&self) -> String {
        let mut sentence = self.detail.clone();
        for cause in &self.causes {
            sentence.push_str(": ");
            sentence.push_str(cause);
        }
        sentence
    }

    /// What to do.
    pub(crate) fn advice(&self) -> Option<&str> {
        let of_code = || codes::find(self.code).map(|row| row.help);
        self.help.as_deref().or_else(of_code)
    }

    fn with_mistakes(self, error: &ManifestError) -> Self {
        let mistakes: Vec<Value> = error.problems().iter().map(mistake).collect();
        self.with("problems", mistakes)
    }

    fn of_load(error: &LoadError) -> Self {
        let problem = Self::of_error(error.code(), error);
        match error {
            LoadError::Refused { finding, .. } => problem.help(&finding.help),
            LoadError::Manifest { source, .. } => problem.with_mistakes(source),
            LoadError::Quarantined { .. } => problem.help(
                "install a fixed build; `plg quarantine list` shows what stays out, and \
                 `plg quarantine clear NAME` lets it in again",
            ),
            LoadError::Init { code, .. } => problem.with("plugin_code", code.as_str()),
            _ => problem,
        }
    }

    fn of_error(code: &'static str, error: &dyn StdError) -> Self {
        let problem = Self::new(code, error.to_string());
        match error.source() {
            Some(cause) => problem.because(cause),
            None => problem,
        }
    }
}

/// A mistake in a manifest as JSON.
pub(crate) fn mistake(mistake: &Mistake) -> Value {
    json!({ "code": mistake.code, "path": mistake.path, "message": mistake.message })
}

impl From<&DiscoverError> for Problem {
    fn from(error: &DiscoverError) -> Self {
        let path = error.path().display().to_string();
        let problem = match error {
            // What is inside says all that this would, and more.
            DiscoverError::Library { source, .. } => Self::of_load(source),
            DiscoverError::Manifest { source, .. } => {
                Self::of_error(error.code(), error).with_mistakes(source)
            }
            DiscoverError::NoLibrary { path, .. } => {
                Self::of_error(error.code(), error).help(format!(
                    "build the plugin and put its library into `{}`",
                    path.display()
                ))
            }
            _ => Self::of_error(error.code(), error),
        };
        problem.with("path", path)
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        match error {
            Error::Load(error) => Self::of_load(error),
            Error::Discover(error) => Self::from(&**error),
            Error::Store(error) => Self::from(&**error),
            Error::Call(call) => {
                let problem = Self::of_error(call.code(), &**call)
                    .with("plugin", call.plugin.as_str())
                    .with("label", call.label.as_str());
                match &call.failure {
                    CallFailure::Failed { code, .. } => problem.with("plugin_code", code.as_str()),
                    _ => problem,
                }
            }
            _ => Self::of_error(error.code(), error),
        }
    }
}

impl From<&ControlError> for Problem {
    fn from(error: &ControlError) -> Self {
        Self::of_error(error.code(), error)
    }
}

impl From<&HistoryError> for Problem {
    fn from(error: &HistoryError) -> Self {
        Self::of_error(error.code(), error)
    }
}

impl From<&QuarantineError> for Problem {
    fn from(error: &QuarantineError) -> Self {
        Self::of_error(error.code(), error)
    }
}

impl From<&BundleError> for Problem {
    fn from(error: &BundleError) -> Self {
        let problem = Self::of_error(error.code(), error);
        match error {
            BundleError::Manifest { source } => problem.with_mistakes(source),
            _ => problem,
        }
    }
}

impl From<&PackError> for Problem {
    fn from(error: &PackError) -> Self {
        match error {
            PackError::Bundle(error) => Self::from(error),
            _ => Self::of_error(error.code(), error),
        }
    }
}

impl From<&SignError> for Problem {
    fn from(error: &SignError) -> Self {
        Self::of_error(error.code(), error)
    }
}

impl From<&IndexError> for Problem {
    fn from(error: &IndexError) -> Self {
        Self::of_error(error.code(), error)
    }
}

impl From<&TrustError> for Problem {
    fn from(error: &TrustError) -> Self {
        let problem = Self::of_error(error.code(), error);
        match error {
            TrustError::Untrusted { key, .. } => problem.with("key", key.to_string()),
            _ => problem,
        }
    }
}

impl From<&StoreError> for Problem {
    fn from(error: &StoreError) -> Self {
        match error {
            // What is inside says all that this would, and more.
            StoreError::Bundle { origin, source } => {
                Self::from(&**source).with("path", origin.as_str())
            }
            StoreError::Untrusted {
                origin,
                code,
                source,
            } => Self::of_error(code, &**source).with("path", origin.as_str()),
            _ => Self::of_error(error.code(), error),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::from(&error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Problem::from(&error).into()
    }
}

impl From<&ContractError> for Problem {
    fn from(error: &ContractError) -> Self {
        Self::of_error(error.code(), error)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl From<Box<Problem>> for Failure {
    fn from(problem: Box<Problem>) -> Self {
        Self::Problem(problem)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
