//! Keys and bundles that are signed with them.

use std::collections::BTreeMap;

use plg_host::{Digest, Manifest};
use plg_packaging::bundle::{Contents, Draft, Limits, Listed, Member};
use plg_packaging::sign::{KeyId, SecretKey, Signature, sign_bundle};

/// Always the same key for the same number.
pub(crate) fn key(number: u8) -> SecretKey {
    SecretKey::from_seed(KeyId::from_bytes([number; 8]), &[number; 32])
}

/// What a bundle of that name and version lists, with a library of these bytes.
pub(crate) fn contents(name: &str, version: &str, library: &str) -> Contents {
    let manifest = manifest(name, version);
    let parsed = Manifest::parse(manifest.as_bytes()).unwrap().manifest;
    let member = |path: &str, bytes: &str| {
        let digest = Digest::of(bytes.as_bytes());
        Member::new(path.parse().unwrap(), bytes.len() as u64, digest)
    };
    let members = vec![
        member("plugin.json", &manifest),
        member("assets/code", library),
    ];
    Contents::new(&parsed, BTreeMap::new(), members).unwrap()
}

/// The list of a bundle as a reader hands it on, with this signature.
pub(crate) fn with(contents: &Contents, signature: &Signature) -> Listed {
    let bytes = contents.to_json().into_bytes();
    Listed::parse(bytes, Some(signature.to_text().into_bytes())).unwrap()
}

/// A bundle that a key signed.
pub(crate) fn signed(name: &str, version: &str, key: &SecretKey) -> Listed {
    let contents = contents(name, version, "code");
    with(&contents, &sign_bundle(&contents, key).unwrap())
}

/// A bundle that nobody signed.
pub(crate) fn unsigned(name: &str, version: &str) -> Listed {
    let bytes = contents(name, version, "code").to_json().into_bytes();
    Listed::parse(bytes, None).unwrap()
}

/// The bytes of a whole bundle.
pub(crate) fn packed(name: &str, version: &str, key: Option<&SecretKey>) -> Vec<u8> {
    let mut draft = Draft::new(manifest(name, version).into_bytes()).unwrap();
    draft.file("assets/code".parse().unwrap(), b"code".to_vec(), false);
    let plan = draft.plan(&Limits::default(), &mut |_| {}).unwrap();
    let signature = key.map(|key| sign_bundle(plan.contents(), key).unwrap().to_text());
    let signature = signature.as_ref().map(String::as_bytes);
    let mut bytes = Vec::new();
    plan.write(&mut bytes, signature, &mut |_| {}).unwrap();
    bytes
}

fn manifest(name: &str, version: &str) -> String {
    format!("{{ \"name\": \"{name}\", \"version\": \"{version}\" }}\n")
}
