//! What is loaded, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use plg_packaging::PluginName;

use super::alive::Alive;
use super::chain::Chain;
use super::choice::{Choice, choose};
use super::error::DependencyError;
use super::explain::Explain;
use super::group::{Groups, dependencies_first, favourite};
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
    Ok(Plan::all(&index, &choice))
}

/// Chooses what can be loaded beside what is loaded: as many of the available plugins as go together, each
/// in the newest version that leaves room for the others.
///
/// One bad plugin stops nobody but those that need it, and each that is refused has an error of its own: a
/// plugin whose dependency is refused gets the cause of that, and the way to it. All by the same rules as
/// [`resolve`], and these:
///
/// - What is loaded stays, in its version: other versions of it are passed over, and whoever does not fit
///   to it is refused. What it needs itself is not asked for again.
/// - A plugin that does not fit to an optional dependency is refused rather than the dependency.
/// - Plugins that need each other in a circle are all refused. Where one in the circle can do without the
///   next, no more are refused than it takes to break it.
/// - Where not all can be loaded, those come first that go together in their newest versions, dependencies
///   before dependants and otherwise by name; but rather other ones, if more can be loaded then.
///
/// No refused plugin could be added to the plan. Where versions are so entangled that the search for it is
/// given up, the plan may have fewer plugins than it could, and a plugin of which nothing else can be said
/// gets `deps.undecided`.
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
    let all: Vec<usize> = (0..index.len()).collect();
    let mut choice = Choice::new(&index);
    let refused = choose(&index, &all, |id| alive.newest(&index, id), &mut choice);
    if refused.is_empty() {
        return Plan::all(&index, &choice);
    }
    let search = Search::new(&index, &alive);
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

impl Plan {
    fn all(index: &Index<'_>, choice: &Choice) -> Self {
        Self {
            order: choice.load_order(index),
            refused: Vec::new(),
        }
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
    let is_loaded = |id: &usize| index.plugin(*id).loaded;
    let loaded: Vec<usize> = group.iter().copied().filter(is_loaded).collect();
    // At least those that go together in their newest releases.
    let members = dependencies_first(index, alive, group).into_iter();
    let (present, left_out): (Vec<_>, Vec<_>) = members.partition(|id| choice.has(*id));
    let mut hoped = [present, left_out].concat();
    let mut best: Option<BTreeMap<usize, Rank>> = None;
    // Few may have come before many. Those who are left out come first the next time, as long as that helps.
    while let Found::Releases(releases) = search.run(Demand {
        needed: &loaded,
        hoped: &hoped,
    }) {
        if best
            .as_ref()
            .is_some_and(|best| best.len() >= releases.len())
        {
            break;
        }
        let releases = best.insert(releases.into_iter().collect());
        let (present, left_out): (Vec<_>, Vec<_>) =
            hoped.iter().partition(|id| releases.contains_key(*id));
        if left_out.len() <= 1 {
            break;
        }
        hoped = [left_out, present].concat();
    }
    if let Some(best) = best {
        return choice.replace(&hoped, &best);
    }
    // It is too much for the solver. One more pass, with what most others can do with.
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
