//! Lines of minisign's files, read in one way only.

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::text::is_unprintable;

/// What stands before a comment that nobody signed.
pub(super) const UNTRUSTED: &str = "untrusted comment: ";
/// What stands before a comment that is signed.
pub(super) const TRUSTED: &str = "trusted comment: ";
/// Bytes of a comment; `minisign` writes no longer ones unless it is asked to.
pub(super) const COMMENT: usize = 1024;

/// The lines of a text of exactly `N`. Each ends with a line feed; the last may do without.
pub(super) fn split<const N: usize>(bytes: &[u8]) -> Result<[&str; N], String> {
    // Whatever is longer is no file of ours, and not looked at.
    let limit = N * (COMMENT + UNTRUSTED.len() + 2);
    if bytes.len() > limit {
        return Err(format!("it has more than {limit} bytes"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text")?;
    let lines: Vec<&str> = text
        .strip_suffix('\n')
        .unwrap_or(text)
        .split('\n')
        .collect();
    let found = lines.len();
    let lines = lines.try_into();
    lines.map_err(|_| format!("it has {found} lines, and not {N}"))
}

/// The comment of a line.
pub(super) fn comment<'line>(line: &'line str, prefix: &str) -> Result<&'line str, String> {
    let Some(comment) = line.strip_prefix(prefix) else {
        return Err(format!(
            "a line does not begin with `{}`",
            prefix.trim_end()
        ));
    };
    check_comment(comment)?;
    Ok(comment)
}

/// Fails for a comment that is too long or could steer a terminal.
pub(super) fn check_comment(comment: &str) -> Result<(), String> {
    if comment.len() > COMMENT {
        return Err(format!("a comment has more than {COMMENT} bytes"));
    }
    // `minisign` separates the parts of its own comments by tabs.
    let steers = |character: char| is_unprintable(character) && character != '\t';
    if comment.contains(steers) {
        return Err("a comment holds control characters".to_owned());
    }
    Ok(())
}

/// The `N` bytes of a line in Base64. There is one spelling of them. They are wiped once they are not needed.
pub(super) fn bytes<const N: usize>(line: &str) -> Result<Zeroizing<[u8; N]>, String> {
    let decoded = BASE64.decode(line.as_bytes()).map(Zeroizing::new);
    let decoded = decoded.map_err(|_| "a line that should be in Base64 is not")?;
    let found = decoded.len();
    let bytes = <&[u8; N]>::try_from(decoded.as_slice());
    bytes
        .map(|bytes| Zeroizing::new(*bytes))
        .map_err(|_| format!("it has {found} bytes where {N} belong"))
}

/// Takes the first `N` bytes off.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let Some((first, rest)) = bytes.split_first_chunk() else {
        // Whoever takes has counted before.
        return [0; N];
    };
    *bytes = rest;
    *first
}
