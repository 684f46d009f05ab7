//! Log lines of the host and of plugins, on the standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// Warnings of the host; of plugins also what they want to tell.
const DEFAULT: &str = "warn,plg::plugin=info";

/// Starts to show log lines, filtered by `PLG_LOG`.
pub(crate) fn start() {
    let filter = match std::env::var("PLG_LOG") {
        Ok(filter) => EnvFilter::new(filter),
        Err(_) => EnvFilter::new(DEFAULT),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .without_time()
        .compact()
        .init();
}
