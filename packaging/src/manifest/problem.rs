//! What can be wrong with a manifest, and where.

use std::{cell::RefCell, fmt};

use crate::text::Quoted;

/// One thing that is wrong, with the place it stands at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// The stable code, for instance `manifest.path`; see [`code`].
    pub code: &'static str,
    /// The JSON path, for instance `$.http_services.routes[1].method`.
    pub path: String,
    /// What was expected, what was found, and where it helps, what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}: {}", self.code, self.path, self.message)
    }
}

/// A manifest was refused; holds every problem that was found, in the order they should be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", Lines { problems, omitted: *omitted })]
#[non_exhaustive]
pub struct ManifestError {
    problems: Vec<Problem>,
    omitted: usize,
}

impl ManifestError {
    /// The code of the first problem.
    pub fn code(&self) -> &'static str {
        self.problems
            .first()
            .map_or(code::JSON, |problem| problem.code)
    }

    /// All problems, never empty; the first 100 of them if there are more.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

/// The codes a manifest's problems carry. They are stable: tools and tests match on them, never on messages.
pub mod code {
    /// Not one JSON document, a key twice in one object, nested too deep, or too large.
    pub const JSON: &str = "manifest.json";
    /// A field has the wrong type or a value that is not allowed.
    pub const FIELD: &str = "manifest.field";
    /// A required field is missing.
    pub const MISSING_FIELD: &str = "manifest.missing_field";
    /// A field nobody knows: an error where security depends on it, a warning elsewhere.
    pub const UNKNOWN_FIELD: &str = "manifest.unknown_field";
    /// Not a version or a version requirement; as a warning: not strict semver, with what it was read as.
    pub const VERSION: &str = "manifest.version";
    /// A path that leaves the plugin's directory or is not what it should point to.
    pub const PATH: &str = "manifest.path";
    /// Not a label, or a label listed twice.
    pub const LABEL: &str = "manifest.label";
    /// A route that clashes with another or cannot be served.
    pub const ROUTE_CONFLICT: &str = "manifest.route_conflict";
    /// A dependency that cannot be meant.
    pub const DEPENDENCY: &str = "manifest.dependency";
    /// The manifest names another plugin than the place it was found in.
    pub const IDENTITY: &str = "manifest.identity";
}

/// Collects problems while a manifest is read and checked.
#[derive(Default)]
pub(super) struct Report {
    errors: RefCell<Collected>,
    warnings: RefCell<Collected>,
}

/// A file of one megabyte can hold a hundred thousand mistakes; nobody reads past the first hundred.
const MAX_PROBLEMS: usize = 100;

#[derive(Default)]
struct Collected {
    problems: Vec<Problem>,
    omitted: usize,
}

impl Report {
    pub(super) fn has_errors(&self) -> bool {
        !self.errors.borrow().problems.is_empty()
    }

    pub(super) fn into_warnings(self) -> Vec<Problem> {
        self.warnings.into_inner().problems
    }

    /// The error of everything found; `first` goes before the rest, because it explains it.
    pub(super) fn into_error(self, first: Option<Problem>) -> ManifestError {
        let Collected {
            mut problems,
            omitted,
        } = self.errors.into_inner();
        if let Some(first) = first {
            problems.insert(0, first);
        }
        ManifestError { problems, omitted }
    }
}

/// A place in the document: the report, and the steps from the root, kept on the stack and written out only when
/// there is something to report.
#[derive(Clone, Copy)]
pub(super) struct Place<'p> {
    report: &'p Report,
    parent: Option<&'p Place<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Root,
    Key(&'p str),
    Index(usize),
}

impl<'p> Place<'p> {
    pub(super) fn root(report: &'p Report) -> Self {
        Self {
            report,
            parent: None,
            step: Step::Root,
        }
    }

    pub(super) fn key<'c>(&'c self, key: &'c str) -> Place<'c> {
        Place {
            report: self.report,
            parent: Some(self),
            step: Step::Key(key),
        }
    }

    pub(super) fn index(&self, index: usize) -> Place<'_> {
        Place {
            report: self.report,
            parent: Some(self),
            step: Step::Index(index),
        }
    }

    pub(super) fn error(&self, code: &'static str, message: impl fmt::Display) {
        self.collect(&self.report.errors, code, &message);
    }

    pub(super) fn warn(&self, code: &'static str, message: impl fmt::Display) {
        self.collect(&self.report.warnings, code, &message);
    }

    pub(super) fn problem(&self, code: &'static str, message: impl fmt::Display) -> Problem {
        Problem {
            code,
            path: self.to_string(),
            message: message.to_string(),
        }
    }

    fn collect(&self, into: &RefCell<Collected>, code: &'static str, message: &dyn fmt::Display) {
        let mut into = into.borrow_mut();
        if into.problems.len() < MAX_PROBLEMS {
            into.problems.push(self.problem(code, message));
        } else {
            into.omitted += 1;
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            // As deep as the document is nested, which the parser limits.
            fmt::Display::fmt(parent, f)?;
        }
        match self.step {
            Step::Root => f.write_str("$"),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) if is_plain(key) => write!(f, ".{key}"),
            Step::Key(key) => write!(f, "[{}]", Quoted(key)),
        }
    }
}

fn is_plain(key: &str) -> bool {
    (1..=64).contains(&key.len())
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'$'))
}

struct Lines<'a> {
    problems: &'a [Problem],
    omitted: usize,
}

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        match self.omitted {
            0 => Ok(()),
            omitted => write!(f, "\nand {omitted} more problems"),
        }
    }
}
