//! The header of an archive's entry: 512 bytes that can be read in one way only.
//!
//! Of what tar has grown over the years a bundle needs the ustar header and regular files. Every extension
//! that could give an entry another name or size than the header has is refused: tools disagree on them.

use super::{BundleError, MemberPath};

/// The unit of an archive.
pub(super) const BLOCK: usize = 512;

/// One block of an archive.
pub(super) type Block = [u8; BLOCK];

/// What a header says.
#[derive(Debug)]
pub(super) enum Header {
    /// A regular file.
    File(Entry),
    /// An extension whose body decides why it is refused.
    Extension(Extension),
}

/// A regular file.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: MemberPath,
    pub(super) size: u64,
    /// Where the header stands in the archive.
    pub(super) at: u64,
    /// Whether GNU tar wrote it in its own format.
    pub(super) is_gnu: bool,
}

/// The two kinds of extension; each says something about the entry after it.
#[derive(Debug)]
pub(super) struct Extension {
    pub(super) is_gnu: bool,
    pub(super) size: u64,
    pub(super) at: u64,
}

// Where the fields stand.
const NAME: (usize, usize) = (0, 100);
const MODE: (usize, usize) = (100, 108);
const OWNER: (usize, usize) = (108, 116);
const GROUP: (usize, usize) = (116, 124);
const SIZE: (usize, usize) = (124, 136);
const TIME: (usize, usize) = (136, 148);
const SUM: (usize, usize) = (148, 156);
const KIND: usize = 156;
const LINK: (usize, usize) = (157, 257);
const MAGIC: (usize, usize) = (257, 265);
const MAJOR: (usize, usize) = (329, 337);
const MINOR: (usize, usize) = (337, 345);
const PREFIX: (usize, usize) = (345, 500);
const REST: (usize, usize) = (500, 512);

/// Reads the header that stands `at` that byte of the archive.
pub(super) fn parse(block: &Block, at: u64) -> Result<Header, BundleError> {
    let refuse = |why: String| BundleError::Header { at, why };
    let sum = octal(field(block, SUM)).map_err(|why| refuse(format!("its checksum {why}")))?;
    if sum != checksum(block) {
        return Err(refuse("its checksum does not match".to_owned()));
    }
    let is_gnu = match field(block, MAGIC) {
        b"ustar\x0000" => false,
        b"ustar  \0" => true,
        _ => return Err(refuse("it is neither ustar's nor GNU tar's".to_owned())),
    };
    let kind = block[KIND];
    if let Some(words) = unwanted(kind) {
        return Err(BundleError::Kind {
            path: String::from_utf8_lossy(cut(field(block, NAME))).into_owned(),
            kind: words,
        });
    }
    for (range, what) in [
        (MODE, "mode"),
        (OWNER, "owner"),
        (GROUP, "group"),
        (TIME, "time"),
    ] {
        octal(field(block, range)).map_err(|why| refuse(format!("its {what} {why}")))?;
    }
    for (range, what) in [(MAJOR, "major number"), (MINOR, "minor number")] {
        let field = field(block, range);
        if field.iter().any(|&byte| byte != 0) {
            octal(field).map_err(|why| refuse(format!("its {what} {why}")))?;
        }
    }
    let size = octal(field(block, SIZE)).map_err(|why| refuse(format!("its size {why}")))?;
    if matches!(kind, b'L' | b'K') && !is_gnu {
        return Err(refuse(
            "it mixes extensions of GNU tar with ustar".to_owned(),
        ));
    }
    match kind {
        b'x' => {
            return Ok(Header::Extension(Extension {
                is_gnu: false,
                size,
                at,
            }));
        }
        b'L' => {
            return Ok(Header::Extension(Extension {
                is_gnu: true,
                size,
                at,
            }));
        }
        b'g' => return Err(refuse("it is a PAX header for all entries".to_owned())),
        b'K' => return Err(refuse("it is GNU tar's long name of a link".to_owned())),
        _ => {}
    }
    let path = path(block, is_gnu, &refuse)?;
    for (range, what) in [
        (LINK, "the name of a link"),
        (REST, "bytes after its fields"),
    ] {
        if field(block, range).iter().any(|&byte| byte != 0) {
            return Err(refuse(format!("it has {what}")));
        }
    }
    Ok(Header::File(Entry {
        path,
        size,
        at,
        is_gnu,
    }))
}

/// Checks a path as it stands in an archive.
pub(super) fn member_path(bytes: &[u8]) -> Result<MemberPath, BundleError> {
    let shown = || {
        let text = String::from_utf8_lossy(bytes);
        text.chars().take(256).collect()
    };
    let refuse = |why: String| BundleError::Path { path: shown(), why };
    if bytes.contains(&0) {
        return Err(refuse("its path has a zero byte inside".to_owned()));
    }
    let text =
        std::str::from_utf8(bytes).map_err(|_| refuse("its path is not UTF-8".to_owned()))?;
    MemberPath::new(text).map_err(|error| refuse(error.to_string()))
}

/// Why an extension is refused, from its body.
pub(super) fn refuse_extension(extension: &Extension, body: &[u8]) -> BundleError {
    let Extension { is_gnu, at, .. } = *extension;
    let refuse = |why: &str| BundleError::Header {
        at,
        why: why.to_owned(),
    };
    if is_gnu {
        return match member_path(body.strip_suffix(&[0]).unwrap_or(body)) {
            Err(error) => error,
            Ok(_) => refuse(
                "it is GNU tar's long name, and paths of bundles fit without; use `--format=ustar`",
            ),
        };
    }
    match is_sparse(body) {
        None => refuse("it is a PAX header that cannot be read"),
        Some(false) => refuse(
            "it is a PAX header, and paths and sizes of bundles fit without; use `--format=ustar`",
        ),
        Some(true) => BundleError::Kind {
            path: "PaxHeader".to_owned(),
            kind: "a sparse file".to_owned(),
        },
    }
}

/// Whether the records of a PAX header speak of a sparse file; `None` if they are no records.
fn is_sparse(mut body: &[u8]) -> Option<bool> {
    while !body.is_empty() {
        let digits = body.iter().position(|&byte| byte == b' ')?;
        let length: usize = std::str::from_utf8(&body[..digits]).ok()?.parse().ok()?;
        let record = body.get(digits + 1..length)?.strip_suffix(b"\n")?;
        let key = record.split(|&byte| byte == b'=').next()?;
        if key.len() == record.len() {
            return None;
        }
        if key.starts_with(b"GNU.sparse.") {
            return Some(true);
        }
        body = &body[length..];
    }
    Some(false)
}

/// The path, put together by the rules of ustar.
fn path(
    block: &Block,
    is_gnu: bool,
    refuse: &impl Fn(String) -> BundleError,
) -> Result<MemberPath, BundleError> {
    let name = cut(field(block, NAME));
    let prefix = cut(field(block, PREFIX));
    if prefix.is_empty() {
        return member_path(name);
    }
    if is_gnu {
        // GNU tar has other fields in this place.
        return Err(refuse(
            "it has bytes where GNU tar has none for a file".to_owned(),
        ));
    }
    member_path(&[prefix, b"/", name].concat())
}

/// Why a kind of entry is refused; `None` for regular files, and for extensions, which are judged further on.
fn unwanted(kind: u8) -> Option<String> {
    let words = match kind {
        b'0' | 0 | b'x' | b'g' | b'L' | b'K' => return None,
        b'1' => "a hard link",
        b'2' => "a symbolic link",
        b'3' => "a character device",
        b'4' => "a block device",
        b'5' => "a directory",
        b'6' => "a named pipe",
        b'7' => "a contiguous file",
        b'D' => "GNU tar's list of a directory",
        b'M' => "a part of a file on several volumes",
        b'S' => "a sparse file",
        b'V' => "the name of a volume",
        _ => return Some(format!("of the unknown kind {:?}", char::from(kind))),
    };
    Some(words.to_owned())
}

fn field(block: &Block, (start, end): (usize, usize)) -> &[u8] {
    &block[start..end]
}

/// A text without the zero bytes that fill its field; those inside stay.
fn cut(field: &[u8]) -> &[u8] {
    let end = field.iter().rposition(|&byte| byte != 0);
    &field[..end.map_or(0, |end| end + 1)]
}

/// A number: octal digits, then nothing but zero bytes and spaces. GNU tar's form for larger ones, signs and
/// leading spaces are read differently by different tools.
fn octal(field: &[u8]) -> Result<u64, String> {
    let count = field
        .iter()
        .take_while(|byte| matches!(byte, b'0'..=b'7'))
        .count();
    let (digits, rest) = field.split_at(count);
    if digits.is_empty() && field.first().is_some_and(|byte| byte & 0x80 != 0) {
        return Err("is a binary number".to_owned());
    }
    if digits.is_empty() || rest.iter().any(|byte| !matches!(byte, 0 | b' ')) {
        return Err("is not an octal number".to_owned());
    }
    // Twelve digits of three bits fit.
    Ok(digits
        .iter()
        .fold(0, |number, digit| number << 3 | u64::from(digit - b'0')))
}

/// The sum of all bytes, those of the checksum itself taken as spaces.
fn checksum(block: &Block) -> u64 {
    let all: u64 = block.iter().copied().map(u64::from).sum();
    let own: u64 = field(block, SUM).iter().copied().map(u64::from).sum();
    all - own + 8 * u64::from(b' ')
}
