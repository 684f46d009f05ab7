//! The plugin note.

use plg_plugin_api::abi::{NOTE_ENDIAN, NOTE_MAGIC, NOTE_SECTION, NoteHead};

use super::facts::{NoteState, PluginNote};
use super::image::Image;

/// Reads the note from its section.
pub(super) fn read(image: &Image<'_>) -> NoteState {
    let mut sections = image.sections_named(NOTE_SECTION.as_bytes());
    let Some(section) = sections.next() else {
        return NoteState::Absent;
    };
    if sections.next().is_some() {
        return NoteState::Damaged("there are two sections of that name".to_owned());
    }
    match section
        .ok_or_else(|| "its section has no bytes in the file".to_owned())
        .and_then(parse)
    {
        Ok(note) => NoteState::Present(note),
        Err(why) => NoteState::Damaged(why),
    }
}

/// A manifest longer than this is no manifest.
const MAX_MANIFEST: usize = 1 << 20;
/// What a linker may add so that the section ends at a boundary.
const MAX_PADDING: usize = 64;

fn parse(section: &[u8]) -> Result<PluginNote, String> {
    let least = size_of::<NoteHead>();
    if section.len() < least {
        return Err(format!(
            "it has {} bytes, and the fixed part alone has {least}",
            section.len()
        ));
    }
    let magic: [u8; 8] = field(section, at::MAGIC)?;
    if magic != NOTE_MAGIC {
        return Err(format!(
            "it begins with `{}` instead of `{}`",
            magic.escape_ascii(),
            NOTE_MAGIC.escape_ascii()
        ));
    }
    let endian = u16::from_ne_bytes(field(section, at::ENDIAN)?);
    if endian == NOTE_ENDIAN.swap_bytes() {
        // Only the names of such a note mean anything here.
        return head(section);
    }
    if endian != NOTE_ENDIAN {
        return Err(format!(
            "its byte order mark is {endian:#06x} instead of {NOTE_ENDIAN:#06x}"
        ));
    }
    let size = u32::from_ne_bytes(field(section, at::SIZE)?) as usize;
    if size < least || size > section.len() {
        return Err(format!(
            "its fixed part says it has {size} bytes, and must have at least {least} and at most the section's {}",
            section.len()
        ));
    }
    let manifest_len = u32::from_ne_bytes(field(section, at::MANIFEST_LEN)?) as usize;
    let (manifest, padding) = section[size..]
        .split_at_checked(manifest_len)
        .filter(|(manifest, _)| manifest.len() <= MAX_MANIFEST)
        .ok_or_else(|| {
            format!(
                "it says its manifest has {manifest_len} bytes, and {} follow; at most {MAX_MANIFEST} are read",
                section.len() - size
            )
        })?;
    if padding.len() > MAX_PADDING || padding.iter().any(|byte| *byte != 0) {
        return Err(format!(
            "{} bytes follow it: is `plugin!` used twice in one library?",
            padding.len()
        ));
    }
    let mut note = head(section)?;
    note.manifest = manifest.to_vec();
    Ok(note)
}

fn head(section: &[u8]) -> Result<PluginNote, String> {
    let name = text("name", &field::<64>(section, at::NAME)?)?;
    if name.is_empty() {
        return Err("its name is empty".to_owned());
    }
    Ok(PluginNote {
        name,
        version: text("version", &field::<32>(section, at::VERSION)?)?,
        flags: u32::from_ne_bytes(field(section, at::FLAGS)?),
        fingerprint: u64::from_ne_bytes(field(section, at::FINGERPRINT)?),
        major: u16::from_ne_bytes(field(section, at::MAJOR)?),
        minor: u16::from_ne_bytes(field(section, at::MINOR)?),
        pointer_bits: u16::from_ne_bytes(field(section, at::POINTER_BITS)?),
        endian: u16::from_ne_bytes(field(section, at::ENDIAN)?),
        manifest: Vec::new(),
    })
}

/// Where the fields of the record stand.
mod at {
    use core::mem::offset_of;

    use super::NoteHead;

    pub(super) const MAGIC: usize = offset_of!(NoteHead, magic);
    pub(super) const SIZE: usize = offset_of!(NoteHead, size);
    pub(super) const FLAGS: usize = offset_of!(NoteHead, flags);
    pub(super) const FINGERPRINT: usize = offset_of!(NoteHead, fingerprint);
    pub(super) const MAJOR: usize = offset_of!(NoteHead, major);
    pub(super) const MINOR: usize = offset_of!(NoteHead, minor);
    pub(super) const POINTER_BITS: usize = offset_of!(NoteHead, pointer_bits);
    pub(super) const ENDIAN: usize = offset_of!(NoteHead, endian);
    pub(super) const NAME: usize = offset_of!(NoteHead, name);
    pub(super) const VERSION: usize = offset_of!(NoteHead, version);
    pub(super) const MANIFEST_LEN: usize = offset_of!(NoteHead, manifest_len);
}

fn field<const N: usize>(section: &[u8], at: usize) -> Result<[u8; N], String> {
    section
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or_else(|| format!("it ends before byte {}", at + N))
}

/// Text that is padded with NUL to the end of its field. Control characters would reach terminals
/// and logs.
fn text(what: &str, field: &[u8]) -> Result<String, String> {
    let end = field
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(field.len());
    let (text, padding) = field.split_at(end);
    if padding.iter().any(|byte| *byte != 0) {
        return Err(format!("its {what} goes on after a NUL"));
    }
    let text = std::str::from_utf8(text)
        .map_err(|_| format!("its {what} `{}` is not UTF-8", text.escape_ascii()))?;
    if text.contains(char::is_control) {
        return Err(format!("its {what} {text:?} has control characters"));
    }
    Ok(text.to_owned())
}
