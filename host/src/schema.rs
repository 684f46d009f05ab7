//! JSON Schemas that plugins bring along. They are untrusted: nothing is fetched or read for one, and its patterns
//! take time in proportion to the text.

use std::fmt;

use jsonschema::{PatternOptions, Retrieve, Uri, Validator};
use serde_json::Value;

/// A schema that is ready to be used.
#[derive(Clone, Debug)]
pub(crate) struct Schema(Validator);

/// Everywhere that a value does not fit its schema.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Misfits(Vec<String>);

/// Refuses whatever a schema refers to outside of itself.
struct Nothing;

/// The most problems that are listed, and the most bytes of one.
const LISTED: usize = 32;
const SHOWN: usize = 256;
/// The most bytes that a pattern may take in memory.
const PATTERN: usize = 1 << 20;

impl Schema {
    /// Gets a schema ready.
    ///
    /// # Errors
    ///
    /// Why it is none, in words for its author.
    pub(crate) fn new(schema: &Value) -> Result<Self, String> {
        let patterns = PatternOptions::regex()
            .size_limit(PATTERN)
            .dfa_size_limit(PATTERN);
        jsonschema::options()
            .with_retriever(Nothing)
            .with_pattern_options(patterns)
            .build(schema)
            .map(Self)
            .map_err(|error| cut(&error.to_string()))
    }

    /// Checks a value.
    ///
    /// # Errors
    ///
    /// All that does not fit, without the values, which may be secret.
    pub(crate) fn check(&self, value: &Value) -> Result<(), Misfits> {
        let Self(validator) = self;
        if validator.is_valid(value) {
            return Ok(());
        }
        let errors = validator.iter_errors(value).map(|error| {
            let place = match error.instance_path().to_string() {
                root if root.is_empty() => "/".to_owned(),
                place => place,
            };
            cut(&format!("at `{place}`: {}", error.masked()))
        });
        let mut misfits: Vec<String> = errors.take(LISTED + 1).collect();
        if misfits.len() > LISTED {
            misfits[LISTED] = "and more".to_owned();
        }
        Err(Misfits(misfits))
    }
}

impl Retrieve for Nothing {
    fn retrieve(
        &self,
        uri: &Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        let uri = cut(uri.as_str());
        Err(format!("`{uri}` is outside of the schema, and is not fetched").into())
    }
}

impl fmt::Display for Misfits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

fn cut(text: &str) -> String {
    crate::context::outside::excerpt(&text.escape_debug().to_string(), SHOWN)
}
