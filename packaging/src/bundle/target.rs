//! The platform that a library is for.

use crate::text::{Rule, checked_text};

checked_text! {
    /// A target triple as rustc writes it, for instance `x86_64-unknown-linux-gnu`.
    ///
    /// ```
    /// use plg_packaging::bundle::Target;
    ///
    /// assert!(Target::new("aarch64-unknown-linux-musl").is_ok());
    /// assert!(Target::new("linux").is_err());
    /// ```
    Target,
    pattern: "^[a-z0-9_]+(-[a-z0-9_]+){2,3}$",
    rule: Rule {
        what: "target",
        limit: 64,
        may_be_empty: false,
        allowed: "lower-case letters, digits, `_` and `-`",
        allows: |character, _| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || matches!(character, '_' | '-')
        },
        form: is_triple,
    },
}

impl Target {
    /// The platform that this crate was compiled for.
    pub fn current() -> Self {
        Self(env!("PLG_TARGET").into())
    }
}

/// Architecture, vendor and system, and often an environment.
fn is_triple(text: &str) -> Result<(), &'static str> {
    let parts = text.split('-');
    if parts.clone().any(str::is_empty) || !(3..=4).contains(&parts.count()) {
        return Err("is not three or four words joined by `-`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_of_this_test_is_a_target() {
        let current = Target::current();
        assert_eq!(Target::new(current.as_str()), Ok(current.clone()));
        assert!(current.as_str().starts_with(std::env::consts::ARCH));
    }

    #[test]
    fn what_is_no_triple_is_refused() {
        for text in [
            "",
            "x86_64",
            "x86_64--linux",
            "-a-b",
            "a-b-c-d-e",
            "A-b-c",
            "../b-c-d",
        ] {
            assert!(Target::new(text).is_err(), "{text}");
        }
    }
}
