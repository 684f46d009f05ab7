//! Changes that need no bundle: remove, undo, and the lock file written again.

use plg_packaging::PluginName;

use super::build::{Depth, check};
use super::error::StoreError;
use super::home::Home;
use super::records::{self, Records};
use super::set::{Change, Entry, Set};
use super::store::{Changed, Store};
use crate::deps;

/// A set that will be, before it has a number.
pub(super) struct Draft {
    pub(super) plugins: Vec<Entry>,
    pub(super) change: Change,
    pub(super) before: Option<u64>,
}

impl Store {
    /// Removes plugins. Their builds stay until a collection, so that an undo brings them back.
    ///
    /// # Errors
    ///
    /// `store.not_installed`; `deps.in_use` when others need one of them, unless `cascade` removes those as well;
    /// `lock.*`, `store.busy`, `io.*`.
    pub fn remove(&self, plugins: &[PluginName], cascade: bool) -> Result<Changed, StoreError> {
        if !self.home.is_there() {
            return self.plan_remove(plugins, cascade);
        }
        let mut writer = self.writer()?;
        let before = writer.records.current.clone();
        let draft = without(&before, plugins, cascade)?;
        let set = writer.commit(draft.plugins, draft.change, draft.before)?;
        Ok(Changed::of(&before, set))
    }

    /// What [`remove`](Self::remove) would do.
    ///
    /// # Errors
    ///
    /// Those of [`remove`](Self::remove).
    pub fn plan_remove(
        &self,
        plugins: &[PluginName],
        cascade: bool,
    ) -> Result<Changed, StoreError> {
        let records = self.records()?;
        let draft = without(&records.current, plugins, cascade)?;
        Ok(draft.planned(&records))
    }

    /// Goes back to the set before the one in force, or to the set `to`. That is a change like others, and the
    /// next undo goes back further. It also helps a store out of `lock.mismatch` and `lock.damaged`.
    ///
    /// # Errors
    ///
    /// `store.no_set` when there is no such set any more, `store.tampered` when a build of it is not
    /// what was installed; `store.busy`, `io.*`.
    pub fn undo(&self, to: Option<u64>) -> Result<Changed, StoreError> {
        if !self.home.is_there() {
            return self.plan_undo(to);
        }
        let mut writer = self.writer_of(in_order_or_not)?;
        let before = writer.records.current.clone();
        let is_in_force = writer.records.in_order && to == Some(before.number);
        let draft = self.earlier(&writer.records, to)?;
        if is_in_force {
            return Ok(Changed::of(&before, before.clone()));
        }
        let set = writer.commit(draft.plugins, draft.change, draft.before)?;
        Ok(Changed::of(&before, set))
    }

    /// What [`undo`](Self::undo) would do.
    ///
    /// # Errors
    ///
    /// Those of [`undo`](Self::undo).
    pub fn plan_undo(&self, to: Option<u64>) -> Result<Changed, StoreError> {
        self.home.check()?;
        let records = in_order_or_not(&self.home)?;
        let draft = self.earlier(&records, to)?;
        Ok(draft.planned(&records))
    }

    /// Writes the lock file again, from the set that is in force as far as can be told. Says which that is, and
    /// whether there was anything to do.
    ///
    /// # Errors
    ///
    /// `store.format` when a newer version of plg wrote it; `store.busy`, `io.*`.
    pub fn restore(&self) -> Result<(Set, bool), StoreError> {
        if !self.home.is_there() {
            return Ok((Set::empty(), false));
        }
        let mut writer = self.writer_of(in_order_or_not)?;
        let records = &writer.records;
        let current = records.current.clone();
        if records.in_order {
            return Ok((current, false));
        }
        let last = records.numbers.last().copied().unwrap_or_default();
        if last <= current.number + 1 {
            writer.restore_lock()?;
            return Ok((current, true));
        }
        // Later ones cannot be read: it comes back under a number of its own.
        let change = Change::Undo { to: current.number };
        let set = writer.commit(current.plugins, change, current.before)?;
        Ok((set, true))
    }

    /// The set to go back to, with all of its builds there.
    fn earlier(&self, records: &Records, to: Option<u64>) -> Result<Draft, StoreError> {
        let current = &records.current;
        let number = to.or(current.before).ok_or(StoreError::NothingBefore {
            number: current.number,
        })?;
        if number > current.number && records.in_order {
            return Err(StoreError::NoSet { number });
        }
        let set = records::set(&self.home, number)?;
        for entry in &set.plugins {
            let directory = self.home.build(&entry.digest);
            check(&directory, entry, &self.target, Depth::List).map_err(|flaw| flaw.of(entry))?;
        }
        Ok(Draft {
            plugins: set.plugins,
            change: Change::Undo { to: number },
            before: set.before,
        })
    }
}

impl Draft {
    /// The change as it would be.
    pub(super) fn planned(self, records: &Records) -> Changed {
        let before = &records.current;
        let is_same = self.plugins == before.plugins;
        let set = Set {
            number: before.number + u64::from(!is_same),
            change: self.change,
            before: self.before,
            plugins: self.plugins,
            ..before.clone()
        };
        Changed::of(before, set)
    }
}

fn in_order_or_not(home: &Home) -> Result<Records, StoreError> {
    match Records::read(home) {
        Err(StoreError::Mismatch { .. } | StoreError::Damaged { .. }) => Records::recover(home),
        outcome => outcome,
    }
}

fn without(current: &Set, plugins: &[PluginName], cascade: bool) -> Result<Draft, StoreError> {
    let packages = current.packages();
    let mut leaving = Vec::new();
    for name in plugins {
        if current.plugin(name).is_none() {
            return Err(StoreError::NotInstalled { name: name.clone() });
        }
        if cascade {
            leaving.extend(deps::dependants(&packages, name, true));
        }
        leaving.push(name.clone());
    }
    leaving.sort_unstable();
    leaving.dedup();
    deps::check_unload(&packages, &leaving)?;
    let stays = |entry: &&Entry| !leaving.contains(&entry.name);
    Ok(Draft {
        plugins: current.plugins.iter().filter(stays).cloned().collect(),
        change: Change::Remove { plugins: leaving },
        before: Some(current.number),
    })
}
