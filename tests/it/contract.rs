//! What changed between two manifests, and which version says so.

use plg_packaging::contract::{Comparison, Weight, compare};
use plg_packaging::manifest::precedence;
use plg_packaging::{Label, Manifest, PluginName};
use proptest::prelude::*;
use semver::{Prerelease, Version};
use serde_json::{Value, json};

use Weight::{Adding, Breaking, Neutral};

/// A field, what it was, what it is, and the differences that are to be found.
type Case<'a> = (&'a str, Value, Value, &'a [(Weight, &'a str)]);

/// Each thing that others rely on, in both directions.
#[test]
fn every_change_has_its_weight() {
    let route = |method: &str, route: &str, label: &str| json!({ "routes": [{ "route": route, "method": method, "label": label }] });
    let get = route("GET", "/a/:id", "a");
    let schema = |required: Value| json!({ "type": "object", "required": required });
    let cases: Vec<Case<'_>> = vec![
        ("labels", json!(["a", "b"]), json!(["b", "a"]), &[]),
        (
            "labels",
            json!(["a", "b"]),
            json!(["a"]),
            &[(Breaking, "label `b` is gone")],
        ),
        (
            "labels",
            json!(["a"]),
            json!(["a", "b"]),
            &[(Adding, "label `b` is new")],
        ),
        (
            "labels",
            json!(["a"]),
            json!(["b"]),
            &[
                (Breaking, "label `a` is gone"),
                (Adding, "label `b` is new"),
            ],
        ),
        (
            "http_services",
            get.clone(),
            Value::Null,
            &[(Breaking, "route `GET /a/:id` is gone")],
        ),
        (
            "http_services",
            Value::Null,
            get.clone(),
            &[(Adding, "route `GET /a/:id` is new")],
        ),
        (
            "http_services",
            get.clone(),
            route("POST", "/a/:id", "a"),
            &[
                (Breaking, "route `GET /a/:id` is gone"),
                (Adding, "route `POST /a/:id` is new"),
            ],
        ),
        (
            "http_services",
            get.clone(),
            route("GET", "/a/:key", "a"),
            &[(
                Neutral,
                "route `GET /a/:id` names its parameters otherwise: `/a/:key`",
            )],
        ),
        (
            "http_services",
            get.clone(),
            route("GET", "/a/:id", "b"),
            &[(Neutral, "route `GET /a/:id` calls `b` instead of `a`")],
        ),
        (
            "dependencies",
            json!({ "x": "1" }),
            json!({}),
            &[(Neutral, "dependency `x` is gone")],
        ),
        (
            "dependencies",
            json!({}),
            json!({ "x": "1" }),
            &[(Breaking, "dependency `x` is new")],
        ),
        (
            "dependencies",
            json!({}),
            json!({ "x": { "version": "1", "optional": true } }),
            &[(Adding, "optional dependency `x` is new")],
        ),
        (
            "dependencies",
            json!({ "x": { "version": "1", "optional": true } }),
            json!({ "x": "1" }),
            &[(Breaking, "dependency `x` is not optional any more")],
        ),
        (
            "dependencies",
            json!({ "x": "1" }),
            json!({ "x": { "version": "1", "optional": true } }),
            &[(Neutral, "dependency `x` is optional")],
        ),
        (
            "dependencies",
            json!({ "x": "1.2" }),
            json!({ "x": "1.3" }),
            &[(Breaking, "dependency `x` is `^1.3` instead of `^1.2`")],
        ),
        (
            "dependencies",
            json!({ "x": "1.3" }),
            json!({ "x": ">=1.2, <3" }),
            &[(Neutral, "dependency `x` is `>=1.2, <3` instead of `^1.3`")],
        ),
        (
            "permissions",
            json!(["network"]),
            json!(["fs.read"]),
            &[
                (Breaking, "permission `fs.read` is asked for"),
                (Neutral, "permission `network` is not asked for any more"),
            ],
        ),
        (
            "api",
            Value::Null,
            json!("1"),
            &[(Breaking, "plugin interface `^1` is required instead of `*`")],
        ),
        (
            "api",
            json!("1"),
            json!(">=1"),
            &[(
                Neutral,
                "plugin interface `>=1` is required instead of `^1`",
            )],
        ),
        (
            "config_schema",
            schema(json!(["a"])),
            schema(json!(["a", "b"])),
            &[(Breaking, "configuration `b` is required")],
        ),
        (
            "config_schema",
            schema(json!(["a", "b"])),
            schema(json!(["a"])),
            &[(Neutral, "the schema of the configuration is another")],
        ),
        (
            "process",
            Value::Null,
            json!({ "exec": "assets/run" }),
            &[(Neutral, "it is a program of its own")],
        ),
        (
            "isolation",
            Value::Null,
            json!("isolated"),
            &[(Neutral, "it would like to run elsewhere")],
        ),
        ("description", json!("a"), json!("b"), &[]),
    ];
    for (field, before, after, expected) in cases {
        let comparison = compared(field, &before, &after);
        let found: Vec<_> = comparison
            .differences()
            .iter()
            .map(|it| (it.weight, it.what.as_str()))
            .collect();
        assert_eq!(found, expected, "{field}: {before} and {after}");
        let weight = expected.iter().map(|(weight, _)| *weight).max();
        assert_eq!(comparison.weight(), weight.unwrap_or(Neutral));
    }
}

/// The rules of cargo: below 1.0.0 the first number that is not zero is the major one.
#[test]
fn the_least_version_says_what_changed() {
    for (before, neutral, adding, breaking) in [
        ("1.2.3", "1.2.3", "1.3.0", "2.0.0"),
        ("0.2.3", "0.2.3", "0.2.4", "0.3.0"),
        ("0.0.3", "0.0.3", "0.0.4", "0.0.4"),
        ("0.0.0", "0.0.0", "0.0.1", "0.0.1"),
        ("1.2.3+build", "1.2.3+build", "1.3.0", "2.0.0"),
        ("1.0.0-rc.1", "1.0.0-rc.1", "1.0.0-rc.1", "1.0.0-rc.1"),
    ] {
        for (least, labels) in [
            (neutral, &["a"][..]),
            (adding, &["a", "b"]),
            (breaking, &[]),
        ] {
            let comparison = compare(&manifest(before, &["a"]), &manifest(before, labels)).unwrap();
            assert_eq!(comparison.least().to_string(), least, "{before} {labels:?}");
        }
    }
}

#[test]
fn a_version_that_is_too_small_is_refused_with_every_reason() {
    let before = manifest("1.2.3", &["a", "b", "c"]);
    let check = |version: &str, labels: &[&str]| {
        let comparison = compare(&before, &manifest(version, labels)).unwrap();
        comparison.check().map_err(|error| {
            assert_eq!(error.code(), "pack.breaks");
            error.to_string()
        })
    };
    let same = &["a", "b", "c"];
    for (version, labels, is_enough) in [
        ("1.2.3", &same[..], true),
        ("1.2.3+other", same, true),
        ("1.2.4-rc.1", same, true),
        ("1.2.2", same, false),
        ("1.2.3-rc.1", same, false),
        ("1.3.0", &["a", "b", "c", "d"], true),
        ("1.3.0-rc.1", &["a", "b", "c", "d"], true),
        ("1.2.9", &["a", "b", "c", "d"], false),
        ("2.0.0-rc.1", &["a"], true),
        ("1.99.0", &["a"], false),
    ] {
        assert_eq!(
            check(version, labels).is_ok(),
            is_enough,
            "{version} {labels:?}"
        );
    }
    assert_eq!(
        check("1.3.0", &["a", "x"]).unwrap_err(),
        "`hello` 1.3.0 does not say what changed since 1.2.3, expected 2.0.0 or newer: label `b` is gone, label `c` is gone"
    );
    assert_eq!(
        check("1.2.2", same).unwrap_err(),
        "`hello` 1.2.2 does not say what changed since 1.2.3, expected 1.2.3 or newer"
    );
    let other = Manifest::minimal(PluginName::new("other").unwrap(), Version::new(9, 0, 0));
    let error = compare(&before, &other).unwrap_err();
    assert_eq!(error.code(), "manifest.identity");
    assert!(error.to_string().contains("`hello`") && error.to_string().contains("`other`"));
}

/// What a requirement allows is compared by what it allows, however it is written.
#[test]
fn requirements_are_compared_by_what_they_allow() {
    for (before, after, is_wider) in [
        ("1", "^1.0", true),
        ("1.2", "1", true),
        ("1", "1.2", false),
        ("~1.2.3", "^1.2.3", true),
        ("^1.2.3", "~1.2.3", false),
        ("=1.2.3", ">=1.2.3, <1.2.4", true),
        (">=1.2.3, <1.2.4", "=1.2.3", true),
        ("*", ">=0.0.0", true),
        (">=1, <2", ">=1, <3", true),
        (">=1, <3", ">=1, <2", false),
        ("0.3", "0.4", false),
        (">1.2", ">1.2.9", true),
        (">1.2.3", ">=1.2.4", true),
        ("<=1.2", "<1.3", true),
        ("1.*", "1.0.*", false),
        ("^0.0.3", "=0.0.3", true),
        ("1.0.0-rc.1", "1.0.0", false),
        ("1.0.0", "1.0.0-rc.1", true),
    ] {
        let comparison = compared("api", &json!(before), &json!(after));
        let expected = if is_wider { Neutral } else { Breaking };
        assert_eq!(comparison.weight(), expected, "{before} and then {after}");
    }
}

proptest! {
    /// A newer version is never refused where an older one passes, and no change makes one pass that did not.
    #[test]
    fn the_verdict_is_monotone(
        before in version(),
        one in version(),
        two in version(),
        kept in proptest::collection::vec(any::<bool>(), 4),
        lost in proptest::collection::vec(any::<bool>(), 4),
        added in 0..3_usize,
    ) {
        const LABELS: [&str; 7] = ["a", "b", "c", "d", "x", "y", "z"];
        let old = labelled(&before, &LABELS[..4]);
        let more_change: Vec<&str> = (0..4).filter(|&it| kept[it] && !lost[it]).map(|it| LABELS[it]).chain(LABELS[4..4 + added].iter().copied()).collect();
        let less_change: Vec<&str> = (0..4).filter(|&it| kept[it]).map(|it| LABELS[it]).collect();
        let (low, high) = if precedence(&one, &two).is_le() { (one, two) } else { (two, one) };
        let check = |version: &Version, labels: &[&str]| compare(&old, &labelled(version, labels)).unwrap().check().is_ok();
        prop_assert!(!check(&low, &more_change) || check(&high, &more_change));
        // Losing more and adding something is never less of a change.
        prop_assert!(!check(&low, &more_change) || check(&low, &less_change));
        let comparison = compare(&old, &labelled(&low, &more_change)).unwrap();
        let least = comparison.least();
        prop_assert!(check(&least, &more_change));
        prop_assert!(precedence(&least, &before).is_ge());
    }

    /// Whoever asks for any version `^least` gets no such change without asking for it.
    #[test]
    fn nobody_gets_a_breaking_change_unasked(before in version()) {
        prop_assume!(before.pre.is_empty());
        let old = labelled(&before, &["a"]);
        let least = compare(&old, &labelled(&before, &[])).unwrap().least();
        let usual = semver::VersionReq::parse(&format!("^{before}")).unwrap();
        prop_assert!(!usual.matches(&least), "{usual} takes {least}");
        let adding = compare(&old, &labelled(&before, &["a", "b"])).unwrap().least();
        prop_assert!(usual.matches(&adding) || (before.major, before.minor) == (0, 0));
    }
}

fn version() -> impl Strategy<Value = Version> {
    let pre = prop_oneof![4 => Just(""), 1 => Just("rc.1"), 1 => Just("rc.2")];
    (0..3_u64, 0..3_u64, 0..3_u64, pre).prop_map(|(major, minor, patch, pre)| {
        let mut version = Version::new(major, minor, patch);
        version.pre = Prerelease::new(pre).unwrap();
        version
    })
}

fn compared(field: &str, before: &Value, after: &Value) -> Comparison {
    let parsed = |value: &Value| {
        let mut document = json!({ "name": "hello", "version": "1.0.0" });
        if !value.is_null() {
            document[field] = value.clone();
        }
        Manifest::parse(document.to_string().as_bytes())
            .unwrap()
            .manifest
    };
    compare(&parsed(before), &parsed(after)).unwrap()
}

fn manifest(version: &str, labels: &[&str]) -> Manifest {
    labelled(&version.parse().unwrap(), labels)
}

fn labelled(version: &Version, labels: &[&str]) -> Manifest {
    let mut manifest = Manifest::minimal(PluginName::new("hello").unwrap(), version.clone());
    manifest.labels = labels
        .iter()
        .map(|label| Label::new(label).unwrap())
        .collect();
    manifest
}
