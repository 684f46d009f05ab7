//! The records of the native protocol, as both of its sides read and write them.
//!
//! What is read is hostile until it is a record: too many bytes, a key that comes twice, values that nest
//! too deep or would take too much memory are refused.
//!
//! ```
//! use plg_plugin_api::Value;
//! use plg_plugin_api::process::wire::{self, Line, Outcome};
//!
//! let outcome = Outcome {
//!     id: 17,
//!     set: [("text", "HELLO")].into_iter().collect(),
//!     ..Outcome::default()
//! };
//! let json = wire::encode(&outcome, wire::MAX_BODY)?;
//! assert_eq!(json, br#"{"id":17,"set":{"text":"HELLO"},"removed":[]}"#);
//! assert_eq!(wire::decode::<Line>(&json, wire::MAX_LINE)?, Line::Outcome(outcome));
//! # Ok::<(), wire::WireError>(())
//! ```

use std::fmt;
use std::io;

use serde::de::DeserializeOwned;
use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};

use super::codec::Shown;
pub use super::codec::Values;
pub use super::form::Form;
pub use super::pace::Pace;
pub use super::pieces::Pieces;
pub use super::source::Source;
use crate::context::Level;
use crate::error::Error;
use crate::value::Value;

/// The version of the protocol that these records are of.
pub const PROTOCOL: u32 = 1;
/// The most bytes of a configuration, its line feed included.
pub const MAX_CONFIG: usize = 1 << 20;
/// The most bytes of a start line, its line feed included.
pub const MAX_START: usize = 4096;
/// The most bytes of a request's line and headers, or of an answer's.
pub const MAX_HEAD: usize = 64 << 10;
/// The most bytes of a body that is no stream of lines.
pub const MAX_BODY: usize = 16 << 20;
/// The most bytes of a line in an answer, its line feed included.
pub const MAX_LINE: usize = MAX_BODY;

/// The content type of an answer that is an [`Outcome`] and nothing else.
pub const JSON: &str = "application/json";
/// The content type of an answer of [`Line`]s.
pub const NDJSON: &str = "application/x-ndjson";

/// The content type of a request or an answer in the binary form.
pub const PLG: &str = "application/x-plg";

/// What a host tells a plugin on its standard input: one line.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
pub struct Config {
    /// The highest version of the protocol that the host speaks.
    pub protocol: u32,
    /// The name that the host knows the plugin by.
    pub plugin: String,
    /// Counts the builds of this plugin in this host.
    pub generation: u64,
    /// To be repeated in the start line.
    pub nonce: String,
    /// Where to listen: `unix:PATH`, or `tcp:127.0.0.1:0` for any port of loopback.
    pub address: String,
    /// What every request carries, over TCP.
    #[serde(default)]
    pub token: Option<String>,
    /// After how many milliseconds without a call the plugin may exit; never without.
    #[serde(default)]
    pub idle_ms: Option<u64>,
    /// In which forms besides JSON the host can write a call, as [`Form::as_str`] has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forms: Vec<String>,
    /// How eagerly the plugin waits for the next call.
    #[serde(default)]
    pub pace: Pace,
    /// How many calls the host makes at once, at most, if it says so.
    #[serde(default)]
    pub calls: Option<u32>,
    /// The operator's configuration for this plugin.
    #[serde(default)]
    pub config: serde_json::Map<String, serde_json::Value>,
}

/// Leaves the token out: whoever has it can call the plugin.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("protocol", &self.protocol)
            .field("plugin", &self.plugin)
            .field("generation", &self.generation)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// What a plugin answers on its standard output once it listens: one line.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StartLine {
    /// The version of the protocol that the plugin chose.
    pub plg: u32,
    /// The name from the configuration.
    pub plugin: String,
    /// The version of the plugin.
    pub version: String,
    /// The nonce from the configuration.
    pub nonce: String,
    /// The address from the configuration, with the port filled in.
    pub address: String,
    /// In which of the forms that the host offered the plugin reads calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forms: Vec<String>,
    /// The version of the state that the plugin hands over, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<u32>,
}

/// The body of `POST /execute`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Execute {
    /// Unique among the calls of this process.
    pub id: u64,
    /// What the caller asks for.
    pub label: String,
    /// The values of the caller's context.
    pub values: Values,
    /// How many milliseconds the caller still waits; for ever without.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// Counts calls from plugin to plugin.
    #[serde(default)]
    pub depth: u32,
}

/// The body of `POST /execute` as it is written from values that are elsewhere.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ExecuteRef<'a> {
    /// Unique among the calls of this process.
    pub id: u64,
    /// What the caller asks for.
    pub label: &'a str,
    /// The values of the caller's context. No key comes twice.
    #[serde(serialize_with = "borrowed")]
    pub values: &'a [(&'a str, &'a Value)],
    /// How many milliseconds the caller still waits; for ever without.
    pub timeout_ms: Option<u64>,
    /// Counts calls from plugin to plugin.
    pub depth: u32,
}

fn borrowed<S: Serializer>(values: &&[(&str, &Value)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(values.iter().map(|(key, value)| (key, Shown(value, 0))))
}

/// Why something could not be done.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Fault {
    /// A dotted code.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// How a call ended.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Outcome {
    /// The call.
    pub id: u64,
    /// The values to set in the caller's context.
    #[serde(default)]
    pub set: Values,
    /// The keys to remove from it.
    #[serde(default)]
    pub removed: Vec<String>,
    /// Why the call failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Fault>,
}

/// One line of an answer to `POST /execute` that asks for something. The last is the outcome.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(try_from = "RawLine")]
pub enum Line {
    /// A line for the host's log.
    Log(Log),
    /// How far the work is.
    Progress(Progress),
    /// A call of another plugin.
    Call(Call),
    /// The outcome; nothing follows.
    Outcome(Outcome),
}

/// A line for the host's log.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Log {
    /// How severe it is.
    #[serde(with = "level")]
    pub level: Level,
    /// The text.
    pub message: String,
}

/// How far the work is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Progress {
    /// How much is done.
    pub done: u64,
    /// How much there is to do, if that is known.
    #[serde(default)]
    pub total: Option<u64>,
    /// What is being done.
    #[serde(default)]
    pub message: String,
}

/// A call of another plugin.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Call {
    /// Counts what one call asks for; the reply repeats it.
    pub seq: u64,
    /// The plugin to call.
    pub plugin: String,
    /// What to ask it for.
    pub label: String,
    /// The values to call it with.
    #[serde(default)]
    pub values: Values,
}

/// The body of `POST /reply`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(try_from = "RawReply")]
pub struct Reply {
    /// The call that asked.
    pub id: u64,
    /// Which of its questions.
    pub seq: u64,
    /// All values after the call it asked for, or why that failed.
    pub answer: Result<Values, Fault>,
}

/// The body of `POST /cancel`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Cancel {
    /// The call that nobody waits for any more.
    pub id: u64,
}

/// A record as JSON, without a line feed.
///
/// # Errors
///
/// When that takes more than `limit` bytes, or the values nest too deep.
pub fn encode<T: Serialize>(record: &T, limit: usize) -> Result<Vec<u8>, WireError> {
    let mut bytes = Vec::new();
    encode_to(&mut bytes, record, limit)?;
    Ok(bytes)
}

/// Adds a record as [`encode`] writes it; after an error, a part of it.
///
/// # Errors
///
/// Those of [`encode`].
pub fn encode_to<T: Serialize>(
    bytes: &mut Vec<u8>,
    record: &T,
    limit: usize,
) -> Result<(), WireError> {
    let limit_of_all = bytes.len().saturating_add(limit);
    let mut bounded = Bounded {
        bytes,
        limit: limit_of_all,
    };
    match serde_json::to_writer(&mut bounded, record) {
        Ok(()) => Ok(()),
        Err(error) if error.is_io() => Err(WireError::TooLarge { limit }),
        Err(error) => Err(WireError::of(&error)),
    }
}

/// Reads a record, which nothing but white space may follow. Members that a record does not have are
/// passed over.
///
/// # Errors
///
/// When there are more than `limit` bytes, or they are no such record.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, WireError> {
    if bytes.len() > limit {
        return Err(WireError::TooLarge { limit });
    }
    serde_json::from_slice(bytes).map_err(|error| WireError::of(&error))
}

/// Why something is no record.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum WireError {
    /// Too many bytes.
    TooLarge {
        /// How many there may be.
        limit: usize,
    },
    /// Not JSON, or not what the record asks for.
    Shape {
        /// What is wrong, and where. Whatever the peer wrote is in there as it wrote it.
        message: String,
    },
}

impl WireError {
    fn of(error: &serde_json::Error) -> Self {
        let message = error.to_string();
        Self::Shape { message }
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "more than {limit} bytes"),
            Self::Shape { message } => f.write_str(message),
        }
    }
}

impl std::error::Error for WireError {}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self {
            code: error.code().to_owned(),
            message: error.message().to_owned(),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::new(fault.code, fault.message)
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Log(log) => serializer.collect_map([("log", log)]),
            Self::Progress(progress) => serializer.collect_map([("progress", progress)]),
            Self::Call(call) => serializer.collect_map([("call", call)]),
            Self::Outcome(outcome) => outcome.serialize(serializer),
        }
    }
}

impl Serialize for Reply {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Reply", 3)?;
        object.serialize_field("id", &self.id)?;
        object.serialize_field("seq", &self.seq)?;
        match &self.answer {
            Ok(values) => object.serialize_field("values", values)?,
            Err(fault) => object.serialize_field("error", fault)?,
        }
        object.end()
    }
}

/// A line as it is written: one of these members, or those of an outcome.
#[derive(Deserialize)]
struct RawLine {
    log: Option<Log>,
    progress: Option<Progress>,
    call: Option<Call>,
    id: Option<u64>,
    set: Option<Values>,
    removed: Option<Vec<String>>,
    error: Option<Fault>,
}

impl TryFrom<RawLine> for Line {
    type Error = &'static str;

    fn try_from(raw: RawLine) -> Result<Self, Self::Error> {
        match (raw.id, raw.log, raw.progress, raw.call) {
            (Some(id), None, None, None) => Ok(Self::Outcome(Outcome {
                id,
                set: raw.set.unwrap_or_default(),
                removed: raw.removed.unwrap_or_default(),
                error: raw.error,
            })),
            (None, Some(log), None, None) => Ok(Self::Log(log)),
            (None, None, Some(progress), None) => Ok(Self::Progress(progress)),
            (None, None, None, Some(call)) => Ok(Self::Call(call)),
            _ => Err("expected one of `id`, `log`, `progress` and `call`"),
        }
    }
}

#[derive(Deserialize)]
struct RawReply {
    id: u64,
    seq: u64,
    values: Option<Values>,
    error: Option<Fault>,
}

impl TryFrom<RawReply> for Reply {
    type Error = &'static str;

    fn try_from(raw: RawReply) -> Result<Self, Self::Error> {
        let answer = match (raw.values, raw.error) {
            (Some(values), None) => Ok(values),
            (None, Some(fault)) => Err(fault),
            _ => return Err("expected one of `values` and `error`"),
        };
        Ok(Self {
            id: raw.id,
            seq: raw.seq,
            answer,
        })
    }
}

/// The names of the levels.
mod level {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::context::Level;

    pub(super) fn serialize<S: Serializer>(
        level: &Level,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(level.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Level, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = [
            Level::Error,
            Level::Warn,
            Level::Info,
            Level::Debug,
            Level::Trace,
        ];
        let found = known.into_iter().find(|level| level.as_str() == name);
        found.ok_or_else(|| {
            let name = name.escape_debug();
            D::Error::custom(format_args!("there is no level `{name}`"))
        })
    }
}

/// Memory that takes so many bytes and no more.
struct Bounded<'a> {
    bytes: &'a mut Vec<u8>,
    limit: usize,
}

impl io::Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit - self.bytes.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
