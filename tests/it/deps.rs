//! Which plugins go together: single answers, large sets, and small ones against the answers that trying
//! everything gives.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use plg_host::deps::{
    Chain, DependencyError, Need, Offer, Package, Plan, Wanted, check_change, check_unload,
    dependants, order, plan, resolve,
};
use plg_host::{Error, Manifest, PluginName};
use plg_packaging::manifest::{Dependency, precedence};
use proptest::prelude::*;
use semver::{Version, VersionReq};

#[test]
fn the_newest_versions_that_fit_are_chosen_in_load_order() {
    let available = [
        package("chat 1.0.0", &["greeter ^1", "log *"]),
        package("chat 2.0.0", &["greeter ^1.3", "log ^1"]),
        package("greeter 1.2.0", &["log *"]),
        package("greeter 1.3.0", &["log *"]),
        package("greeter 2.0.0", &[]),
        package("log 1.0.0", &[]),
        package("log 2.0.0", &[]),
        package("unasked 1.0.0", &["log ^1"]),
    ];
    let resolved = resolved(&available, &["chat"]).unwrap();
    assert_eq!(resolved, ["log 1.0.0", "greeter 1.3.0", "chat 2.0.0"]);
    // Whatever the order they are given in.
    let mut backwards = available.to_vec();
    backwards.reverse();
    assert_eq!(self::resolved(&backwards, &["chat"]).unwrap(), resolved);
    // The two that nothing connects go by name.
    let plan = resolve(&available, Wanted::All).unwrap();
    assert_eq!(
        in_order(&available, &plan),
        ["log 1.0.0", "greeter 1.3.0", "chat 2.0.0", "unasked 1.0.0"]
    );
}

/// What is wanted is as new as it can be, and what it needs is not.
#[test]
fn the_one_that_is_nearer_is_the_newer() {
    let available = [
        package("app 1.0.0", &["lib *"]),
        package("app 2.0.0", &["lib ^1"]),
        package("lib 1.0.0", &[]),
        package("lib 2.0.0", &[]),
    ];
    assert_eq!(
        resolved(&available, &["app"]).unwrap(),
        ["lib 1.0.0", "app 2.0.0"]
    );
    // Plugins that are all wanted come in the order of their names.
    assert_eq!(
        resolved(&available, &["app", "lib"]).unwrap(),
        ["lib 1.0.0", "app 2.0.0"]
    );
}

#[test]
fn a_pre_release_is_only_for_those_who_name_it() {
    let mut available = vec![
        package("app 1.0.0", &["lib *"]),
        package("keen 1.0.0", &["lib ^2.0.0-beta.1"]),
        package("lib 1.0.0", &[]),
        package("lib 2.0.0-beta.2", &[]),
    ];
    assert_eq!(
        resolved(&available, &["app"]).unwrap(),
        ["lib 1.0.0", "app 1.0.0"]
    );
    assert_eq!(resolved(&available, &["lib"]).unwrap(), ["lib 1.0.0"]);
    assert_eq!(
        resolved(&available, &["keen"]).unwrap(),
        ["lib 2.0.0-beta.2", "keen 1.0.0"]
    );
    // Where there is nothing else, it is what there is.
    available.remove(2);
    assert_eq!(
        resolved(&available, &["lib"]).unwrap(),
        ["lib 2.0.0-beta.2"]
    );
    assert_eq!(
        resolved(&available, &["app"]).unwrap_err().code(),
        "deps.unsatisfied"
    );
}

/// Build metadata never decides.
#[test]
fn of_the_same_version_the_first_is_taken() {
    let available = [
        package("a 1.0.0+x", &["missing *"]),
        package("a 1.0.0+b", &[]),
        package("a 1.0.0+c", &[]),
    ];
    assert_eq!(resolve(&available, Wanted::All).unwrap().order, [1]);
}

#[test]
fn an_optional_dependency_brings_nothing_but_has_to_fit() {
    let available = [
        package("app 1.0.0", &["cache? ^1", "gone? ^1"]),
        package("cache 1.0.0", &[]),
        package("cache 2.0.0", &[]),
    ];
    assert_eq!(resolved(&available, &["app"]).unwrap(), ["app 1.0.0"]);
    assert_eq!(
        resolved(&available, &["app", "cache"]).unwrap(),
        ["cache 1.0.0", "app 1.0.0"]
    );
    let available = [&available[..1], &available[2..]].concat();
    assert_eq!(resolved(&available, &["app"]).unwrap(), ["app 1.0.0"]);
    assert_eq!(
        resolved(&available, &["app", "cache"])
            .unwrap_err()
            .to_string(),
        "no version of `cache` will do: `app` 1.0.0 works only with `cache ^1`; available: 2.0.0"
    );
    // The one that asks for what is not there goes, and not the other.
    let plan = plan(&available, &[]);
    assert_eq!(in_order(&available, &plan), ["cache 2.0.0"]);
}

#[test]
fn what_is_missing_is_named_with_the_shortest_way_to_it() {
    let available = [
        package("a 1.0.0", &["b *", "c *"]),
        package("b 1.0.0", &["c *"]),
        package("c 1.0.0", &["d ^1.2"]),
    ];
    let error = resolved(&available, &["a"]).unwrap_err();
    assert_eq!(error.code(), "deps.missing");
    assert_eq!(
        error.to_string(),
        "`c` 1.0.0 needs `d ^1.2`, and there is no plugin `d`; needed by way of `a -> c -> d`"
    );
    assert_eq!(error.path().unwrap().names(), names(&["a", "c", "d"]));
    // Of several that are wanted, from the nearest.
    let error = resolved(&available, &["a", "c"]).unwrap_err();
    assert_eq!(error.path().unwrap().names(), names(&["c", "d"]));
    // And to the nearest of what is missing.
    let more = [
        package("e 1.0.0", &["b *", "f *"]),
        package("f 1.0.0", &["y *"]),
    ];
    let error = resolved(&[&available[..], &more].concat(), &["e"]).unwrap_err();
    assert_eq!(error.path().unwrap().names(), names(&["e", "f", "y"]));
    let error = resolved(&available, &["z"]).unwrap_err();
    assert_eq!(
        (error.code(), &*error.to_string()),
        ("deps.missing", "there is no plugin `z`")
    );
}

#[test]
fn what_does_not_fit_is_named_with_both_sides() {
    let available = [
        package("a 1.0.0", &["b *", "c *"]),
        package("b 1.0.0", &["d ^1"]),
        package("c 1.0.0", &["d >=2, <4"]),
        package("d 1.4.0", &[]),
        package("d 2.1.0", &[]),
    ];
    let error = resolved(&available, &["a"]).unwrap_err();
    assert_eq!(error.code(), "deps.unsatisfied");
    assert_eq!(
        error.to_string(),
        "no version of `d` will do: `b` 1.0.0 needs `d ^1`, `c` 1.0.0 needs `d >=2, <4`, \
         `a` 1.0.0 needs `b *`, `a` 1.0.0 needs `c *`; available: 2.1.0, 1.4.0; \
         needed by way of `a -> b -> d`"
    );
    // One side is enough when there is no such version at all.
    let error = resolved(&available[2..4], &["c"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no version of `d` will do: `c` 1.0.0 needs `d >=2, <4`; available: 1.4.0"
    );
}

#[test]
fn nobody_depends_on_himself() {
    let available = [package("a 1.0.0", &["b *"]), package("b 1.0.0", &["b? *"])];
    let error = resolved(&available, &["a"]).unwrap_err();
    assert_eq!(error.code(), "deps.self");
    assert_eq!(error.to_string(), "`b` 1.0.0 depends on itself");
    assert_eq!(error.path().unwrap().names(), names(&["a", "b"]));
}

#[test]
fn the_shortest_cycle_is_shown() {
    let available = [
        package("a 1.0.0", &["b *"]),
        package("b 1.0.0", &["c *"]),
        package("c 1.0.0", &["a *", "d *"]),
        package("d 1.0.0", &["c *"]),
        package("z 1.0.0", &["y *"]),
        package("y 1.0.0", &["a *"]),
    ];
    let error = resolved(&available, &["c"]).unwrap_err();
    assert_eq!(error.code(), "deps.cycle");
    assert_eq!(
        error.to_string(),
        "there is no order for a cycle of dependencies: `c -> d -> c`"
    );
    let error = resolved(&available, &["z"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no order for a cycle of dependencies: `c -> d -> c`; \
         needed by way of `z -> y -> a -> b -> c`"
    );
    // Another version may be the way out. An optional dependency is none when both are there.
    let way_out = [&available[..], &[package("c 0.9.0", &["d? *"])]].concat();
    assert_eq!(
        resolved(&way_out, &["z"]).unwrap(),
        ["c 0.9.0", "b 1.0.0", "a 1.0.0", "y 1.0.0", "z 1.0.0"]
    );
    assert_eq!(
        resolved(&way_out, &["d"]).unwrap_err().to_string(),
        "there is no order for a cycle of dependencies: `d -> c -> d`"
    );
}

#[test]
fn one_bad_plugin_stops_only_those_that_need_it() {
    let available = [
        package("chat 1.0.0", &["greeter ^1"]),
        package("greeter 1.2.0", &[]),
        package("lonely 1.0.0", &[]),
        package("loop 1.0.0", &["pool *"]),
        package("mail 1.0.0", &["smtp ^3"]),
        package("narcissus 1.0.0", &["narcissus *"]),
        package("news 1.0.0", &["mail *", "chat *"]),
        package("old 1.0.0", &["greeter ^0.9"]),
        package("pool 1.0.0", &["loop *"]),
        package("watch 1.0.0", &["loop? *", "mail? *", "chat? *"]),
    ];
    let plan = plan(&available, &[]);
    assert_eq!(
        in_order(&available, &plan),
        ["greeter 1.2.0", "chat 1.0.0", "lonely 1.0.0", "watch 1.0.0"]
    );
    assert_eq!(
        reasons(&plan),
        [
            "loop: deps.cycle: there is no order for a cycle of dependencies: `loop -> pool -> loop`",
            "mail: deps.missing: `mail` 1.0.0 needs `smtp ^3`, and there is no plugin `smtp`",
            "narcissus: deps.self: `narcissus` 1.0.0 depends on itself",
            "news: deps.missing: `mail` 1.0.0 needs `smtp ^3`, and there is no plugin `smtp`; \
             needed by way of `news -> mail -> smtp`",
            "old: deps.unsatisfied: no version of `greeter` will do: `old` 1.0.0 needs `greeter ^0.9`; \
             available: 1.2.0",
            "pool: deps.cycle: there is no order for a cycle of dependencies: `pool -> loop -> pool`",
        ]
    );
}

/// Whoever can do without the next in the circle is loaded, whatever the others are called.
#[test]
fn a_circle_stops_only_those_that_need_it() {
    for [can, cannot] in [["a", "z"], ["z", "a"]] {
        let available = [
            package(&format!("{can} 1.0.0"), &[&format!("{cannot}? *")]),
            package(&format!("{cannot} 1.0.0"), &[&format!("{can} *")]),
        ];
        let plan = plan(&available, &[]);
        assert_eq!(in_order(&available, &plan), [format!("{can} 1.0.0")]);
        assert_eq!(plan.refused[0].0, name(cannot));
        assert_eq!(plan.refused[0].1.code(), "deps.cycle");
    }
}

#[test]
fn the_many_come_before_the_few() {
    let mut available = vec![
        package("hub 1.0.0", &[]),
        package("hub 2.0.0", &[]),
        package("aaa 1.0.0", &["hub ^2"]),
    ];
    available.extend((0..9).map(|number| package(&format!("p{number} 1.0.0"), &["hub ^1"])));
    let plan = plan(&available, &[]);
    assert_eq!(plan.order.len(), 10);
    assert_eq!(
        reasons(&plan),
        [
            "aaa: deps.unsatisfied: no version of `hub` will do: `aaa` 1.0.0 needs `hub ^2`, \
          `p0` 1.0.0 needs `hub ^1`; available: 2.0.0, 1.0.0"
        ]
    );
    // Nor does somebody change that who agrees with all himself, but needs the odd one.
    available.push(package("friend 1.0.0", &["aaa *"]));
    let plan = self::plan(&available, &[]);
    assert_eq!(
        plan.refused[1].1.path().unwrap().names(),
        names(&["friend", "aaa", "hub"])
    );
}

#[test]
fn what_is_loaded_stays_and_has_to_fit() {
    let loaded = [
        package("base 1.5.0", &["gone ^1"]),
        package("user 1.0.0", &["base ^1", "extra? ^1"]),
    ];
    let available = [
        package("base 2.0.0", &[]),
        package("extra 2.0.0", &[]),
        package("new 1.0.0", &["base >=1.2"]),
        package("newer 1.0.0", &["base ^2"]),
        package("round 1.0.0", &["user *"]),
        package("trip 1.0.0", &["round *", "fine *"]),
        package("fine 1.0.0", &[]),
    ];
    let plan = plan(&available, &loaded);
    assert_eq!(
        in_order(&available, &plan),
        ["fine 1.0.0", "new 1.0.0", "round 1.0.0", "trip 1.0.0"]
    );
    assert_eq!(
        reasons(&plan),
        [
            "extra: deps.unsatisfied: no version of `extra` will do: \
             `user` 1.0.0 works only with `extra ^1`; available: 2.0.0",
            "newer: deps.unsatisfied: no version of `base` will do: \
             `newer` 1.0.0 needs `base ^2`; available: 1.5.0",
        ]
    );
    // What would be a circle after the next start is one now.
    let extra = package("extra 1.0.0", &["user *"]);
    let error = self::plan(&[extra], &loaded).refused.remove(0).1;
    assert_eq!(
        error.to_string(),
        "there is no order for a cycle of dependencies: `extra -> user -> extra`"
    );
}

/// Everybody wants a place that only somebody else can have: no solver finds out soon.
#[test]
fn a_search_without_end_is_given_up() {
    let (places, all) = (19, 20);
    let mut available = Vec::new();
    for place in 1..=places {
        for guest in 1..=all {
            let mine = format!("place{place} ={guest}.0.0");
            available.push(package(&format!("guest{guest} {place}.0.0"), &[&mine]));
            available.push(package(&format!("place{place} {guest}.0.0"), &[]));
        }
    }
    let error = resolve(&available, Wanted::All).unwrap_err();
    assert_eq!(error.code(), "deps.undecided");
    // Others are not stopped, and of those that are part of it as many are loaded as one more pass finds.
    available.push(package("other 1.0.0", &[]));
    available.push(package("hub 1.0.0", &["place1 *"]));
    available.push(package("hub 2.0.0", &["place1 *"]));
    available.extend((0..40).map(|number| package(&format!("user{number} 1.0.0"), &["hub ^1"])));
    let plan = plan(&available, &[]);
    let loaded = in_order(&available, &plan);
    assert!(loaded.contains(&"other 1.0.0".to_owned()));
    assert!(loaded.contains(&"user39 1.0.0".to_owned()));
    assert_eq!(plan.order.len() + plan.refused.len(), 39 + 42);
}

#[test]
fn who_depends_on_a_plugin_leaves_before_it() {
    let loaded = [
        package("base 1.0.0", &[]),
        package("left 1.0.0", &["base *"]),
        package("right 1.0.0", &["base *", "left? *"]),
        package("top 1.0.0", &["left *", "right *"]),
        package("without 1.0.0", &["base? *"]),
    ];
    let all = |name: &str, transitive| dependants(&loaded, &self::name(name), transitive);
    assert_eq!(all("base", false), names(&["right", "left"]));
    assert_eq!(all("base", true), names(&["top", "right", "left"]));
    assert_eq!(all("left", true), names(&["top"]));
    assert_eq!(all("top", true), names(&[]));
    assert_eq!(all("nobody", true), names(&[]));

    let error = check_unload(&loaded, &names(&["base"])).unwrap_err();
    assert_eq!(error.code(), "deps.in_use");
    assert_eq!(error.to_string(), "`base` is in use by left, right");
    let error = check_unload(&loaded, &names(&["base", "right"])).unwrap_err();
    assert_eq!(error.to_string(), "`base` is in use by left");
    check_unload(&loaded, &names(&["base", "left", "right", "top"])).unwrap();
    check_unload(&loaded, &names(&["top", "without"])).unwrap();
    // All of them, in the order to do it.
    let leaving: Vec<_> = order(&[], &loaded).into_iter().rev().collect();
    assert_eq!(leaving, [4, 3, 2, 1, 0]);
}

#[test]
fn a_change_must_leave_everybody_what_he_needs() {
    let loaded = [
        package("base 1.0.0", &[]),
        package("user 1.0.0", &["base ^1"]),
        package("visitor 1.0.0", &["base? ^1"]),
        // It was so before, and is nobody's fault now.
        package("broken 1.0.0", &["gone *"]),
    ];
    let error = |changes: &[Package]| check_change(&loaded, changes).unwrap_err();
    check_change(&loaded, &[package("base 1.9.0", &[])]).unwrap();
    let breaks = error(&[package("base 2.0.0", &[])]);
    assert_eq!(breaks.code(), "deps.breaks");
    assert_eq!(
        breaks.to_string(),
        "refused `base` 2.0.0, which would break what depends on it: \
         `user` 1.0.0 needs `base ^1`, `visitor` 1.0.0 works only with `base ^1`"
    );
    // Together they fit.
    let together = [
        package("visitor 2.0.0", &["base? *"]),
        package("user 2.0.0", &["base ^2", "visitor *"]),
        package("base 2.0.0", &[]),
    ];
    check_change(&loaded, &together).unwrap();
    assert_eq!(order(&loaded, &together), [2, 0, 1]);
    // The changed ones have to have what they need themselves.
    let unsatisfied = error(&together[1..2]);
    assert_eq!(
        unsatisfied.to_string(),
        "no version of `base` will do: `user` 2.0.0 needs `base ^2`; available: 1.0.0"
    );
    assert_eq!(
        error(&[package("base 1.1.0", &["gone *"])]).code(),
        "deps.missing"
    );
    assert_eq!(
        error(&[package("base 1.1.0", &["base *"])]).code(),
        "deps.self"
    );
    assert_eq!(
        error(&[package("base 1.1.0", &["user *"])]).to_string(),
        "there is no order for a cycle of dependencies: `base -> user -> base`"
    );
    // A new plugin is held against what the others can use.
    let loaded = [package("user 1.0.0", &["cache? ^1"])];
    check_change(&loaded, &[package("cache 1.0.0", &[])]).unwrap();
    let error = check_change(&loaded, &[package("cache 2.0.0", &[])]).unwrap_err();
    assert_eq!(error.code(), "deps.breaks");
}

/// The one between them is not changed.
#[test]
fn changes_are_ordered_by_way_of_others() {
    let loaded = [
        package("a 1.0.0", &["m *"]),
        package("m 1.0.0", &["z *"]),
        package("z 1.0.0", &[]),
    ];
    let changes = [package("a 1.1.0", &["m *"]), package("z 1.1.0", &[])];
    assert_eq!(order(&loaded, &changes), [1, 0]);
    assert_eq!(order(&[], &changes), [0, 1]);
}

#[test]
fn a_manifest_says_it_all_and_the_host_has_its_codes() {
    let json = br#"{ "name": "chat", "version": "1.2.0", "dependencies": {
        "greeter": "^1", "cache": { "version": ">=2, <4", "optional": true } } }"#;
    let manifest = Manifest::parse(json).unwrap().manifest;
    let expected = package("chat 1.2.0", &["greeter ^1", "cache? >=2, <4"]);
    assert_eq!(Package::from(&manifest), expected);

    let refused = plan(&[expected], &[]).refused.remove(0).1;
    let error = Error::from(refused);
    assert!(matches!(error, Error::Dependency(_)));
    assert_eq!(error.code(), "deps.missing");
    assert!(plg_host::codes::find(error.code()).is_some());
}

const MANY: usize = 10_000;

/// A chain as long as nobody makes one, on a stack that is too small for a function that calls itself.
#[test]
fn long_chains_take_neither_stack_nor_time() {
    let link = |place: usize, dependency: &str| {
        let next = format!("p{:05} {dependency}", place + 1);
        move |version: &str| package(&format!("p{place:05} {version}"), &[&next])
    };
    in_time_on_a_small_stack(move || {
        let mut chain: Vec<Package> = (0..MANY).map(|place| link(place, "^1")("1.0.0")).collect();
        let error = resolved(&chain, &["p00000"]).unwrap_err();
        assert_eq!(error.code(), "deps.missing");
        let path = error.path().unwrap();
        assert_eq!((path.names().len(), path.skipped()), (16, MANY + 1 - 16));
        assert_eq!(path.names()[15], name("p10000"));
        assert!(
            path.to_string().contains("p00007 -> (9985 more) -> p09993"),
            "{path}"
        );
        let plan = self::plan(&chain, &[]);
        assert_eq!(plan.refused.len(), MANY);
        assert_eq!(plan.refused[0].1, error);

        chain.push(package("p10000 1.0.0", &[]));
        let resolved = resolve(&chain, Wanted::Names(&names(&["p00000"]))).unwrap();
        assert!(resolved.order.iter().copied().eq((0..=MANY).rev()));
        assert_eq!(self::plan(&chain, &[]), resolved);
        assert_eq!(order(&[], &chain), resolved.order);
        assert_eq!(dependants(&chain, &name("p10000"), true).len(), MANY);
        check_change(&chain, &chain).unwrap();

        // Two versions of each, and only the older ones go together with `old`.
        let both =
            (0..MANY).flat_map(|place| [link(place, "*")("1.0.0"), link(place, "^2")("2.0.0")]);
        let mut both: Vec<Package> = both.collect();
        both.extend([package("p10000 1.0.0", &[]), package("p10000 2.0.0", &[])]);
        both.push(package("old 1.0.0", &["p10000 ^1"]));
        let plan = self::plan(&both, &[]);
        assert_eq!(plan.refused, []);
        assert!(
            in_order(&both, &plan)
                .iter()
                .all(|chosen| chosen.ends_with(" 1.0.0"))
        );
        // Nor are the others when the newest is wanted at the other end: the proof is as long as the chain.
        both.push(package("new 1.0.0", &["p00000 ^2"]));
        let error = self::resolved(&both, &["new", "old"]).unwrap_err();
        assert_eq!(error.code(), "deps.unsatisfied");
    });
}

#[test]
fn long_cycles_take_neither_stack_nor_time() {
    in_time_on_a_small_stack(|| {
        for (mark, loaded) in [("", 0), ("?", MANY - 1)] {
            let next = |place: usize| format!("p{:05}{mark} *", (place + 1) % MANY);
            let ring =
                (0..MANY).map(|place| package(&format!("p{place:05} 1.0.0"), &[&next(place)]));
            let ring: Vec<Package> = ring.collect();
            let error = resolve(&ring, Wanted::All).unwrap_err();
            assert_eq!(error.code(), "deps.cycle");
            let plan = plan(&ring, &[]);
            assert_eq!(plan.order.len(), loaded);
            assert!(
                plan.refused
                    .iter()
                    .all(|(_, error)| error.code() == "deps.cycle")
            );
        }
    });
}

/// Twelve layers of twelve, and everybody depends on the whole next layer.
#[test]
fn dense_diamonds_take_no_time() {
    let layers = |range_of: fn(&str) -> &str| {
        let package = move |layer: usize, place: usize, version: &str| {
            let below = match layer {
                11 => Vec::new(),
                _ => Vec::from_iter(0..12),
            };
            let below = below
                .iter()
                .map(|below| format!("l{}-{below} {}", layer + 1, range_of(version)));
            let below: Vec<String> = below.collect();
            let below: Vec<&str> = below.iter().map(String::as_str).collect();
            self::package(&format!("l{layer}-{place} {version}"), &below)
        };
        let places = (0..12).flat_map(|layer| (0..12).map(move |place| (layer, place)));
        let packages = places.flat_map(|(layer, place)| {
            ["1.0.0", "2.0.0"].map(|version| package(layer, place, version))
        });
        packages.collect::<Vec<Package>>()
    };
    in_time_on_a_small_stack(move || {
        let any = layers(|_| "*");
        let plan = resolve(&any, Wanted::All).unwrap();
        assert!(
            in_order(&any, &plan)
                .iter()
                .all(|chosen| chosen.ends_with(" 2.0.0"))
        );
        // The newest of a layer takes only the oldest of the next.
        let alternating = layers(|version| if version == "2.0.0" { "^1" } else { "*" });
        let plan = resolve(&alternating, Wanted::All).unwrap();
        assert_eq!(plan.order.len(), 144);
        assert_eq!(self::plan(&alternating, &[]).refused, []);
        // Either all are old or all are new.
        let mut split = layers(|version| if version == "2.0.0" { "^2" } else { "^1" });
        split.push(package("old 1.0.0", &["l11-5 ^1"]));
        split.push(package("new 1.0.0", &["l11-6 ^2"]));
        let error = resolve(&split, Wanted::All).unwrap_err();
        assert_eq!(error.code(), "deps.unsatisfied");
        let plan = self::plan(&split, &[]);
        assert_eq!((plan.order.len(), plan.refused.len()), (145, 1));
    });
}

/// Runs it on a stack of 256 KiB; a minute is ten times what it takes on a slow machine.
fn in_time_on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    let start = Instant::now();
    let thread = thread::Builder::new().stack_size(256 << 10).spawn(work);
    thread.unwrap().join().unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(120),
        "{:?}",
        start.elapsed()
    );
}

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
            let mut backwards = available.to_vec();
            backwards.reverse();
            let other = resolve(&backwards, Wanted::Names(&wanted)).unwrap();
            assert_eq!(in_order(&backwards, &other), in_order(available, &plan));
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
    let mut backwards = available.to_vec();
    backwards.reverse();
    let other = self::plan(&backwards, loaded);
    assert_eq!(in_order(&backwards, &other), in_order(available, &plan));
    assert_eq!(other.refused, plan.refused);
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
        cases: 1000,
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
