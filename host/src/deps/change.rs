//! What a change of loaded plugins does to the others.

use std::collections::BTreeMap;

use plg_packaging::PluginName;
use plg_packaging::manifest::Dependency;

use super::chain::Chain;
use super::error::{DependencyError, Need, Offer};
use super::graph::Graph;
use super::package::Package;

/// Who depends on a loaded plugin and would have to be unloaded before it: each before those that it
/// depends on itself. `transitive` adds those that depend on these, and so on. Who can do without the
/// plugin is not among them.
///
/// ```
/// use plg_host::deps::{Package, dependants};
/// use plg_packaging::manifest::Dependency;
/// use plg_packaging::PluginName;
/// use semver::{Version, VersionReq};
///
/// let name = |name: &str| PluginName::new(name).unwrap();
/// let package = |text: &str| Package::new(name(text), Version::new(1, 0, 0));
/// let any = Dependency::new(VersionReq::STAR, false);
/// let loaded = [
///     package("chat").with(name("greeter"), any.clone()),
///     package("greeter"),
///     package("team").with(name("chat"), any),
/// ];
/// assert_eq!(dependants(&loaded, &name("greeter"), false), [name("chat")]);
/// assert_eq!(dependants(&loaded, &name("greeter"), true), [name("team"), name("chat")]);
/// ```
#[must_use]
pub fn dependants(loaded: &[Package], name: &PluginName, transitive: bool) -> Vec<PluginName> {
    let set = Set::new(loaded, &[]);
    let Some(on) = set.find(name) else {
        return Vec::new();
    };
    let users = set.users();
    let mut found = vec![false; set.packages.len()];
    let mut open = vec![on];
    while let Some(id) = open.pop() {
        for &user in users[id].iter().filter(|user| **user != on) {
            if !std::mem::replace(&mut found[user], true) && transitive {
                open.push(user);
            }
        }
    }
    let order = set.graph().order().into_iter().rev();
    order
        .filter(|id| found[*id])
        .map(|id| set.packages[id].name.clone())
        .collect()
}

/// Says whether these plugins can be unloaded together.
///
/// # Errors
///
/// `deps.in_use` when a plugin that stays needs one of them; the first of them, and who needs it.
pub fn check_unload(loaded: &[Package], leaving: &[PluginName]) -> Result<(), DependencyError> {
    let set = Set::new(loaded, &[]);
    let users = set.users();
    for name in leaving {
        let users = set.find(name).map_or(&[][..], |id| &users[id]);
        let users = users.iter().map(|id| &set.packages[*id].name);
        let mut staying = users.filter(|user| !leaving.contains(user)).peekable();
        if staying.peek().is_some() {
            return Err(DependencyError::InUse {
                name: name.clone(),
                dependants: staying.cloned().collect(),
            });
        }
    }
    Ok(())
}

/// Says whether all loaded plugins have what they need after these changes, all of them together. A
/// change is a version that replaces the loaded one of its plugin, or a plugin that is not loaded yet.
///
/// Only what the changes do is looked at: what was wrong before and is none of them stays unsaid. Of
/// several changes of one plugin the last counts.
///
/// # Errors
///
/// `deps.missing`, `deps.unsatisfied` and `deps.self` when a changed plugin lacks something, `deps.breaks` when another
/// one would, `deps.cycle` when they would depend on each other in a circle.
pub fn check_change(loaded: &[Package], changes: &[Package]) -> Result<(), DependencyError> {
    let set = Set::new(loaded, changes);
    for package in set.changed() {
        set.check_own(package)?;
    }
    set.check_others()?;
    match set.graph().cycles(|id| set.changed[id]).into_iter().next() {
        None => Ok(()),
        Some(cycle) => {
            let name = |place: usize| set.packages[cycle[place % cycle.len()]].name.clone();
            Err(DependencyError::Cycle {
                cycle: Chain::new(cycle.len() + 1, name),
                path: Chain::new(1, name),
            })
        }
    }
}

/// The order in which to make changes: each plugin after those that it depends on once all are made, also
/// by way of plugins that are not changed, and otherwise the first by name. The numbers are places in
/// `changes`.
///
/// The other way round it is the order in which to unload. Of plugins that depend on each other in a
/// circle, which [`check_change`] refuses, the first by name comes first.
#[must_use]
pub fn order(loaded: &[Package], changes: &[Package]) -> Vec<usize> {
    let set = Set::new(loaded, changes);
    let order = set
        .graph()
        .order()
        .into_iter()
        .filter(|id| set.changed[*id]);
    order.map(|id| set.places[id]).collect()
}

/// What is loaded when the changes are made, by name.
struct Set<'a> {
    packages: Vec<&'a Package>,
    changed: Vec<bool>,
    /// Where each stands among the changes, or else among what is loaded.
    places: Vec<usize>,
}

impl<'a> Set<'a> {
    fn new(loaded: &'a [Package], changes: &'a [Package]) -> Self {
        let mut by_name: BTreeMap<&PluginName, (&Package, bool, usize)> = BTreeMap::new();
        for (packages, changed) in [(loaded, false), (changes, true)] {
            for (place, package) in packages.iter().enumerate() {
                by_name.insert(&package.name, (package, changed, place));
            }
        }
        let all = by_name.into_values();
        let mut set = Self {
            packages: Vec::new(),
            changed: Vec::new(),
            places: Vec::new(),
        };
        for (package, changed, place) in all {
            set.packages.push(package);
            set.changed.push(changed);
            set.places.push(place);
        }
        set
    }

    fn find(&self, name: &PluginName) -> Option<usize> {
        let by_name = |package: &&Package| package.name.cmp(name);
        self.packages.binary_search_by(by_name).ok()
    }

    fn changed(&self) -> impl Iterator<Item = &'a Package> {
        let all = self.packages.iter().zip(&self.changed);
        all.filter(|(_, changed)| **changed)
            .map(|(package, _)| *package)
    }

    /// Who cannot do without each plugin.
    fn users(&self) -> Vec<Vec<usize>> {
        let mut users = vec![Vec::new(); self.packages.len()];
        for (id, package) in self.packages.iter().enumerate() {
            let needed = package
                .dependencies
                .iter()
                .filter(|(_, dependency)| !dependency.optional);
            for on in needed
                .filter_map(|(on, _)| self.find(on))
                .filter(|on| *on != id)
            {
                users[on].push(id);
            }
        }
        users
    }

    fn graph(&self) -> Graph {
        let mut graph = Graph::new(self.packages.len());
        for (id, package) in self.packages.iter().enumerate() {
            let on = package.dependencies.keys().filter_map(|on| self.find(on));
            on.filter(|on| *on != id)
                .for_each(|on| graph.connect(id, on));
        }
        graph
    }

    /// Whether a changed plugin has what it needs.
    fn check_own(&self, package: &Package) -> Result<(), DependencyError> {
        for (on, dependency) in &package.dependencies {
            let path =
                |length: usize| Chain::new(length, |place| [&package.name, on][place].clone());
            if *on == package.name {
                return Err(DependencyError::Itself {
                    name: on.clone(),
                    version: package.version.clone(),
                    path: path(1),
                });
            }
            let need = need(package, on, dependency);
            match self.find(on).map(|id| self.packages[id]) {
                None if dependency.optional => {}
                None => {
                    return Err(DependencyError::Missing {
                        name: on.clone(),
                        need: Some(Box::new(need)),
                        path: path(2),
                    });
                }
                Some(other) if dependency.version.matches(&other.version) => {}
                Some(other) => {
                    return Err(DependencyError::Unsatisfied {
                        name: on.clone(),
                        needs: [need].into_iter().collect(),
                        available: [offer(other)].into_iter().collect(),
                        path: path(2),
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether the plugins that are not changed can do with those that are.
    fn check_others(&self) -> Result<(), DependencyError> {
        let mut broken: BTreeMap<usize, Vec<Need>> = BTreeMap::new();
        let all = self.packages.iter().zip(&self.changed);
        for (package, _) in all.filter(|(_, changed)| !**changed) {
            for (on, dependency) in &package.dependencies {
                let Some(id) = self.find(on).filter(|id| self.changed[*id]) else {
                    continue;
                };
                if !dependency.version.matches(&self.packages[id].version) {
                    broken
                        .entry(id)
                        .or_default()
                        .push(need(package, on, dependency));
                }
            }
        }
        match broken.pop_first() {
            None => Ok(()),
            Some((id, needs)) => Err(DependencyError::Breaks {
                name: self.packages[id].name.clone(),
                version: self.packages[id].version.clone(),
                needs: needs.into_iter().collect(),
            }),
        }
    }
}

fn need(by: &Package, on: &PluginName, dependency: &Dependency) -> Need {
    Need {
        by: by.name.clone(),
        version: by.version.clone(),
        on: on.clone(),
        range: dependency.version.clone(),
        optional: dependency.optional,
    }
}

fn offer(package: &Package) -> Offer {
    Offer {
        version: package.version.clone(),
        loadable: true,
    }
}
