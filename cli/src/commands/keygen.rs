//! `plg keygen`: a new key to sign with.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use plg_packaging::sign::SecretKey;
use serde_json::json;

use crate::bundle::{failed, parent};
use crate::exit::Exit;
use crate::keys;
use crate::output::Output;
use crate::problem::{Failure, Problem};

/// Make a key to sign bundles and indexes with
///
/// Writes NAME.key, which stays secret, and NAME.pub, which goes to everybody who should trust what the
/// key signs. Both are in the format of `minisign`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plg keygen -o release
  plg keygen -o ci --no-password
  PLG_PASSWORD=… plg keygen -o release")]
pub(crate) struct Keygen {
    /// The name of both files, without its ending
    #[arg(short, long, value_name = "NAME")]
    output: PathBuf,
    /// Write the secret key as it is: whoever reads the file can sign
    #[arg(long)]
    no_password: bool,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

impl Keygen {
    pub(super) fn run(self, output: &mut Output) -> Result<Exit, Failure> {
        let (secret, public) = (self.file(".key"), self.file(".pub"));
        // Nobody should type a password for nothing.
        for path in [&secret, &public] {
            if !self.force && fs::symlink_metadata(path).is_ok() {
                return Err(exists(path).into());
            }
        }
        let password = match self.no_password {
            true => None,
            false => Some(keys::new_password()?),
        };
        let password = password.as_ref().map(|password| password.as_str());
        let key = SecretKey::generate().map_err(|error| Problem::from(&error))?;
        let text = key.to_text(password);
        let text = text.map_err(|error| Problem::from(&error))?;
        let key = key.public_key();
        self.write(&public, key.to_text().as_bytes(), 0o644)?;
        // The secret half comes last: the one that it replaces is in no other place.
        if let Err(problem) = self.write(&secret, text.as_bytes(), 0o600) {
            // Half a pair is of no use to anybody.
            let _ = fs::remove_file(&public);
            return Err(problem.into());
        }
        if output.is_json() {
            output.json(&json!({
                "id": key.id(),
                "key": key,
                "public": public,
                "secret": secret,
                "encrypted": password.is_some(),
            }))?;
            return Ok(Exit::Ok);
        }
        let (id, secret, public) = (key.id(), secret.display(), public.display());
        let mut out = output.text();
        writeln!(
            out,
            "key {id}: keep {secret} to yourself, and give {public} away"
        )?;
        writeln!(
            out,
            "others trust it with: plg trust add {public} --name PATTERN"
        )?;
        Ok(Exit::Ok)
    }

    fn file(&self, ending: &str) -> PathBuf {
        let mut path = OsString::from(&self.output);
        path.push(ending);
        path.into()
    }

    /// Writes a file that appears whole, and with its mode from the beginning.
    fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), Problem> {
        let written = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(parent(path))
            .and_then(|mut file| {
                file.write_all(bytes)?;
                file.as_file()
                    .set_permissions(Permissions::from_mode(mode))?;
                file.as_file().sync_all()?;
                Ok(file)
            });
        let file = written.map_err(|error| failed("write", path, &error))?;
        let moved = match self.force {
            true => file.persist(path),
            false => file.persist_noclobber(path),
        };
        match moved {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Err(exists(path)),
            Err(error) => Err(failed("write", path, &error.error)),
        }
    }
}

fn exists(path: &Path) -> Problem {
    let detail = format!("`{}` is there already", path.display());
    Problem::new("usage.exists", detail).with("path", path.display().to_string())
}
