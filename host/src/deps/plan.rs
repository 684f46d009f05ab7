//! What is loaded, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use plg_packaging::PluginName;

use super::alive::Alive;
use super::chain::Chain;
use super::choice::{Choice, choose};
use super::error::DependencyError;
use super::explain::Explain;
use super::group::{Groups, favourite, most_agreed_first};
use super::index::Index;
use super::package::Package;
use super::search::{Demand, Found, Search};
use super::set::Rank;

/// What to load, and what not.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// Places in the list of available packages, in the order to load them: each after those that it
    /// depends on, and otherwise the first by name.
    pub order: Vec<usize>,
    /// The plugins of which no version is loaded, by name, each with its own reason.
    pub refused: Vec<(PluginName, DependencyError)>,
}

/// What [`resolve`] is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wanted<'a> {
    /// Every plugin that is available, in some version.
    All,
    /// These plugins and what they need.
    Names(&'a [PluginName]),
}

/// Chooses the newest versions of the plugins that are wanted and of all that they need, or none.
///
/// No chosen version could be replaced by a newer one with the others as they are. Where two plugins
/// cannot both be the newest, the one that is wanted, or nearer to one that is, comes first. A pre-release
/// is chosen where a range names one, or where there is no release. Of two packages of the same version
/// the first is taken. An optional dependency brings nothing in; it only says what must fit when it is
/// there.
///
/// ```
/// use plg_host::deps::{Package, Wanted, resolve};
/// use plg_packaging::manifest::Dependency;
/// use plg_packaging::PluginName;
/// use semver::{Version, VersionReq};
///
/// let name = |name: &str| PluginName::new(name).unwrap();
/// let on = |range: &str| Dependency::new(VersionReq::parse(range).unwrap(), false);
/// let available = [
///     Package::new(name("chat"), Version::new(1, 0, 0)).with(name("greeter"), on("^1.2")),
///     Package::new(name("greeter"), Version::new(1, 2, 0)),
///     Package::new(name("greeter"), Version::new(1, 3, 0)),
///     Package::new(name("greeter"), Version::new(2, 0, 0)),
/// ];
/// let plan = resolve(&available, Wanted::Names(&[name("chat")]))?;
/// assert_eq!(plan.order, [2, 0]);
/// # Ok::<(), plg_host::deps::DependencyError>(())
/// ```
///
/// # Errors
///
/// `deps.missing`, `deps.unsatisfied`, `deps.self` and `deps.cycle`, with the shortest way from a plugin that is
/// wanted to the one where it goes wrong; `deps.undecided` when versions are so entangled that the search is given up.
pub fn resolve(available: &[Package], wanted: Wanted<'_>) -> Result<Plan, DependencyError> {
    let index = Index::new(available, &[]);
    let alive = Alive::of(&index);
    let wanted = wanted.numbers(&index)?;
    let mut choice = Choice::new(&index);
    let dead: Vec<usize> = wanted
        .iter()
        .copied()
        .filter(|id| alive.count(*id) == 0)
        .collect();
    if !dead.is_empty() {
        return Err(nearest(&index, &alive, &choice, &dead));
    }
    // Mostly the newest of everything will do, and where there is nothing else it has to.
    let newest = |id: usize| alive.newest(&index, id);
    let reached = reach(&index, &alive, wanted.iter().map(|id| (*id, newest(*id))));
    if !choose(&index, &ids(&reached), newest, &mut choice).is_empty() {
        if reached.keys().all(|id| alive.count(*id) == 1) {
            let refused = wanted.iter().copied().filter(|id| !choice.has(*id));
            return Err(nearest(
                &index,
                &alive,
                &choice,
                &refused.collect::<Vec<_>>(),
            ));
        }
        let search = Search::new(&index, &alive);
        let (settled, open): (Vec<_>, Vec<_>) = wanted.iter().partition(|id| search.settled(**id));
        let releases = match search.run(Demand {
            needed: &open,
            hoped: &[],
        }) {
            Found::Releases(releases) => releases,
            Found::Nothing(proof) => return Err(proof.error(&index, &alive, &wanted)),
            Found::GaveUp => return Err(undecided(&index, wanted[0])),
        };
        let settled = settled.into_iter().map(|id| (id, newest(id)));
        choice.replace(
            &ids(&reached),
            &reach(&index, &alive, settled.chain(releases)),
        );
    }
    Ok(Plan {
        order: choice.load_order(&index),
        refused: Vec::new(),
    })
}

/// Chooses what can be loaded beside what is loaded: as many of the available plugins as go together, each
/// in the newest version that leaves room for the others.
///
/// One bad plugin stops nobody but those that need it, and each that is refused has an error of its own: a
/// plugin whose dependency is refused gets the cause of that, and the way to it. All by the same rules as
/// [`resolve`], and these:
///
/// - What is loaded stays, in its version: other versions of it are passed over, and whoever does not fit
///   to it is refused. What it depends on is not asked for again.
/// - A plugin that does not fit to an optional dependency is refused, and not the dependency.
/// - Of plugins in a cycle none is loaded; where one in the cycle can do without the next, that one is, if
///   it comes first by name or the others cannot do without.
/// - Where plugins ask for different versions of another, those come first that more others agree with,
///   and then the first by name.
///
/// No refused plugin could be added to the plan. Where versions are so entangled that finding out takes too
/// long, only the newest versions are considered, and who does not fit then may get `deps.undecided`.
///
/// ```
/// use plg_host::deps::{Package, plan};
/// use plg_packaging::manifest::Dependency;
/// use plg_packaging::PluginName;
/// use semver::{Version, VersionReq};
///
/// let name = |name: &str| PluginName::new(name).unwrap();
/// let on = |range: &str| Dependency::new(VersionReq::parse(range).unwrap(), false);
/// let package = |text: &str| Package::new(name(text), Version::new(1, 0, 0));
/// let available = [
///     package("chat").with(name("greeter"), on("^1")),
///     package("greeter"),
///     package("mail").with(name("smtp"), on("^3")),
///     package("news").with(name("mail"), on("^1")),
/// ];
/// let plan = plan(&available, &[]);
/// assert_eq!(plan.order, [1, 0]);
/// let errors: Vec<_> = plan.refused.iter().map(|(_, error)| error.to_string()).collect();
/// assert_eq!(
///     errors,
///     [
///         "`mail` 1.0.0 needs `smtp ^3`, and there is no plugin `smtp`",
///         "`mail` 1.0.0 needs `smtp ^3`, and there is no plugin `smtp`; needed by way of `news -> mail -> smtp`",
///     ]
/// );
/// ```
#[must_use]
pub fn plan(available: &[Package], loaded: &[Package]) -> Plan {
    let index = Index::new(available, loaded);
    let alive = Alive::of(&index);
    let search = Search::new(&index, &alive);
    let all: Vec<usize> = (0..index.len()).collect();
    let mut choice = Choice::new(&index);
    let refused = choose(&index, &all, |id| alive.newest(&index, id), &mut choice);
    let groups = Groups::of(&index, |id| search.settled(id) || alive.count(id) == 0);
    for group in groups.with(refused.into_iter().filter(|id| alive.count(*id) > 0)) {
        if group.iter().any(|id| alive.count(*id) > 1) {
            improve(&index, &alive, group, &search, &mut choice);
        }
    }
    let refused: Vec<usize> = all.into_iter().filter(|id| !choice.has(*id)).collect();
    let mut explain = Explain::new(&index, &alive, &choice);
    let errors = explain.errors(&refused, |id| {
        let present = |other: &usize| choice.has(*other) || *other == id;
        let needed: Vec<usize> = groups.around(id).iter().copied().filter(present).collect();
        match search.run(Demand {
            needed: &needed,
            hoped: &[],
        }) {
            Found::Nothing(proof) => proof.error(&index, &alive, &[id]),
            _ => undecided(&index, id),
        }
    });
    let names = refused.iter().map(|id| index.plugin(*id).name.clone());
    Plan {
        order: choice.load_order(&index),
        refused: names.zip(errors).collect(),
    }
}

impl Wanted<'_> {
    fn numbers(self, index: &Index<'_>) -> Result<Vec<usize>, DependencyError> {
        let Self::Names(names) = self else {
            return Ok((0..index.len()).collect());
        };
        let number = |name: &PluginName| {
            index.find(name).ok_or_else(|| DependencyError::Missing {
                name: name.clone(),
                need: None,
                path: Chain::new(1, |_| name.clone()),
            })
        };
        let numbers: Result<BTreeSet<usize>, _> = names.iter().map(number).collect();
        Ok(numbers?.into_iter().collect())
    }
}

/// Tries other releases of a group whose newest do not go together.
fn improve(
    index: &Index<'_>,
    alive: &Alive,
    group: &[usize],
    search: &Search<'_>,
    choice: &mut Choice,
) {
    let hoped = most_agreed_first(index, alive, group);
    let loaded = group.iter().copied().filter(|id| index.plugin(*id).loaded);
    let demand = Demand {
        needed: &loaded.collect::<Vec<_>>(),
        hoped: &hoped,
    };
    if let Found::Releases(releases) = search.run(demand) {
        return choice.replace(&hoped, &releases.into_iter().collect());
    }
    // The best that can be told in one more pass.
    let newest = choice.of(&hoped);
    choice.replace(&hoped, &BTreeMap::new());
    choose(index, &hoped, |id| favourite(index, alive, id), choice);
    if choice.of(&hoped).len() < newest.len() {
        choice.replace(&hoped, &newest);
    }
}

/// These releases, and the newest of what they need, and so on.
fn reach(
    index: &Index<'_>,
    alive: &Alive,
    releases: impl Iterator<Item = (usize, Rank)>,
) -> BTreeMap<usize, Rank> {
    let mut reached: BTreeMap<usize, Rank> = releases.collect();
    let mut open: Vec<(usize, Rank)> = reached.iter().map(|(id, rank)| (*id, *rank)).collect();
    while let Some((id, rank)) = open.pop() {
        let edges = index.edges(id, rank).iter().filter(|edge| !edge.optional);
        for to in edges.filter_map(|edge| edge.to) {
            reached.entry(to).or_insert_with(|| {
                let newest = alive.newest(index, to);
                open.push((to, newest));
                newest
            });
        }
    }
    reached
}

fn ids(releases: &BTreeMap<usize, Rank>) -> Vec<usize> {
    releases.keys().copied().collect()
}

/// Of the errors of plugins that are refused, the one with the shortest way.
fn nearest(
    index: &Index<'_>,
    alive: &Alive,
    choice: &Choice,
    refused: &[usize],
) -> DependencyError {
    let mut explain = Explain::new(index, alive, choice);
    let errors = explain
        .errors(refused, |id| undecided(index, id))
        .into_iter();
    let length = |error: &DependencyError| error.path().map_or(usize::MAX, Chain::length);
    let nearest = errors.min_by_key(length);
    nearest.unwrap_or_else(|| undecided(index, 0))
}

fn undecided(index: &Index<'_>, id: usize) -> DependencyError {
    DependencyError::Undecided {
        name: index.plugin(id).name.clone(),
    }
}
