//! Which plugins go together, against the answers that trying everything gives.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use plg_host::deps::{
    Chain, DependencyError, Need, Offer, Package, Plan, Wanted, check_change, check_unload,
    dependants, order, plan, resolve,
};
use plg_host::{Error, Manifest, PluginName};
use plg_packaging::manifest::{Dependency, precedence};
use proptest::prelude::*;
use semver::{Version, VersionReq};

/// `a 1.0.0`, depending on `b ^1`, or on `b? ^1` if it can do without.
fn package(text: &str, dependencies: &[&str]) -> Package {
    let (name, version) = text.split_once(' ').unwrap();
    let package = Package::new(self::name(name), Version::parse(version).unwrap());
    dependencies.iter().fold(package, |package, text| {
        let (on, range) = text.split_once(' ').unwrap();
        let optional = on.ends_with('?');
        let range = VersionReq::parse(range).unwrap();
        package.with(
            self::name(on.trim_end_matches('?')),
            Dependency::new(range, optional),
        )
    })
}

fn name(text: &str) -> PluginName {
    PluginName::new(text).unwrap()
}

fn names(texts: &[&str]) -> Vec<PluginName> {
    texts.iter().map(|text| name(text)).collect()
}

/// What is loaded, in order, as `a 1.0.0`.
fn in_order(available: &[Package], plan: &Plan) -> Vec<String> {
    let packages = plan.order.iter().map(|place| &available[*place]);
    packages
        .map(|package| format!("{} {}", package.name, package.version))
        .collect()
}

fn resolved(available: &[Package], wanted: &[&str]) -> Result<Vec<String>, DependencyError> {
    let plan = resolve(available, Wanted::Names(&names(wanted)))?;
    assert_eq!(plan.refused, []);
    Ok(in_order(available, &plan))
}

/// Why plugins are refused, as `a: code: message`.
fn reasons(plan: &Plan) -> Vec<String> {
    let refused = plan.refused.iter();
    refused
        .map(|(name, error)| format!("{name}: {}: {error}", error.code()))
        .collect()
}

mod brute {
    use super::*;

    /// A version of each plugin that is there.
    pub(super) type Set<'a> = BTreeMap<&'a PluginName, &'a Package>;

    /// Every set that takes at most one version of each plugin.
    pub(super) fn sets(available: &[Package]) -> Vec<Set<'_>> {
        let mut sets = vec![Set::new()];
        let all: BTreeSet<&PluginName> = available.iter().map(|package| &package.name).collect();
        for name in all {
            let versions = available.iter().filter(|package| package.name == *name);
            let with: Vec<Set<'_>> = versions
                .flat_map(|package| {
                    sets.iter().map(move |set| {
                        let mut set = set.clone();
                        set.insert(name, package);
                        set
                    })
                })
                .collect();
            sets.extend(with);
        }
        sets
    }

    /// Whether everybody has what they need, and there is an order. What is loaded only has to get on
    /// with what comes.
    pub(super) fn is_valid(set: &Set<'_>, loaded: &[Package]) -> bool {
        let mut all = set.clone();
        all.extend(loaded.iter().map(|package| (&package.name, package)));
        let comes = |package: &Package| set.contains_key(&package.name);
        let fits = all.values().all(|package| {
            package
                .dependencies
                .iter()
                .all(|(on, dependency)| match all.get(on) {
                    Some(other) if !comes(package) && !comes(other) => true,
                    Some(other) => {
                        *on != package.name && dependency.version.matches(&other.version)
                    }
                    None => dependency.optional || !comes(package),
                })
        });
        fits && set.keys().all(|name| !reaches_itself(name, &all))
    }

    fn reaches_itself(name: &PluginName, all: &Set<'_>) -> bool {
        let (mut seen, mut open) = (BTreeSet::new(), vec![name]);
        while let Some(next) = open.pop() {
            for on in all[next]
                .dependencies
                .keys()
                .filter(|on| all.contains_key(on))
            {
                if on == name {
                    return true;
                }
                if seen.insert(on) {
                    open.push(on);
                }
            }
        }
        false
    }

    pub(super) fn is_newer(left: &Package, right: &Package) -> bool {
        let is_release = |package: &Package| package.version.pre.is_empty();
        let by_kind = is_release(left).cmp(&is_release(right));
        by_kind
            .then_with(|| precedence(&left.version, &right.version))
            .is_gt()
    }
}

/// What all answers have in common: they are valid, in order, and as new as they can be.
fn check_set(available: &[Package], loaded: &[Package], order: &[usize]) {
    let chosen: Vec<&Package> = order.iter().map(|place| &available[*place]).collect();
    let set: brute::Set<'_> = chosen
        .iter()
        .map(|package| (&package.name, *package))
        .collect();
    assert_eq!(set.len(), chosen.len(), "one version of each");
    assert!(brute::is_valid(&set, loaded), "{chosen:#?}");
    for (place, package) in chosen.iter().enumerate() {
        let later = &chosen[place..];
        let too_late = later
            .iter()
            .find(|later| package.dependencies.contains_key(&later.name));
        assert!(too_late.is_none(), "{package:?} comes before {too_late:?}");
    }
    for package in available {
        if set
            .get(&package.name)
            .is_some_and(|chosen| brute::is_newer(package, chosen))
        {
            let mut newer = set.clone();
            newer.insert(&package.name, package);
            assert!(
                !brute::is_valid(&newer, loaded),
                "{package:?} is newer and fits"
            );
        }
    }
}

/// An error says nothing that is not so.
fn check_error(all: &[Package], refused: &[&PluginName], error: &DependencyError) {
    let depends = |by: &PluginName, on: &PluginName| {
        let mut versions = all.iter().filter(|package| package.name == *by);
        versions.any(|package| package.dependencies.contains_key(on))
    };
    let check_chain = |chain: &Chain| {
        for pair in chain.names().windows(2) {
            assert!(depends(&pair[0], &pair[1]), "{pair:?} in {error}");
        }
    };
    let check_need = |need: &Need| {
        let by = |package: &&Package| package.name == need.by && package.version == need.version;
        let mut packages = all.iter().filter(by);
        let is_so = packages.any(|package| {
            package
                .dependencies
                .get(&need.on)
                .is_some_and(|dependency| {
                    dependency.version == need.range && dependency.optional == need.optional
                })
        });
        assert!(is_so, "{need} in {error}");
    };
    if let Some(path) = error.path() {
        assert!(refused.contains(&&path.names()[0]), "{error}");
        check_chain(path);
    }
    match error {
        DependencyError::Missing { name, need, .. } => {
            assert!(all.iter().all(|package| package.name != *name), "{error}");
            need.iter().for_each(|need| check_need(need));
        }
        DependencyError::Unsatisfied {
            name,
            needs,
            available,
            ..
        } => {
            let asked = &needs.first;
            asked.iter().for_each(check_need);
            assert_eq!(asked[0].on, *name, "{error}");
            if needs.more == 0 && asked.iter().all(|need| need.on == *name) {
                let fits = |offer: &&Offer| {
                    let mut asked = asked.iter();
                    offer.loadable && asked.all(|need| need.range.matches(&offer.version))
                };
                assert_eq!(available.first.iter().find(fits), None, "{error}");
            }
        }
        DependencyError::Itself { name, .. } => assert!(depends(name, name), "{error}"),
        DependencyError::Cycle { cycle, .. } => {
            assert!(cycle.names().len() > 2, "{error}");
            assert_eq!(cycle.names().first(), cycle.names().last(), "{error}");
            check_chain(cycle);
        }
        other => panic!("{other}"),
    }
}

/// Against all sets that there are.
fn check_resolve(available: &[Package], wanted: &[&str]) {
    let wanted = wanted.iter().map(|wanted| name(wanted));
    let is_there = |name: &PluginName| available.iter().any(|package| package.name == *name);
    let wanted: Vec<PluginName> = wanted.filter(is_there).collect();
    let has_all = |set: &brute::Set<'_>| wanted.iter().all(|name| set.contains_key(name));
    let sets = brute::sets(available);
    let solvable = sets
        .iter()
        .any(|set| has_all(set) && brute::is_valid(set, &[]));
    match resolve(available, Wanted::Names(&wanted)) {
        Ok(plan) => {
            assert!(solvable);
            assert_eq!(plan.refused, []);
            check_set(available, &[], &plan.order);
            let chosen: Vec<&Package> = plan.order.iter().map(|place| &available[*place]).collect();
            let needed = |name: &PluginName| {
                let mut dependencies = chosen.iter().map(|package| package.dependencies.get(name));
                dependencies
                    .any(|dependency| dependency.is_some_and(|dependency| !dependency.optional))
            };
            let for_nothing = chosen
                .iter()
                .find(|package| !wanted.contains(&package.name) && !needed(&package.name));
            assert_eq!(for_nothing, None);
            assert!(
                wanted
                    .iter()
                    .all(|name| chosen.iter().any(|package| package.name == *name))
            );
        }
        Err(error) => {
            assert!(!solvable, "{error}");
            check_error(available, &wanted.iter().collect::<Vec<_>>(), &error);
        }
    }
}

/// Against all sets that there are, beside what is loaded.
fn check_plan(available: &[Package], loaded: &[Package]) {
    let is_free = |package: &&Package| loaded.iter().all(|loaded| loaded.name != package.name);
    let free: Vec<Package> = available.iter().filter(is_free).cloned().collect();
    let plan = plan(available, loaded);
    check_set(available, loaded, &plan.order);
    let chosen = plan.order.iter().map(|place| &available[*place].name);
    let refused = plan.refused.iter().map(|(name, _)| name);
    let mut told: Vec<&PluginName> = chosen.clone().chain(refused).collect();
    told.sort();
    let all: BTreeSet<&PluginName> = free.iter().map(|package| &package.name).collect();
    assert_eq!(told, Vec::from_iter(all), "each is loaded or refused");
    let chosen: Vec<&PluginName> = chosen.collect();
    for set in brute::sets(&free) {
        let more = set.len() > chosen.len() && chosen.iter().all(|name| set.contains_key(name));
        assert!(
            !more || !brute::is_valid(&set, loaded),
            "{set:#?} goes together"
        );
    }
    let known: Vec<Package> = free.into_iter().chain(loaded.iter().cloned()).collect();
    for (name, error) in &plan.refused {
        check_error(&known, &[name], error);
    }
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Up to three versions of each plugin, in any order.
fn available() -> impl Strategy<Value = Vec<Package>> {
    let versions = ["1.0.0", "1.1.0", "2.0.0", "2.0.0-beta.1"];
    let package = |name: &'static str, version: &'static str| {
        dependencies(name).prop_map(move |dependencies| {
            let dependencies: Vec<&str> = dependencies.iter().map(String::as_str).collect();
            package(&format!("{name} {version}"), &dependencies)
        })
    };
    let plugin = move |name| {
        let some = proptest::sample::subsequence(versions.to_vec(), 0..=3);
        some.prop_flat_map(move |versions| {
            let packages = versions.into_iter().map(|version| package(name, version));
            packages.collect::<Vec<_>>()
        })
    };
    let all = NAMES
        .map(plugin)
        .prop_map(|all| all.into_iter().flatten().collect::<Vec<_>>());
    all.prop_shuffle()
}

/// What a version depends on; seldom itself or `f`, which is never there.
fn dependencies(own: &str) -> impl Strategy<Value = Vec<String>> + use<> {
    let others = NAMES.into_iter().filter(|name| *name != own);
    let names: Vec<String> = [own, "f"]
        .into_iter()
        .chain(others.clone().cycle().take(40))
        .map(str::to_owned)
        .collect();
    let ranges = [
        "*",
        "^1",
        "^2",
        "=1.0.0",
        ">=1.1",
        "^2.0.0-beta",
        "^1",
        "*",
        "^3",
    ];
    let one = (
        proptest::sample::select(names),
        proptest::bool::weighted(0.3),
        proptest::sample::select(ranges.to_vec()),
    );
    let one = one.prop_map(|(on, optional, range)| {
        let mark = if optional { "?" } else { "" };
        format!("{on}{mark} {range}")
    });
    proptest::collection::vec(one, 0..=3)
}

/// At most two plugins, each in one version.
fn loaded() -> impl Strategy<Value = Vec<Package>> {
    (available(), 0..=2_usize).prop_map(|(packages, count)| {
        let by_name = packages
            .into_iter()
            .map(|package| (package.name.clone(), package));
        by_name
            .collect::<BTreeMap<_, _>>()
            .into_values()
            .take(count)
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn resolve_finds_what_trying_everything_finds(
        available in available(),
        wanted in proptest::sample::subsequence(NAMES.to_vec(), 1..=5),
    ) {
        check_resolve(&available, &wanted);
    }

    #[test]
    fn plan_loads_all_that_can_be(available in available(), loaded in loaded()) {
        check_plan(&available, &loaded);
    }
}
