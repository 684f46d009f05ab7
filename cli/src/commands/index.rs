//! `plg index`: the signed list of releases that a source offers.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use plg_packaging::sign::sign_index;
use plg_packaging::{Digest, Index as Releases};
use serde_json::json;

use super::trust::moment;
use crate::bundle::{self, failed, of_file, parent};
use crate::exit::Exit;
use crate::keys;
use crate::output::Output;
use crate::problem::{Failure, Problem};
use crate::state;

/// Make, extend or sign an index of releases
///
/// An index names the digest of each release. Whoever installs by it cannot be given an older state of
/// the source, nor another build. Every new index has a higher number; without bundles and --expires the
/// one that is there is signed as it is, which is how a second key signs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg index dist/*.plg --expires 30d --sign release.key
  plg index --file index.json --sign second.key --signature second.minisig")]
pub(crate) struct Index {
    /// Bundles to add; each must be whole
    #[arg(value_name = "FILE.plg", requires = "expires")]
    bundles: Vec<PathBuf>,
    /// The index
    #[arg(long, value_name = "FILE", default_value = "index.json")]
    file: PathBuf,
    /// Until when the new index holds, as a date or a time from now such as `30d`
    #[arg(long, value_name = "TIME", value_parser = moment)]
    expires: Option<SystemTime>,
    /// The number of the new index; by default one more than the last
    #[arg(long, value_name = "NUMBER", requires = "expires")]
    number: Option<u64>,
    /// The secret key to sign with
    #[arg(long, value_name = "KEY.key", required_unless_present = "expires")]
    sign: Option<PathBuf>,
    /// Where the signature goes; by default to FILE.minisig
    #[arg(long, value_name = "FILE", requires = "sign")]
    signature: Option<PathBuf>,
}

impl Index {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        // What is asked for comes before what takes time.
        let key = self.sign.as_deref().map(keys::secret).transpose()?;
        let (index, bytes) = match self.expires {
            Some(expires) => {
                let index = self.extend(expires)?;
                let bytes = index.to_json().into_bytes();
                (index, bytes)
            }
            None => {
                let bytes = keys::read(&self.file, Releases::BYTES as u64)?;
                (self.parse(&bytes)?, bytes)
            }
        };
        let signed = match &key {
            Some(key) => {
                let signature = sign_index(&index, &bytes, key);
                let signature = signature.map_err(|error| Problem::from(&error))?;
                Some((self.place(), signature))
            }
            None => None,
        };
        if self.expires.is_some() {
            write(&self.file, &bytes)?;
        }
        if let Some((place, signature)) = &signed {
            write(place, signature.to_text().as_bytes())?;
        }
        let releases: usize = index.releases.values().map(|versions| versions.len()).sum();
        if output.is_json() {
            output.json(&json!({
                "index": self.file,
                "number": index.number,
                "digest": Digest::of(&bytes),
                "expires": state::time(index.expires),
                "releases": releases,
                "signature": signed.as_ref().map(|(place, _)| place),
                "key": signed.as_ref().map(|(_, signature)| signature.key_id()),
            }))?;
            return Ok(Exit::Ok);
        }
        let (number, file, until) = (
            index.number,
            self.file.display(),
            state::time(index.expires),
        );
        let mut out = output.text();
        writeln!(
            out,
            "{file} has number {number} and {releases} releases, and holds until {until}"
        )?;
        if let Some((place, signature)) = &signed {
            let (place, key) = (place.display(), signature.key_id());
            writeln!(out, "signed with key {key}: {place}")?;
        }
        Ok(Exit::Ok)
    }

    /// The index that is there, or none, with the bundles.
    fn extend(&self, expires: SystemTime) -> Result<Releases, Problem> {
        let last = match self.file.exists() {
            true => Some(self.parse(&keys::read(&self.file, Releases::BYTES as u64)?)?),
            false => None,
        };
        let next = last
            .as_ref()
            .map_or(0, |last| last.number)
            .saturating_add(1);
        let number = self.number.unwrap_or(next);
        if number < next {
            let detail = format!("number {number} is not above the last, {}", next - 1);
            return Err(Problem::new("usage.arguments", detail));
        }
        let index = Releases::new(number, SystemTime::now(), expires);
        let mut index = index.map_err(|error| Problem::from(&error))?;
        index.releases = last.map(|last| last.releases).unwrap_or_default();
        for path in &self.bundles {
            let reader = bundle::open(path)?;
            let contents = reader
                .verify()
                .map_err(|error| of_file(path, &Problem::from(&error)))?;
            let digest = contents.digest();
            let known = index.release(&contents.name, &contents.version);
            if known.is_some_and(|known| known != digest) {
                let (name, version) = (&contents.name, &contents.version);
                let detail = format!("`{name} {version}` is listed already, as another build");
                return Err(of_file(
                    path,
                    &Problem::new("trust.mismatch", detail)
                        .help("give the new build a version of its own"),
                ));
            }
            index.insert(contents.name, contents.version, digest);
        }
        Ok(index)
    }

    fn parse(&self, bytes: &[u8]) -> Result<Releases, Problem> {
        Releases::parse(bytes).map_err(|error| of_file(&self.file, &Problem::from(&error)))
    }

    fn place(&self) -> PathBuf {
        let usual = || signature_of(&self.file);
        self.signature.clone().unwrap_or_else(usual)
    }
}

/// Where the signature of an index is looked for.
pub(super) fn signature_of(index: &Path) -> PathBuf {
    let mut path = OsString::from(index);
    path.push(".minisig");
    path.into()
}

/// Puts a file in place of what was there: whoever reads it meets the old one or the new one.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Problem> {
    let written = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(parent(path))
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(path).map_err(|error| error.error)
        });
    written
        .map(drop)
        .map_err(|error| failed("write", path, &error))
}
