//! The budget of the parser: checking everything may cost twice what a derived struct costs that checks nothing.
//! Only optimised code is judged: `cargo test --release -p plg-packaging --test speed -- --ignored`.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use plg_packaging::Manifest;
use serde::Deserialize;

const SAMPLES: [&str; 3] = [
    include_str!("samples/go-plugin.json"),
    include_str!("samples/sample.json"),
    include_str!("samples/full.json"),
];

#[test]
#[ignore = "measures, so it needs an optimised build and a quiet machine"]
fn ten_thousand_manifests_cost_at_most_twice_a_derived_struct() {
    for sample in SAMPLES {
        let bytes = sample.as_bytes();
        // In turns, so that a busy moment meets both; the shortest run counts, since noise only ever adds.
        let (mut plain, mut checked) = (Duration::MAX, Duration::MAX);
        for _ in 0..15 {
            plain = plain.min(time(|| {
                drop(serde_json::from_slice::<Plain>(black_box(bytes)).unwrap())
            }));
            checked = checked.min(time(|| drop(Manifest::parse(black_box(bytes)).unwrap())));
        }
        println!(
            "{} bytes: plain {plain:?}, checked {checked:?} for 10,000",
            bytes.len()
        );
        assert!(checked < plain * 2, "plain {plain:?}, checked {checked:?}");
    }
}

fn time(run: impl Fn()) -> Duration {
    let started = Instant::now();
    (0..10_000).for_each(|_| run());
    started.elapsed()
}

/// The fields of a manifest as serde alone reads them.
#[derive(Deserialize)]
#[expect(dead_code, reason = "the fields are there to be filled")]
struct Plain {
    name: String,
    version: String,
    description: Option<String>,
    #[serde(default)]
    maintainers: Vec<String>,
    home: Option<String>,
    source: Option<PlainSource>,
    http_services: Option<PlainServices>,
    format: Option<u32>,
    api: Option<String>,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    dependencies: serde_json::Map<String, serde_json::Value>,
    isolation: Option<String>,
    process: Option<PlainProcess>,
    config_schema: Option<serde_json::Value>,
    #[serde(default)]
    permissions: Vec<String>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "the fields are there to be filled")]
struct PlainSource {
    mode: String,
    path: String,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "the fields are there to be filled")]
struct PlainServices {
    driver: Option<String>,
    routes: Vec<PlainRoute>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "the fields are there to be filled")]
struct PlainRoute {
    route: String,
    method: String,
    label: String,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "the fields are there to be filled")]
struct PlainProcess {
    exec: String,
    args: Vec<String>,
    dialect: Option<String>,
    transport: Option<String>,
    idle_timeout: Option<String>,
}
