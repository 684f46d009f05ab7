//! Every code that an error of plg can carry, with what it means and what to do.
//!
//! Codes are stable; the texts are not. `plg explain CODE` prints a row, and whoever shows an error adds
//! its [`help`](field@Code::help). One file for each family of codes; a new code gets a row there.
//!
//! ```
//! let code = plg_host::codes::find("native.corrupt").expect("it is one of ours");
//! assert_eq!(code.actor, plg_host::codes::Actor::Operator);
//! assert_eq!(plg_host::codes::similar("native.corupt")[0].code, "native.corrupt");
//! ```

mod abi;
mod bundle;
mod call;
mod command;
mod contract;
mod deps;
mod directory;
mod hook;
mod host;
mod manifest;
mod native;
mod native_load;
mod pack;
mod plugin;
mod policy;
mod process;
mod signature;
mod state;
mod store;
mod upgrade;
mod watch;

use std::fmt;
use std::sync::LazyLock;

use crate::error::distance;

/// One code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Code {
    /// The code itself, for instance `native.corrupt`.
    pub code: &'static str,
    /// Whether it stops what was asked for.
    pub severity: Severity,
    /// Who can do something about it.
    pub actor: Actor,
    /// What it means, in a line.
    pub summary: &'static str,
    /// The next step.
    pub help: &'static str,
    /// What happened, why it matters, what still works and what to do.
    pub text: &'static str,
}

/// How much a code matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Severity {
    /// What was asked for is not done.
    Error,
    /// It is done, and something about it should be known. Stricter rules can make an error of it.
    Warning,
}

/// Who can do something about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Actor {
    /// Whoever runs the host and installs plugins.
    Operator,
    /// Whoever writes and builds the plugin.
    Author,
    /// Whoever writes the app, or calls the plugin by hand.
    Developer,
}

impl Severity {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl Actor {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Author => "author",
            Self::Developer => "developer",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// All codes, by code.
#[must_use]
pub fn all() -> &'static [Code] {
    &ALL
}

/// The row of a code.
#[must_use]
pub fn find(code: &str) -> Option<&'static Code> {
    let place = ALL.binary_search_by(|row| row.code.cmp(code)).ok()?;
    ALL.get(place)
}

/// The rows that may have been meant by a code that is none, at most five: those that are spelt almost
/// like it, else those of its family, else those that end like it.
#[must_use]
pub fn similar(code: &str) -> Vec<&'static Code> {
    let code = code.to_lowercase();
    let mut near: Vec<(usize, &Code)> = ALL
        .iter()
        .map(|row| (distance(row.code, &code), row))
        .filter(|(distance, _)| *distance <= 3)
        .collect();
    near.sort_by_key(|(distance, _)| *distance);
    // A far one beside a near one only confuses.
    let nearest = near.first().map_or(0, |(distance, _)| *distance);
    near.retain(|(distance, _)| *distance <= nearest + 1);
    let mut near: Vec<&Code> = near.into_iter().map(|(_, row)| row).collect();
    if near.is_empty() {
        let (family, last) = match code.split_once('.') {
            Some((family, last)) => (family, last),
            None => (code.as_str(), code.as_str()),
        };
        let alike = |row: &&Code| {
            let (of, name) = row.code.split_once('.').unwrap_or_default();
            name == last || of == family
        };
        near = ALL.iter().filter(alike).collect();
        near.sort_by_key(|row| !row.code.ends_with(last));
    }
    near.truncate(5);
    near
}

static ALL: LazyLock<Vec<Code>> = LazyLock::new(|| {
    let families = [
        abi::ROWS,
        bundle::ROWS,
        command::ROWS,
        contract::ROWS,
        deps::ROWS,
        call::ROWS,
        directory::ROWS,
        hook::ROWS,
        host::ROWS,
        manifest::ROWS,
        native::ROWS,
        native_load::ROWS,
        pack::ROWS,
        plugin::ROWS,
        policy::ROWS,
        process::ROWS,
        upgrade::ROWS,
        signature::ROWS,
        state::ROWS,
        store::ROWS,
        watch::ROWS,
    ];
    let mut all = families.concat();
    all.sort_by_key(|row| row.code);
    all
});

/// A row that stops what was asked for.
const fn error(code: &'static str, actor: Actor, summary: &'static str) -> Code {
    Code {
        code,
        severity: Severity::Error,
        actor,
        summary,
        help: "",
        text: "",
    }
}

/// A row that does not.
const fn warning(code: &'static str, actor: Actor, summary: &'static str) -> Code {
    Code {
        severity: Severity::Warning,
        ..error(code, actor, summary)
    }
}

impl Code {
    const fn help(self, help: &'static str) -> Self {
        Self { help, ..self }
    }

    const fn text(self, text: &'static str) -> Self {
        Self { text, ..self }
    }
}

#[cfg(test)]
mod tests;
