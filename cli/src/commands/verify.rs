//! `plg verify`: whether a bundle is whole, and who signed it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use plg_host::trust::{AcceptedIndex, Level, Terms, Trust, TrustError};
use plg_packaging::bundle::Listed;
use plg_packaging::sign::{PublicKey, verify_bundle};
use plg_packaging::{Digest, Index};
use serde_json::json;

use super::trust::{open, refused};
use crate::bundle::{self, of_file};
use crate::exit::Exit;
use crate::home::Home;
use crate::keys;
use crate::output::Output;
use crate::problem::{Failure, Problem};

/// Check a bundle: every byte of it, and that a trusted key signed it
///
/// Without --key the trust store is asked. This is stricter than `plg install`, which takes an unsigned bundle
/// that you name, unless a trusted key is responsible for it. Nothing is changed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg verify acme-tax-1.2.0.plg
  plg verify acme-tax-1.2.0.plg --key acme.pub
  plg verify acme-tax-1.2.0.plg --level in-process --index index.json")]
pub(crate) struct Verify {
    /// The bundle
    #[arg(value_name = "FILE.plg")]
    bundle: PathBuf,
    /// The public key that must have signed it, whether it is trusted or not
    #[arg(long, value_name = "KEY.pub", conflicts_with_all = ["level", "allow_unsigned", "allow_downgrade"])]
    key: Option<PathBuf>,
    /// Where it is to run: `in-process`, `isolated` or `sandboxed`
    #[arg(long, value_name = "LEVEL", default_value = "sandboxed")]
    level: Level,
    /// It may be unsigned, where no trusted key is responsible for it
    #[arg(long)]
    allow_unsigned: bool,
    /// It may be older than what was installed before
    #[arg(long)]
    allow_downgrade: bool,
    /// An index of releases that must list it
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    /// A signature of the index, one for each key; by default FILE.minisig
    #[arg(long, value_name = "FILE", requires = "index")]
    index_signature: Vec<PathBuf>,
    #[command(flatten)]
    home: Home,
}

/// Who signed, as far as that is known.
struct Signer {
    key: PublicKey,
    note: String,
}

impl Verify {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        let now = SystemTime::now();
        let listed = self.read()?;
        let signer = self.signer(&listed, now)?;
        let index = self.index(&listed, now)?;
        let (name, version) = (&listed.contents.name, &listed.contents.version);
        let digest = Digest::of(&listed.bytes);
        let members = listed.contents.members.len();
        if output.is_json() {
            output.json(&json!({
                "bundle": self.bundle,
                "plugin": name,
                "version": version,
                "digest": digest,
                "members": members,
                "signed": signer.is_some(),
                "key": signer.as_ref().map(|signer| signer.key.id()),
                "note": signer.as_ref().map(|signer| &signer.note),
                "index": index.as_ref().map(|index| index.index.number),
            }))?;
            return Ok(Exit::Ok);
        }
        let mut out = output.text();
        writeln!(out, "{name} {version} is whole: {members} files, {digest}")?;
        match &signer {
            Some(Signer { key, note }) if note.is_empty() => {
                writeln!(out, "signed with key {}", key.id())?;
            }
            Some(Signer { key, note }) => writeln!(out, "signed with key {}: {note}", key.id())?,
            None => writeln!(out, "not signed")?,
        }
        if let Some(AcceptedIndex { index, signers, .. }) = &index {
            let (number, keys) = (index.number, signers.len());
            writeln!(out, "listed in index {number}, signed with {keys} keys")?;
        }
        Ok(Exit::Ok)
    }

    /// Reads the bundle to its end. What is judged is what stood in these bytes.
    fn read(&self) -> Result<Listed, Problem> {
        let reader = bundle::open(&self.bundle)?;
        let listed = reader.head().listed.clone();
        reader
            .verify()
            .map_err(|error| of_file(&self.bundle, &Problem::from(&error)))?;
        listed.ok_or_else(|| {
            let detail = format!(
                "`{}` is in the plain form, which cannot be signed",
                self.bundle.display()
            );
            let problem = Problem::new("sig.missing", detail);
            problem.help("pack the plugin again with `plg pack --sign KEY`")
        })
    }

    fn signer(&self, listed: &Listed, now: SystemTime) -> Result<Option<Signer>, Problem> {
        let Some(path) = &self.key else {
            let terms = Terms::new(self.level, now)
                .allow_unsigned(self.allow_unsigned)
                .allow_downgrade(self.allow_downgrade);
            let judgement = open(&self.home)?.judge(listed, &terms).map_err(refused)?;
            return Ok(judgement.signer.map(|signer| Signer {
                key: signer.key,
                note: signer.note.to_string(),
            }));
        };
        let key = keys::public(path)?;
        verify_bundle(listed, &key).map_err(|error| {
            let problem = Problem::from(&error);
            match error.code() {
                "sig.untrusted" => {
                    problem.help("check it with the public half of the key that signed it")
                }
                _ => problem,
            }
        })?;
        let note = String::new();
        Ok(Some(Signer { key, note }))
    }

    fn index(&self, listed: &Listed, now: SystemTime) -> Result<Option<AcceptedIndex>, Problem> {
        let index = accepted(
            self.index.as_deref(),
            &self.index_signature,
            &self.home,
            now,
            Trust::check_index,
        )?;
        if let Some(index) = &index {
            index.check(listed).map_err(refused)?;
            index.check_time(now).map_err(refused)?;
        }
        Ok(index)
    }
}

/// How a trust store is asked about an index: to look at it only, or to install by it, which it remembers.
pub(super) type Ask = fn(&Trust, &[u8], &[&[u8]], SystemTime) -> Result<AcceptedIndex, TrustError>;

/// An index of releases that enough trusted keys signed.
pub(super) fn accepted(
    path: Option<&Path>,
    signatures: &[PathBuf],
    home: &Home,
    now: SystemTime,
    ask: Ask,
) -> Result<Option<AcceptedIndex>, Problem> {
    let Some(path) = path else {
        return Ok(None);
    };
    let bytes = keys::read(path, Index::BYTES as u64)?;
    let files = match signatures {
        [] => vec![super::index::signature_of(path)],
        files => files.to_vec(),
    };
    let signatures = files.iter().map(|file| keys::read(file, keys::SMALL));
    let signatures: Vec<Vec<u8>> = signatures.collect::<Result<_, _>>()?;
    let signatures: Vec<&[u8]> = signatures.iter().map(Vec::as_slice).collect();
    let index = ask(&open(home)?, &bytes, &signatures, now);
    index.map(Some).map_err(refused)
}
