//! What came of a run.

use std::path::PathBuf;

use plg_packaging::PluginName;
use semver::Version;

/// What a plugin did in every case, in the order of `CONFORMANCE.md`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// What was judged.
    pub path: PathBuf,
    /// The plugin, once that is known.
    pub plugin: Option<(PluginName, Version)>,
    /// What carried the calls, `in-process` or `process`; `None` if nothing was loaded.
    pub transport: Option<&'static str>,
    /// Whether the plugin has the labels of the suite. Without them, what needs them is skipped.
    pub has_labels: bool,
    /// The cases.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Case {
    /// Its name in `CONFORMANCE.md`, for instance `values.i64`.
    pub id: &'static str,
    /// What is required.
    pub required: &'static str,
    /// Whether a plugin **must** do it, as opposed to *should*.
    pub is_must: bool,
    /// Whether it does.
    pub verdict: Verdict,
}

/// Whether a plugin does what a case requires.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// It does.
    Passed,
    /// It does not, and what it did instead.
    Failed(String),
    /// Nobody asked, and why.
    Skipped(String),
}

/// The parts of the suite.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Part {
    /// For every plugin.
    Load,
    /// For plugins with the labels of the suite.
    Calls,
    /// For programs.
    Wire,
}

impl Report {
    /// Whether everything that a plugin must do was done, or skipped.
    #[must_use]
    pub fn conforms(&self) -> bool {
        !self.failed().any(|case| case.is_must)
    }

    /// The cases that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Case> {
        let is_failed = |case: &&Case| matches!(case.verdict, Verdict::Failed(_));
        self.cases.iter().filter(is_failed)
    }

    /// The case of that name.
    #[must_use]
    pub fn case(&self, id: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.id == id)
    }

    /// How many cases passed, failed and were skipped.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        for case in &self.cases {
            match case.verdict {
                Verdict::Passed => counts.0 += 1,
                Verdict::Failed(_) => counts.1 += 1,
                Verdict::Skipped(_) => counts.2 += 1,
            }
        }
        counts
    }
}

impl Case {
    /// The part that it belongs to.
    #[must_use]
    pub fn part(&self) -> Part {
        match self.id.split('.').next() {
            Some("load") => Part::Load,
            Some("wire") => Part::Wire,
            _ => Part::Calls,
        }
    }
}

impl Verdict {
    /// The word for it: `passed`, `failed` or `skipped`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::Skipped(_) => "skipped",
        }
    }

    /// What was found instead, or why nobody asked; empty for what passed.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Passed => "",
            Self::Failed(reason) | Self::Skipped(reason) => reason,
        }
    }
}
