//! Who changes the store: holds the lock, sweeps what killed processes left, and commits.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use plg_packaging::Digest;
use serde::Serialize;

use super::disk::{Disk, DocumentSteps};
use super::error::StoreError;
use super::home::{Home, names};
use super::pins::Pins;
use super::records::{self, Records};
use super::set::{Change, Entry, Set};
use super::step::Step;

/// The right to change a store, until it is dropped.
pub(super) struct Writer<'store> {
    pub(super) home: &'store Home,
    pub(super) disk: &'store Disk,
    pub(super) records: Records,
    /// Whether a set that failed may be found in force after the power failed.
    is_in_doubt: bool,
    _turn: Turn,
}

/// The lock that processes take turns with.
#[derive(Debug)]
struct Turn(File);

const SET: DocumentSteps = DocumentSteps {
    file: Step::SetFile,
    write: Step::SetWrite,
    fsync: Step::SetFsync,
    rename: Step::SetRename,
    settle: Step::SetSettle,
};

const LOCK: DocumentSteps = DocumentSteps {
    file: Step::LockFile,
    write: Step::LockWrite,
    fsync: Step::LockFsync,
    rename: Step::LockRename,
    settle: Step::LockSettle,
};

impl<'store> Writer<'store> {
    /// Waits for the lock, no longer than `patience`; `waiting` is told when that begins. What is in force is
    /// read by `read`, which says whether a store in disorder will do.
    pub(super) fn enter(
        home: &'store Home,
        disk: &'store Disk,
        patience: Duration,
        waiting: &dyn Fn(&Path),
        read: impl FnOnce(&Home) -> Result<Records, StoreError>,
    ) -> Result<Self, StoreError> {
        home.prepare(disk)?;
        let turn = Turn::take(home.turn(), disk, patience, waiting)?;
        // Nobody else is at work, so whoever began this was killed.
        for name in names(&home.staging())? {
            disk.remove_all(Step::Sweep, &home.staging().join(name))?;
        }
        let mut writer = Self {
            home,
            disk,
            records: read(home)?,
            is_in_doubt: false,
            _turn: turn,
        };
        if !writer.records.is_locked {
            writer.replace_lock(&Set::empty(), None)?;
            writer.records.is_locked = true;
        }
        Ok(writer)
    }

    /// A name in the staging directory that is free.
    pub(super) fn staged(&self, name: &str) -> PathBuf {
        self.home.staging().join(name)
    }

    /// Makes these plugins the set in force.
    pub(super) fn commit(
        &mut self,
        plugins: Vec<Entry>,
        change: Change,
        before: Option<u64>,
    ) -> Result<Set, StoreError> {
        self.sweep_sets()?;
        let last = self.records.numbers.last().copied().unwrap_or_default();
        let set = Set {
            format: Set::FORMAT,
            number: last.max(self.records.current.number) + 1,
            at: SystemTime::now(),
            change,
            before,
            plugins,
        };
        let place = self.home.set(set.number);
        let bytes = written(&place, &set)?;
        let digest = Some(Digest::of(&bytes));
        self.put(&SET, &place, &bytes)
            .and_then(|()| self.replace_lock(&set, digest))
            .map_err(|failed| self.take_back(&set, failed))?;
        self.records.digest = digest;
        self.records.numbers.push(set.number);
        self.records.current = set.clone();
        Ok(set)
    }

    /// Writes the lock file again as the set in force has it.
    pub(super) fn restore_lock(&self) -> Result<(), StoreError> {
        self.replace_lock(&self.records.current, self.records.digest)
    }

    /// Moves a directory out of the way and removes it; the removal may be left to the next sweep.
    pub(super) fn discard(&self, step: Step, path: &Path) -> Result<(), StoreError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let gone = self.staged(&format!("gone-{name}"));
        self.disk.rename(step, path, &gone)?;
        let _ = self.disk.remove_all(Step::Discard, &gone);
        Ok(())
    }

    /// Takes the builds of a change that failed out of the store again, as far as that is possible: what is
    /// left is in nobody's way, and goes with the next collection.
    pub(super) fn withdraw(&self, builds: &[Digest]) {
        if self.is_in_doubt {
            return;
        }
        for digest in builds {
            let _ = self.discard(Step::Discard, &self.home.build(digest));
        }
    }

    /// Removes sets that a killed process left before they came into force.
    fn sweep_sets(&mut self) -> Result<(), StoreError> {
        let current = self.records.current.number;
        let numbers = &mut self.records.numbers;
        // In a store in disorder nobody knows which came into force.
        while let Some(last) = numbers.pop_if(|last| self.records.in_order && *last > current) {
            self.disk
                .remove_file(Step::SetSweep, &self.home.set(last))?;
        }
        Ok(())
    }

    /// Leaves the set that was in force in force, after this one failed.
    fn take_back(&mut self, set: &Set, failed: StoreError) -> StoreError {
        let home = self.home;
        let is_in_force = || {
            let pins = records::pins(home);
            pins.is_ok_and(|pins| pins.is_some_and(|pins| pins.generation == set.number))
        };
        if is_in_force() {
            let restored = self.restore_lock();
            if is_in_force() {
                return StoreError::Unsettled {
                    number: set.number,
                    source: Box::new(failed),
                };
            }
            if restored.is_err() {
                // The next start may meet either lock file, and has to find its set with all builds.
                self.is_in_doubt = true;
                return failed;
            }
        }
        let _ = self
            .disk
            .remove_all(Step::Discard, &self.home.set(set.number));
        failed
    }

    fn replace_lock(&self, set: &Set, digest: Option<Digest>) -> Result<(), StoreError> {
        let place = self.home.lock();
        let bytes = written(&place, &Pins::of(set, digest))?;
        self.put(&LOCK, &place, &bytes)
    }

    fn put(&self, steps: &DocumentSteps, place: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        self.disk
            .document(steps, &self.home.staging(), place, bytes)
    }
}

/// A document as its file will have it.
fn written(place: &Path, document: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    records::write(document).map_err(|source| StoreError::read(place, source))
}

impl Turn {
    fn take(
        path: PathBuf,
        disk: &Disk,
        patience: Duration,
        waiting: &dyn Fn(&Path),
    ) -> Result<Self, StoreError> {
        let file = disk.shared_file(Step::HomeDirectory, &path)?;
        let start = Instant::now();
        let mut pause = Duration::from_micros(200);
        let mut is_told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::Error(source)) => return Err(StoreError::read(&path, source)),
                Err(TryLockError::WouldBlock) => {}
            }
            if start.elapsed() >= patience {
                return Err(StoreError::Busy { path, patience });
            }
            if !std::mem::replace(&mut is_told, true) {
                waiting(&path);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Closing would do, unless the process forked meanwhile: the child has the file open too.
        let _ = self.0.unlock();
    }
}
