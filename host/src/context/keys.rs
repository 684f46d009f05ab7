//! Numbers for keys.
//!
//! A number means the same in every context of the process, so contexts need not know their host. It
//! is a name and no state: two hosts that number the same key agree.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{PoisonError, RwLock};

/// The number of a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct KeyId(NonZeroU32);

/// How many keys are numbered at most. Names are kept for good, so this bounds what they take.
const CAPACITY: usize = 16 << 10;

#[derive(Default)]
struct Keys {
    names: Vec<&'static str>,
    numbers: HashMap<&'static str, KeyId>,
}

static KEYS: RwLock<Option<Keys>> = RwLock::new(None);

impl KeyId {
    /// The number of `name`; `None` when there is no room for another.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let mut keys = KEYS.write().unwrap_or_else(PoisonError::into_inner);
        let keys = keys.get_or_insert_default();
        if let Some(id) = keys.numbers.get(name) {
            return Some(*id);
        }
        if keys.names.len() >= CAPACITY {
            return None;
        }
        let name: &'static str = Box::leak(name.into());
        keys.names.push(name);
        let id = Self(NonZeroU32::new(u32::try_from(keys.names.len()).ok()?)?);
        keys.numbers.insert(name, id);
        Some(id)
    }

    /// The number as it crossed the boundary; `None` for one that was never given.
    #[inline]
    pub(crate) fn from_raw(raw: u32) -> Option<Self> {
        NonZeroU32::new(raw).map(Self)
    }

    #[inline]
    pub(crate) fn raw(self) -> u32 {
        self.0.get()
    }

    /// The name; empty for a number that was never given.
    pub(crate) fn name(self) -> &'static str {
        let keys = KEYS.read().unwrap_or_else(PoisonError::into_inner);
        keys.as_ref()
            .and_then(|keys| keys.names.get(self.0.get() as usize - 1))
            .copied()
            .unwrap_or_default()
    }
}
