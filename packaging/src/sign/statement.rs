//! What a signature of ours says: its trusted comment names the one thing that it is of, so that it cannot
//! be moved to another.

use super::{PublicKey, SecretKey, SignError, Signature};
use crate::bundle::{Contents, Listed};
use crate::{Digest, Index};

/// Signs a bundle: its list of members, which has the digests of all others.
///
/// # Errors
/// `sig.format` for a version of more than about 800 letters, which does not fit into the comment.
pub fn sign_bundle(contents: &Contents, key: &SecretKey) -> Result<Signature, SignError> {
    let bytes = contents.to_json();
    let of = bundle(contents, Digest::of(bytes.as_bytes()));
    key.sign(bytes.as_bytes(), &of)
}

/// Fails unless this key signed this very bundle.
///
/// # Errors
/// `sig.missing` and `sig.format` when there is no signature; `sig.untrusted` when it names another key;
/// `sig.identity` when it is of another plugin, version or build; `sig.invalid` when the key did not make it.
pub fn verify_bundle(listed: &Listed, key: &PublicKey) -> Result<(), SignError> {
    let signature = signature_of(listed)?;
    let of = bundle(&listed.contents, Digest::of(&listed.bytes));
    verify(&listed.bytes, &of, &signature, key)
}

/// The signature of a bundle, which nobody has checked yet.
///
/// # Errors
/// `sig.missing` and `sig.format`.
pub fn signature_of(listed: &Listed) -> Result<Signature, SignError> {
    match &listed.signature {
        Some(bytes) => Signature::parse(bytes),
        None => Err(SignError::Missing {
            what: format!("`{} {}`", listed.contents.name, listed.contents.version),
        }),
    }
}

/// Signs an index, which was read from these bytes.
///
/// # Errors
/// `sig.format` when the comment is too long, which that of an index never is.
pub fn sign_index(index: &Index, bytes: &[u8], key: &SecretKey) -> Result<Signature, SignError> {
    key.sign(bytes, &index_of(index, Digest::of(bytes)))
}

/// Fails unless this key signed this very index, which was read from these bytes.
///
/// # Errors
/// As [`verify_bundle`].
pub fn verify_index(
    index: &Index,
    bytes: &[u8],
    signature: &Signature,
    key: &PublicKey,
) -> Result<(), SignError> {
    let of = index_of(index, Digest::of(bytes));
    verify(bytes, &of, signature, key)
}

fn bundle(contents: &Contents, digest: Digest) -> String {
    format!("plg bundle {} {} {digest}", contents.name, contents.version)
}

fn index_of(index: &Index, digest: Digest) -> String {
    format!("plg index {} {digest}", index.number)
}

/// The comment comes first: a signature that was moved is a good one of something else, and that is what
/// should be said of it.
fn verify(bytes: &[u8], of: &str, signature: &Signature, key: &PublicKey) -> Result<(), SignError> {
    key.verify_comment(signature)?;
    if signature.trusted_comment != of {
        return Err(SignError::Identity {
            signed: signature.trusted_comment.clone(),
            found: of.to_owned(),
        });
    }
    key.verify_message(bytes, signature)
}
