//! The collection of builds that nobody needs any more.

use std::collections::BTreeSet;
use std::fs::{self, TryLockError};
use std::path::Path;

use plg_packaging::Digest;

use super::error::StoreError;
use super::home::{Home, names};
use super::records::{self, Records};
use super::step::Step;
use super::store::Store;

/// What a collection removed, or would remove.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Collected {
    /// The builds.
    pub builds: Vec<Digest>,
    /// Their bytes.
    pub bytes: u64,
    /// The numbers of the sets.
    pub sets: Vec<u64>,
    /// Builds that no set needs and that stay because a process has them loaded.
    pub in_use: Vec<Digest>,
}

impl Store {
    /// Removes old sets, and the builds that no other set needs. What stays: the set in force, the `keep` newest
    /// sets, those that as many undos would go back to, and every build that a process has loaded.
    ///
    /// # Errors
    ///
    /// `lock.*`, `store.busy`, `io.*`; what was removed before the error is gone.
    pub fn gc(&self, keep: usize) -> Result<Collected, StoreError> {
        if !self.home.is_there() {
            return self.plan_gc(keep);
        }
        let writer = self.writer()?;
        let home = &self.home;
        let mut collected = plan(home, &writer.records, keep)?;
        // A set without its builds is never seen.
        for number in &collected.sets {
            self.disk.remove_file(Step::GcSet, &home.set(*number))?;
        }
        if !collected.sets.is_empty() {
            self.disk.sync_directory(Step::GcSet, &home.sets())?;
        }
        let mut removed = Vec::new();
        for digest in std::mem::take(&mut collected.builds) {
            let lease = home.lease(&digest);
            let file = self.disk.shared_file(Step::GcLease, &lease)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    // It was loaded since.
                    collected.bytes -= size(&home.build(&digest))?;
                    collected.in_use.push(digest);
                    continue;
                }
                Err(TryLockError::Error(source)) => return Err(StoreError::read(&lease, source)),
            }
            let gone = writer.staged(&format!("gone-{}", digest.hex()));
            self.disk
                .rename(Step::GcBuild, &home.build(&digest), &gone)?;
            self.disk.remove_file(Step::GcLease, &lease)?;
            self.disk.remove_all(Step::GcRemove, &gone)?;
            removed.push(digest);
        }
        collected.builds = removed;
        self.forget_leases()?;
        Ok(collected)
    }

    /// What [`gc`](Self::gc) would do.
    ///
    /// # Errors
    ///
    /// Those of [`gc`](Self::gc).
    pub fn plan_gc(&self, keep: usize) -> Result<Collected, StoreError> {
        plan(&self.home, &self.records()?, keep)
    }

    /// Removes the notes about builds that are gone.
    fn forget_leases(&self) -> Result<(), StoreError> {
        let leases = self.home.leases();
        for name in names(&leases)? {
            let path = leases.join(&name);
            if self.home.builds().join(&name).exists() {
                continue;
            }
            let file = self.disk.shared_file(Step::GcLease, &path)?;
            if file.try_lock().is_ok() {
                self.disk.remove_file(Step::GcLease, &path)?;
            }
        }
        Ok(())
    }
}

fn plan(home: &Home, records: &Records, keep: usize) -> Result<Collected, StoreError> {
    let current = &records.current;
    let mut kept = BTreeSet::from([current.number]);
    let came = |number: &&u64| **number <= current.number;
    kept.extend(records.numbers.iter().rev().filter(came).take(keep));
    let mut next = current.before;
    for _ in 0..keep {
        let Some(number) = next else { break };
        kept.insert(number);
        next = records::set(home, number).ok().and_then(|set| set.before);
    }
    let mut needed: BTreeSet<Digest> = BTreeSet::new();
    for number in records
        .numbers
        .iter()
        .filter(|number| kept.contains(number))
    {
        let set = records::set(home, *number)?;
        needed.extend(set.plugins.iter().map(|entry| entry.digest));
    }
    let goes = |number: &u64| !kept.contains(number);
    let mut collected = Collected {
        sets: records.numbers.iter().copied().filter(goes).collect(),
        ..Collected::default()
    };
    for digest in home.digests()? {
        if needed.contains(&digest) {
            continue;
        }
        if is_in_use(&home.lease(&digest)) {
            collected.in_use.push(digest);
        } else {
            collected.bytes += size(&home.build(&digest))?;
            collected.builds.push(digest);
        }
    }
    Ok(collected)
}

fn is_in_use(lease: &Path) -> bool {
    let file = fs::File::open(lease);
    file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// The bytes of the files in a directory.
fn size(directory: &Path) -> Result<u64, StoreError> {
    let mut size = 0;
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        let read = |source| StoreError::read(&directory, source);
        for entry in fs::read_dir(&directory).map_err(read)? {
            let entry = entry.map_err(read)?;
            let metadata = entry.metadata().map_err(read)?;
            if metadata.is_dir() {
                open.push(entry.path());
            } else {
                size += metadata.len();
            }
        }
    }
    Ok(size)
}
