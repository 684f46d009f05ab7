//! The operator's configuration, as values.

use super::codec::Values;
use super::wire::Config;
use crate::value::Value;

impl Config {
    /// The operator's configuration as values: what `init` finds in its context.
    #[must_use]
    pub fn values(&self) -> Values {
        let values = self.config.iter();
        values.map(|(key, json)| (key, plain(json))).collect()
    }
}

/// The operator's JSON, in which no key means anything.
fn plain(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(flag) => Value::Bool(*flag),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Value::I64(number),
            (None, Some(number)) => Value::F64(number),
            (None, None) => Value::Null,
        },
        serde_json::Value::String(text) => Value::Str(text.clone()),
        serde_json::Value::Array(list) => Value::List(list.iter().map(plain).collect()),
        serde_json::Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| (key.clone(), plain(value)));
            Value::Map(entries.collect())
        }
    }
}
