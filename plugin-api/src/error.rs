//! Why a plugin could not answer.

use std::borrow::Cow;
use std::fmt;

/// Why an entry point failed: a stable code for programs and a message for people.
///
/// Any `std::error::Error` converts into one with the code `call.failed`, so `?` works in an entry
/// point. To let that work, this type does not implement `std::error::Error` itself.
///
/// ```
/// use plg_plugin_api::Error;
///
/// fn parse(text: &str) -> Result<i64, Error> {
///     if text.is_empty() {
///         return Err(Error::new("order.empty", "an order needs a number"));
///     }
///     Ok(text.parse()?)
/// }
/// assert_eq!(parse("").unwrap_err().code(), "order.empty");
/// assert_eq!(parse("x").unwrap_err().code(), "call.failed");
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Error {
    code: Cow<'static, str>,
    message: String,
}

impl Error {
    /// The code of an error that names no better one.
    pub const FAILED: &'static str = "call.failed";
    /// The code of a label the plugin does not have.
    pub const NO_ROUTE: &'static str = "call.no_route";

    /// An error with a dotted code and a message in lower case without a full stop.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
        }
    }

    /// An error that needs no code of its own.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Self::FAILED, message)
    }

    /// The error of an entry point that was asked for a label it does not have.
    ///
    /// ```
    /// let error = plg_plugin_api::Error::unknown_label("gret", &["greet", "part"]);
    /// assert_eq!(error.code(), "call.no_route");
    /// assert_eq!(error.message(), "no label `gret`; the plugin has `greet`, `part`");
    /// ```
    #[must_use]
    pub fn unknown_label(label: &str, known: &[&str]) -> Self {
        let known: Vec<String> = known.iter().map(|label| format!("`{label}`")).collect();
        let known = match known.as_slice() {
            [] => "none".to_owned(),
            known => known.join(", "),
        };
        Self::new(
            Self::NO_ROUTE,
            format!("no label `{label}`; the plugin has {known}"),
        )
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        Self::new(Self::FAILED, message)
    }
}
