//! A label and values as a request.

use plg_plugin_api::Value;
use plg_plugin_api::process::wire::{Fault, MAX_BODY};

use crate::context::{Context, json};
use crate::transport::process::error::ProcessError;

/// A request of a plugin's endpoint.
#[derive(Debug)]
pub(super) struct Request {
    method: &'static str,
    /// The path, with its query.
    target: String,
    body: Option<Vec<u8>>,
}

/// Methods by the word that a label begins with. Those that carry no body have the values in the query.
const METHODS: [(&str, &str, bool); 5] = [
    ("get:", "GET", false),
    ("post:", "POST", true),
    ("put:", "PUT", true),
    ("patch:", "PATCH", true),
    ("delete:", "DELETE", false),
];
/// Endpoints that are the framework's own. A call of one would stop the plugin or keep it from being idle.
const OWN: [&str; 2] = ["healthz", "shutdown"];

impl Request {
    /// The request that a label and the values mean: `METHOD:ENDPOINT`, or `ENDPOINT`, which is posted to when there
    /// are values.
    ///
    /// # Errors
    ///
    /// `call.no_route` for an endpoint that is not the plugin's, `ctx.type` for a value that no query can have.
    pub(super) fn new(label: &str, context: &Context) -> Result<Self, Fault> {
        let prefix = label.find(':').map(|end| label.split_at(end + 1));
        let named = prefix.and_then(|(word, endpoint)| {
            let is_it = |(name, ..): &&(&str, _, _)| word.eq_ignore_ascii_case(name);
            let (_, method, has_body) = METHODS.iter().find(is_it)?;
            Some((*method, *has_body, endpoint))
        });
        let (method, has_body, endpoint) = named.unwrap_or(if context.is_empty() {
            ("GET", false, label)
        } else {
            ("POST", true, label)
        });
        let endpoint = endpoint.trim_start_matches('/');
        let plain: Vec<&str> = endpoint.split('/').filter(|part| *part != ".").collect();
        let is_own = matches!(plain.as_slice(), [one] if OWN.contains(one));
        if endpoint.is_empty() || is_own || plain.contains(&"..") {
            return Err(Fault {
                code: "call.no_route".to_owned(),
                message: format!("`/{endpoint}` is no endpoint for calls"),
            });
        }
        let mut target = format!("/{endpoint}");
        let body = if has_body {
            let body = json::from_context(context).to_string().into_bytes();
            (!context.is_empty()).then_some(body)
        } else {
            target += &query(context)?;
            None
        };
        Ok(Self {
            method,
            target,
            body,
        })
    }

    /// What is sent.
    ///
    /// # Errors
    ///
    /// When that is too much.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, ProcessError> {
        let body = self.body.as_deref().unwrap_or_default();
        let size = body.len().max(self.target.len());
        if size > MAX_BODY {
            let problem = format!("the values have {size} bytes as JSON, the limit is {MAX_BODY}");
            return Err(ProcessError::TooLarge(problem));
        }
        let (method, target) = (self.method, &self.target);
        // The framework has these two also where there is no body.
        let mut bytes = format!(
            "{method} {target} HTTP/1.1\r\nHost: unix\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
        );
        if self.body.is_some() || matches!(method, "POST" | "PUT" | "PATCH") {
            bytes += &format!("Content-Length: {}\r\n", body.len());
        }
        bytes += "\r\n";
        let mut bytes = bytes.into_bytes();
        bytes.extend(body);
        Ok(bytes)
    }
}

/// The values as a query, by key.
fn query(context: &Context) -> Result<String, Fault> {
    let mut pairs = Vec::new();
    for (key, value) in context.iter() {
        let text = match value {
            Value::Str(text) => text.clone(),
            Value::List(_) | Value::Map(_) => {
                return Err(Fault {
                    code: "ctx.type".to_owned(),
                    message: format!("`{key}` is a list or map, which a query cannot have"),
                });
            }
            Value::Null => String::new(),
            Value::Bytes(_) => json::from_value(value)
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            value => json::from_value(value).to_string(),
        };
        pairs.push((key, text));
    }
    pairs.sort_unstable();
    let mut query = String::new();
    for (key, value) in pairs {
        query.push(if query.is_empty() { '?' } else { '&' });
        escape(key, &mut query);
        query.push('=');
        escape(&value, &mut query);
    }
    Ok(query)
}

fn escape(text: &str, out: &mut String) {
    use std::fmt::Write;
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            // Writing to a `String` cannot fail.
            byte => drop(write!(out, "%{byte:02X}")),
        }
    }
}
