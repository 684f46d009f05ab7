//! `plg version`: what this program is and which plugins fit it.

use std::io::Write;

use clap::Args;
use plg_plugin_api::abi;
use serde_json::json;

use crate::exit::Exit;
use crate::output::Output;
use crate::problem::Failure;

/// Print the version, and that of the contract with plugins
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  plg version --json")]
pub(crate) struct Version;

impl Version {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        let version = env!("CARGO_PKG_VERSION");
        let contract = format!("{}.{}", abi::MAJOR, abi::MINOR);
        let fingerprint = format!("{:#018x}", abi::FINGERPRINT);
        let platform = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
        if output.is_json() {
            output.json(&json!({
                "version": version,
                "contract": contract,
                "fingerprint": fingerprint,
                "platform": platform,
            }))?;
            return Ok(Exit::Ok);
        }
        let mut out = output.text();
        writeln!(out, "plg {version}")?;
        writeln!(out, "contract {contract}, fingerprint {fingerprint}")?;
        writeln!(out, "platform {platform}")?;
        Ok(Exit::Ok)
    }
}
