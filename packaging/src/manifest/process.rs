//! How to run a plugin that is a program of its own.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Serialize, Serializer};

use super::{source::RelativePath, word::words};
use crate::text::{Quoted, Text};

/// The program of a plugin that runs in its own process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(deny_unknown_fields)
)]
#[non_exhaustive]
pub struct Process {
    /// The program: a file below the plugin's directory, or a bare name the host may look up, for instance `python3`.
    pub exec: RelativePath,
    /// The arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub args: Vec<Text>,
    /// What the program speaks.
    #[cfg_attr(feature = "schema", schemars(default))]
    pub dialect: Dialect,
    /// The kind of socket it listens on; left out, the dialect's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<SocketKind>,
    /// After how long without a call the program may be stopped; the next call starts it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<IdleTimeout>,
}

impl Process {
    /// The program `exec`, without arguments, speaking plg's own dialect.
    pub const fn new(exec: RelativePath) -> Self {
        Self {
            exec,
            args: Vec::new(),
            dialect: Dialect::Native,
            transport: None,
            idle_timeout: None,
        }
    }
}

words! {
    /// What a process plugin speaks on its socket.
    #[derive(Default)]
    Dialect, "dialect" {
        /// plg's own.
        #[default]
        Native = "native",
        /// Skarlso's go-plugin-framework.
        Contracts = "contracts",
        /// quadroops' goplugin.
        Goplugin = "goplugin",
        /// HashiCorp's go-plugin.
        Hashicorp = "hashicorp",
    }
}

words! {
    /// The kind of socket a process plugin listens on.
    SocketKind, "transport" {
        /// A Unix socket in a private directory.
        Unix = "unix",
        /// TCP on the loopback interface.
        Tcp = "tcp",
    }
}

/// A span of time between one millisecond and 30 days, written as `90s`, `5m` or `1h30m`.
///
/// ```
/// use std::time::Duration;
/// use plg_packaging::manifest::IdleTimeout;
///
/// let timeout: IdleTimeout = "1h30m".parse()?;
/// assert_eq!(timeout.duration(), Duration::from_secs(5400));
/// assert_eq!(timeout.to_string(), "1h30m");
/// # Ok::<(), plg_packaging::manifest::TimeoutError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdleTimeout(Duration);

/// Units and their milliseconds, largest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];
const MAX_MILLIS: u64 = 30 * 86_400_000;

impl IdleTimeout {
    /// The span.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

/// Why a text is not an [`IdleTimeout`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeoutError {
    /// Not numbers with units.
    #[error(
        "{shown} is not a span of time, expected numbers with units as in `90s`, `5m` or `1h30m`"
    )]
    Shape {
        /// The text, escaped and in backticks.
        shown: String,
    },
    /// Zero, or more than 30 days.
    #[error("{shown} is out of range, expected between `1ms` and `30d`")]
    Range {
        /// The text, escaped and in backticks.
        shown: String,
    },
}

impl FromStr for IdleTimeout {
    type Err = TimeoutError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = || TimeoutError::Shape {
            shown: Quoted(text).to_string(),
        };
        let range = || TimeoutError::Range {
            shown: Quoted(text).to_string(),
        };
        let mut millis = 0_u64;
        let mut rest = text;
        loop {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(shape)?;
            let (number, after) = rest.split_at(digits);
            let word = after
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(after.len());
            let (unit, after) = after.split_at(word);
            let (_, factor) = UNITS
                .into_iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(shape)?;
            if number.is_empty() {
                return Err(shape());
            }
            let part = number
                .parse::<u64>()
                .ok()
                .and_then(|number| number.checked_mul(factor));
            millis = part
                .and_then(|part| millis.checked_add(part))
                .ok_or_else(range)?;
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        if (1..=MAX_MILLIS).contains(&millis) {
            Ok(Self(Duration::from_millis(millis)))
        } else {
            Err(range())
        }
    }
}

impl fmt::Display for IdleTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // At most 30 days by construction, so the milliseconds fit.
        let mut millis = self.0.as_millis() as u64;
        for (unit, factor) in UNITS {
            if millis >= factor {
                write!(f, "{}{unit}", millis / factor)?;
                millis %= factor;
            }
        }
        Ok(())
    }
}

impl Serialize for IdleTimeout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for IdleTimeout {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "IdleTimeout".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "a span of time between `1ms` and `30d`, as in `90s`, `5m` or `1h30m`",
            "pattern": "^([0-9]+(d|h|m|s|ms))+$",
        })
    }
}
