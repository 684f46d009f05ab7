//! The forms that a call can be written in.

use super::binary;
use super::pieces::Pieces;
use super::source::Source;
use super::wire::{Execute, ExecuteRef, JSON, Outcome, PLG, WireError, decode, encode_to};

/// How the records of a call are written. JSON is always understood; the others are agreed on in the first
/// lines that both sides write.
///
/// ```
/// use plg_plugin_api::process::wire::{self, Form, Outcome};
///
/// let outcome = Outcome { id: 17, ..Outcome::default() };
/// let mut bytes = Vec::new();
/// Form::Plg.encode_outcome(&mut bytes, &outcome, wire::MAX_BODY)?;
/// assert_eq!(bytes.len(), 4 + 8 + 4 + 4 + 1);
/// assert_eq!(Form::Plg.decode_outcome(&bytes, wire::MAX_BODY)?, outcome);
/// # Ok::<(), wire::WireError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Form {
    /// As everything else is.
    #[default]
    Json,
    /// Shorter, and quicker to read.
    Plg,
}

impl Form {
    /// What the first lines call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Plg => "plg",
        }
    }

    /// The content type of a record in this form.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Plg => PLG,
        }
    }

    /// Adds the body of `POST /execute`; after an error, a part of it.
    ///
    /// # Errors
    ///
    /// When that takes more than `limit` bytes, or the values nest too deep.
    pub fn encode_execute(
        self,
        bytes: &mut Vec<u8>,
        execute: &ExecuteRef<'_>,
        limit: usize,
    ) -> Result<(), WireError> {
        match self {
            Self::Json => encode_to(bytes, execute, limit),
            Self::Plg => binary::write_execute(bytes, execute, limit, None),
        }
    }

    /// As [`encode_execute`](Self::encode_execute), but large values may stay where they are.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn write_execute<'a>(
        self,
        bytes: &mut Vec<u8>,
        execute: &ExecuteRef<'a>,
        limit: usize,
    ) -> Result<Pieces<'a>, WireError> {
        let mut pieces = Pieces::default();
        match self {
            Self::Json => encode_to(bytes, execute, limit)?,
            Self::Plg => binary::write_execute(bytes, execute, limit, Some(&mut pieces))?,
        }
        Ok(pieces)
    }

    /// Reads the body of `POST /execute`.
    ///
    /// # Errors
    ///
    /// When there are more than `limit` bytes, or they are no such record.
    pub fn decode_execute(self, bytes: &[u8], limit: usize) -> Result<Execute, WireError> {
        match self {
            Self::Json => decode(bytes, limit),
            Self::Plg if bytes.len() > limit => Err(WireError::TooLarge { limit }),
            Self::Plg => binary::read_execute(bytes),
        }
    }

    /// Adds the outcome of a call; after an error, a part of it.
    ///
    /// # Errors
    ///
    /// When that takes more than `limit` bytes, or the values nest too deep.
    pub fn encode_outcome(
        self,
        bytes: &mut Vec<u8>,
        outcome: &Outcome,
        limit: usize,
    ) -> Result<(), WireError> {
        match self {
            Self::Json => encode_to(bytes, outcome, limit),
            Self::Plg => binary::write_outcome(bytes, outcome, limit, None),
        }
    }

    /// As [`encode_outcome`](Self::encode_outcome), but large values may stay where they are.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn write_outcome<'a>(
        self,
        bytes: &mut Vec<u8>,
        outcome: &'a Outcome,
        limit: usize,
    ) -> Result<Pieces<'a>, WireError> {
        let mut pieces = Pieces::default();
        match self {
            Self::Json => encode_to(bytes, outcome, limit)?,
            Self::Plg => binary::write_outcome(bytes, outcome, limit, Some(&mut pieces))?,
        }
        Ok(pieces)
    }

    /// Reads the outcome of a call.
    ///
    /// # Errors
    ///
    /// When there are more than `limit` bytes, or they are no such record.
    pub fn decode_outcome(self, bytes: &[u8], limit: usize) -> Result<Outcome, WireError> {
        match self {
            Self::Json => decode(bytes, limit),
            Self::Plg if bytes.len() > limit => Err(WireError::TooLarge { limit }),
            Self::Plg => binary::read_outcome(bytes),
        }
    }

    /// Reads the outcome of a call in the binary form, of so many bytes, while it comes.
    ///
    /// # Errors
    ///
    /// When it is no such record, or ends early. `source` may have bytes left then.
    pub fn read_outcome(source: &mut impl Source, length: usize) -> Result<Outcome, WireError> {
        binary::read_outcome_from(source, length)
    }

    /// Reads the body of `POST /execute` in the binary form, of so many bytes, while it comes.
    ///
    /// # Errors
    ///
    /// When it is no such record, or ends early. `source` may have bytes left then.
    pub fn read_execute(source: &mut impl Source, length: usize) -> Result<Execute, WireError> {
        binary::read_execute_from(source, length)
    }
}
