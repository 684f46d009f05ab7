//! How long `plg dev` takes from a saved file to the new answer, apart from the time that cargo takes: as
//! it says itself, and as whoever saves the file sees it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use plg_tests::bench::{Bench, nanos};
use plg_tests::fixtures::{Variant, program};
use plg_tests::workspace;
use serde_json::Value;

const INSIDE: &str = "change seen -> answer, less cargo's time";
const OUTSIDE: &str = "file saved -> answer read, less cargo's time";
/// An author waits this long without thinking of something else.
const REACH: Duration = Duration::from_millis(200);

fn main() {
    let mut bench = Bench::new("dev");
    let scratch = tempfile::tempdir().expect("a directory can be made");
    let plugin = scratch.path().join("dev-bench");
    let plg = program("plg", Variant::Release);
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&plg);
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dev-bench");
        command.args(arguments).env("CARGO_TARGET_DIR", target);
        command
    };
    let api = workspace().join("plugin-api");
    let (plugin_path, api) = (plugin.display().to_string(), api.display().to_string());
    let made = run(&["new", &plugin_path, "--api-path", &api]).output();
    assert!(
        made.is_ok_and(|made| made.status.success()),
        "a plugin can be made"
    );

    let mut dev = run(&[
        "dev",
        &plugin_path,
        "--json",
        "--",
        "call",
        "greet",
        "name=Ada",
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::null())
    .spawn()
    .expect("plg starts");
    let out = dev.stdout.take().expect("its output is a pipe");
    let mut lines = BufReader::new(out).lines();
    let mut round = || -> Value {
        let line = lines
            .next()
            .and_then(Result::ok)
            .expect("a round is printed");
        serde_json::from_str(&line).expect("a round is JSON")
    };
    let source = plugin.join("src/lib.rs");
    let text = fs::read_to_string(&source).expect("the plugin has a source");
    round();

    let rounds = bench.rounds(40);
    let (mut inside, mut outside, mut cargo) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..rounds {
        // As an author would, who reads the answer before the next change.
        std::thread::sleep(Duration::from_millis(200));
        let changed = text.replace("Hello, {", &format!("Hello {number}, {{"));
        let saved = Instant::now();
        fs::write(&source, changed).expect("the source can be saved");
        let answered = round();
        let whole = saved.elapsed();
        let reply = answered["answer"]["values"]["reply"].as_str();
        assert_eq!(reply, Some(&*format!("Hello {number}, Ada!")), "{answered}");
        let milliseconds = |key: &str| answered[key].as_f64().expect("a number") / 1e3;
        let built = milliseconds("build_ms");
        inside.push(milliseconds("rest_ms") * 1e9);
        outside.push(nanos(whole) - built * 1e9);
        cargo.push(built * 1e9);
    }
    // It ends with the bench; nothing else is to be told of it.
    dev.kill().expect("it still runs");
    dev.wait().expect("it ends");

    let longest = |times: &[f64]| times.iter().fold(0.0, |a: f64, b| a.max(*b)) / 1e6;
    let middle = plg_tests::bench::median(cargo) / 1e6;
    for (name, times) in [(INSIDE, inside), (OUTSIDE, outside)] {
        let at_most = longest(&times).ceil() as u64;
        let counts = [
            ("saves", rounds as u64),
            ("ms for the slowest", at_most),
            ("ms of cargo's own", middle as u64),
        ];
        bench.absolute((name, REACH), times, counts);
    }
    bench.print();
}
