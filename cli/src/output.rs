//! Where results go: the standard output, as text or as one JSON document. Whatever else there is to say
//! goes to the standard error, so that a pipe carries results only.

use std::io::{self, IsTerminal, Write};

use anstream::{AutoStream, stderr, stdout};
use serde::Serialize;

use crate::problem::Problem;

/// The standard output and the form that was asked for.
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether `--json` was given.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// The standard output for text; colours reach terminals only.
    pub(crate) fn text(&mut self) -> AutoStream<io::StdoutLock<'static>> {
        stdout().lock()
    }

    /// Prints one JSON document: on one line for programs, indented for people.
    pub(crate) fn json(&mut self, document: &impl Serialize) -> io::Result<()> {
        let mut text = if io::stdout().is_terminal() {
            serde_json::to_vec_pretty(document)?
        } else {
            serde_json::to_vec(document)?
        };
        text.push(b'\n');
        let mut out = io::stdout().lock();
        out.write_all(&text)?;
        out.flush()
    }

    /// Prints one JSON document of many, always on one line.
    pub(crate) fn json_line(&mut self, document: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(document)?;
        text.push(b'\n');
        let mut out = io::stdout().lock();
        out.write_all(&text)?;
        out.flush()
    }

    /// Says why the verb failed: as text where people look for errors, as JSON where programs do.
    pub(crate) fn problem(&mut self, problem: &Problem) -> io::Result<()> {
        if self.json {
            return self.json(&problem.to_json());
        }
        problem.write(&mut stderr().lock())
    }

    /// Says what did not stop the verb. In JSON it has a place in the document instead.
    pub(crate) fn warn(&mut self, problem: &Problem) {
        if !self.json {
            // A warning that nobody can read is no reason to fail.
            let _ = problem.write_warning(&mut stderr().lock());
        }
    }
}
