//! The picture itself, and how two of them are compared.

use std::fmt::Display;
use std::fs;
use std::thread::{self, ThreadId};

use rustix::process::{Resource, Rlimit, getrlimit};

use super::change::{Change, What};
use super::environment::Environment;
use super::memory::Memory;
use super::system::{self, Action, SignalStack};

/// What the process was like at one moment, as far as plugins must leave it alone.
///
/// What belongs to a thread is that of the thread which took it, and is compared only with a picture
/// that the same thread took.
#[derive(Clone, Debug)]
pub struct Sentinel {
    directory: Option<Place>,
    umask: Option<u32>,
    environment: Option<Environment>,
    /// By number, which begins at 1.
    actions: Vec<Option<Action>>,
    descriptors: [Option<Place>; 3],
    locale: Option<String>,
    limits: [Rlimit; LIMITS.len()],
    thread: Thread,
}

/// A file, or that there is none.
#[derive(Clone, Debug)]
struct Place {
    /// Its device and number.
    identity: Option<(u32, u32, u64)>,
    /// What it is called. Somebody else may rename it, so this is not compared.
    name: String,
}

#[derive(Clone, Debug)]
struct Thread {
    id: ThreadId,
    locale: Option<usize>,
    floating_point: Option<u32>,
    stack: Option<SignalStack>,
    mask: Option<u64>,
}

/// The highest number of a signal.
const SIGNALS: i32 = 64;

const LIMITS: [(Resource, &str); 16] = [
    (Resource::As, "as"),
    (Resource::Core, "core"),
    (Resource::Cpu, "cpu"),
    (Resource::Data, "data"),
    (Resource::Fsize, "fsize"),
    (Resource::Locks, "locks"),
    (Resource::Memlock, "memlock"),
    (Resource::Msgqueue, "msgqueue"),
    (Resource::Nice, "nice"),
    (Resource::Nofile, "nofile"),
    (Resource::Nproc, "nproc"),
    (Resource::Rss, "rss"),
    (Resource::Rtprio, "rtprio"),
    (Resource::Rttime, "rttime"),
    (Resource::Sigpending, "sigpending"),
    (Resource::Stack, "stack"),
];

impl Sentinel {
    /// Looks at the process and at the calling thread. This changes nothing, and costs about a
    /// tenth of a millisecond.
    #[must_use]
    pub fn take() -> Self {
        // Before any file is opened here, which takes the place of a descriptor that is closed.
        let descriptors = [0, 1, 2].map(|number| {
            let link = format!("/proc/thread-self/fd/{number}");
            Place::of(number, &link)
        });
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let mut memory = Memory::open();
        Self {
            directory: Place::of(libc::AT_FDCWD, "/proc/thread-self/cwd"),
            umask: field(&status, "Umask:").and_then(|mask| u32::from_str_radix(mask, 8).ok()),
            environment: memory.as_mut().and_then(Environment::read),
            actions: (1..=SIGNALS).map(system::action).collect(),
            descriptors,
            locale: memory.as_mut().and_then(locale),
            limits: LIMITS.map(|(resource, _)| getrlimit(resource)),
            thread: Thread {
                id: thread::current().id(),
                locale: system::thread_locale(),
                floating_point: system::floating_point(),
                stack: system::signal_stack(),
                mask: field(&status, "SigBlk:").and_then(|mask| u64::from_str_radix(mask, 16).ok()),
            },
        }
    }

    /// What is different in `newer`. What one of the two does not know is no difference.
    #[must_use]
    pub fn changes(&self, newer: &Self) -> Vec<Change> {
        let mut changes = Changes(Vec::new());
        changes.place(What::WorkingDirectory, &self.directory, &newer.directory);
        changes.add(What::Umask, self.umask, newer.umask, |mask| {
            format!("{mask:04o}")
        });
        if let (Some(before), Some(after)) = (&self.environment, &newer.environment)
            && before != after
        {
            let words = (before.count(), before.difference(after));
            changes.push(What::Environment, words.0, words.1);
        }
        for ((signal, before), after) in (1..).zip(&self.actions).zip(&newer.actions) {
            changes.add(What::SignalHandler(signal), *before, *after, handler);
        }
        for ((number, before), after) in (0..).zip(&self.descriptors).zip(&newer.descriptors) {
            changes.place(What::Descriptor(number), before, after);
        }
        let (before, after) = (self.locale.as_deref(), newer.locale.as_deref());
        changes.add(What::Locale, before, after, quoted);
        for (((_, name), before), after) in LIMITS.iter().zip(&self.limits).zip(&newer.limits) {
            let (before, after) = (Some(before), Some(after));
            changes.add(What::ResourceLimit(name), before, after, limit);
        }
        changes.thread(&self.thread, &newer.thread);
        changes.0
    }
}

struct Changes(Vec<Change>);

impl Changes {
    fn push(&mut self, what: What, before: String, after: String) {
        self.0.push(Change {
            what,
            before,
            after,
        });
    }

    fn add<T: Copy + PartialEq>(
        &mut self,
        what: What,
        before: Option<T>,
        after: Option<T>,
        words: impl Fn(T) -> String,
    ) {
        if let (Some(before), Some(after)) = (before, after)
            && before != after
        {
            self.push(what, words(before), words(after));
        }
    }

    fn place(&mut self, what: What, before: &Option<Place>, after: &Option<Place>) {
        if let (Some(before), Some(after)) = (before, after)
            && before.identity != after.identity
        {
            self.push(what, before.name.clone(), after.name.clone());
        }
    }

    fn thread(&mut self, before: &Thread, after: &Thread) {
        if before.id != after.id {
            return;
        }
        let locales = (Some(before.locale), Some(after.locale));
        self.add(What::ThreadLocale, locales.0, locales.1, |own| {
            own.map_or("that of the process".to_owned(), |own| {
                format!("one of its own, {own:#x}")
            })
        });
        let modes = (before.floating_point, after.floating_point);
        self.add(What::FloatingPoint, modes.0, modes.1, floating_point);
        self.add(What::AlternateStack, before.stack, after.stack, stack);
        self.add(What::SignalMask, before.mask, after.mask, |mask| {
            format!("{mask:#018x}")
        });
    }
}

impl Place {
    /// `None` when the system does not say.
    fn of(descriptor: i32, link: &str) -> Option<Self> {
        let (identity, name) = match system::identity(descriptor) {
            Ok(identity) => (Some(identity), fs::read_link(link)),
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => {
                let (identity, name) = (None, "closed".to_owned());
                return Some(Self { identity, name });
            }
            Err(_) => return None,
        };
        let name = name.map_or("a file".to_owned(), |name| quoted(name.display()));
        Some(Self { identity, name })
    }
}

/// The name of the locale of the process, if two looks at it agree: whoever sets another frees it.
fn locale(memory: &mut Memory) -> Option<String> {
    let mut look = || {
        memory.forget();
        let name = memory.text(system::locale_name())?;
        Some(String::from_utf8_lossy(name).into_owned())
    };
    let first = look()?;
    (look()? == first).then_some(first)
}

/// The first word after `key` in a status file.
fn field<'status>(status: &'status str, key: &str) -> Option<&'status str> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()
}

fn quoted(text: impl Display) -> String {
    format!("`{}`", text.to_string().escape_debug())
}

fn handler(action: Action) -> String {
    match action.handler {
        libc::SIG_DFL => "the default".to_owned(),
        libc::SIG_IGN => "nothing".to_owned(),
        address => format!("a handler at {address:#x} with flags {:#x}", action.flags),
    }
}

fn limit(limit: &Rlimit) -> String {
    let number =
        |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    format!("{} of {}", number(limit.current), number(limit.maximum))
}

fn floating_point(control: u32) -> String {
    if !cfg!(target_arch = "x86_64") {
        return format!("{control:#x}");
    }
    let rounding = match control >> 13 & 3 {
        0 => "nearest",
        1 => "down",
        2 => "up",
        _ => "zero",
    };
    // Results close to zero become zero, or are read as zero.
    let tiny = match control & 0x8040 {
        0 => "keeping",
        _ => "losing",
    };
    format!("rounding to {rounding} and {tiny} tiny numbers ({control:#x})")
}

fn stack(stack: SignalStack) -> String {
    match stack.0 {
        Some((address, size)) => format!("{size} bytes at {address:#x}"),
        None => "none".to_owned(),
    }
}
