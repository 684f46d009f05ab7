//! Where a plugin's code comes from, and paths that cannot leave the plugin's directory.

use std::path::Path;

use serde::Serialize;

use crate::text::{Rule, checked_text, is_unprintable};

/// Where the code comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(deny_unknown_fields)
)]
#[serde(tag = "mode", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Source {
    /// A shared library beside the manifest.
    LocalSo {
        /// The library, relative to the plugin's directory.
        path: LibraryPath,
    },
    /// A repository to build from.
    RemoteGit {
        /// Where to clone it from. Written `path` in the file.
        #[serde(rename = "path")]
        url: GitUrl,
    },
}

checked_text! {
    /// A path below the plugin's directory: relative, joined by `/`, never through `..`.
    ///
    /// Whether something stands there, and whether it is a link that leads elsewhere, is for the reader of the
    /// directory to find out.
    ///
    /// ```
    /// use plg_packaging::manifest::RelativePath;
    ///
    /// assert!(RelativePath::new("bin/serve").is_ok());
    /// for escape in ["/bin/sh", "../serve", "bin/../../serve", r"..\serve", "C:/serve", ""] {
    ///     assert!(RelativePath::new(escape).is_err(), "{escape}");
    /// }
    /// ```
    RelativePath,
    pattern: r"^[^/\\][^\\]*$",
    rule: Rule {
        what: "path",
        limit: MAX_PATH,
        may_be_empty: false,
        allowed: "all but backslashes and control characters, with `/` between directories",
        allows: |character, _| is_path_character(character),
        form: stays_inside,
    },
}

checked_text! {
    /// A [`RelativePath`] to a shared library: it ends in `.so`, `.dylib` or `.dll`.
    LibraryPath,
    pattern: r"^[^/\\][^\\]*\.(so|dylib|dll)$",
    rule: Rule {
        what: "path",
        limit: MAX_PATH,
        may_be_empty: false,
        allowed: "all but backslashes and control characters, with `/` between directories",
        allows: |character, _| is_path_character(character),
        form: |path| stays_inside(path).and_then(|()| names_a_library(path)),
    },
}

checked_text! {
    /// A repository that git can clone from: a URL, or `user@host:path`.
    ///
    /// Transports that run a program (`ext::…`) and texts that git would read as an option are refused.
    ///
    /// ```
    /// use plg_packaging::manifest::GitUrl;
    ///
    /// assert!(GitUrl::new("https://github.com/steven-zou/go-plugin.git").is_ok());
    /// assert!(GitUrl::new("git@github.com:steven-zou/go-plugin.git").is_ok());
    /// assert!(GitUrl::new("ext::sh -c id").is_err());
    /// assert!(GitUrl::new("--upload-pack=id").is_err());
    /// ```
    GitUrl,
    pattern: r"^((https?|ssh|git|file)://[^\s\\]+|[A-Za-z0-9._][A-Za-z0-9._-]*@[A-Za-z0-9._-]+:[^\s\\]+)$",
    rule: Rule {
        what: "repository",
        limit: MAX_PATH,
        may_be_empty: false,
        allowed: "all but white space, backslashes and control characters",
        allows: |character, _| is_path_character(character) && !character.is_whitespace(),
        form: is_repository,
    },
}

impl AsRef<Path> for RelativePath {
    fn as_ref(&self) -> &Path {
        self.as_str().as_ref()
    }
}

impl AsRef<Path> for LibraryPath {
    fn as_ref(&self) -> &Path {
        self.as_str().as_ref()
    }
}

const MAX_PATH: usize = 1024;

fn is_path_character(character: char) -> bool {
    character != '\\' && !is_unprintable(character)
}

fn stays_inside(path: &str) -> Result<(), &'static str> {
    if path.starts_with('/') {
        return Err("is absolute, expected a path inside the plugin's directory");
    }
    if path.as_bytes().get(1) == Some(&b':') {
        return Err("names a drive, expected a path inside the plugin's directory");
    }
    for component in path.split('/') {
        match component {
            ".." => return Err("goes up with `..`, expected a path inside the plugin's directory"),
            "" => return Err("holds an empty component"),
            _ => {}
        }
    }
    Ok(())
}

fn names_a_library(path: &str) -> Result<(), &'static str> {
    let file = path.rsplit('/').next().unwrap_or(path);
    match file.rsplit_once('.') {
        Some((stem, "so" | "dylib" | "dll")) if !stem.is_empty() => Ok(()),
        _ => Err("is not a shared library, expected a name that ends in `.so`, `.dylib` or `.dll`"),
    }
}

fn is_repository(text: &str) -> Result<(), &'static str> {
    const REFUSED: &str =
        "is not a repository, expected an `https`, `ssh`, `git` or `file` URL or `user@host:path`";
    let rest = match text.split_once("://") {
        Some(("https" | "http" | "ssh" | "git" | "file", rest)) => rest,
        Some(_) => return Err(REFUSED),
        None => match text.split_once(':') {
            Some((login, path)) if is_login(login) => path,
            _ => return Err(REFUSED),
        },
    };
    // A host that begins with a hyphen would reach ssh as an option.
    if rest.is_empty() || rest.starts_with(['-', ':']) {
        Err(REFUSED)
    } else {
        Ok(())
    }
}

fn is_login(login: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty()
            && !word.starts_with('-')
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    login
        .split_once('@')
        .is_some_and(|(user, host)| is_word(user) && is_word(host))
}
