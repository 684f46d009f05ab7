//! What a plugin answered, as values or as an error.

use plg_plugin_api::process::wire::Fault;
use serde_json::{Deserializer, Value};

use crate::context::{Context, json, outside};
use crate::limits::Limits;
use crate::transport::process::error::ProcessError;

/// Where an answer goes that is no object.
const RESULT: &str = "result";
/// What Go's router says of a path that nobody handles.
const NO_ROUTE: &str = "404 page not found";
/// What the framework says of a handler that panicked.
const PANICKED: &str = "panic recovered";

/// Puts the first JSON value of a body into the context; what comes after it counts for nothing.
///
/// # Errors
///
/// When there is no JSON in it.
pub(super) fn accept(
    body: &[u8],
    context: &mut Context,
    limits: &Limits,
) -> Result<Result<(), Fault>, ProcessError> {
    let mut values = Deserializer::from_slice(body).into_iter::<Value>();
    let values = match values.next() {
        None => return Ok(Ok(())),
        Some(Err(error)) => return Err(ProcessError::Body(error.to_string())),
        Some(Ok(Value::Object(values))) => values,
        Some(Ok(value)) => [(RESULT.to_owned(), value)].into_iter().collect(),
    };
    for (key, value) in values {
        if let Err(message) = outside::accept(context, &key, json::to_value(value), limits) {
            let code = "ctx.too_large".to_owned();
            return Ok(Err(Fault { code, message }));
        }
    }
    Ok(Ok(()))
}

/// What an answer with a status that is not success says.
pub(super) fn fault(status: u16, body: &[u8], limits: &Limits) -> Fault {
    let said = said(body);
    let code = match (status, said.as_str()) {
        (404, NO_ROUTE) => "call.no_route",
        (500, PANICKED) => "call.panicked",
        _ => "contract.status",
    };
    let said = outside::excerpt(&said, limits.text_bytes);
    let message = match said.as_str() {
        "" => format!("it answered with status {status} and did not say why"),
        said => format!("it answered with status {status}: {said}"),
    };
    Fault {
        code: code.to_owned(),
        message,
    }
}

/// The message of the framework's error, or all of the text.
fn said(body: &[u8]) -> String {
    let error: Option<Value> = serde_json::from_slice(body).ok();
    let message = error.as_ref().and_then(|error| error.get("message"));
    match message.and_then(Value::as_str) {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body).trim().to_owned(),
    }
}
