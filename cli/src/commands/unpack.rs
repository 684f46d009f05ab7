//! `plg unpack`: from a bundle to files.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use plg_packaging::bundle::{CONTENTS, Contents, Directory, SIGNATURE};
use plg_packaging::sign::SignError;
use serde_json::json;

use super::new;
use crate::bundle::{self, failed, parent};
use crate::exit::Exit;
use crate::output::Output;
use crate::problem::{Failure, Problem};

/// Unpack a bundle into a new directory
///
/// Every member is checked against the list in the bundle, and nothing appears before all are right.
/// Who signed it is not asked; `--signature` gives minisign what it needs to.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg unpack hello-0.1.0.plg
  plg unpack hello-0.1.0.plg -o /srv/plugins/hello
  plg unpack hello-0.1.0.plg --signature s && minisign -V -m s/contents.json -p their.pub")]
pub(crate) struct Unpack {
    /// The bundle
    #[arg(value_name = "FILE.plg")]
    bundle: PathBuf,
    /// The directory, new or empty; by default NAME-VERSION in this directory
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Check the bundle, and write only its list of members and the signature of that, to DIR
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    signature: Option<PathBuf>,
}

impl Unpack {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        let (contents, directory) = match &self.signature {
            Some(directory) => (self.detach(directory)?, directory.clone()),
            None => self.unpack()?,
        };
        let files: Vec<&str> = match &self.signature {
            Some(_) => vec![CONTENTS, SIGNATURE],
            None => contents
                .members
                .iter()
                .map(|member| member.path.as_str())
                .collect(),
        };
        if output.is_json() {
            output.json(&json!({
                "plugin": contents.name,
                "version": contents.version,
                "digest": contents.digest().to_string(),
                "directory": directory,
                "files": files,
            }))?;
            return Ok(Exit::Ok);
        }
        let (name, version, shown) = (&contents.name, &contents.version, directory.display());
        let mut out = output.text();
        match &self.signature {
            Some(_) => writeln!(
                out,
                "wrote what minisign checks of {name} {version} to {shown}"
            )?,
            None => writeln!(
                out,
                "unpacked {} files of {name} {version} to {shown}",
                files.len()
            )?,
        }
        Ok(Exit::Ok)
    }

    fn unpack(&self) -> Result<(Contents, PathBuf), Problem> {
        let reader = bundle::open(&self.bundle)?;
        let plugin = &reader.head().parsed.manifest;
        let usual = || PathBuf::from(format!("{}-{}", plugin.name, plugin.version));
        let directory = self.output.clone().unwrap_or_else(usual);
        new::check_empty(&directory)?;
        let parent = parent(&directory);
        let scratch = tempfile::Builder::new()
            .prefix(".plg-unpack-")
            .tempdir_in(parent)
            .map_err(|error| failed("make a directory in", parent, &error))?;
        let place = scratch.path().join("plugin");
        let mut files =
            Directory::create(&place).map_err(|error| failed("make", &place, &error))?;
        let contents = reader
            .unpack(|_| true, &mut files)
            .map_err(|error| bundle::of_file(&self.bundle, &Problem::from(&error)))?;
        // Takes the place of an empty directory, and fails if it is not empty any more.
        fs::rename(&place, &directory).map_err(|error| failed("make", &directory, &error))?;
        files.finish();
        Ok((contents, directory))
    }

    fn detach(&self, directory: &Path) -> Result<Contents, Problem> {
        new::check_empty(directory)?;
        let reader = bundle::open(&self.bundle)?;
        let listed = reader.head().listed.clone();
        let signed = listed.and_then(|listed| Some((listed.bytes, listed.signature?)));
        let Some((bytes, signature)) = signed else {
            let what = format!("`{}`", self.bundle.display());
            return Err(Problem::from(&SignError::Missing { what }));
        };
        let contents = reader
            .verify()
            .map_err(|error| bundle::of_file(&self.bundle, &Problem::from(&error)))?;
        fs::create_dir_all(directory).map_err(|error| failed("make", directory, &error))?;
        for (name, bytes) in [(CONTENTS, bytes), (SIGNATURE, signature)] {
            let path = directory.join(name);
            fs::write(&path, bytes).map_err(|error| failed("write", &path, &error))?;
        }
        Ok(contents)
    }
}
