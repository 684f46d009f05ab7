//! The names that cross crates: what a plugin is called, what it can do, what it asks for.

use crate::text::{ANY_FORM, Rule, checked_text};

checked_text! {
    /// The name of a plugin: a lower-case letter, then up to 63 lower-case letters, digits or `-`.
    ///
    /// So it is a safe file name everywhere, a safe part of a URL, and has one spelling.
    ///
    /// ```
    /// use plg_packaging::PluginName;
    ///
    /// assert!("go-plugin".parse::<PluginName>().is_ok());
    /// let error = "../evil".parse::<PluginName>().unwrap_err();
    /// assert!(error.to_string().starts_with("plugin name `../evil` holds '.' at byte 0"));
    /// ```
    PluginName,
    pattern: "^[a-z][a-z0-9-]{0,63}$",
    rule: Rule {
        what: "plugin name",
        limit: 64,
        may_be_empty: false,
        allowed: "a lower-case letter, then lower-case letters, digits and `-`",
        allows: |character, first| {
            character.is_ascii_lowercase() || (!first && (character.is_ascii_digit() || character == '-'))
        },
        form: ANY_FORM,
    },
}

checked_text! {
    /// What a plugin is asked to do in one call, for instance `plugin.get`.
    ///
    /// ```
    /// use plg_packaging::Label;
    ///
    /// assert!(Label::new("plugin.get").is_ok());
    /// assert!(Label::new("plugin get").is_err());
    /// ```
    Label,
    pattern: "^[A-Za-z0-9._:/-]{1,128}$",
    rule: Rule {
        what: "label",
        limit: 128,
        may_be_empty: false,
        allowed: "letters, digits and `. _ : / -`",
        allows: |character, _| is_label_character(character),
        form: ANY_FORM,
    },
}

checked_text! {
    /// Something a plugin asks the operator for, for instance `network` or `fs.read:/etc/hosts`.
    ///
    /// A manifest only asks; what the words mean and whether they are granted is decided where the plugin is loaded.
    Permission,
    pattern: "^[A-Za-z0-9._:/-]{1,128}$",
    rule: Rule {
        what: "permission",
        limit: 128,
        may_be_empty: false,
        allowed: "letters, digits and `. _ : / -`",
        allows: |character, _| is_label_character(character),
        form: ANY_FORM,
    },
}

fn is_label_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | ':' | '/' | '-')
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn errors_say_what_was_expected() {
        for (name, message) in [
            ("", "plugin name is empty"),
            ("9lives", "plugin name `9lives` holds '9' at byte 0"),
            (
                "a\u{1b}[2J",
                "plugin name `a\\u{1b}[2J` holds '\\u{1b}' at byte 1",
            ),
        ] {
            let error = PluginName::new(name).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
        let error = PluginName::new(&"a".repeat(65)).unwrap_err().to_string();
        assert_eq!(
            error,
            "plugin name is 65 bytes long, at most 64 are allowed"
        );
        assert!(PluginName::new(&"a".repeat(64)).is_ok());
        assert!(Label::new(&"a".repeat(128)).is_ok());
    }

    #[test]
    fn names_are_found_by_their_text_and_checked_when_read() {
        let name = PluginName::new("greeter").unwrap();
        assert_eq!(HashMap::from([(name.clone(), 1)]).get("greeter"), Some(&1));
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"greeter\"");
        assert_eq!(
            serde_json::from_str::<PluginName>("\"greeter\"").unwrap(),
            name
        );
        assert_eq!(
            serde_json::from_str::<PluginName>(r#""\u0067reeter""#).unwrap(),
            name
        );
        assert!(serde_json::from_str::<PluginName>("\"Greeter\"").is_err());
        assert!(Label::try_from("a b".to_owned()).is_err());
    }
}
