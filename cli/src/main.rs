//! `plg`: makes, builds, checks and calls plugins.
//!
//! Every verb is a file in `commands`: it reads its arguments, asks `plg-host` and prints. What goes
//! wrong becomes a [`problem::Problem`], and [`exit`] says with which status the process ends.

mod answer;
mod artifact;
mod bundle;
mod commands;
mod crates;
mod exit;
mod freshness;
mod home;
mod installed;
mod interrupt;
mod invocation;
mod keys;
mod library;
mod makefile;
mod output;
mod pack;
mod portrait;
mod printable;
mod problem;
mod progress;
mod sources;
mod state;
mod target;
mod tracing;
mod values;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use commands::Cli;
use exit::Exit;
use output::Output;
use problem::{Failure, Problem};

fn main() -> ExitCode {
    plg_host::probe::run_if_asked();
    plg_host::runner::run_if_asked();
    exit::run_if_asked();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match Cli::try_parse_from(&arguments) {
        Ok(cli) => run(cli).into(),
        Err(error) => refuse(
            &error,
            arguments.iter().any(|argument| argument == "--json"),
        )
        .into(),
    }
}

fn run(cli: Cli) -> Exit {
    tracing::start();
    let mut output = Output::new(cli.global.json);
    match cli.verb.run(&cli.global, &mut output) {
        Ok(exit) => exit,
        Err(failure) => report(&failure, &mut output),
    }
}

/// Says what went wrong. A reader that went away before the end has seen what it wanted.
fn report(failure: &Failure, output: &mut Output) -> Exit {
    match failure {
        Failure::Problem(problem) => {
            // The status tells of the problem even when nobody reads the text.
            let _ = output.problem(problem);
            problem.exit()
        }
        Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
        Failure::Output(error) => {
            let problem = Problem::new("io.failed", "failed to write to the standard output");
            let _ = output.problem(&problem.because(error));
            Exit::Other
        }
    }
}

/// Answers a command line that clap did not take, which includes the one that asks for help.
fn refuse(error: &clap::Error, json: bool) -> Exit {
    let asked = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    if json && !asked {
        let text = error.to_string();
        let detail = text.trim().trim_start_matches("error: ");
        let problem = Problem::new("usage.arguments", detail);
        let _ = Output::new(true).problem(&problem);
        return problem.exit();
    }
    // Whoever closed the pipe does not read it.
    let _ = error.print();
    if asked { Exit::Ok } else { Exit::Usage }
}
