//! The key that signs a bundle.

use std::env;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::Path;

use plg_packaging::sign::{LockedKey, SecretKey, SignError};
use zeroize::Zeroizing;

use crate::bundle;
use crate::problem::Problem;

/// Where the password is when nobody can type it.
const PASSWORD: &str = "PLG_KEY_PASSWORD";

/// Reads a secret key, and asks for its password if it has one.
pub(crate) fn key(path: &Path) -> Result<SecretKey, Problem> {
    let bytes = fs::read(path).map(Zeroizing::new);
    let bytes = bytes.map_err(|error| bundle::failed("read", path, &error))?;
    let refused = |error: SignError| bundle::of_file(path, &Problem::from(&error));
    let locked = LockedKey::parse(&bytes).map_err(refused)?;
    if !locked.is_encrypted() {
        return locked.open(None).map_err(refused);
    }
    let password = password(path)?;
    let password = password.as_ref().map(|password| password.as_str());
    locked.open(password).map_err(refused)
}

fn password(path: &Path) -> Result<Option<Zeroizing<String>>, Problem> {
    if let Ok(password) = env::var(PASSWORD) {
        return Ok(Some(Zeroizing::new(password)));
    }
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    let prompt = format!("password of {}: ", path.display());
    let password = rpassword::prompt_password(prompt);
    let password = password.map_err(|error| bundle::failed("ask for", path, &error))?;
    Ok(Some(Zeroizing::new(password)))
}
