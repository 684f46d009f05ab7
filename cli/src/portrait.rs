//! What a bundle says about itself. Only its head is read: a member that is not what the list says is found when the
//! bundle is unpacked.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anstyle::Style;
use indicatif::HumanBytes;
use plg_packaging::Manifest;
use plg_packaging::bundle::{Head, Listed};
use plg_packaging::sign::Signature;
use serde_json::{Value, json};

use crate::bundle;
use crate::output::Output;
use crate::printable::printable;
use crate::problem::{Failure, Problem};

/// Prints the head of a bundle.
pub(crate) fn show(path: &Path, output: &mut Output) -> Result<(), Failure> {
    let reader = bundle::open(path)?;
    let size = fs::metadata(path).map_err(|error| bundle::failed("read", path, &error))?;
    let (head, size) = (reader.head(), size.len());
    let signature = signature(path, head)?;
    if output.is_json() {
        output.json(&to_json(path, head, size, signature.as_ref()))?;
    } else {
        print(path, head, size, signature.as_ref(), &mut output.text())?;
    }
    Ok(())
}

fn signature(path: &Path, head: &Head) -> Result<Option<Signature>, Problem> {
    let bytes = head
        .listed
        .as_ref()
        .and_then(|listed| listed.signature.as_ref());
    let parsed = bytes.map(|bytes| Signature::parse(bytes)).transpose();
    parsed.map_err(|error| bundle::of_file(path, &Problem::from(&error)))
}

fn to_json(path: &Path, head: &Head, size: u64, signature: Option<&Signature>) -> Value {
    let manifest = &head.parsed.manifest;
    let contents = head.listed.as_ref().map(|listed| &listed.contents);
    json!({
        "bundle": path,
        "bytes": size,
        "plugin": manifest.name,
        "version": manifest.version,
        "manifest": manifest,
        "format": contents.map(|contents| contents.format),
        "digest": contents.map(|contents| contents.digest().to_string()),
        "targets": contents.map(bundle::targets),
        "libraries": contents.map(|contents| &contents.libraries),
        "members": contents.map(bundle::members_json),
        "signed_by": signature.map(|signature| signature.key_id().to_string()),
        "signed_comment": signature.map(Signature::trusted_comment),
    })
}

fn print(
    path: &Path,
    head: &Head,
    size: u64,
    signature: Option<&Signature>,
    out: &mut impl Write,
) -> io::Result<()> {
    let manifest = &head.parsed.manifest;
    title(out, manifest)?;
    let labels: Vec<&str> = manifest.labels.iter().map(|label| label.as_str()).collect();
    if !labels.is_empty() {
        line(out, "labels", &labels.join(", "))?;
    }
    line(
        out,
        "bundle",
        &format!("{}, {}", path.display(), HumanBytes(size)),
    )?;
    let Some(Listed { contents, .. }) = &head.listed else {
        return line(
            out,
            "form",
            "plain: a manifest and a library, which nobody lists or signs",
        );
    };
    line(out, "digest", &contents.digest().to_string())?;
    let targets = bundle::targets(contents);
    let targets = match targets.as_slice() {
        [] => "none: it has no library".to_owned(),
        targets => targets.join(", "),
    };
    line(out, "targets", &targets)?;
    match signature {
        Some(signature) => {
            line(
                out,
                "signed",
                &format!("by key {}, which was not checked", signature.key_id()),
            )?;
            line(out, "", signature.trusted_comment())?;
        }
        None => line(out, "signed", "by nobody")?,
    }
    line(out, "members", &contents.members.len().to_string())?;
    bundle::print_members(&contents.members, out)
}

/// Which plugin it is.
pub(crate) fn title(out: &mut impl Write, manifest: &Manifest) -> io::Result<()> {
    let title = format!("{} {}", manifest.name, manifest.version);
    line(out, "plugin", &title)?;
    match &manifest.description {
        Some(description) => line(out, "", description.as_str()),
        None => Ok(()),
    }
}

/// One line; a line without a key goes on with the one above.
pub(crate) fn line(out: &mut impl Write, key: &str, value: &str) -> io::Result<()> {
    const KEY: Style = Style::new().bold();
    writeln!(out, "{KEY}{key:8}{KEY:#}  {}", printable(value))
}
