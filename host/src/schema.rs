//! JSON Schemas that plugins bring along. They are untrusted: nothing is fetched or read for one, its patterns take
//! time in proportion to the text, and its references must not multiply without end.

use std::fmt;

use jsonschema::{PatternOptions, Retrieve, Uri, Validator};
use serde_json::Value;

use crate::endpoint::decode_once;

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
/// The most parts that a schema may have once what it refers to is written out, and how deep they may nest.
const PARTS: usize = 100_000;
const DEPTH: usize = 64;

impl Schema {
    /// Gets a schema ready.
    ///
    /// # Errors
    ///
    /// Why it is none, in words for its author.
    pub(crate) fn new(schema: &Value) -> Result<Self, String> {
        Extent::of(schema).walk(schema)?;
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

/// How large a schema is once what it refers to is written out. A few lines can refer to one another so often that
/// nobody would live to see the end of the first check.
struct Extent<'a> {
    /// The schema, and what is one of its own inside: references are relative to these.
    resources: Vec<(&'a str, &'a Value)>,
    /// What references name without a path.
    anchors: Vec<(&'a str, &'a Value)>,
    /// What is being walked through, outermost first. A reference to one of these goes round in a circle.
    open: Vec<&'a Value>,
    left: usize,
}

impl<'a> Extent<'a> {
    fn of(schema: &'a Value) -> Self {
        let mut extent = Self {
            resources: vec![("", schema)],
            anchors: Vec::new(),
            open: Vec::new(),
            left: PARTS,
        };
        extent.note(schema);
        extent
    }

    /// Notes what has a name, here and below.
    fn note(&mut self, part: &'a Value) {
        for key in ["$id", "id"] {
            if let Some(id) = part.get(key).and_then(Value::as_str) {
                self.resources.push((id.trim_end_matches('#'), part));
            }
        }
        for key in ["$anchor", "$dynamicAnchor"] {
            if let Some(anchor) = part.get(key).and_then(Value::as_str) {
                self.anchors.push((anchor, part));
            }
        }
        below(part).for_each(|(_, part)| self.note(part));
    }

    fn walk(&mut self, part: &'a Value) -> Result<(), String> {
        if self.open.len() >= DEPTH {
            return Err(format!("its parts nest more than {DEPTH} deep"));
        }
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| format!("with what it refers to it has more than {PARTS} parts"))?;
        self.open.push(part);
        for (key, part) in below(part) {
            self.walk(part)?;
            if let ("$ref" | "$dynamicRef" | "$recursiveRef", Some(reference)) =
                (key, part.as_str())
            {
                for target in self.targets(reference) {
                    if !self.open.iter().any(|open| std::ptr::eq(*open, target)) {
                        self.walk(target)?;
                    }
                }
            }
        }
        self.open.pop();
        Ok(())
    }

    /// All that a reference could mean. Where it is relative to is taken for anything that ends likewise.
    fn targets(&self, reference: &str) -> Vec<&'a Value> {
        let (base, place) = reference.split_once('#').unwrap_or((reference, ""));
        let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let is_meant = |id: &str| base.is_empty() || last(id) == last(base);
        let resources = self.resources.iter().filter(|(id, _)| is_meant(id));
        let mut targets: Vec<_> = if place.is_empty() || place.starts_with('/') {
            let place = decode_once(place);
            resources
                .filter_map(|(_, part)| part.pointer(&place))
                .collect()
        } else {
            let anchors = self.anchors.iter().filter(|(name, _)| *name == place);
            anchors.map(|(_, part)| *part).collect()
        };
        targets.sort_by_key(|target| std::ptr::from_ref(*target));
        targets.dedup_by(|left, right| std::ptr::eq(*left, *right));
        targets
    }
}

/// The parts of a part, with their names if they have any.
fn below(part: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let list = part.as_array().into_iter().flatten().map(|part| ("", part));
    let map = part.as_object().into_iter().flatten();
    list.chain(map.map(|(key, part)| (key.as_str(), part)))
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
