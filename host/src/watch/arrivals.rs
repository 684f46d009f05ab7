//! Builds that are loaded, or replace others.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use plg_packaging::{Digest, Manifest, PluginName};

use super::follower::{Follower, is_quarantined};
use super::guard::guarded;
use super::place::{Build, Failed, Key, LONGER};
use super::read::Found;
use super::root::Root;
use crate::builder::Filter;
use crate::changes::Member;
use crate::discovery::Candidate;
use crate::error::Error;
use crate::events::Subject;
use crate::history::Why;
use crate::inner::Inner;
use crate::loader::{Bytes, Known};
use crate::upgrade::UpgradeOptions;

/// A build that was read, and where.
#[derive(Debug)]
pub(super) struct Arrival {
    key: Key,
    path: PathBuf,
    candidate: Candidate,
    bytes: Option<Bytes>,
    digest: Digest,
}

/// Bytes of all libraries that one look keeps in memory; further ones are read again.
const KEPT: u64 = 256 << 20;

/// When something that failed is tried again.
enum Again {
    /// When other plugins are loaded than now.
    WithOthers,
    /// Soon: something else changed the plugin meanwhile.
    Soon,
    /// After a while, then after twice as long: the system or the plugin is short of something.
    Later,
    /// When the files change.
    WithOtherFiles,
}

impl Arrival {
    /// `kept` counts the bytes that are kept.
    pub(super) fn new(key: Key, path: PathBuf, found: Found, kept: &mut u64) -> Self {
        let Found {
            candidate,
            bytes,
            digest,
        } = found;
        let size = bytes.as_slice().len() as u64;
        let keep = *kept + size <= KEPT;
        if keep {
            *kept += size;
        }
        Self {
            key,
            path,
            candidate,
            bytes: keep.then_some(bytes),
            digest,
        }
    }

    fn name(&self) -> &PluginName {
        &self.candidate.manifest.name
    }

    fn manifest(&self) -> &Manifest {
        &self.candidate.manifest
    }

    fn build(&self) -> Build {
        Build {
            digest: self.digest,
            manifest: self.candidate.manifest.clone(),
        }
    }

    /// The bytes that were checked, or what they must be.
    fn known(&mut self) -> Known {
        match self.bytes.take() {
            Some(bytes) => Known {
                bytes: Some(bytes),
                digest: None,
            },
            None => Known {
                bytes: None,
                digest: Some(self.digest),
            },
        }
    }
}

impl Follower {
    /// Puts the builds in service that are not, as far as their dependencies let them.
    pub(super) fn arrive(&mut self, host: &Inner, arrivals: Vec<Arrival>) {
        let mut named = BTreeMap::new();
        let mut waiting: Vec<Arrival> = Vec::new();
        for arrival in arrivals {
            if self.is_wanted(host, &arrival, &named) {
                named.insert(arrival.name().clone(), arrival.digest);
                waiting.push(arrival);
            }
        }
        loop {
            let before = waiting.len();
            waiting = self.apply_all(host, waiting);
            // Each that was tried may be what another one waits for.
            if waiting.is_empty() || waiting.len() == before {
                break;
            }
        }
        for arrival in waiting {
            self.wait_for_others(host, &arrival);
        }
    }

    /// Whether the build is to be put in service now.
    fn is_wanted(
        &mut self,
        host: &Inner,
        arrival: &Arrival,
        named: &BTreeMap<PluginName, Digest>,
    ) -> bool {
        let (now, options) = (Instant::now(), self.options.clone());
        let (name, build) = (arrival.name(), arrival.build());
        let wanted = guarded(host, "the filter", || match &host.setup.filter {
            Some(Filter(wanted)) => wanted(name.as_str()),
            None => true,
        });
        let serving = host.serving(name);
        let is_held_elsewhere = self.is_held_elsewhere(name, &arrival.key);
        let has_canary = || {
            let plugin = host.catalog.find(name.as_str());
            plugin.is_some_and(|plugin| plugin.has_canary())
        };
        let Some(place) = self.place(&arrival.key) else {
            return false;
        };
        place.claims = None;
        if wanted != Some(true) {
            place.rest();
            return false;
        }
        if serving == Some(arrival.digest) {
            let has_other_manifest = place
                .held
                .as_ref()
                .is_some_and(|held| held.digest == build.digest && held.manifest != build.manifest);
            if is_held_elsewhere {
                place.claims = Some(name.clone());
                place.rest();
                return false;
            }
            if !has_other_manifest {
                self.hold(arrival);
                return false;
            }
        } else if let Some(left) = host.failed_builds.left(&arrival.digest) {
            place.look_again_in(left, now);
            return false;
        }
        if place
            .failed
            .as_ref()
            .is_some_and(|failed| failed.build == build)
        {
            place.rest();
            return false;
        }
        if named.get(name) == Some(&arrival.digest) {
            // The same file by two ways: it is in service in a moment.
            place.look_again_in(options.settle, now);
            return false;
        }
        if is_held_elsewhere || named.contains_key(name) {
            let name = name.clone();
            place.claims = Some(name.clone());
            let (subject, digest) = (Subject::of(&arrival.candidate), Some(arrival.digest));
            place.tell(host, place.step(), subject, &Error::Loaded { name }, digest);
            place.rest();
            return false;
        }
        if has_canary() {
            place.look_again_in(options.settle.saturating_mul(LONGER), now);
            return false;
        }
        true
    }

    /// Whether the plugin of that name stands at another place. The same one by another way is none: of two
    /// looks at one file, the second may be of what replaced it.
    fn is_held_elsewhere(&self, name: &PluginName, key: &Key) -> bool {
        let own = self.roots.get(key.0).and_then(Root::real);
        self.roots.iter().enumerate().any(|(number, root)| {
            let is_same = number == key.0 || (own.is_some() && root.real() == own);
            root.places.iter().any(|(place_name, place)| {
                let is_here = is_same && *place_name == key.1;
                let held = place.held.as_ref();
                !is_here
                    && place.gone_since().is_none()
                    && held.is_some_and(|held| held.name() == name)
            })
        })
    }

    /// Tries each whose dependencies are met, once; returns the others.
    fn apply_all(&mut self, host: &Inner, waiting: Vec<Arrival>) -> Vec<Arrival> {
        let is_loaded = |arrival: &Arrival| host.serving(arrival.name()).is_some();
        let (upgrades, loads): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_loaded);
        let tried = loads.len() + upgrades.len();
        let mut left = self.load_in_order(host, loads);
        let mut refused = Vec::new();
        for arrival in upgrades {
            match host.check_replacement(&[arrival.manifest()]) {
                Err(error) if is_of_dependencies(&error) => refused.push(arrival),
                _ => self.apply(host, arrival),
            }
        }
        let together: Vec<_> = refused.iter().map(Arrival::manifest).collect();
        let nothing_else = left.len() + refused.len() == tried;
        if nothing_else && refused.len() > 1 && host.check_replacement(&together).is_ok() {
            self.apply_together(host, refused);
        } else {
            left.append(&mut refused);
        }
        left
    }

    /// Those that others need first.
    fn load_in_order(&mut self, host: &Inner, loads: Vec<Arrival>) -> Vec<Arrival> {
        let candidates: Vec<_> = loads.iter().map(|one| one.candidate.clone()).collect();
        let (order, _) = host.plan(&candidates);
        let places = order.into_iter().filter_map(|planned| {
            let is_it = |candidate: &Candidate| std::ptr::eq(candidate, planned);
            candidates.iter().position(is_it)
        });
        let places: Vec<_> = places.collect();
        let mut loads: Vec<_> = loads.into_iter().map(Some).collect();
        for place in places {
            let Some(arrival) = loads[place].take() else {
                continue;
            };
            match host.check_replacement(&[arrival.manifest()]) {
                Ok(()) => self.apply(host, arrival),
                Err(_) => loads[place] = Some(arrival),
            }
        }
        loads.into_iter().flatten().collect()
    }

    fn apply(&mut self, host: &Inner, mut arrival: Arrival) {
        if self.is_over(host) {
            return;
        }
        let known = arrival.known();
        let (candidate, options) = (&arrival.candidate, self.upgrade_options());
        let what = format!("loading `{}`", arrival.path.display());
        let outcome = guarded(host, &what, || {
            let plugin = host.catalog.find(arrival.name().as_str()).cloned();
            match plugin.filter(|plugin| plugin.current().is_some()) {
                Some(plugin) => host
                    .upgrade(&plugin, candidate, known, options, Why::Watched)
                    .map(drop),
                None => host.load(candidate, known, Why::Watched).map(drop),
            }
        });
        self.conclude(host, &arrival, outcome);
    }

    /// Builds that need each other's newer versions.
    fn apply_together(&mut self, host: &Inner, mut arrivals: Vec<Arrival>) {
        let mut members = Vec::new();
        for arrival in &mut arrivals {
            let Some(plugin) = host.catalog.find(arrival.name().as_str()).cloned() else {
                continue;
            };
            members.push(Member {
                plugin,
                candidate: arrival.candidate.clone(),
                known: arrival.known(),
            });
        }
        let options = self.upgrade_options();
        let outcome = guarded(host, "an upgrade", || {
            host.upgrade_together(members, options)
        });
        for arrival in &arrivals {
            match &outcome {
                Some(Ok(_)) => self.hold(arrival),
                Some(Err(error)) => {
                    // Which of them is to blame is not known; all are tried again with others.
                    if let Some(place) = self.place(&arrival.key) {
                        place.was_told(error, arrival.digest);
                        place.rest();
                        place.waits_for_others = true;
                    }
                }
                None => self.conclude(host, arrival, None),
            }
        }
    }

    fn conclude(&mut self, host: &Inner, arrival: &Arrival, outcome: Option<Result<(), Error>>) {
        let (now, options) = (Instant::now(), self.options.clone());
        let error = match outcome {
            Some(Ok(())) => return self.hold(arrival),
            Some(Err(error)) => Some(error),
            None => None,
        };
        let Some(place) = self.place(&arrival.key) else {
            return;
        };
        place.rest();
        let Some(error) = error else {
            return;
        };
        place.was_told(&error, arrival.digest);
        match again(error.code()) {
            Again::WithOthers => place.waits_for_others = true,
            Again::Soon => place.look_again_in(options.settle, now),
            Again::Later => place.back_off(&options, now),
            Again::WithOtherFiles => {
                place.failed = Some(Failed {
                    build: arrival.build(),
                    quarantined: is_quarantined(host, &arrival.digest),
                });
            }
        }
    }

    /// The build is in service.
    fn hold(&mut self, arrival: &Arrival) {
        let build = arrival.build();
        let Some(place) = self.place(&arrival.key) else {
            return;
        };
        let before = place.held.take();
        place.holds(build);
        // A file that is another plugin now is not the one any more that it was.
        if let Some(before) = before.filter(|before| before.name() != arrival.name()) {
            self.displaced.push((arrival.path.clone(), before));
        }
    }

    fn wait_for_others(&mut self, host: &Inner, arrival: &Arrival) {
        let (now, settle) = (Instant::now(), self.options.settle);
        let error = match host.serving(arrival.name()) {
            Some(_) => host.check_replacement(&[arrival.manifest()]).err(),
            None => {
                let alone = std::slice::from_ref(&arrival.candidate);
                let checked = host.check_replacement(&[arrival.manifest()]).err();
                checked.or_else(|| host.plan(alone).1.into_iter().next())
            }
        };
        let Some(place) = self.place(&arrival.key) else {
            return;
        };
        place.rest();
        place.waits_for_others = true;
        // What it needs may be on its way.
        let left = place.may_be_unfinished_for(settle, now);
        if !left.is_zero() {
            place.look_again_in(left, now);
        } else if let Some(error) = error {
            let (subject, digest) = (Subject::of(&arrival.candidate), Some(arrival.digest));
            place.tell(host, place.step(), subject, &error, digest);
        }
    }

    fn upgrade_options(&self) -> UpgradeOptions {
        UpgradeOptions {
            allow_downgrade: self.options.allow_downgrade,
        }
    }
}

pub(super) fn is_of_dependencies(error: &Error) -> bool {
    error.code().starts_with("deps.")
}

fn again(code: &str) -> Again {
    match code {
        code if code.starts_with("deps.") => Again::WithOthers,
        "native.hash" | "plugin.loaded" | "plugin.unloaded" => Again::Soon,
        "host.threads"
        | "io.emfile"
        | "native.probe_start"
        | "native.too_many"
        | "plugin.busy"
        | "upgrade.canary"
        | "upgrade.needs_restart" => Again::Later,
        _ => Again::WithOtherFiles,
    }
}
