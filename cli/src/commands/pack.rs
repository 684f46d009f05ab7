//! `plg pack`: from a plugin's directory to a bundle.

use std::fs::Permissions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::HumanBytes;
use plg_host::Manifest;
use plg_packaging::bundle::pack::{Packed, Plan};
use plg_packaging::bundle::{Draft, EXTENSION, Limits, Target};
use plg_packaging::contract::Comparison;
use plg_packaging::sign::{KeyId, Signature, sign_bundle};
use serde_json::{Value, json};

use crate::bundle::{self, Bar};
use crate::exit::Exit;
use crate::home::Home;
use crate::output::Output;
use crate::pack::libraries::{Library, Wanted};
use crate::pack::{files, judge, libraries};
use crate::problem::{Failure, Problem};
use crate::{installed, keys};

/// Pack a plugin into one file, the same bytes each time
///
/// A crate is built with optimisations first. What is packed: `plugin.json`, the library for each
/// target, everything below `assets`, and the program that the manifest names.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg pack plugins/hello
  plg pack --target x86_64-unknown-linux-gnu --target aarch64-unknown-linux-gnu=build/libhello.so
  plg pack plugins/hello --sign ~/.minisign/minisign.key
  plg pack --against hello-1.2.0.plg -o dist/hello.plg")]
pub(crate) struct Pack {
    /// The plugin's directory
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// The bundle, or a directory for it; by default NAME-VERSION.plg in this directory
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A platform, with its library if that is built already; can be repeated
    #[arg(long, value_name = "TRIPLE[=LIBRARY]")]
    target: Vec<Wanted>,
    /// The library for this machine, instead of building it
    #[arg(long, value_name = "LIBRARY")]
    library: Option<PathBuf>,
    /// Sign the bundle with this secret key; PLG_PASSWORD or the terminal has its password
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// The bundle that this one follows, instead of what is installed of the plugin: refuse a version that does not
    /// say what changed
    #[arg(long, value_name = "OLD.plg")]
    against: Option<PathBuf>,
    /// Pack also with a version that is too small for what changed
    #[arg(long)]
    force: bool,
    /// Show what would be packed, and write nothing
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    home: Home,
}

/// Everything there is to say.
struct Report {
    plan: Plan,
    signed_by: Option<KeyId>,
    /// The platforms whose libraries only a machine of theirs can judge.
    foreign: Vec<Target>,
    comparison: Option<Comparison>,
    file: PathBuf,
    packed: Option<Packed>,
    warnings: Vec<Problem>,
}

impl Pack {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        let bar = Bar::new();
        let report = self.pack(&bar);
        bar.clear();
        let report = report?;
        if output.is_json() {
            output.json(&report.to_json())?;
        } else {
            report.print(&mut output.text())?;
        }
        for warning in &report.warnings {
            output.warn(warning);
        }
        Ok(Exit::Ok)
    }

    fn pack(&self, bar: &Bar) -> Result<Report, Problem> {
        let directory = &self.directory;
        let refused = |error| Problem::from(&error);
        // What may need somebody to type comes before what takes long.
        let key = self.sign.as_deref().map(keys::secret).transpose()?;
        let mut manifest = files::manifest(directory)?;
        // A manifest that is no manifest is found before anything is built.
        let known = manifest.clone().map(Draft::new).transpose();
        let known = known.map_err(refused)?;
        let is_program = known.is_some_and(|draft| draft.parsed().manifest.process.is_some());
        let wanted = self.wanted();
        let program = if is_program && wanted.is_empty() {
            libraries::program(directory)?
        } else {
            None
        };
        let libraries = match &program {
            Some(_) => Vec::new(),
            None => libraries::collect(directory, &wanted, is_program)?,
        };
        if manifest.is_none() {
            manifest = Some(files::embedded(&libraries)?);
        }
        let mut draft = Draft::new(manifest.unwrap_or_default()).map_err(refused)?;
        let plugin = draft.parsed().manifest.clone();
        let comparison = self.compare(&plugin)?;
        let mut foreign = Vec::new();
        // Those who force it know; those who read their log later do not.
        let forced = comparison.as_ref().and_then(|it| it.check().err());
        let mut warnings: Vec<Problem> = forced.iter().map(Problem::from).collect();
        for library in libraries {
            judge::library(&library, &plugin)?;
            if library.target != Target::current() {
                foreign.push(library.target.clone());
            } else {
                warnings.extend(judge::other_version(&library, &plugin));
            }
            let name = file_name(&library)?;
            // The very bytes that were judged.
            let added = draft.library(library.target, &name, library.bytes);
            added.map_err(refused)?;
        }
        files::add(&mut draft, directory, program.as_deref())?;
        let mut show = |progress| bar.show(progress);
        let plan = draft.plan(&Limits::default(), &mut show);
        let plan = plan.map_err(refused)?;
        let signature = key
            .map(|key| sign_bundle(plan.contents(), &key))
            .transpose();
        let signature = signature.map_err(|error| Problem::from(&error))?;
        let file = self.file(&plugin);
        let packed = if self.plan {
            None
        } else {
            Some(write(&plan, signature.as_ref(), &file, bar)?)
        };
        Ok(Report {
            plan,
            signed_by: signature.map(|signature| signature.key_id()),
            foreign,
            comparison,
            file,
            packed,
            warnings,
        })
    }

    fn wanted(&self) -> Vec<Wanted> {
        let mut wanted = self.target.clone();
        wanted.extend(self.library.clone().map(|library| Wanted {
            target: Target::current(),
            library: Some(library),
        }));
        wanted
    }

    fn compare(&self, plugin: &Manifest) -> Result<Option<Comparison>, Problem> {
        let before = match &self.against {
            Some(path) => Some(bundle::open(path)?.head().parsed.manifest.clone()),
            None => self.installed(plugin),
        };
        judge::contract(before.as_ref(), plugin, self.force)
    }

    /// What is installed of the plugin, if this one may follow it. A store that cannot be used keeps nobody from
    /// packing.
    fn installed(&self, plugin: &Manifest) -> Option<Manifest> {
        let found = installed::find(plugin.name.as_str(), &self.home).ok()??;
        let follows = found
            .manifest
            .version
            .cmp_precedence(&plugin.version)
            .is_le();
        follows.then_some(found.manifest)
    }

    fn file(&self, plugin: &Manifest) -> PathBuf {
        let usual = format!("{}-{}.{EXTENSION}", plugin.name, plugin.version);
        match &self.output {
            Some(path) if path.is_dir() => path.join(usual),
            Some(path) => path.clone(),
            None => PathBuf::from(usual),
        }
    }
}

fn file_name(library: &Library) -> Result<String, Problem> {
    let name = library.path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| {
        let shown = library.path.display();
        Problem::new("pack.path", format!("the name of `{shown}` is no text"))
    })
}

/// Writes the bundle beside its place and moves it there when it is whole.
fn write(
    plan: &Plan,
    signature: Option<&Signature>,
    file: &Path,
    bar: &Bar,
) -> Result<Packed, Problem> {
    let failed = |error: &io::Error| bundle::failed("write", file, error);
    // With the mode of a file that anything else writes; the mask of the process takes from it.
    let mut partial = tempfile::Builder::new()
        .prefix(".plg-pack-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(bundle::parent(file))
        .map_err(|error| failed(&error))?;
    let signature = signature.map(Signature::to_text);
    let signature = signature.as_ref().map(String::as_bytes);
    let out = BufWriter::new(partial.as_file_mut());
    let packed = plan.write(out, signature, &mut |progress| bar.show(progress));
    let packed = packed.map_err(|error| Problem::from(&error))?;
    let synced = partial.as_file().sync_all();
    synced.map_err(|error| failed(&error))?;
    let moved = partial.persist(file);
    moved.map_err(|error| failed(&error.error))?;
    Ok(packed)
}

impl Report {
    fn to_json(&self) -> Value {
        let contents = self.plan.contents();
        json!({
            "plugin": contents.name,
            "version": contents.version,
            "file": self.packed.map(|_| &self.file),
            "digest": contents.digest().to_string(),
            "packed_bytes": self.packed.map(|packed| packed.packed_bytes),
            "unpacked_bytes": self.packed.map(|packed| packed.unpacked_bytes),
            "signed_by": self.signed_by,
            "targets": bundle::targets(contents),
            "not_judged": self.foreign,
            "members": bundle::members_json(contents),
            "against": self.comparison.as_ref().map(|comparison| json!({
                "version": comparison.before(),
                "least": comparison.least(),
                "differences": judge::differences(comparison),
            })),
            "warnings": self.warnings.iter().map(Problem::to_json).collect::<Vec<_>>(),
        })
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let contents = self.plan.contents();
        let verb = self.packed.map_or("would pack", |_| "packed");
        let (name, version) = (&contents.name, &contents.version);
        writeln!(out, "{verb} {name} {version}")?;
        bundle::print_members(&contents.members, out)?;
        for target in &self.foreign {
            writeln!(
                out,
                "`{target}` is another machine: its library is only known to be whole"
            )?;
        }
        if let Some(comparison) = &self.comparison {
            let before = comparison.before();
            if comparison.differences().is_empty() {
                writeln!(out, "promises what {before} did")?;
            }
            for difference in comparison.differences() {
                writeln!(out, "since {before}: {difference}")?;
            }
        }
        writeln!(out, "digest {}", contents.digest())?;
        if let Some(key) = self.signed_by {
            writeln!(out, "signed by key {key}")?;
        }
        let file = self.file.display();
        match self.packed {
            Some(packed) => writeln!(
                out,
                "{file}: {}, {} % of {}",
                HumanBytes(packed.packed_bytes),
                packed.packed_bytes * 100 / packed.unpacked_bytes.max(1),
                HumanBytes(packed.unpacked_bytes)
            ),
            None => writeln!(out, "to be written to {file}"),
        }
    }
}
