//! `plg runner`: a library as a program of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use plg_host::runner;

use crate::exit::Exit;
use crate::problem::Failure;

/// Serve a library in a process of its own, for a plugin host
///
/// It speaks the native protocol on its standard streams, as a plugin that is a program does, so a manifest can name it:
/// `"process": { "exec": "plg", "args": ["runner", "libhello.so"] }`. A host that isolates a library starts its own
/// runner and needs nothing of this.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  plg runner plugins/hello/libhello.so capabilities")]
pub(crate) struct Runner {
    /// The library
    library: PathBuf,
    /// Print the manifest and exit
    #[arg(value_name = "capabilities", value_parser = ["capabilities"])]
    request: Option<String>,
}

impl Runner {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        // The server reads the request, which is the last argument, by itself.
        let _ = self.request;
        Ok(match runner::serve_library(&self.library) {
            code if code == ExitCode::SUCCESS => Exit::Ok,
            _ => Exit::Other,
        })
    }
}
