//! `plg inspect`: what a library or a bundle says about itself.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use plg_host::preflight::{Export, Facts, Hooks, NoteState, PluginNote, inspect};
use plg_host::{Candidate, LoadError, Manifest};
use plg_packaging::Digest;
use plg_plugin_api::abi::flag;
use serde_json::{Value, json};

use super::Global;
use crate::artifact::{self, Profile};
use crate::bundle;
use crate::exit::Exit;
use crate::library;
use crate::output::Output;
use crate::portrait::{self, line, title};
use crate::printable::printable;
use crate::problem::{Failure, Problem};
use crate::target::Target;

/// Show what a plugin says about itself, without mapping it
///
/// Its note, manifest, labels, hooks, what it needs, and its digest. Whether it would load here is for
/// `plg check` to say. Of a bundle: its platforms, its members with their digests, and the key that
/// signed it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg inspect plugins/hello
  plg inspect target/debug/libhello.so --json
  plg inspect hello-0.1.0.plg")]
pub(crate) struct Inspect {
    /// A path, or the name of a plugin in the plugin directory
    #[arg(value_name = "PATH_OR_NAME")]
    plugin: String,
    /// Show the release build of a crate
    #[arg(long)]
    release: bool,
}

/// All that is known.
struct Portrait {
    library: PathBuf,
    digest: Digest,
    bytes: usize,
    facts: Facts,
    manifest: Option<Manifest>,
}

impl Inspect {
    pub(super) fn run(self, global: &Global, output: &mut Output) -> Result<Exit, Failure> {
        let target = Target::find(&self.plugin, global.plugin_dir())?;
        let target = target.settled(Profile::release(self.release));
        if let Target::Library(path) = &target
            && bundle::is_one(path)
        {
            portrait::show(path, output)?;
            return Ok(Exit::Ok);
        }
        if let Target::Directory(directory) = &target
            && let Some(program) = artifact::program(directory)?
        {
            show_program(&program, output)?;
            return Ok(Exit::Ok);
        }
        let built = target.built(Profile::release(self.release))?;
        let bytes = library::read(&built.library)?;
        let facts = inspect(&bytes).map_err(|finding| {
            Problem::from(plg_host::Error::from(LoadError::Refused {
                path: built.library.clone(),
                finding: Box::new(finding),
            }))
        })?;
        let portrait = Portrait {
            digest: Digest::of(&bytes),
            bytes: bytes.len(),
            manifest: manifest(&target, &facts)?,
            library: built.library,
            facts,
        };
        if output.is_json() {
            output.json(&portrait.to_json(built.stale))?;
        } else {
            portrait.print(&mut output.text())?;
        }
        if built.stale {
            let detail = format!("`{}` is older than its sources", portrait.library.display());
            output.warn(&Problem::new("build.stale", detail));
        }
        Ok(Exit::Ok)
    }
}

/// What is known of a program without starting it.
fn show_program(candidate: &Candidate, output: &mut Output) -> Result<(), Failure> {
    let (manifest, program) = (&candidate.manifest, &candidate.library);
    let bytes = library::read(program)?;
    let digest = Digest::of(&bytes).to_string();
    if output.is_json() {
        output.json(&json!({
            "program": program,
            "digest": digest,
            "bytes": bytes.len(),
            "manifest": manifest,
            "labels": manifest.labels,
        }))?;
        return Ok(());
    }
    let mut out = output.text();
    print_manifest(manifest, &mut out)?;
    if let Some(process) = &manifest.process {
        let args = process.args.iter().map(|arg| arg.as_str());
        let words: Vec<&str> = std::iter::once(process.exec.as_str()).chain(args).collect();
        line(&mut out, "runs", &printable(&words.join(" ")))?;
        line(
            &mut out,
            "",
            &format!("in a process of its own, dialect {}", process.dialect),
        )?;
    }
    line(&mut out, "file", &program.display().to_string())?;
    line(&mut out, "digest", &digest)?;
    line(&mut out, "size", &format!("{} bytes", bytes.len()))?;
    Ok(())
}

/// The manifest beside the library, else the one in it.
fn manifest(target: &Target, facts: &Facts) -> Result<Option<Manifest>, Problem> {
    if let Some(directory) = target.directory()
        && directory.join(plg_host::MANIFEST).is_file()
    {
        return artifact::manifest(directory).map(Some);
    }
    let note = facts.plugin_note().filter(|note| !note.manifest.is_empty());
    // One that cannot be read is for `check` to complain of.
    let parsed = note.and_then(|note| Manifest::parse(&note.manifest).ok());
    Ok(parsed.map(|parsed| parsed.manifest))
}

impl Portrait {
    fn to_json(&self, stale: bool) -> Value {
        let facts = &self.facts;
        json!({
            "library": self.library,
            "digest": self.digest.to_string(),
            "bytes": self.bytes,
            "stale": stale,
            "manifest": self.manifest,
            "labels": self.manifest.as_ref().map(|manifest| &manifest.labels),
            "note": facts.plugin_note().map(note_json),
            "note_problem": match &facts.note {
                NoteState::Damaged(why) => Some(why),
                NoteState::Absent | NoteState::Present(_) => None,
            },
            "hooks": hooks(&facts.hooks),
            "unloadable": facts.unloadable(),
            "machine": facts.machine,
            "soname": facts.soname,
            "needed": facts.needed,
            "rpath": facts.rpath,
            "runpath": facts.runpath,
            "glibc": facts.glibc.map(|(major, minor)| format!("{major}.{minor}")),
            "constructors": facts.constructors,
            "mapped_bytes": facts.image_size(),
            "tls_bytes": facts.tls_bytes,
            "static_tls": facts.static_tls,
            "symbols": facts.symbol_count,
            "abi_stable_layout": facts.exports.layout == Export::Function,
        })
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let facts = &self.facts;
        if let Some(manifest) = &self.manifest {
            print_manifest(manifest, out)?;
        }
        line(out, "library", &self.library.display().to_string())?;
        line(out, "digest", &self.digest.to_string())?;
        let size = format!("{} bytes, {} mapped", self.bytes, facts.image_size());
        line(out, "size", &size)?;
        match &facts.note {
            NoteState::Absent => line(out, "note", "none: this is no plugin")?,
            NoteState::Damaged(why) => line(out, "note", &format!("damaged: {why}"))?,
            NoteState::Present(note) => print_note(note, out)?,
        }
        line(out, "hooks", &hooks(&facts.hooks))?;
        let unload = if facts.unloadable() {
            "unmapped for real"
        } else {
            "stays mapped, as retained"
        };
        line(out, "unload", unload)?;
        let needed: Vec<&str> = facts.needed.iter().map(String::as_str).collect();
        line(out, "needs", &listed(&needed, "no other library"))?;
        if let Some((major, minor)) = facts.glibc {
            line(out, "", &format!("glibc {major}.{minor} or newer"))?;
        }
        line(out, "machine", facts.machine)?;
        line(
            out,
            "runs",
            &format!("{} constructors when it is mapped", facts.constructors),
        )
    }
}

/// What the manifest says about the plugin.
fn print_manifest(manifest: &Manifest, out: &mut impl Write) -> io::Result<()> {
    title(out, manifest)?;
    let labels: Vec<&str> = manifest.labels.iter().map(|label| label.as_str()).collect();
    let dependencies: Vec<&str> = manifest
        .dependencies
        .keys()
        .map(|name| name.as_str())
        .collect();
    let permissions: Vec<&str> = manifest
        .permissions
        .iter()
        .map(|name| name.as_str())
        .collect();
    line(out, "labels", &listed(&labels, "the manifest names none"))?;
    if !dependencies.is_empty() {
        line(out, "calls", &dependencies.join(", "))?;
    }
    if !permissions.is_empty() {
        line(out, "asks for", &permissions.join(", "))?;
    }
    Ok(())
}

fn print_note(note: &PluginNote, out: &mut impl Write) -> io::Result<()> {
    let text = format!(
        "{} {}, contract {}.{}, {} bits",
        note.name, note.version, note.major, note.minor, note.pointer_bits
    );
    line(out, "note", &text)?;
    line(out, "", &format!("fingerprint {:#018x}", note.fingerprint))?;
    line(out, "", &flags(note).join(", "))
}

fn note_json(note: &PluginNote) -> Value {
    json!({
        "name": note.name,
        "version": note.version,
        "contract": format!("{}.{}", note.major, note.minor),
        "fingerprint": format!("{:#018x}", note.fingerprint),
        "pointer_bits": note.pointer_bits,
        "flags": flags(note),
        "manifest_bytes": note.manifest.len(),
    })
}

fn flags(note: &PluginNote) -> Vec<&'static str> {
    let panics = if note.has(flag::UNWIND) {
        "panics unwind"
    } else {
        "panics abort"
    };
    let build = if note.has(flag::DEBUG) {
        "debug build"
    } else {
        "release build"
    };
    vec![panics, build]
}

fn hooks(hooks: &Hooks) -> String {
    match hooks {
        Hooks::Bound => "bound".to_owned(),
        Hooks::Unbound(functions) => format!("unbound: takes {} from libc", functions.join(", ")),
        Hooks::Absent => "absent".to_owned(),
    }
}

fn listed(names: &[&str], none: &str) -> String {
    if names.is_empty() {
        none.to_owned()
    } else {
        names.join(", ")
    }
}
