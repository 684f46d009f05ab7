//! A build on record, and the threads that are inside it.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::builds::{Build, BuildId};
use super::death::Doing;
use super::format::{Crumb, LABELS, Slot};
use super::map::LastWords;
use crate::plugin::thread::Number;

/// A build that is on record until this is dropped.
#[derive(Debug)]
pub(crate) struct Recorded {
    build: BuildId,
    words: Arc<LastWords>,
    /// Labels that the plugin does not list, named from the last place on.
    unlisted: Mutex<Vec<Box<str>>>,
}

/// A thread that is inside a build; dropping this says that it left.
#[must_use]
pub(crate) struct Inside<'words> {
    slot: &'words Slot,
    before: Crumb,
}

impl Recorded {
    pub(crate) fn new(words: &Arc<LastWords>, build: &Build<'_>) -> Self {
        Self {
            build: words.register(build),
            words: words.clone(),
            unlisted: Mutex::default(),
        }
    }

    /// The place of a label that the plugin does not list; 0 when there is no more room.
    #[cold]
    pub(crate) fn place_of(&self, label: &str) -> usize {
        let mut unlisted = self.unlisted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = unlisted.iter().position(|known| **known == *label) {
            return LABELS - known;
        }
        if unlisted.len() == LABELS / 2 {
            return 0;
        }
        unlisted.push(label.into());
        let place = LABELS + 1 - unlisted.len();
        self.build.set_label(place, label);
        place
    }

    /// Notes that the calling thread is inside the build, at the label of this place. `None` for threads
    /// that are not recorded.
    #[inline]
    pub(crate) fn enter(&self, thread: Number, place: usize, doing: Doing) -> Option<Inside<'_>> {
        let slot = self.words.slot(thread)?;
        let before = slot.enter(self.build.crumb(place, doing));
        Some(Inside { slot, before })
    }

    /// See [`BuildId::set_mapped`].
    pub(crate) fn set_mapped(&self, mapped: &Range<usize>) {
        self.build.set_mapped(mapped);
    }

    /// Names a listed label, as long as it takes no place from the others.
    pub(crate) fn set_label(&self, place: usize, label: &str) {
        if place <= LABELS / 2 {
            self.build.set_label(place, label);
        }
    }
}

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        self.slot.leave(self.before);
    }
}
