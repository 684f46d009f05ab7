//! `plg explain`: what a code means.

use std::io::{self, Write};

use anstyle::Style;
use clap::Args;
use plg_host::codes::{self, Code};
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::output::Output;
use crate::problem::{Failure, Problem};

/// Explain a code that an error showed, or list all codes
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  plg explain native.corrupt\n  plg explain")]
pub(crate) struct Explain {
    /// The code, for instance `call.timeout`
    code: Option<String>,
}

const BOLD: Style = Style::new().bold();
/// As wide as text is read with ease.
const WIDTH: usize = 78;

impl Explain {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        match self.code {
            Some(code) => explain(&code, output),
            None => list(output),
        }
    }
}

fn explain(code: &str, output: &mut Output) -> Result<Exit, Failure> {
    let Some(row) = codes::find(code) else {
        return Err(unknown(code).into());
    };
    if output.is_json() {
        output.json(&document(row))?;
        return Ok(Exit::Ok);
    }
    let mut out = output.text();
    writeln!(out, "{BOLD}{}{BOLD:#}: {}", row.code, row.summary)?;
    writeln!(out)?;
    fill(row.text, &mut out)?;
    writeln!(out)?;
    fill(&format!("Who acts: the {}.", row.actor), &mut out)?;
    fill(&format!("Next: {}.", row.help), &mut out)?;
    writeln!(
        out,
        "Exit status of `plg`: {}.",
        Exit::of(row.code).status()
    )?;
    Ok(Exit::Ok)
}

fn list(output: &mut Output) -> Result<Exit, Failure> {
    if output.is_json() {
        let rows: Vec<Value> = codes::all().iter().map(document).collect();
        output.json(&rows)?;
        return Ok(Exit::Ok);
    }
    let widest = codes::all().iter().map(|row| row.code.len()).max();
    let mut out = output.text();
    for row in codes::all() {
        let width = widest.unwrap_or_default();
        writeln!(out, "{BOLD}{:width$}{BOLD:#}  {}", row.code, row.summary)?;
    }
    Ok(Exit::Ok)
}

fn unknown(code: &str) -> Problem {
    let problem = Problem::new("code.unknown", format!("there is no code `{code}`"));
    let similar: Vec<String> = codes::similar(code)
        .iter()
        .map(|row| format!("`{}`", row.code))
        .collect();
    match similar.as_slice() {
        [] => problem,
        [one] => problem.help(format!("did you mean {one}?")),
        more => problem.help(format!("did you mean one of {}?", more.join(", "))),
    }
}

fn document(row: &Code) -> Value {
    json!({
        "code": row.code,
        "severity": row.severity.as_str(),
        "actor": row.actor.as_str(),
        "summary": row.summary,
        "help": row.help,
        "text": row.text,
        "exit_status": Exit::of(row.code).status(),
    })
}

/// Writes a paragraph in lines of at most [`WIDTH`] letters.
fn fill(text: &str, out: &mut impl Write) -> io::Result<()> {
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            writeln!(out)?;
            column = 0;
        } else if column > 0 {
            write!(out, " ")?;
            column += 1;
        }
        write!(out, "{word}")?;
        column += length;
    }
    writeln!(out)
}
