//! Install and upgrade: from bundles to the set in force.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::PathBuf;

use plg_packaging::bundle::{
    BundleError, CONTENTS, Contents, Head, MANIFEST, Reader, SIGNATURE, Target,
};
use plg_packaging::{Digest, Manifest};

use super::build::{Depth, check, is_kept};
use super::bundle::Bundle;
use super::change::Draft;
use super::error::StoreError;
use super::home::names;
use super::judge::{Asked, Judge, Judged, Refusal};
use super::records::{self, Records};
use super::set::{Change, Entry, Set};
use super::stage::Stage;
use super::step::Step;
use super::store::{Changed, Progress, Store};
use super::writer::Writer;
use crate::deps;

/// What may be installed that otherwise is refused.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct InstallOptions {
    /// Other bytes than those that are locked for the same version.
    pub update: bool,
    /// A build that asks for more permissions than the one that is installed.
    pub grant: bool,
    /// An older version than the one that is installed.
    pub downgrade: bool,
    /// Nothing that is not installed already.
    pub only_installed: bool,
}

/// A bundle that was looked at, and unpacked unless its build is there.
struct Taken {
    entry: Entry,
    judged: Judged,
    stage: Option<PathBuf>,
}

impl Store {
    /// Installs these bundles, all or none: unpacks each, checks every byte, and makes them the set in force. A plugin
    /// that is installed in another build is replaced. Bundles that are installed as they are change nothing.
    ///
    /// # Errors
    ///
    /// Why a bundle is refused: `bundle.*`, `manifest.*`, what `judge` says, `lock.mismatch` for other bytes of an
    /// installed version, `install.downgrade`, `install.twice`, `upgrade.needs_consent`, `store.not_installed`, `deps.*`. Why nothing can
    /// be changed: `lock.*`, `store.busy`, `io.*`. In every case the store is as before, but for
    /// `store.unsettled`.
    pub fn install(
        &self,
        bundles: Vec<Bundle<'_>>,
        options: &InstallOptions,
        judge: &dyn Judge,
    ) -> Result<Changed, StoreError> {
        let mut writer = self.writer()?;
        let outcome = self.install_with(&mut writer, bundles, options, judge);
        if outcome.is_err() {
            // What cannot be removed now is swept by whoever comes next.
            for name in names(&self.home.staging()).unwrap_or_default() {
                let _ = self.disk.remove_all(Step::Discard, &writer.staged(&name));
            }
        }
        outcome
    }

    /// What [`install`](Self::install) would do. The bundles are read and checked, and nothing is written.
    ///
    /// # Errors
    ///
    /// Those of [`install`](Self::install).
    pub fn plan_install(
        &self,
        bundles: Vec<Bundle<'_>>,
        options: &InstallOptions,
        judge: &dyn Judge,
    ) -> Result<Changed, StoreError> {
        let records = self.records()?;
        let mut entries = Vec::new();
        for bundle in bundles {
            let origin = bundle.origin;
            let refused = |source| refused(&origin, source);
            let reader = Reader::open(bundle.bytes, &self.limits).map_err(refused)?;
            let head = reader.head().clone();
            let judged = self.consider_head(&head, &origin, &records.current, options, judge)?;
            let contents = reader.verify().map_err(refused)?;
            let entry = self.entry(&head, &contents, &judged, &origin)?;
            consider(&records.current, &entry, options)?;
            entries.push(self.in_place(&entry, &records).unwrap_or(entry));
        }
        Ok(with(&records.current, entries)?.planned(&records))
    }

    fn install_with(
        &self,
        writer: &mut Writer<'_>,
        bundles: Vec<Bundle<'_>>,
        options: &InstallOptions,
        judge: &dyn Judge,
    ) -> Result<Changed, StoreError> {
        let before = writer.records.current.clone();
        let mut taken = Vec::new();
        for bundle in bundles {
            let stage = writer.staged(&format!("build-{}", taken.len()));
            taken.push(self.take(bundle, stage, &writer.records, options, judge)?);
        }
        let entries = taken.iter().map(|taken| taken.entry.clone()).collect();
        let draft = with(&before, entries)?;
        let mut published = Vec::new();
        let outcome = publish(writer, &taken, &mut published).and_then(|()| {
            accept(&taken, judge)?;
            if draft.plugins == before.plugins {
                return Ok(before.clone());
            }
            writer.commit(draft.plugins, draft.change, draft.before)
        });
        match outcome {
            Ok(set) => Ok(Changed::of(&before, set)),
            Err(error @ StoreError::Unsettled { .. }) => Err(error),
            Err(error) => {
                writer.withdraw(&published);
                Err(error)
            }
        }
    }

    /// Reads a bundle to its end. Unless its build is there, it is unpacked to `stage`.
    fn take(
        &self,
        bundle: Bundle<'_>,
        stage: PathBuf,
        records: &Records,
        options: &InstallOptions,
        judge: &dyn Judge,
    ) -> Result<Taken, StoreError> {
        let current = &records.current;
        let origin = bundle.origin;
        let refused = |source| refused(&origin, source);
        let reader = Reader::open(bundle.bytes, &self.limits).map_err(refused)?;
        let head = reader.head().clone();
        let judged = self.consider_head(&head, &origin, current, options, judge)?;
        if let Some(listed) = &head.listed {
            let entry = self.entry(&head, &listed.contents, &judged, &origin)?;
            consider(current, &entry, options)?;
            if let Some(entry) = self.in_place(&entry, records) {
                // Another process may have unpacked it while this one waited.
                reader.verify().map_err(refused)?;
                return Ok(Taken {
                    entry,
                    judged,
                    stage: None,
                });
            }
        }
        let (contents, stage) = self.unpack(reader, &head, stage, &origin)?;
        let entry = self.entry(&head, &contents, &judged, &origin)?;
        consider(current, &entry, options)?;
        // Of the plain form nobody knows before which build it is.
        let in_place = match head.listed {
            Some(_) => None,
            None => self.in_place(&entry, records),
        };
        if in_place.is_some() {
            // What cannot be removed now is swept by whoever comes next.
            let _ = self.disk.remove_all(Step::Discard, &stage);
        }
        Ok(Taken {
            stage: in_place.is_none().then_some(stage),
            entry: in_place.unwrap_or(entry),
            judged,
        })
    }

    /// What to record of a bundle whose build is there and whole; `None` when it has to be unpacked. The build keeps
    /// the signature that it came with, also when this one was signed otherwise: earlier sets have it so, and the one
    /// in force has until the next is.
    fn in_place(&self, entry: &Entry, records: &Records) -> Option<Entry> {
        let directory = self.home.build(&entry.digest);
        if directory.symlink_metadata().is_err() {
            return None;
        }
        let is_whole = |entry: &Entry| check(&directory, entry, &self.target, Depth::Whole).is_ok();
        if is_whole(entry) {
            return Some(entry.clone());
        }
        let sets = records.numbers.iter();
        let sets = sets.filter_map(|number| records::set(&self.home, *number).ok());
        let entries = sets.filter_map(|set| set.plugin(&entry.name).cloned());
        let same = entries.filter(|earlier| earlier.digest == entry.digest);
        let signatures: BTreeSet<_> = same.map(|earlier| earlier.signature).collect();
        let others = signatures.into_iter().map(|signature| Entry {
            signature,
            ..entry.clone()
        });
        others
            .filter(|other| other.signature != entry.signature)
            .find(is_whole)
    }

    fn unpack(
        &self,
        reader: Reader<Box<dyn std::io::Read + Send + '_>>,
        head: &Head,
        stage: PathBuf,
        origin: &str,
    ) -> Result<(Contents, PathBuf), StoreError> {
        let name = &head.parsed.manifest.name;
        let total = head.listed.as_ref().map(|listed| {
            // The manifest was read already, and is not counted.
            let (_, bytes) = kept(&listed.contents, &self.target);
            bytes.saturating_sub(head.manifest.len() as u64)
        });
        let tell = |done| self.tell(Progress::Unpacking { name, done, total });
        let done = Cell::new(0);
        let mut stage = Stage::create(&self.disk, stage, &done, &tell)?;
        // What has a name of its own is written from the bytes that were judged.
        let own = [MANIFEST, CONTENTS, SIGNATURE];
        let wanted = |path: &_| is_kept(path, &self.target) && !own.contains(&path.as_str());
        let contents = reader
            .unpack(wanted, &mut stage)
            .map_err(|source| refused(origin, source))?;
        stage.add(MANIFEST, &head.manifest)?;
        match &head.listed {
            Some(listed) => {
                stage.add(CONTENTS, &listed.bytes)?;
                if let Some(signature) = &listed.signature {
                    stage.add(SIGNATURE, signature)?;
                }
            }
            None => stage.add(CONTENTS, contents.to_json().as_bytes())?,
        }
        Ok((contents, stage.finish()?))
    }

    /// All that can be refused before the payload is read.
    fn consider_head(
        &self,
        head: &Head,
        origin: &str,
        current: &Set,
        options: &InstallOptions,
        judge: &dyn Judge,
    ) -> Result<Judged, StoreError> {
        let asked = Asked {
            head,
            origin,
            installed: current.plugin(&head.parsed.manifest.name),
        };
        let judged = judge
            .judge(&asked)
            .map_err(|refusal| untrusted(origin, refusal))?;
        consider_versions(current, &head.parsed.manifest, options)?;
        Ok(judged)
    }

    fn entry(
        &self,
        head: &Head,
        contents: &Contents,
        judged: &Judged,
        origin: &str,
    ) -> Result<Entry, StoreError> {
        let manifest = &head.parsed.manifest;
        // A plugin that is a process of its own may come without any library.
        if !(contents.libraries.is_empty() && manifest.process.is_some()) {
            contents
                .library(&self.target)
                .map_err(|source| refused(origin, source))?;
        }
        let libraries = contents.libraries.iter();
        let platforms = libraries
            .filter_map(|(target, path)| Some((target.clone(), contents.member(path)?.digest)))
            .collect();
        let signature = head
            .listed
            .as_ref()
            .and_then(|listed| listed.signature.as_deref());
        let (files, bytes) = kept(contents, &self.target);
        Ok(Entry {
            name: contents.name.clone(),
            version: contents.version.clone(),
            digest: contents.digest(),
            source: origin.to_owned(),
            signer: judged.signer.clone(),
            signature: signature.map(Digest::of),
            level: judged.level.clone(),
            platforms,
            files,
            bytes,
            dependencies: manifest
                .dependencies
                .iter()
                .map(|(on, dependency)| (on.clone(), dependency.into()))
                .collect(),
            permissions: manifest.permissions.clone(),
        })
    }
}

/// How many members are kept on that platform, and their bytes.
fn kept(contents: &Contents, target: &Target) -> (usize, u64) {
    let kept = contents
        .members
        .iter()
        .filter(|member| is_kept(&member.path, target));
    kept.fold((0, 0), |(files, bytes), member| {
        (files + 1, bytes.saturating_add(member.size))
    })
}

/// Whether this plugin may take the place of what is installed of it.
fn consider_versions(
    current: &Set,
    manifest: &Manifest,
    options: &InstallOptions,
) -> Result<(), StoreError> {
    let name = manifest.name.clone();
    let Some(installed) = current.plugin(&name) else {
        return match options.only_installed {
            true => Err(StoreError::NotInstalled { name }),
            false => Ok(()),
        };
    };
    if manifest.version.cmp_precedence(&installed.version).is_lt() && !options.downgrade {
        return Err(StoreError::Downgrade {
            name,
            installed: installed.version.clone(),
            offered: manifest.version.clone(),
        });
    }
    let is_new = |asked: &&_| !installed.permissions.contains(asked);
    let asks: Vec<_> = manifest
        .permissions
        .iter()
        .filter(is_new)
        .cloned()
        .collect();
    if !asks.is_empty() && !options.grant {
        return Err(StoreError::NeedsConsent {
            name,
            installed: Box::new(installed.version.clone()),
            version: manifest.version.clone(),
            asks,
        });
    }
    Ok(())
}

/// Whether these bytes are the ones that are locked for that version.
fn consider(current: &Set, entry: &Entry, options: &InstallOptions) -> Result<(), StoreError> {
    let installed = current.plugin(&entry.name);
    match installed.filter(|installed| installed.version == entry.version) {
        Some(installed) if installed.digest != entry.digest && !options.update => {
            Err(StoreError::Locked {
                name: entry.name.clone(),
                version: entry.version.clone(),
                locked: Box::new(installed.digest),
                offered: Box::new(entry.digest),
            })
        }
        _ => Ok(()),
    }
}

/// The set with these plugins in it, which must have what they depend on.
fn with(current: &Set, entries: Vec<Entry>) -> Result<Draft, StoreError> {
    let mut names = BTreeSet::new();
    if let Some(twice) = entries.iter().find(|entry| !names.insert(&entry.name)) {
        let name = twice.name.clone();
        return Err(StoreError::Twice { name });
    }
    let is_same = |entry: &&Entry| {
        let installed = current.plugin(&entry.name);
        // That it came from elsewhere this time is no reason to change anything.
        installed.is_some_and(|installed| {
            let source = installed.source.clone();
            *installed
                == Entry {
                    source,
                    ..(*entry).clone()
                }
        })
    };
    let new: Vec<&Entry> = entries.iter().filter(|entry| !is_same(entry)).collect();
    let changes: Vec<_> = new.iter().map(|entry| entry.package()).collect();
    deps::check_change(&current.packages(), &changes)?;
    let mut plugins = current.plugins.clone();
    plugins.retain(|installed| new.iter().all(|entry| entry.name != installed.name));
    plugins.extend(new.iter().copied().cloned());
    plugins.sort_by(|one, other| one.name.cmp(&other.name));
    let mut changed: Vec<_> = new.iter().map(|entry| entry.name.clone()).collect();
    changed.sort_unstable();
    let is_installed = |name: &_| current.plugin(name).is_some();
    let change = match changed.iter().all(is_installed) {
        true => Change::Upgrade { plugins: changed },
        false => Change::Install { plugins: changed },
    };
    Ok(Draft {
        plugins,
        change,
        before: Some(current.number),
    })
}

/// Has the judge remember what is about to come into force. What cannot be remembered does not: an older one could
/// take its place later.
fn accept(taken: &[Taken], judge: &dyn Judge) -> Result<(), StoreError> {
    for Taken { entry, judged, .. } in taken {
        judge
            .accept(judged)
            .map_err(|refusal| untrusted(&entry.source, refusal))?;
    }
    Ok(())
}

/// Gives the builds their places; `published` is what nobody had before.
fn publish(
    writer: &Writer<'_>,
    taken: &[Taken],
    published: &mut Vec<Digest>,
) -> Result<(), StoreError> {
    let staged = taken
        .iter()
        .filter_map(|taken| Some((taken.stage.as_ref()?, taken.entry.digest)));
    for (stage, digest) in staged {
        let place = writer.home.build(&digest);
        let is_there = place.symlink_metadata().is_ok();
        if is_there {
            writer.discard(Step::Replace, &place)?;
        }
        writer.disk.rename(Step::Rename, stage, &place)?;
        if !is_there {
            published.push(digest);
        }
    }
    // Also for those that were there: who gave them their places may have been killed before this.
    writer
        .disk
        .sync_directory(Step::Settle, &writer.home.builds())
}

fn refused(origin: &str, source: BundleError) -> StoreError {
    StoreError::Bundle {
        origin: origin.to_owned(),
        source: Box::new(source),
    }
}

fn untrusted(origin: &str, refusal: Refusal) -> StoreError {
    StoreError::Untrusted {
        origin: origin.to_owned(),
        code: refusal.code,
        source: refusal.source,
    }
}
