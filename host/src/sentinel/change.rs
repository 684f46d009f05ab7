//! What a comparison of two sentinels says.

use std::fmt;

use rustix::process::Signal;

/// One thing about the process that is different than before.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct Change {
    /// What is different.
    pub what: What,
    /// What it was, in words.
    pub before: String,
    /// What it is, in words. Of environment variables these are the names alone: values are secrets.
    pub after: String,
}

/// What a plugin can change about its process.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum What {
    /// The directory that relative paths begin in.
    WorkingDirectory,
    /// The permissions that new files do not get.
    Umask,
    /// The environment variables.
    Environment,
    /// What a signal, by number, does.
    SignalHandler(i32),
    /// What one of the standard descriptors, 0 to 2, is.
    Descriptor(i32),
    /// The locale of the process.
    Locale,
    /// The locale of the calling thread.
    ThreadLocale,
    /// A limit of the process, by the name that `ulimit` and `prlimit` have for it.
    ResourceLimit(&'static str),
    /// How the calling thread rounds, and whether it keeps numbers close to zero.
    FloatingPoint,
    /// The stack on which the calling thread handles signals.
    AlternateStack,
    /// The signals that the calling thread does not receive.
    SignalMask,
}

impl Change {
    /// The stable code: `host.state_changed`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "host.state_changed"
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            before,
            after,
        } = self;
        write!(f, "{what} changed from {before} to {after}")
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorkingDirectory => f.write_str("the working directory"),
            Self::Umask => f.write_str("the umask"),
            Self::Environment => f.write_str("the environment"),
            Self::SignalHandler(signal) => match Signal::from_named_raw(*signal) {
                Some(signal) => write!(f, "what {} does", name(signal)),
                None => write!(f, "what signal {signal} does"),
            },
            Self::Descriptor(0) => f.write_str("standard input"),
            Self::Descriptor(1) => f.write_str("standard output"),
            Self::Descriptor(2) => f.write_str("standard error"),
            Self::Descriptor(number) => write!(f, "descriptor {number}"),
            Self::Locale => f.write_str("the locale"),
            Self::ThreadLocale => f.write_str("the locale of the thread"),
            Self::ResourceLimit(resource) => write!(f, "the limit `{resource}`"),
            Self::FloatingPoint => f.write_str("the floating-point mode of the thread"),
            Self::AlternateStack => f.write_str("the signal stack of the thread"),
            Self::SignalMask => f.write_str("the signal mask of the thread"),
        }
    }
}

/// `SIGUSR1` and the like.
fn name(signal: Signal) -> String {
    match signal {
        Signal::ABORT => "SIGABRT".to_owned(),
        Signal::ALARM => "SIGALRM".to_owned(),
        Signal::VTALARM => "SIGVTALRM".to_owned(),
        Signal::CHILD => "SIGCHLD".to_owned(),
        signal => format!("{signal:?}").replace("Signal::", "SIG"),
    }
}
