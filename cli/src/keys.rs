//! Key files and their passwords.

use std::env;
use std::fs::{self, File};
use std::io::{self, ErrorKind, IsTerminal, Read};
use std::path::Path;

use plg_packaging::sign::{LockedKey, PublicKey, SecretKey};
use zeroize::Zeroizing;

use crate::bundle::failed;
use crate::problem::Problem;

/// Where a password may stand when nobody is there to be asked.
pub(crate) const VARIABLE: &str = "PLG_PASSWORD";
/// No key or signature is longer.
pub(crate) const SMALL: u64 = 64 << 10;

/// Reads a public key.
pub(crate) fn public(path: &Path) -> Result<PublicKey, Problem> {
    let bytes = read(path, SMALL)?;
    PublicKey::parse(&bytes).map_err(|error| {
        let problem = Problem::from(&error).with("path", shown(path));
        match LockedKey::parse(&bytes) {
            Ok(_) => problem.help("this is the secret half; give the `.pub` file"),
            Err(_) => problem,
        }
    })
}

/// Reads a secret key, and asks for its password if it has one.
pub(crate) fn secret(path: &Path) -> Result<SecretKey, Problem> {
    let refused = |error| Problem::from(&error).with("path", shown(path));
    let bytes = Zeroizing::new(read(path, SMALL)?);
    let locked = LockedKey::parse(&bytes).map_err(refused)?;
    let password = match locked.is_encrypted() {
        true => Some(password(&format!("Password of `{}`: ", shown(path)))?),
        false => None,
    };
    let password = password.as_ref().map(|password| password.as_str());
    locked.open(password).map_err(refused)
}

/// Asks twice for the password of a new key.
pub(crate) fn new_password() -> Result<Zeroizing<String>, Problem> {
    let given = password("Password of the new key: ")?;
    if given.is_empty() {
        let detail = "an empty password protects nothing";
        return Err(Problem::new("sig.password", detail)
            .help("give one, or say that the key has none with `--no-password`"));
    }
    if env::var_os(VARIABLE).is_none() && *prompt("The same again: ")? != *given {
        return Err(Problem::new("sig.password", "the two passwords differ"));
    }
    Ok(given)
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Problem> {
    let read = fs::metadata(path).and_then(|metadata| {
        // A directory opens and cannot be read, and a fifo waits as soon as it is opened.
        if !metadata.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is no file"));
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            let why = format!("it has more than {limit} bytes");
            return Err(io::Error::new(ErrorKind::FileTooLarge, why));
        }
        Ok(bytes)
    });
    read.map_err(|error| failed("read", path, &error))
}

fn password(words: &str) -> Result<Zeroizing<String>, Problem> {
    match env::var(VARIABLE) {
        Ok(password) => Ok(Zeroizing::new(password)),
        Err(env::VarError::NotPresent) => prompt(words),
        Err(error) => {
            let detail = format!("the environment variable {VARIABLE} is no text");
            Err(Problem::new("sig.password", detail).because(&error))
        }
    }
}

/// Asks at the terminal, which does not show what is typed.
fn prompt(words: &str) -> Result<Zeroizing<String>, Problem> {
    // Otherwise it could be read from a terminal that belongs to somebody else's work.
    if !io::stdin().is_terminal() {
        let detail = "the key needs a password, and there is no terminal to ask at";
        return Err(Problem::new("sig.password", detail));
    }
    let given = rpassword::prompt_password(words).map(Zeroizing::new);
    given.map_err(|error| {
        Problem::new("io.failed", "failed to ask for the password").because(&error)
    })
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
