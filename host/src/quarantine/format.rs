//! What stands in the file.

use std::collections::BTreeMap;
use std::io;
use std::time::SystemTime;

use plg_packaging::{Digest, PluginName};
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::state::time;

/// Why the bytes of a digest are not loaded.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Entry {
    /// The plugin that they are.
    pub plugin: PluginName,
    /// Its version.
    pub version: Version,
    /// What they did, as an operator is told it. Of a long text the first kilobyte is kept.
    pub reason: String,
    /// What kept them out.
    #[serde(default)]
    pub cause: Cause,
    /// Since when they are not loaded.
    #[serde(with = "time")]
    pub since: SystemTime,
}

/// What keeps bytes out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// Something else, or nobody knows.
    #[default]
    Other,
    /// A process that had them mapped died of them. In a process of their own they may run.
    Crashed,
}

pub(super) type Entries = BTreeMap<Digest, Entry>;

/// What a file turned out to be.
pub(super) enum Content {
    Whole(Entries),
    /// Some of it cannot be read. What can be is there.
    Damaged(Entries, String),
    /// Of a later format than ours.
    Newer(u64),
}

#[derive(Serialize)]
struct Written<'entries> {
    format: u64,
    entries: Vec<Member<&'entries Entry>>,
}

#[derive(Deserialize, Serialize)]
struct Member<E> {
    digest: Digest,
    #[serde(flatten)]
    entry: E,
}

const FORMAT: u64 = 1;

pub(super) fn parse(bytes: &[u8]) -> Content {
    let damaged = |why: &str| Content::Damaged(Entries::new(), why.to_owned());
    let file: Value = match serde_json::from_slice(bytes) {
        Ok(file) => file,
        Err(error) => return damaged(&error.to_string()),
    };
    match file.get("format").and_then(Value::as_u64) {
        Some(FORMAT) => {}
        Some(newer) if newer > FORMAT => return Content::Newer(newer),
        _ => return damaged("it does not say its format"),
    }
    let Some(members) = file.get("entries").and_then(Value::as_array) else {
        return damaged("it has no entries");
    };
    let mut entries = Entries::new();
    let mut problem = None;
    for (number, member) in members.iter().enumerate() {
        match Member::<Entry>::deserialize(member) {
            Ok(Member { digest, entry }) => {
                entries.insert(digest, entry);
            }
            Err(error) => problem = Some(format!("entry {number}: {error}")),
        }
    }
    match problem {
        None => Content::Whole(entries),
        Some(problem) => Content::Damaged(entries, problem),
    }
}

/// One entry takes several lines, for people.
pub(super) fn write(entries: &Entries) -> io::Result<Vec<u8>> {
    let members = entries.iter().map(|(digest, entry)| Member {
        digest: *digest,
        entry,
    });
    let mut bytes = serde_json::to_vec_pretty(&Written {
        format: FORMAT,
        entries: members.collect(),
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}
