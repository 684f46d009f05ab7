//! Configuration of programs, held to the schema in their manifests.

use std::fs;
use std::path::PathBuf;

use plg_host::{Host, PluginName};
use serde_json::{Value, json};

use crate::support::programs::{Programs, failure, pid};

/// A plugin with this schema.
fn plugin(programs: &Programs, name: &str, schema: &Value) -> PathBuf {
    let directory = programs.plugin(name, &["ok"]);
    let path = directory.join("plugin.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    manifest["config_schema"] = schema.clone();
    fs::write(path, manifest.to_string()).unwrap();
    directory
}

fn host(config: &[(&str, Value)]) -> Host {
    let mut builder = Host::builder().allow_unsafe_directories(true);
    for (name, config) in config {
        let name = PluginName::new(name).unwrap();
        builder = builder.config(&name, config.as_object().unwrap().clone());
    }
    builder.build().unwrap()
}

#[test]
fn configuration_has_to_fit_the_schema_of_the_manifest() {
    let programs = Programs::new();
    let schema = json!({
        "type": "object",
        "required": ["url", "retries"],
        "properties": {
            "url": { "type": "string", "pattern": "^https:" },
            "retries": { "type": "integer", "maximum": 5 },
            "servers": { "items": { "required": ["name"] } },
        },
        "additionalProperties": false,
    });
    let path = plugin(&programs, "fetcher", &schema);
    let config = json!({ "url": "secret", "servers": [{ "name": 1 }, {}], "other": 1 });
    let host_of = |config| host(&[("fetcher", config)]);
    let (code, text) = failure(host_of(config).load(&path));
    assert_eq!(code, "proc.config_schema");
    for words in [
        "at `/url`",
        "\"retries\" is a required",
        "at `/servers/1`",
        "other",
    ] {
        assert!(
            text.replace("\\\"", "\"").contains(words),
            "{words}: {text}"
        );
    }
    assert!(!text.contains("secret"), "what is secret stays so: {text}");
    // None is an empty one.
    let (code, text) = failure(host(&[]).load(&path));
    assert_eq!(code, "proc.config_schema", "{text}");
    let fitting = json!({ "url": "https://example.org", "retries": 3 });
    pid(&host_of(fitting).load(&path).unwrap());
}

#[test]
fn a_schema_that_is_none_is_told() {
    let programs = Programs::new();
    let cases = [
        ("odd", json!({ "type": "nothing" }), "not usable"),
        (
            "remote",
            json!({ "$ref": "http://127.0.0.1:1/x.json" }),
            "is not fetched",
        ),
        (
            "file",
            json!({ "$ref": "file:///etc/hostname" }),
            "is not fetched",
        ),
        (
            "pattern",
            json!({ "properties": { "a": { "pattern": "(x+x+)+(?=y)" } } }),
            "not usable",
        ),
    ];
    for (name, schema, words) in cases {
        let (code, text) = failure(host(&[]).load(plugin(&programs, name, &schema)));
        assert_eq!(code, "proc.config_schema", "{name}: {text}");
        assert!(text.contains(words), "{name}: {text}");
    }
}

/// Each of these doubles the work of the one before, in a few lines.
#[test]
fn a_schema_whose_references_multiply_is_refused() {
    let programs = Programs::new();
    let path = |n| format!("#/%24defs/a{n}");
    let anchor = |n| format!("#a{n}");
    let other = |n| format!("https://example.org/a{n}.json");
    let names: [(&str, &dyn Fn(usize) -> String); 3] =
        [("path", &path), ("anchor", &anchor), ("resource", &other)];
    for (name, of) in names {
        let mut schemas = json!({ "a18": { "required": ["x"] } });
        for n in 0..18 {
            let next = json!({ "$ref": of(n + 1) });
            schemas[format!("a{n}")] = json!({ "anyOf": [next.clone(), next] });
        }
        for n in 0..=18 {
            let key = if name == "anchor" { "$anchor" } else { "$id" };
            if name != "path" {
                let own = of(n);
                schemas[format!("a{n}")][key] = own.trim_start_matches('#').into();
            }
        }
        let schema = json!({ "$ref": of(0), "$defs": schemas });
        let (code, text) = failure(host(&[]).load(plugin(&programs, name, &schema)));
        assert_eq!(code, "proc.config_schema", "{name}: {text}");
        assert!(text.contains("more than 100000 parts"), "{name}: {text}");
    }
    let nested = (0..40).fold(json!({}), |inner, _| json!({ "items": [inner] }));
    let (code, text) = failure(host(&[]).load(plugin(&programs, "nested", &nested)));
    assert_eq!(code, "proc.config_schema", "{text}");
    assert!(text.contains("more than 64 deep"), "{text}");
}

/// Schemas that people write refer to themselves as well.
#[test]
fn a_schema_of_a_tree_is_usable() {
    let programs = Programs::new();
    let schema = json!({
        "properties": { "tree": { "$ref": "#/$defs/node" } },
        "$defs": { "node": {
            "required": ["name"],
            "properties": { "below": { "items": { "$ref": "#/$defs/node" } } },
        } },
    });
    let path = plugin(&programs, "tree", &schema);
    let config = |leaf| json!({ "tree": { "name": 1, "below": [{ "name": 2, "below": [leaf] }] } });
    pid(&host(&[("tree", config(json!({ "name": 3 })))])
        .load(&path)
        .unwrap());
    let (code, text) = failure(host(&[("tree", config(json!({})))]).load(&path));
    assert_eq!(code, "proc.config_schema");
    assert!(text.contains("at `/tree/below/0/below/0`"), "{text}");
}

/// A schema that goes round in circles, or a pattern that would take for ever, holds nobody up.
#[test]
fn a_hostile_schema_holds_nobody_up() {
    let programs = Programs::new();
    let circle = json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/a" } } });
    let slow = json!({ "properties": { "a": { "pattern": "^(x+x+)+y$" } } });
    let many = json!({ "properties": {}, "additionalProperties": false });
    let text = "x".repeat(5000);
    let lots: serde_json::Map<_, _> = (0..2000).map(|n| (n.to_string(), json!([n]))).collect();
    let host = host(&[
        ("circle", json!({ "a": 1 })),
        ("slow", json!({ "a": text })),
        ("many", lots.into()),
    ]);
    // Whether it fits is beside the point.
    let _ = host.load(plugin(&programs, "circle", &circle));
    assert_eq!(
        failure(host.load(plugin(&programs, "slow", &slow))).0,
        "proc.config_schema"
    );
    let (code, text) = failure(host.load(plugin(&programs, "many", &many)));
    assert_eq!(code, "proc.config_schema");
    assert!(text.len() < 20_000, "{} bytes", text.len());
}
