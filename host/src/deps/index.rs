//! The plugins by number, so that what looks at all of them compares no names and no ranges.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use plg_packaging::PluginName;
use plg_packaging::manifest::{Dependency, precedence};
use semver::Version;

use super::error::Need;
use super::package::Package;
use super::set::{ABSENT, Rank, Ranks};

/// A package, and its place in the list that it came from.
type Placed<'a> = (usize, &'a Package);

/// All plugins, by name: the number of one is its place here.
#[derive(Debug)]
pub(super) struct Index<'a> {
    plugins: Vec<Plugin<'a>>,
}

/// A plugin in all its releases.
#[derive(Debug)]
pub(super) struct Plugin<'a> {
    pub(super) name: &'a PluginName,
    /// It is loaded, in its only release, and stays.
    pub(super) loaded: bool,
    /// The oldest first.
    pub(super) releases: Vec<Release<'a>>,
    /// Those of which a release depends on it, each once.
    pub(super) dependants: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct Release<'a> {
    pub(super) version: &'a Version,
    /// Where it stands in the list that it came from.
    pub(super) place: usize,
    /// By name.
    pub(super) edges: Vec<Edge<'a>>,
}

/// What a release depends on.
#[derive(Debug)]
pub(super) struct Edge<'a> {
    pub(super) on: &'a PluginName,
    /// The number of `on`; `None` when there is no such plugin.
    pub(super) to: Option<usize>,
    pub(super) dependency: &'a Dependency,
    /// The releases of `on` in the range.
    pub(super) fits: Ranks,
    /// It may be absent. What is loaded does without what it needs, if it has to.
    pub(super) optional: bool,
}

impl<'a> Index<'a> {
    /// Of a plugin that is loaded, only what is loaded counts: its other releases are left out, and what
    /// it needs is not asked for again, only held against those that come.
    pub(super) fn new(available: &'a [Package], loaded: &'a [Package]) -> Self {
        let mut releases: BTreeMap<&PluginName, (bool, Vec<Placed<'_>>)> = loaded
            .iter()
            .map(|package| (&package.name, (true, vec![(0, package)])))
            .collect();
        for (place, package) in available.iter().enumerate() {
            let (loaded, releases) = releases.entry(&package.name).or_default();
            if !*loaded {
                releases.push((place, package));
            }
        }
        for (_, releases) in releases.values_mut() {
            releases.sort_by(|left, right| age(*left, *right));
        }
        let numbers: BTreeMap<&PluginName, usize> = releases.keys().copied().zip(0..).collect();
        let mut plugins: Vec<Plugin<'a>> = Vec::with_capacity(releases.len());
        for (name, (loaded, found)) in &releases {
            let release = |(place, package): &(usize, &'a Package)| Release {
                version: &package.version,
                place: *place,
                edges: package
                    .dependencies
                    .iter()
                    .map(|(on, dependency)| {
                        let to = numbers.get(on).copied();
                        let others = releases.get(on).map_or(&[][..], |(_, found)| found);
                        edge(on, to, dependency, *loaded, others)
                    })
                    .collect(),
            };
            plugins.push(Plugin {
                name,
                loaded: *loaded,
                releases: found.iter().map(release).collect(),
                dependants: Vec::new(),
            });
        }
        let mut index = Self { plugins };
        index.turn_round();
        index
    }

    fn turn_round(&mut self) {
        let mut dependants = vec![Vec::new(); self.plugins.len()];
        for (id, plugin) in self.plugins.iter().enumerate() {
            let edges = plugin.releases.iter().flat_map(|release| &release.edges);
            for to in edges.filter_map(|edge| edge.to) {
                if dependants[to].last() != Some(&id) {
                    dependants[to].push(id);
                }
            }
        }
        for (plugin, dependants) in self.plugins.iter_mut().zip(dependants) {
            plugin.dependants = dependants;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.plugins.len()
    }

    pub(super) fn plugin(&self, id: usize) -> &Plugin<'a> {
        &self.plugins[id]
    }

    pub(super) fn plugins(&self) -> impl Iterator<Item = (usize, &Plugin<'a>)> {
        self.plugins.iter().enumerate()
    }

    pub(super) fn find(&self, name: &PluginName) -> Option<usize> {
        let by_name = |plugin: &Plugin<'a>| plugin.name.cmp(name);
        self.plugins.binary_search_by(by_name).ok()
    }

    /// The release of that rank; `None` for [`ABSENT`].
    pub(super) fn release(&self, id: usize, rank: Rank) -> Option<&Release<'a>> {
        self.plugins.get(id)?.releases.get(place(rank)?)
    }

    /// What the release of that rank depends on; nothing for [`ABSENT`].
    pub(super) fn edges(&self, id: usize, rank: Rank) -> &[Edge<'a>] {
        self.release(id, rank).map_or(&[], |release| &release.edges)
    }

    /// How the release of that rank depends on the plugin `on`.
    pub(super) fn edge(&self, id: usize, rank: Rank, on: usize) -> Option<&Edge<'a>> {
        let name = self.plugins.get(on)?.name;
        let edges = self.edges(id, rank);
        let place = edges.binary_search_by(|edge| edge.on.cmp(name)).ok()?;
        edges.get(place)
    }

    pub(super) fn need(&self, by: usize, rank: Rank, edge: &Edge<'_>) -> Option<Need> {
        Some(Need {
            by: self.plugins.get(by)?.name.clone(),
            version: self.release(by, rank)?.version.clone(),
            on: edge.on.clone(),
            range: edge.dependency.version.clone(),
            optional: edge.dependency.optional,
        })
    }

    /// All releases of a plugin.
    pub(super) fn all(&self, id: usize) -> Ranks {
        Ranks::between(1, self.newest(id) + 1)
    }

    /// The rank of the newest release.
    pub(super) fn newest(&self, id: usize) -> Rank {
        rank(self.plugins[id].releases.len())
    }

    /// The newest of some releases of a plugin; [`ABSENT`] when there is none.
    pub(super) fn highest(&self, id: usize, among: &Ranks) -> Rank {
        let newest_first = (1..=self.newest(id)).rev();
        let mut among = newest_first.filter(|rank| among.has(*rank));
        among.next().unwrap_or(ABSENT)
    }
}

/// A pre-release counts as older than every release, so that it is taken only by a range that names it, or
/// where there is nothing else. Of two equal versions the one that was given first counts as newer.
fn age(left: Placed<'_>, right: Placed<'_>) -> Ordering {
    let (older, newer) = (&left.1.version, &right.1.version);
    let is_release = |version: &Version| version.pre.is_empty();
    is_release(older)
        .cmp(&is_release(newer))
        .then_with(|| precedence(older, newer))
        .then(right.0.cmp(&left.0))
}

fn edge<'a>(
    on: &'a PluginName,
    to: Option<usize>,
    dependency: &'a Dependency,
    loaded: bool,
    releases: &[Placed<'_>],
) -> Edge<'a> {
    let fitting = releases
        .iter()
        .map(|(_, package)| dependency.version.matches(&package.version));
    Edge {
        on,
        to,
        dependency,
        fits: Ranks::of(fitting),
        optional: dependency.optional || loaded,
    }
}

/// Where the release of that rank stands; `None` for [`ABSENT`].
pub(super) fn place(rank: Rank) -> Option<usize> {
    usize::try_from(rank).ok()?.checked_sub(1)
}

/// The rank of the last of so many; more than a `u32` counts are no input.
fn rank(count: usize) -> Rank {
    Rank::try_from(count).unwrap_or(Rank::MAX - 1)
}
