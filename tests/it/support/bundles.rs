//! Bundles that tests install.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use plg_host::PluginName;
use plg_host::store::{Bundle, Changed, InstallOptions, Options, Store, StoreError, TrustAll};
use plg_packaging::Manifest;
use plg_packaging::bundle::{CONTENTS, Contents, MANIFEST, SIGNATURE, Target};
use plg_packaging::sign::{KeyId, SecretKey, sign_bundle};
use plg_tests::archive::{Entry, gzip, member, tar};
use serde_json::{Value, json};

use super::{Variant, library};

/// A bundle, before it is written.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    manifest: Value,
    library: Vec<u8>,
    members: Vec<(String, Vec<u8>)>,
    signature: Signature,
}

/// What stands in the place of the signature.
#[derive(Clone, Debug)]
enum Signature {
    None,
    Bytes(Vec<u8>),
    /// The signature by the key of this number.
    Of(u8),
}

impl Sample {
    /// A bundle for this machine, whose library is no library.
    pub(crate) fn new(name: &str, version: &str) -> Self {
        let library = format!("the library of {name} {version}\n").repeat(300);
        Self {
            manifest: json!({ "name": name, "version": version }),
            library: library.into_bytes(),
            members: Vec::new(),
            signature: Signature::None,
        }
    }

    /// `hello` as it is built here.
    pub(crate) fn hello() -> Self {
        let bytes = fs::read(library("hello", Variant::Debug)).unwrap();
        Self::new("hello", "0.1.0").library(bytes)
    }

    /// A field of the manifest.
    pub(crate) fn with(mut self, key: &str, value: Value) -> Self {
        self.manifest[key] = value;
        self
    }

    pub(crate) fn library(mut self, bytes: Vec<u8>) -> Self {
        self.library = bytes;
        self
    }

    pub(crate) fn member(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.members.push((path.to_owned(), bytes.into()));
        self
    }

    /// Bytes in the place of the signature.
    pub(crate) fn signed(mut self, bytes: &[u8]) -> Self {
        self.signature = Signature::Bytes(bytes.to_vec());
        self
    }

    /// Signed with the key of that number.
    pub(crate) fn signed_by(mut self, key: u8) -> Self {
        self.signature = Signature::Of(key);
        self
    }

    /// Twenty files, the list among them, with directories.
    pub(crate) fn twenty_files(name: &str, version: &str) -> Self {
        let sample = Self::new(name, version);
        (0..17).fold(sample, |sample, number| {
            let path = format!("assets/part-{}/file-{number}.txt", number % 3);
            sample.member(&path, format!("{name} {version} {number}\n").repeat(40))
        })
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let target = Target::current();
        let stem = self.manifest["name"].as_str().unwrap().replace('-', "_");
        let path = format!("lib/{target}/lib{stem}.so");
        let mut members = self.members.clone();
        members.push((path.clone(), self.library.clone()));
        members.sort();
        let manifest = serde_json::to_vec(&self.manifest).unwrap();
        let mut listed = vec![member(MANIFEST, &manifest)];
        listed.extend(members.iter().map(|(name, bytes)| member(name, bytes)));
        let parsed = Manifest::parse(&manifest).unwrap().manifest;
        let mut libraries = BTreeMap::new();
        for member in &listed {
            let is_library = member.path.as_str().ends_with(".so");
            if let Some(target) = member.path.target().filter(|_| is_library) {
                libraries.insert(target, member.path.clone());
            }
        }
        let contents = Contents::new(&parsed, libraries, listed).unwrap();
        let mut entries = vec![
            Entry::new(MANIFEST, manifest),
            Entry::new(CONTENTS, contents.to_json()),
        ];
        let signature = match &self.signature {
            Signature::None => None,
            Signature::Bytes(bytes) => Some(bytes.clone()),
            Signature::Of(number) => {
                let signature = sign_bundle(&contents, &key(*number)).unwrap();
                Some(signature.to_text().into_bytes())
            }
        };
        if let Some(signature) = signature {
            entries.push(Entry::new(SIGNATURE, signature));
        }
        entries.extend(
            members
                .into_iter()
                .map(|(name, bytes)| Entry::new(name, bytes)),
        );
        gzip(&tar(&entries))
    }
}

/// A key to sign with, always the same for a number.
pub(crate) fn key(number: u8) -> SecretKey {
    SecretKey::from_seed(KeyId::from_bytes([number; 8]), &[number; 32])
}

pub(crate) fn name(name: &str) -> PluginName {
    PluginName::new(name).unwrap()
}

pub(crate) fn open(home: &Path) -> Store {
    Store::open(home, Options::new()).unwrap()
}

/// Installs a bundle that the operator named.
pub(crate) fn install(store: &Store, sample: &Sample) -> Result<Changed, StoreError> {
    install_with(store, sample, &InstallOptions::default())
}

pub(crate) fn install_with(
    store: &Store,
    sample: &Sample,
    options: &InstallOptions,
) -> Result<Changed, StoreError> {
    let bytes = sample.bytes();
    let bundle = Bundle::new("test.plg", bytes.as_slice());
    store.install(vec![bundle], options, &TrustAll)
}

/// What is installed, as `name version`.
pub(crate) fn installed(store: &Store) -> Vec<String> {
    let set = store.current().unwrap();
    let entries = set.plugins.iter();
    entries
        .map(|entry| format!("{} {}", entry.name, entry.version))
        .collect()
}
