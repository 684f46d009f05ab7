//! Between values and JSON. Bytes are base64 text in JSON.

use data_encoding::BASE64;
use plg_plugin_api::Value;
use serde_json::Number;

use super::values::Context;

/// The value as JSON. A number that JSON does not have, such as an infinity, becomes null.
///
/// ```
/// use plg_host::{Value, json};
///
/// assert_eq!(json::from_value(&Value::Bytes(b"hi".to_vec())), "aGk=");
/// ```
#[must_use]
pub fn from_value(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(flag) => (*flag).into(),
        Value::I64(number) => (*number).into(),
        Value::F64(number) => Number::from_f64(*number).into(),
        Value::Str(text) => text.as_str().into(),
        Value::Bytes(bytes) => BASE64.encode(bytes).into(),
        Value::List(list) => list.iter().map(from_value).collect(),
        Value::Map(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), from_value(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

/// JSON as a value. A whole number beyond 64 bits becomes a floating-point number.
#[must_use]
pub fn to_value(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(flag) => Value::Bool(flag),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Value::I64(number),
            (None, Some(number)) => Value::F64(number),
            (None, None) => Value::Null,
        },
        serde_json::Value::String(text) => Value::Str(text),
        serde_json::Value::Array(list) => Value::List(list.into_iter().map(to_value).collect()),
        serde_json::Value::Object(map) => Value::Map(
            map.into_iter()
                .map(|(key, value)| (key, to_value(value)))
                .collect(),
        ),
    }
}

/// All values of a context as one JSON object.
#[must_use]
pub fn from_context(context: &Context) -> serde_json::Value {
    context
        .iter()
        .map(|(key, value)| (key.to_owned(), from_value(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
