//! What an operator sees of a plugin.

use std::path::PathBuf;
use std::time::SystemTime;

use plg_packaging::{Digest, PluginName};
use semver::Version;

use super::bulkhead::Lane;
use super::canary::CanarySnapshot;
use super::care::Reason;
use super::lost::LostThread;
use super::record::Plugin;
use super::turn::Retained;
use crate::metrics::LatencySnapshot;
use crate::transport;
use crate::transport::process::ProcessSnapshot;

/// A plugin at one moment: plain values, apart from the live object.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PluginSnapshot {
    /// Its name.
    pub name: PluginName,
    /// The generation that answers; `None` when it is not loaded.
    pub current: Option<GenerationSnapshot>,
    /// Its labels with their counts, those that count together last resorts under `*`.
    pub labels: Vec<LabelSnapshot>,
    /// What is left of generations that no longer answer.
    pub retained: Vec<RetainedSnapshot>,
    /// A new build that answers a share of the calls.
    pub canary: Option<CanarySnapshot>,
    /// Threads that did not come back from it.
    pub lost: Vec<LostThread>,
    /// Whether its calls are refused because of them. It should be isolated or upgraded.
    pub stuck: bool,
    /// Calls that are counted as inside. Those without a deadline are not while there are no more threads than
    /// may be inside.
    pub in_flight: usize,
    /// Calls that wait because too many are inside.
    pub waiting: usize,
}

/// The generation that answers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GenerationSnapshot {
    /// Its number; the first load of a plugin is 1.
    pub number: u64,
    /// Its version.
    pub version: Version,
    /// How calls reach it.
    pub transport: &'static str,
    /// Why it runs in a process of its own, if it does, in words.
    pub isolated_because: Option<String>,
    /// The file it was read from.
    pub origin: PathBuf,
    /// The SHA-256 of that file as it was read.
    pub digest: Option<Digest>,
    /// Bytes of the file.
    pub image_bytes: Option<u64>,
    /// Bytes of address space it takes.
    pub mapped_bytes: usize,
    /// When it was loaded.
    pub loaded_at: SystemTime,
    /// How many leases hold it.
    pub leases: usize,
    /// Its process, if it has one of its own.
    pub process: Option<ProcessSnapshot>,
}

/// Calls of one label, over all generations.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LabelSnapshot {
    /// The label; `*` for all that have no counters of their own.
    pub label: String,
    /// Calls that reached the plugin.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
    /// How long the sampled ones took.
    pub latency: LatencySnapshot,
}

/// What is left of a generation that no longer answers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RetainedSnapshot {
    /// Its number.
    pub generation: u64,
    /// Its version.
    pub version: Version,
    /// Bytes of address space it takes.
    pub mapped_bytes: usize,
    /// Why it is still there.
    pub reason: transport::Reason,
}

impl PluginSnapshot {
    pub(crate) fn of(plugin: &Plugin) -> Self {
        let current = plugin.current().map(|generation| GenerationSnapshot {
            number: generation.number,
            version: generation.manifest.version.clone(),
            transport: generation.transport.name(),
            isolated_because: generation.because.clone(),
            origin: generation.origin.clone(),
            digest: generation.digest(),
            image_bytes: generation.image_bytes(),
            mapped_bytes: generation.transport.mapped_bytes(),
            loaded_at: generation.loaded_at,
            leases: generation.leases.load(std::sync::atomic::Ordering::Relaxed),
            process: generation.transport.process(),
        });
        let labels = plugin.labels.all().into_iter().filter_map(|entry| {
            let (calls, failures) = plugin
                .counts()
                .map(|counts| counts.read(entry.place))
                .fold((0, 0), |sum, lane| (sum.0 + lane.0, sum.1 + lane.1));
            let declared = entry.place > 0;
            (declared || calls > 0).then(|| LabelSnapshot {
                label: entry.name().to_owned(),
                calls,
                failures,
                latency: entry.latency.snapshot(),
            })
        });
        let is_inside = |lane: &Lane| plugin.gate.is_still_inside(*lane);
        let sent = plugin.sent.load(&is_inside);
        let counted = plugin.bulkhead.load(&is_inside);
        Self {
            canary: plugin.canary_snapshot(),
            lost: plugin.lost_threads(),
            stuck: plugin.care.has(Reason::Stuck),
            // Once all are counted, those that were sent to a worker are among them.
            in_flight: if counted.counting {
                counted.inside
            } else {
                sent.inside.max(counted.inside)
            },
            waiting: sent.waiting + counted.waiting,
            name: plugin.name().clone(),
            current,
            labels: labels.collect(),
            retained: plugin.with_retained(|retained| {
                let snapshot = |retained: &Retained| RetainedSnapshot {
                    generation: retained.number,
                    version: retained.version.clone(),
                    mapped_bytes: retained.mapped_bytes,
                    reason: retained.reason,
                };
                retained.iter().map(snapshot).collect()
            }),
        }
    }
}
