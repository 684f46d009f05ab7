//! What the permissions of a manifest mean.

use std::path::{Component, Path, PathBuf};

use plg_packaging::Permission;

/// What a permission of a manifest means to the host. A manifest asks, and the operator grants; only what was
/// granted counts. It makes a difference to sandboxed plugins alone: the others may do all of this anyway.
///
/// | permission | grants |
/// |---|---|
/// | `network` | connections to and from other machines and this one: TCP, UDP, and sockets of other programs that are files |
/// | `read:/path` | reading and running the file, or everything below the directory |
/// | `write:/path` | that, and changing it |
/// | anything else | nothing that the host enforces; it is between operator and plugin |
///
/// A path is absolute and has no `..` in it; it must be there when the plugin is started.
///
/// ```
/// use plg_host::Grant;
///
/// let asked = plg_packaging::Permission::new("write:/var/cache/thumbnails")?;
/// assert_eq!(Grant::from(&asked), Grant::Write("/var/cache/thumbnails".into()));
/// # Ok::<(), plg_packaging::TextError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Grant {
    /// `network`
    Network,
    /// `read:/path`
    Read(PathBuf),
    /// `write:/path`
    Write(PathBuf),
    /// Any other text.
    Other(Permission),
}

impl From<&Permission> for Grant {
    fn from(permission: &Permission) -> Self {
        let text = permission.as_str();
        let granted = match text.split_once(':') {
            None => (text == "network").then_some(Self::Network),
            Some(("read", path)) => absolute(path).map(Self::Read),
            Some(("write", path)) => absolute(path).map(Self::Write),
            Some(_) => None,
        };
        granted.unwrap_or_else(|| Self::Other(permission.clone()))
    }
}

fn absolute(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    (path.is_absolute() && path.components().all(plain)).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use plg_packaging::Permission;

    use super::Grant;

    #[test]
    fn few_words_mean_something_to_the_host() {
        let grant = |text| Grant::from(&Permission::new(text).unwrap());
        assert_eq!(grant("network"), Grant::Network);
        assert_eq!(grant("read:/usr/share"), Grant::Read("/usr/share".into()));
        assert_eq!(grant("write:/a/b"), Grant::Write("/a/b".into()));
        for text in [
            "Network",
            "network:",
            "network:tcp",
            "read",
            "read:",
            "read:etc",
            "read:/a/../etc",
            "write:./a",
            "write::/a",
            "exec:/bin/sh",
            "camera",
        ] {
            assert_eq!(grant(text), Grant::Other(Permission::new(text).unwrap()));
        }
    }
}
