//! Plugins that a Makefile builds.

use std::path::Path;
use std::process::Stdio;

use crate::artifact::{failed, no_tool};
use crate::crates::tool;
use crate::problem::Problem;

/// Whether make would find something to do in `directory`.
pub(crate) fn is_in(directory: &Path) -> bool {
    let names = ["Makefile", "makefile", "GNUmakefile"];
    names.iter().any(|name| directory.join(name).is_file())
}

/// Builds what make says is out of date.
pub(crate) fn fresh(directory: &Path) -> Result<(), Problem> {
    if is_stale(directory) {
        build(directory)?;
    }
    Ok(())
}

/// Lets make build its first goal.
pub(crate) fn build(directory: &Path) -> Result<(), Problem> {
    let status = tool("make")
        .arg("-C")
        .arg(directory)
        .arg("--no-print-directory")
        .status()
        .map_err(|error| no_tool("make", &error))?;
    if status.success() {
        return Ok(());
    }
    Err(failed("make", directory, status))
}

/// Whether make would do something. Without make nobody knows, and building will say so.
pub(crate) fn is_stale(directory: &Path) -> bool {
    let asked = tool("make")
        .arg("-C")
        .arg(directory)
        .arg("--question")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    !asked.is_ok_and(|status| status.success())
}
