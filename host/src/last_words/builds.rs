//! The builds that threads can be inside, each with an entry in the file.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};

use plg_packaging::{Digest, PluginName};
use semver::Version;

use super::death::Doing;
use super::format::{BUILDS, Crumb, Entry, TEXT, write_text};
use super::map::LastWords;

/// A build, for the record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Build<'build> {
    pub(crate) name: &'build PluginName,
    pub(crate) version: &'build Version,
    pub(crate) digest: Digest,
    pub(crate) generation: u64,
}

/// A build that is on record until this is dropped: keep it as long as the build is mapped.
///
/// Where there is no more room it has no name, and nobody is blamed for what it does.
#[derive(Debug)]
pub(crate) struct BuildId {
    crumb: Crumb,
    entry: Option<usize>,
    /// A build that is never unmapped must not keep the file.
    words: Weak<LastWords>,
}

/// Which entries are free.
#[derive(Debug, Default)]
pub(super) struct Free {
    /// Those from here on were never used.
    fresh: usize,
    given_back: Vec<usize>,
}

impl LastWords {
    /// Puts a build on record, before any of its code runs.
    pub(crate) fn register(self: &Arc<Self>, build: &Build<'_>) -> BuildId {
        let taken = self.free().take();
        let entry = taken.and_then(|place| Some((place, self.words().builds.get(place)?)));
        let used = entry.map(|(place, entry)| (place, entry.begin(build)));
        BuildId {
            crumb: Crumb::of(used),
            entry: taken,
            words: Arc::downgrade(self),
        }
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BuildId {
    /// What a thread enters that lets the build do something. `place` is that of the label, 0 when there
    /// is none; labels beyond the recorded ones have no name.
    #[inline]
    pub(crate) fn crumb(&self, place: usize, doing: Doing) -> Crumb {
        self.crumb.at(place, doing)
    }

    /// Says where the build is mapped, which tells its own threads from others.
    pub(crate) fn set_mapped(&self, mapped: &Range<usize>) {
        self.with_entry(|entry| {
            entry.start.store(mapped.start as u64, Ordering::Release);
            entry.end.store(mapped.end as u64, Ordering::Release);
        });
    }

    /// Names a label by its place, from 1.
    pub(crate) fn set_label(&self, place: usize, label: &str) {
        self.with_entry(|entry| {
            let text = place.checked_sub(1).and_then(|at| entry.labels.get(at));
            if let Some(text) = text {
                write_text(text, label);
            }
        });
    }

    fn with_entry(&self, write: impl FnOnce(&Entry)) {
        if let (Some(place), Some(words)) = (self.entry, self.words.upgrade())
            && let Some(entry) = words.words().builds.get(place)
        {
            write(entry);
        }
    }
}

impl Drop for BuildId {
    fn drop(&mut self) {
        self.with_entry(Entry::end);
        // Whoever takes the entry from here writes to it after the store above.
        if let (Some(place), Some(words)) = (self.entry, self.words.upgrade()) {
            words.free().given_back.push(place);
        }
    }
}

impl Free {
    fn take(&mut self) -> Option<usize> {
        self.given_back.pop().or_else(|| {
            let fresh = (self.fresh < BUILDS).then_some(self.fresh)?;
            self.fresh += 1;
            Some(fresh)
        })
    }
}

impl Entry {
    /// Makes a free entry this build's, and says which use of the entry it is.
    fn begin(&self, build: &Build<'_>) -> u64 {
        let state = self.state.load(Ordering::Relaxed) & !1;
        let labels = self.labels.iter().flatten();
        for word in labels.chain([&self.start, &self.end]) {
            word.store(0, Ordering::Relaxed);
        }
        self.generation.store(build.generation, Ordering::Relaxed);
        let (words, _) = build.digest.as_bytes().as_chunks();
        for (to, word) in self.digest.iter().zip(words) {
            to.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        }
        write_text(&self.name, build.name.as_str());
        write_text(&self.version, &short(build.version));
        let used = state / 2 + 1;
        self.state.store(used * 2 + 1, Ordering::Release);
        used
    }

    fn end(&self) {
        let state = self.state.load(Ordering::Relaxed);
        self.state.store(state & !1, Ordering::Release);
    }
}

/// A version that still is one when there is no room for all of it.
fn short(version: &Version) -> String {
    let text = version.to_string();
    if text.len() <= TEXT {
        return text;
    }
    Version::new(version.major, version.minor, version.patch).to_string()
}
