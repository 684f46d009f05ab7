//! From bytes to a checked manifest.

use serde::de::DeserializeSeed;

use super::{
    check,
    json::{Field, Reading},
    model::Manifest,
    problem::{ManifestError, Place, Problem, Report, code},
    raw::RawManifest,
};

/// No manifest is larger than this; a larger file is refused before it is looked at.
pub const MAX_BYTES: usize = 1 << 20;

/// A manifest that was accepted, and what its author should still hear.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parsed {
    /// The manifest.
    pub manifest: Manifest,
    /// Problems that stop nothing, at most 100 of them.
    pub warnings: Vec<Problem>,
}

impl Manifest {
    /// Reads and checks a `plugin.json`.
    ///
    /// Keys are matched without regard to ASCII case, versions may be written loosely (see
    /// [`parse_version`](super::parse_version)), and `null` means that a field is left out.
    ///
    /// # Errors
    /// All problems at once. Only a text that is not JSON ends the reading early.
    pub fn parse(bytes: &[u8]) -> Result<Parsed, ManifestError> {
        let report = Report::default();
        let place = Place::root(&report);
        let raw = match read(bytes, place) {
            Ok(raw) => raw,
            Err(message) => {
                let first = place.problem(code::JSON, message);
                return Err(report.into_error(Some(first)));
            }
        };
        if let Some(problem) = raw
            .as_ref()
            .and_then(|raw| check::unreadable_format(raw, place))
        {
            // The rules of a later format are not known here, so nothing else is held against the file.
            return Err(Report::default().into_error(Some(problem)));
        }
        match raw.and_then(|raw| check::manifest(raw, place)) {
            Some(manifest) if !report.has_errors() => Ok(Parsed {
                manifest,
                warnings: report.into_warnings(),
            }),
            _ => Err(report.into_error(None)),
        }
    }
}

/// Reads the document; what is not JSON ends the reading, what has the wrong type is reported and left out.
fn read<'de>(bytes: &'de [u8], place: Place<'_>) -> Result<Option<RawManifest<'de>>, String> {
    if bytes.len() > MAX_BYTES {
        return Err(format!(
            "the file has {} bytes, at most {MAX_BYTES} are allowed",
            bytes.len()
        ));
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(
            "the file starts with a byte order mark, save it as UTF-8 without one".to_owned(),
        );
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        format!(
            "the file is not UTF-8: invalid byte at offset {}",
            error.valid_up_to()
        )
    })?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let field = Reading::at(place)
        .deserialize(&mut deserializer)
        .map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    match field {
        Field::Is(raw) => Ok(Some(raw)),
        Field::Wrong => Ok(None),
        Field::Null | Field::Absent => {
            place.error(code::FIELD, "expected an object, found null");
            Ok(None)
        }
    }
}
