//! The environment, without touching it: C code changes it at any time, and whoever walks it meanwhile
//! reads what was freed. So it is read as a file, until two looks at it agree.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use super::memory::Memory;

/// The names of all variables, and enough of their values to see a change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Environment {
    /// By name. The values are hashed with a key that this process alone knows.
    variables: BTreeMap<Box<[u8]>, u64>,
    /// Entries whose memory is gone: who asks for any variable after them crashes.
    lost: usize,
}

/// How many variables are looked at.
const VARIABLES: usize = 16 << 10;

/// How often a second look may differ from the one before.
const LOOKS: usize = 8;

/// How many names a report has, and how long they may be.
const NAMES: usize = 16;
const LETTERS: usize = 64;

impl Environment {
    /// `None` while it changes too fast to be seen.
    pub(super) fn read(memory: &mut Memory) -> Option<Self> {
        let mut last = Self::look(memory)?;
        for _ in 0..LOOKS {
            let next = Self::look(memory)?;
            if next == last {
                return Some(next);
            }
            last = next;
        }
        None
    }

    fn look(memory: &mut Memory) -> Option<Self> {
        memory.forget();
        // The address of C's variable and not its value, which only the file is asked for.
        let environ = &raw const libc::environ;
        let array = memory.word(environ.addr() as u64)?;
        let mut seen = Self {
            variables: BTreeMap::new(),
            lost: 0,
        };
        if array == 0 {
            return Some(seen);
        }
        let (entries, ends) = memory.words(array, VARIABLES);
        if !ends {
            seen.lost += 1;
        }
        for entry in entries {
            match memory.text(entry) {
                Some(text) => seen.add(text),
                None => seen.lost += 1,
            }
        }
        Some(seen)
    }

    /// Takes one `NAME=value` in. Of several with one name all count.
    fn add(&mut self, text: &[u8]) {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let equals = text.iter().position(|byte| *byte == b'=');
        // Without a name, the whole may be a secret.
        let (name, value) = text.split_at(equals.unwrap_or(0));
        let hash = self.variables.entry(name.into()).or_default();
        *hash = KEY.hash_one((*hash, value));
    }

    /// How many variables there are, in words.
    pub(super) fn count(&self) -> String {
        let mut words = match self.variables.len() {
            1 => "1 variable".to_owned(),
            count => format!("{count} variables"),
        };
        if self.lost > 0 {
            let _ = write!(words, " and {} whose memory is gone", self.lost);
        }
        words
    }

    /// Names what is different in `newer`.
    pub(super) fn difference(&self, newer: &Self) -> String {
        let mut words = newer.count();
        let added = names(&newer.variables, |name, _| {
            !self.variables.contains_key(name)
        });
        let changed = names(&newer.variables, |name, value| {
            let before = self.variables.get(name);
            before.is_some_and(|before| before != value)
        });
        let removed = names(&self.variables, |name, _| {
            !newer.variables.contains_key(name)
        });
        for (verb, names) in [("added", added), ("changed", changed), ("removed", removed)] {
            if !names.is_empty() {
                let more = names.len().saturating_sub(NAMES);
                let shown = names[..names.len() - more].join(", ");
                let _ = write!(words, ", {verb} {shown}");
                if more > 0 {
                    let _ = write!(words, " and {more} more");
                }
            }
        }
        words
    }
}

fn names(
    variables: &BTreeMap<Box<[u8]>, u64>,
    wanted: impl Fn(&[u8], &u64) -> bool,
) -> Vec<String> {
    let wanted = variables.iter().filter(|(name, value)| wanted(name, value));
    wanted.map(|(name, _)| shown(name)).collect()
}

fn shown(name: &[u8]) -> String {
    if name.is_empty() {
        return "one without a name".to_owned();
    }
    let short = &name[..name.len().min(LETTERS)];
    let dots = if short.len() < name.len() { "…" } else { "" };
    format!("`{}{dots}`", short.escape_ascii())
}
