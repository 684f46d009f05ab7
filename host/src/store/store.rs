//! The store as a host and an operator see it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use plg_packaging::PluginName;
use plg_packaging::bundle::{Limits, Target};

use super::build::{Build, Lease};
use super::disk::Disk;
use super::error::StoreError;
use super::home::Home;
use super::records::{self, Records};
use super::set::{Difference, Set};
use super::step::{Answer, Step, StepHook};
use super::writer::Writer;

/// What is installed on this machine.
///
/// Nothing is kept in memory: every question looks at the disk, so that several of these, in any number of
/// processes, agree. Whoever changes something takes a lock; whoever asks takes none.
pub struct Store {
    pub(super) home: Home,
    pub(super) disk: Disk,
    pub(super) limits: Limits,
    pub(super) target: Target,
    patience: Duration,
    progress: Option<ProgressHook>,
}

/// How a store is opened.
///
/// ```
/// use plg_host::store::{Options, Store};
///
/// let home = std::env::temp_dir().join("plg-no-such-home");
/// let store = Store::open(&home, Options::new())?;
/// assert!(store.current()?.plugins.is_empty());
/// # Ok::<(), plg_host::store::StoreError>(())
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Options {
    limits: Limits,
    target: Option<Target>,
    patience: Option<Duration>,
    progress: Option<ProgressHook>,
    hook: Option<StepHook>,
}

type ProgressHook = Arc<dyn Fn(&Progress<'_>) + Send + Sync>;

/// How far a change is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// Another process is changing the store, and this one waits for it.
    Waiting {
        /// The lock.
        lock: &'a Path,
    },
    /// A bundle is unpacked.
    Unpacking {
        /// The plugin.
        name: &'a PluginName,
        /// Bytes that are written.
        done: u64,
        /// Bytes that there will be, where the bundle says so before.
        total: Option<u64>,
    },
}

/// What a change did, or would do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Changed {
    /// The set in force now; of a plan, the one that would be.
    pub set: Set,
    /// The number of the set that was in force, equal to that of `set` when there was nothing to change.
    pub from: u64,
    /// The plugins that changed, by name.
    pub differences: Vec<Difference>,
}

impl Store {
    /// The store in this directory, its home, which is made by the first change and for this user alone.
    ///
    /// # Errors
    ///
    /// `store.unsafe` for a home that others could change or that is a link; `io.*` when that cannot be told.
    pub fn open(home: impl AsRef<Path>, options: Options) -> Result<Self, StoreError> {
        Ok(Self {
            home: Home::open(home.as_ref())?,
            disk: Disk::new(options.hook),
            limits: options.limits,
            target: options.target.unwrap_or_else(Target::current),
            patience: options.patience.unwrap_or(Duration::from_secs(60)),
            progress: options.progress,
        })
    }

    /// Its directory.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The lock file.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        self.home.lock()
    }

    /// The set in force.
    ///
    /// # Errors
    ///
    /// `lock.mismatch` and `lock.damaged` when the lock file does not say what is installed, `store.format` when
    /// a newer version of plg wrote it, `io.*` when something cannot be read.
    pub fn current(&self) -> Result<Set, StoreError> {
        Ok(self.records()?.current)
    }

    /// All sets that are kept and can be read, the oldest first. One that never came into force, because the process
    /// was killed, is not among them.
    ///
    /// # Errors
    ///
    /// As [`current`](Self::current).
    pub fn sets(&self) -> Result<Vec<Set>, StoreError> {
        let records = self.records()?;
        let numbers = records.numbers.into_iter();
        let numbers = numbers.filter(|number| *number <= records.current.number);
        // A collection may remove one meanwhile.
        Ok(numbers
            .filter_map(|number| records::set(&self.home, number).ok())
            .collect())
    }

    /// The installed build of a plugin: every file but the library, which is for whoever loads it, is what was
    /// installed. As long as it is held the build is not collected.
    ///
    /// # Errors
    ///
    /// `store.not_installed`; `store.tampered`; those of [`current`](Self::current).
    pub fn build(&self, name: &PluginName) -> Result<Build, StoreError> {
        loop {
            let entry = |set: Set| {
                let name = name.clone();
                set.plugin(&name)
                    .cloned()
                    .ok_or(StoreError::NotInstalled { name })
            };
            let found = entry(self.current()?)?;
            let lease = Lease::take(&self.home, &self.disk, &found.digest)?;
            match Build::open(&self.home, found.clone(), &self.target, lease) {
                // Between the two it may have been upgraded, and its build collected.
                Err(_) if entry(self.current()?)?.digest != found.digest => {}
                outcome => return outcome,
            }
        }
    }

    pub(super) fn records(&self) -> Result<Records, StoreError> {
        self.home.check()?;
        Records::read(&self.home)
    }

    pub(super) fn writer(&self) -> Result<Writer<'_>, StoreError> {
        self.writer_of(Records::read)
    }

    pub(super) fn writer_of(
        &self,
        read: impl FnOnce(&Home) -> Result<Records, StoreError>,
    ) -> Result<Writer<'_>, StoreError> {
        let waiting = |lock: &Path| self.tell(Progress::Waiting { lock });
        Writer::enter(&self.home, &self.disk, self.patience, &waiting, read)
    }

    pub(super) fn tell(&self, progress: Progress<'_>) {
        if let Some(hook) = &self.progress {
            hook(&progress);
        }
    }
}

impl Options {
    /// Those that fit most.
    pub fn new() -> Self {
        Self::default()
    }

    /// How much a bundle may take.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Unpacks for that platform instead of this machine's.
    pub fn target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    /// How long to wait for another process that changes the store; a minute by default.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Is told how far a change is, on the thread that makes it.
    pub fn on_progress(mut self, hook: impl Fn(&Progress<'_>) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(hook));
        self
    }

    /// Is asked before every step that changes the disk. This is for tests, which answer with faults.
    pub fn on_step(mut self, hook: impl Fn(Step, &Path) -> Answer + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }
}

impl Changed {
    pub(super) fn of(before: &Set, set: Set) -> Self {
        Self {
            from: before.number,
            differences: set.since(before),
            set,
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("home", &self.home)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("limits", &self.limits)
            .field("target", &self.target)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}
