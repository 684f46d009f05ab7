//! Where a member of a bundle may stand.

use super::{CONTENTS, MANIFEST, SIGNATURE, Target};
use crate::text::{Rule, checked_text};

checked_text! {
    /// The path of a member, for instance `lib/x86_64-unknown-linux-gnu/libhello.so`.
    ///
    /// It names the same one file on every system: letters, digits and `. _ -` in up to eight components joined by
    /// `/`, none of which is hidden, reserved somewhere, or leads elsewhere. Only the names that the format knows
    /// stand at the top.
    ///
    /// ```
    /// use plg_packaging::bundle::MemberPath;
    ///
    /// assert!(MemberPath::new("assets/web/index.html").is_ok());
    /// for path in ["../evil", "/etc/passwd", "assets/./x", r"assets\x", "assets/nul.txt", "MANIFEST"] {
    ///     assert!(MemberPath::new(path).is_err(), "{path}");
    /// }
    /// ```
    MemberPath,
    pattern: "^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*){0,7}$",
    rule: Rule {
        what: "member path",
        limit: 240,
        may_be_empty: false,
        allowed: "letters, digits and `. _ -`, with `/` between directories",
        allows: |character, first| {
            character.is_ascii_alphanumeric()
                || character == '_'
                || (!first && matches!(character, '.' | '-' | '/'))
        },
        form: is_portable,
    },
}

const MAX_DEPTH: usize = 8;

impl MemberPath {
    /// The platform whose directory it stands in.
    pub fn target(&self) -> Option<Target> {
        let (target, _) = self.as_str().strip_prefix("lib/")?.split_once('/')?;
        Target::new(target).ok()
    }

    /// The path as systems that do not tell cases apart see it.
    pub fn folded(&self) -> String {
        self.as_str().to_ascii_lowercase()
    }

    /// Every directory that it stands in, the outermost first.
    pub fn directories(&self) -> impl Iterator<Item = &str> {
        let path = self.as_str();
        path.match_indices('/').map(|(end, _)| &path[..end])
    }
}

fn is_portable(path: &str) -> Result<(), &'static str> {
    let mut depth = 0;
    for component in path.split('/') {
        depth += 1;
        check_component(component)?;
    }
    if depth > MAX_DEPTH {
        return Err("has more than 8 components");
    }
    is_known(path)
}

fn check_component(component: &str) -> Result<(), &'static str> {
    match component {
        "" => return Err("has an empty component"),
        "." | ".." => return Err("has a component that leads elsewhere"),
        _ if component.starts_with(['.', '-']) => {
            return Err("has a component that begins with `.` or `-`");
        }
        _ if component.ends_with('.') => return Err("has a component that ends with `.`"),
        _ => {}
    }
    let stem = component.split('.').next().unwrap_or_default();
    if is_reserved(&stem.to_ascii_lowercase()) {
        return Err("has a component that is the name of a device on some systems");
    }
    Ok(())
}

/// The devices of Windows, which are there in every directory and with every extension.
fn is_reserved(stem: &str) -> bool {
    let numbered = |device: &str| {
        let number = stem.strip_prefix(device);
        number.is_some_and(|number| matches!(number.as_bytes(), [b'0'..=b'9']))
    };
    matches!(stem, "con" | "nul" | "aux" | "prn") || numbered("com") || numbered("lpt")
}

/// What stands at the top is named by the format; everything else has a directory for its kind.
fn is_known(path: &str) -> Result<(), &'static str> {
    let Some((top, rest)) = path.split_once('/') else {
        let is_library = path.ends_with(".so");
        return if is_library || [MANIFEST, CONTENTS, SIGNATURE].contains(&path) {
            Ok(())
        } else {
            Err("stands at the top, where only `plugin.json` and what the format names may")
        };
    };
    match top {
        "assets" => Ok(()),
        "lib" => match rest.split_once('/') {
            Some((target, _)) if Target::new(target).is_ok() => Ok(()),
            _ => Err("is not below the directory of a target, `lib/<target triple>/`"),
        },
        _ => Err("stands neither below `lib/` nor below `assets/`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_format_pass() {
        for path in [
            "plugin.json",
            "contents.json",
            "contents.json.minisig",
            "libhello.so",
            "lib/x86_64-unknown-linux-gnu/libhello.so",
            "assets/a/b/c/d/e/f/g",
            "assets/Config-2.1_final.toml",
            "assets/_hidden",
            "assets/console.txt",
        ] {
            assert_eq!(
                MemberPath::new(path).map(|path| path.to_string()),
                Ok(path.to_owned())
            );
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let long = format!("assets/{}", "a".repeat(240));
        for path in [
            "",
            ".",
            "..",
            "/",
            "./a",
            "../evil",
            "a/../../evil",
            "./..",
            "/x",
            "//x",
            "C:\\x",
            "\\\\srv\\x",
            "..\\..\\evil",
            "assets//x",
            "assets/",
            "assets/x/",
            "assets/.",
            "assets/..",
            "assets/.ok",
            "assets/-rf",
            "assets/a.",
            "assets/a ",
            "assets/con",
            "assets/NUL.txt",
            "assets/Com1.log",
            "assets/lpt9",
            "assets/a/b/c/d/e/f/g/h",
            "assets/a\0b",
            "assets/a\nb",
            "assets/\u{202e}x",
            "assets/e\u{301}",
            "assets/\u{200b}",
            "assets/é",
            ".ok",
            "lock.json",
            "MANIFEST",
            "README.md",
            "lib/libhello.so",
            "lib/x86_64/libhello.so",
            "bin/x",
            "Assets/x",
            &long,
        ] {
            assert!(MemberPath::new(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_path_knows_its_platform_and_directories() {
        let path = MemberPath::new("lib/aarch64-unknown-linux-gnu/deep/libx.so").unwrap();
        assert_eq!(path.target().unwrap().as_str(), "aarch64-unknown-linux-gnu");
        let directories: Vec<_> = path.directories().collect();
        assert_eq!(
            directories,
            [
                "lib",
                "lib/aarch64-unknown-linux-gnu",
                "lib/aarch64-unknown-linux-gnu/deep"
            ]
        );
        assert_eq!(MemberPath::new("assets/x").unwrap().target(), None);
        assert_eq!(MemberPath::new("assets/Xy").unwrap().folded(), "assets/xy");
    }
}
