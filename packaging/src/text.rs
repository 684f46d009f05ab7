//! Checked strings: one error type, one macro that makes a newtype out of a rule, and [`Text`] for prose.

use std::fmt;

/// Why a string was refused; says what it was meant to be, and never echoes bytes that could steer a terminal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// Nothing stands where something has to.
    #[error("{what} is empty")]
    Empty {
        /// What the string was meant to be, for instance `plugin name`.
        what: &'static str,
    },
    /// The string is longer than its cap.
    #[error("{what} is {length} bytes long, at most {limit} are allowed")]
    TooLong {
        /// What the string was meant to be.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The cap in bytes.
        limit: usize,
    },
    /// A character stands where the rule does not allow it.
    #[error("{what} {shown} holds {found:?} at byte {at}, allowed are {allowed}")]
    Character {
        /// What the string was meant to be.
        what: &'static str,
        /// The beginning of the string, escaped and in backticks.
        shown: String,
        /// The first character that breaks the rule.
        found: char,
        /// Where it stands.
        at: usize,
        /// The rule in words.
        allowed: &'static str,
    },
    /// The characters are fine, the whole is not.
    #[error("{what} {shown} {reason}")]
    Form {
        /// What the string was meant to be.
        what: &'static str,
        /// The beginning of the string, escaped and in backticks.
        shown: String,
        /// What is wrong, reading on after the string.
        reason: &'static str,
    },
}

/// The rule of one [`checked_text`] type: a length cap and the characters it allows.
pub(crate) struct Rule {
    pub(crate) what: &'static str,
    pub(crate) limit: usize,
    pub(crate) may_be_empty: bool,
    pub(crate) allowed: &'static str,
    /// Judges one character; the flag is true for the first one.
    pub(crate) allows: fn(char, bool) -> bool,
    /// Judges the whole, once the characters are known to be fine; an error says what is wrong with it.
    pub(crate) form: fn(&str) -> Result<(), &'static str>,
}

/// The form of a string that is more than its characters in no way.
pub(crate) const ANY_FORM: fn(&str) -> Result<(), &'static str> = |_| Ok(());

impl Rule {
    // Inlined into each type, where the rule is a constant and the calls through its pointers fold away.
    #[inline(always)]
    pub(crate) fn check(&self, text: &str) -> Result<(), TextError> {
        let Rule {
            what,
            limit,
            allowed,
            ..
        } = *self;
        if text.is_empty() && !self.may_be_empty {
            return Err(TextError::Empty { what });
        }
        if text.len() > limit {
            return Err(TextError::TooLong {
                what,
                length: text.len(),
                limit,
            });
        }
        if let Some((at, found)) = text
            .char_indices()
            .find(|&(at, found)| !(self.allows)(found, at == 0))
        {
            return Err(TextError::Character {
                what,
                shown: Quoted(text).to_string(),
                found,
                at,
                allowed,
            });
        }
        (self.form)(text).map_err(|reason| TextError::Form {
            what,
            shown: Quoted(text).to_string(),
            reason,
        })
    }
}

/// Shows a string from outside: in backticks, escaped, and cut after 64 characters.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 64;
        f.write_str("`")?;
        for character in self.0.chars().take(SHOWN) {
            if is_unprintable(character) {
                write!(f, "{}", character.escape_unicode())?;
            } else {
                fmt::Write::write_char(f, character)?;
            }
        }
        let cut = self.0.chars().nth(SHOWN).is_some();
        f.write_str(if cut { "…`" } else { "`" })
    }
}

/// Makes a newtype over `Arc<str>` out of a [`Rule`], so that a value of it cannot break the rule.
///
/// Clones are cheap, because names travel into every event, error and snapshot of a host.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, pattern: $pattern:literal, rule: $rule:expr $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            const RULE: $crate::text::Rule = $rule;

            /// Checks `text` against the rule of this type.
            ///
            /// # Errors
            /// Says which part of the rule `text` breaks.
            pub fn new(text: &str) -> Result<Self, $crate::text::TextError> {
                Self::RULE.check(text)?;
                Ok(Self(text.into()))
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::text::TextError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::text::TextError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::new(&text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = $crate::text::TextError;

            fn try_from(text: &str) -> Result<Self, Self::Error> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                *self.0 == *other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                *self.0 == **other
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "description": format!("{}: {}", Self::RULE.what, Self::RULE.allowed),
                    "pattern": $pattern,
                    "maxLength": Self::RULE.limit,
                })
            }
        }
    };
}
pub(crate) use checked_text;

checked_text! {
    /// Prose of one line, at most 4 KiB: descriptions, maintainers, home pages.
    ///
    /// Control characters, line breaks and marks that reorder what a reader sees are refused, so that a text may be
    /// printed as it is. Markup such as `<script>` is a text like any other: whoever shows it in a page escapes it.
    ///
    /// ```
    /// use plg_packaging::Text;
    ///
    /// assert!(Text::new("Greets people").is_ok());
    /// assert!(Text::new("\u{1b}[2J").is_err());
    /// ```
    Text,
    pattern: r"^[^\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]*$",
    rule: Rule {
        what: "text",
        limit: 4096,
        may_be_empty: true,
        allowed: "all but control characters, line breaks and bidirectional marks",
        allows: |character, _| !is_unprintable(character),
        form: ANY_FORM,
    },
}

/// Characters that move the cursor, break the line or reorder the text around them.
pub(crate) fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
