//! With which status the process ends: the only place where codes become numbers.

use std::os::unix::process::CommandExt;
use std::process::{self, ExitCode};

use crate::crates;

/// The classes of outcomes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done, or it would load.
    Ok = 0,
    /// None of the others: a build, the system, the host.
    Other = 1,
    /// The command line is wrong.
    Usage = 2,
    /// There is no such plugin, label, file or code.
    NotFound = 3,
    /// The plugin was refused before any of it ran.
    Refused = 4,
    /// The plugin ran and failed.
    PluginFailed = 5,
    /// It was not done before the deadline.
    Timeout = 6,
}

/// The table as the help shows it.
pub(crate) const HELP: &str = "\
Exit status:
  0  done; for `check`, it would load
  1  anything else: a build, the system, the host
  2  the command line is wrong
  3  no such plugin, label, file or code
  4  refused before any of the plugin ran
  5  the plugin ran and failed
  6  not done before the deadline";

impl Exit {
    /// The class of a code.
    pub(crate) fn of(code: &str) -> Self {
        match code {
            "call.timeout" => Self::Timeout,
            "call.no_route"
            | "plugin.not_found"
            | "plugin.unloaded"
            | "io.not_found"
            | "dir.no_library"
            | "control.no_host"
            | "control.no_process"
            | "code.unknown"
            | "history.not_found"
            | "quarantine.not_found"
            | "store.not_installed"
            | "store.no_set"
            | "trust.not_found" => Self::NotFound,
            "store.tampered" | "store.unsafe" | "store.format" | "upgrade.needs_consent" => {
                Self::Refused
            }
            // The plugin's own `init` said no, its descriptor is not usable, or a case of the suite did not hold.
            "native.init" | "conformance.failed" => Self::PluginFailed,
            "call.failed" | "call.panicked" | "call.depth" => Self::PluginFailed,
            // These speak of the host's machine or its limits, not of the file.
            "native.probe_start" | "native.too_many" => Self::Other,
            _ => match code.split('.').next() {
                Some("usage") => Self::Usage,
                Some(
                    "native" | "abi" | "manifest" | "dir" | "bundle" | "sig" | "trust" | "pack"
                    | "install" | "lock",
                ) => Self::Refused,
                Some("ctx") => Self::PluginFailed,
                _ => Self::Other,
            },
        }
    }

    /// Ends the process at once, while code of a plugin still runs in it. A usual exit runs destructors,
    /// which wait for locks that the plugin may hold for ever, those of the dynamic linker among them. A
    /// fresh image of this program, which does nothing but end, takes all threads away.
    pub(crate) fn now(self) -> ! {
        let status = self.status();
        // It comes back only when it failed, and then there is no better end than the usual one.
        let _ = crates::tool("/proc/self/exe")
            .arg(ARGUMENT)
            .arg(status.to_string())
            .exec();
        process::exit(status.into())
    }

    /// The status.
    pub(crate) fn status(self) -> u8 {
        self as u8
    }
}

/// The argument that makes this program end with the status that follows.
const ARGUMENT: &str = "__plg-exit";

/// Ends the process if it was started for that, see [`Exit::now`].
pub(crate) fn run_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments
        .next()
        .is_some_and(|argument| argument == ARGUMENT)
    {
        let status = arguments.next();
        let status = status.and_then(|status| status.to_str()?.parse().ok());
        process::exit(status.unwrap_or(1));
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.status())
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn every_class_has_a_code() {
        for (code, exit) in [
            ("usage.values", Exit::Usage),
            ("plugin.not_found", Exit::NotFound),
            ("native.corrupt", Exit::Refused),
            ("manifest.path", Exit::Refused),
            ("bundle.path", Exit::Refused),
            ("sig.missing", Exit::Refused),
            ("pack.breaks", Exit::Refused),
            ("trust.rollback", Exit::Refused),
            ("trust.not_found", Exit::NotFound),
            ("ctx.missing", Exit::PluginFailed),
            ("call.timeout", Exit::Timeout),
            ("install.downgrade", Exit::Refused),
            ("lock.mismatch", Exit::Refused),
            ("store.busy", Exit::Other),
            ("build.failed", Exit::Other),
            ("call.cancelled", Exit::Other),
        ] {
            assert_eq!(Exit::of(code), exit, "{code}");
        }
    }
}
