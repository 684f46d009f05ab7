//! What stands where in the file.
//!
//! It holds no addresses that a reader would follow, and every field is an atomic: threads and signal
//! handlers write at any moment, and what is there when the process ends is what will be read. A text or
//! an entry counts only once its last store is done, so one that was being written reads as absent.

use std::sync::atomic::{AtomicU64, Ordering};

use super::death::Doing;

/// The first word of a file that was begun; zero until then.
pub(super) const MAGIC: u64 = u64::from_ne_bytes(*b"plgwords");
/// Grows with every change of what stands in this module.
pub(super) const VERSION: u64 = 1;
/// Threads beyond this many leave no crumbs.
pub(super) const SLOTS: usize = 1024;
/// Builds beyond this many, at once, have no names.
pub(super) const BUILDS: usize = 512;
/// Labels of a build that have names; place 0 is every other label.
pub(super) const LABELS: usize = 64;
/// Bytes of a text; what is longer is cut.
pub(super) const TEXT: usize = 64;

/// The whole file.
#[repr(C)]
pub(super) struct Words {
    pub(super) header: Header,
    pub(super) slots: [Slot; SLOTS],
    pub(super) builds: [Entry; BUILDS],
}

#[repr(C, align(128))]
pub(super) struct Header {
    /// Written last.
    pub(super) magic: AtomicU64,
    pub(super) version: AtomicU64,
    pub(super) length: AtomicU64,
    /// A child that got a copy of this process has another one.
    pub(super) pid: AtomicU64,
    /// Whether the process went through `exit` as its app wanted.
    pub(super) left: AtomicU64,
    pub(super) mark: Mark,
}

/// How the process ended, written by its dying thread.
#[repr(C)]
pub(super) struct Mark {
    /// Who makes it other than zero writes the rest.
    claim: AtomicU64,
    /// The number of the dying thread plus one; 0 when it has none.
    pub(super) thread: AtomicU64,
    /// What that thread was inside.
    pub(super) crumb: AtomicU64,
    /// The instruction that it died at.
    pub(super) instruction: AtomicU64,
    /// Seconds since 1970.
    pub(super) time: AtomicU64,
    /// Written last: a signal, or [`EXIT`].
    pub(super) ending: AtomicU64,
}

/// The ending of a process in which a plugin called `exit`; no signal has this number.
pub(super) const EXIT: u64 = 1 << 32;

/// The crumb of one thread, which alone writes it. Slots stand on cache lines of their own, in pairs
/// because processors fetch those.
#[repr(C, align(128))]
pub(crate) struct Slot {
    pub(super) crumb: AtomicU64,
}

/// One build of a plugin.
#[repr(C)]
pub(super) struct Entry {
    /// How often the entry was used, doubled; odd while it holds a build. Written last, and first when
    /// the build goes.
    pub(super) state: AtomicU64,
    pub(super) generation: AtomicU64,
    /// Where the build is mapped; both are 0 until that is known.
    pub(super) start: AtomicU64,
    pub(super) end: AtomicU64,
    pub(super) digest: [AtomicU64; 4],
    pub(super) name: Text,
    pub(super) version: Text,
    /// By place, from 1.
    pub(super) labels: [Text; LABELS],
}

/// Up to [`TEXT`] bytes, then zeroes. The first word is written last and is never zero in a text.
pub(super) type Text = [AtomicU64; TEXT / 8];

/// What a thread is inside: a build, a label and a doing in one word.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Crumb(u64);

/// Where the parts of a crumb begin, from the lowest bit: doing, label, entry, use of the entry.
const PLACE: u32 = 8;
const ENTRY: u32 = 24;
const USE: u32 = 40;
/// The entry of builds that have none.
const NO_ENTRY: u64 = 0xffff;

impl Crumb {
    /// The crumb of an entry in its `used`th use, without a label and a doing; of a build without a name
    /// for `None`.
    pub(super) fn of(entry: Option<(usize, u64)>) -> Self {
        let (entry, used) = entry.map_or((NO_ENTRY, 0), |(entry, used)| (entry as u64, used));
        Self(used << USE | entry << ENTRY)
    }

    /// The same build with a label and a doing.
    #[inline]
    pub(super) fn at(self, place: usize, doing: Doing) -> Self {
        let place = if place <= LABELS { place as u64 } else { 0 };
        Self(self.0 | place << PLACE | doing as u64)
    }

    pub(super) fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// Zero outside of every plugin, and only there.
    pub(super) fn word(self) -> u64 {
        self.0
    }

    pub(super) fn entry(self) -> usize {
        usize::from((self.0 >> ENTRY) as u16)
    }

    /// Which use of the entry it means, as far as it has room for that.
    pub(super) fn used(self) -> u64 {
        self.0 >> USE
    }

    pub(super) fn place(self) -> usize {
        usize::from((self.0 >> PLACE) as u16)
    }

    pub(super) fn doing(self) -> Option<Doing> {
        Doing::from_number(self.0 as u8)
    }
}

impl Slot {
    /// Notes that the calling thread enters `crumb`, and returns what to [`leave`](Self::leave) with.
    #[inline]
    pub(crate) fn enter(&self, crumb: Crumb) -> Crumb {
        let before = self.crumb.load(Ordering::Relaxed);
        self.crumb.store(crumb.0, Ordering::Relaxed);
        Crumb(before)
    }

    /// Notes that the thread is back where it was before it entered.
    #[inline]
    pub(crate) fn leave(&self, before: Crumb) {
        self.crumb.store(before.0, Ordering::Relaxed);
    }
}

/// What a dying thread knows of itself.
#[derive(Clone, Copy)]
pub(super) struct Dying {
    pub(super) ending: u64,
    /// `None` when it has no number, or when it is not the thread's doing.
    pub(super) thread: Option<usize>,
    pub(super) instruction: u64,
    pub(super) time: u64,
}

impl Words {
    /// What a thread is inside.
    pub(super) fn crumb_of(&self, thread: Option<usize>) -> Crumb {
        let slot = thread.and_then(|thread| self.slots.get(thread));
        Crumb(slot.map_or(0, |slot| slot.crumb.load(Ordering::Relaxed)))
    }

    /// Writes how the process ends, unless that is written: of two blows the first one counts. Says
    /// whether it did.
    pub(super) fn mark(&self, dying: Dying) -> bool {
        let mark = &self.header.mark;
        let claimed = mark
            .claim
            .compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
        if claimed.is_err() {
            return false;
        }
        let thread = dying.thread.map_or(0, |thread| thread as u64 + 1);
        mark.thread.store(thread, Ordering::Relaxed);
        let crumb = self.crumb_of(dying.thread);
        mark.crumb.store(crumb.word(), Ordering::Relaxed);
        mark.instruction.store(dying.instruction, Ordering::Relaxed);
        mark.time.store(dying.time, Ordering::Relaxed);
        mark.ending.store(dying.ending, Ordering::Release);
        true
    }

    /// Takes a mark back: the process goes on.
    pub(super) fn unmark(&self) {
        self.header.mark.ending.store(0, Ordering::Relaxed);
        self.header.mark.claim.store(0, Ordering::Release);
    }
}

/// Writes a text, cut to the room there is.
pub(super) fn write_text(to: &Text, text: &str) {
    let text = &text[..text.floor_char_boundary(TEXT)];
    let mut bytes = [0; TEXT];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    let (words, _) = bytes.as_chunks();
    for (to, word) in to.iter().zip(words).rev() {
        to.store(u64::from_ne_bytes(*word), Ordering::Release);
    }
}
