//! What preflight found wrong, and for whom.

use std::fmt;

use super::facts::Facts;

/// The codes of everything preflight can find. They are stable; the texts are not.
pub mod code {
    /// Not a shared library for this machine.
    pub const FORMAT: &str = "native.format";
    /// A shared library that was cut off or damaged.
    pub const CORRUPT: &str = "native.corrupt";
    /// A plugin of Go's `plugin` package.
    pub const GO: &str = "native.go";
    /// No plugin note.
    pub const ABI_MISSING: &str = "abi.missing";
    /// A plugin note that cannot be read.
    pub const ABI_CORRUPT: &str = "abi.corrupt";
    /// Built for another major version of the contract.
    pub const ABI_MISMATCH: &str = "abi.mismatch";
    /// A panic would abort the host.
    pub const PANIC_ABORT: &str = "native.panic_abort";
    /// A required symbol is missing or is no function.
    pub const SYMBOL: &str = "native.symbol";
    /// Depends on a library that is missing or not on the allow-list.
    pub const NEEDED: &str = "native.needed";
    /// Brings its own library search path.
    pub const SEARCH_PATH: &str = "native.search_path";
    /// Needs a newer glibc.
    pub const GLIBC: &str = "native.glibc";
    /// Memory that is writable and executable at once.
    pub const HARDENING: &str = "native.hardening";
    /// Takes from the small reserve of static thread-local storage.
    pub const STATIC_TLS: &str = "native.static_tls";
    /// Can never be unmapped.
    pub const PINNED: &str = "native.pinned";
    /// Stays mapped after an unload because its threads and keys are not tracked.
    pub const NO_HOOKS: &str = "native.no_hooks";

    /// All of the above.
    pub const ALL: [&str; 15] = [
        FORMAT,
        CORRUPT,
        GO,
        ABI_MISSING,
        ABI_CORRUPT,
        ABI_MISMATCH,
        PANIC_ABORT,
        SYMBOL,
        NEEDED,
        SEARCH_PATH,
        GLIBC,
        HARDENING,
        STATIC_TLS,
        PINNED,
        NO_HOOKS,
    ];
}

/// How much a [`Finding`] matters, most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The library must not be loaded.
    Refuse,
    /// The library can be loaded, and the operator should know this.
    Warn,
    /// Worth knowing when looking closely.
    Note,
}

/// One thing preflight has to say about a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// One of [`code`].
    pub code: &'static str,
    /// Whether it blocks the load.
    pub severity: Severity,
    /// What is so, with both sides where two sides differ.
    pub message: String,
    /// Who should act, and how.
    pub help: String,
}

impl Finding {
    pub(super) fn new(
        severity: Severity,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            code,
            severity,
            message: message.into(),
            help: help.into(),
        }
    }

    /// The library is cut off or damaged: the dynamic linker would read or jump outside of it.
    #[cold]
    pub(super) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(
            Severity::Refuse,
            code::CORRUPT,
            message,
            "copy or download the file again, or build it again; copy to a temporary name and rename, \
             so that nobody sees half a file",
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Finding {}

/// Everything preflight has to say about a library.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the library is; `None` when it could not be read, and then there is one finding.
    pub facts: Option<Facts>,
    /// All findings, those that refuse the load first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The first finding that forbids the load.
    #[must_use]
    pub fn refusal(&self) -> Option<&Finding> {
        self.findings
            .iter()
            .find(|finding| finding.severity == Severity::Refuse)
    }

    /// The facts of a library that may be loaded, or why it must not be.
    ///
    /// # Errors
    ///
    /// The first finding that forbids the load.
    pub fn into_facts(self) -> Result<Facts, Finding> {
        let refusal = self.refusal().cloned();
        match (self.facts, refusal) {
            (Some(facts), None) => Ok(facts),
            (_, Some(refusal)) => Err(refusal),
            (None, None) => Err(Finding::corrupt("nothing could be read from the file")),
        }
    }
}
