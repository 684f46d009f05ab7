//! Plugins that are programs, from the command line: made, called, judged, packed, installed.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use crate::support::run::{Run, command};
use crate::support::{Variant, library, workspace};

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let mut command = command(self.0.path(), arguments);
        command
            .env("PLG_HOME", self.path("home"))
            .env("CARGO_TARGET_DIR", target());
        Run::from(command.output().unwrap())
    }
}

/// A target directory that stays, so that the dependencies are built once.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("made")
}

#[test]
fn a_new_program_is_called_judged_packed_and_installed() {
    let bench = Bench::new();
    let api = workspace().join("plugin-api");
    let api = api.to_str().unwrap();
    bench
        .run(&["new", "greeter", "--process", "--api-path", api])
        .ok();
    let call = ["call", "./greeter", "greet", "name=Ada"];
    assert_eq!(bench.run(&call).ok(), "reply: Hello, Ada!\n");
    let again = bench.run(&call);
    assert_eq!(again.ok(), "reply: Hello, Ada!\n");
    assert_eq!(again.stderr, "", "nothing has to be built");

    let built = bench.run(&["build", "./greeter"]);
    assert!(
        built
            .ok()
            .trim()
            .ends_with("plg/debug/greeter/assets/greeter"),
        "{}",
        built.stdout
    );
    let inspected = bench.run(&["inspect", "./greeter", "--json"]);
    assert!(
        inspected.json()["program"].is_string(),
        "{}",
        inspected.stdout
    );
    let judged = bench.run(&["conformance", "./greeter", "--json"]);
    assert_eq!(judged.json()["conforms"], true, "{}", judged.stdout);
    assert_eq!(judged.json()["labels"], false);

    // Changed sources are built before the call.
    let source = bench.path("greeter/src/main.rs");
    let changed = fs::read_to_string(&source)
        .unwrap()
        .replace("Hello, {", "Howdy, {");
    fs::write(&source, changed).unwrap();
    assert_eq!(bench.run(&call).ok(), "reply: Howdy, Ada!\n");

    bench.run(&["pack", "./greeter", "-o", "greeter.plg"]).ok();
    let bare = bench.run(&["call", "greeter.plg", "greet", "name=Ada"]);
    let said = bare.failed(4, "bundle.program");
    assert!(said.contains("plg install"), "{said}");
    bench.run(&["install", "greeter.plg"]).ok();
    // Now the name is only that of what is installed.
    fs::rename(bench.path("greeter"), bench.path("sources")).unwrap();
    let installed = bench.run(&["call", "greeter", "greet", "name=Eve"]);
    assert_eq!(installed.ok(), "reply: Howdy, Eve!\n");

    // What is installed is what runs.
    let home = bench.path("home");
    let program = walkdir::WalkDir::new(&home).into_iter().map(Result::unwrap);
    let mut program = program.filter(|entry| entry.path().ends_with("assets/greeter"));
    let program = program.next().unwrap().into_path();
    let mut permissions = fs::metadata(&program).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o700);
    fs::set_permissions(&program, permissions).unwrap();
    let mut bytes = fs::read(&program).unwrap();
    bytes.push(0);
    fs::write(&program, bytes).unwrap();
    let tampered = bench.run(&["call", "greeter", "greet", "name=Eve"]);
    tampered.failed(4, "store.tampered");
}

#[test]
fn a_script_is_packed_with_what_its_interpreter_is_given() {
    let bench = Bench::new();
    let sample = workspace().join("plugins/py-upper");
    let script = fs::read_to_string(sample.join("py_upper.py")).unwrap();
    let manifest = |script: &str| {
        let process = json!({ "exec": "python3", "args": [script] });
        json!({ "name": "upper", "version": "0.1.0", "process": process }).to_string()
    };
    for (name, place) in [("bad", "upper.py"), ("good", "assets/upper.py")] {
        let directory = bench.path(name);
        fs::create_dir_all(directory.join("assets")).unwrap();
        fs::write(directory.join("plugin.json"), manifest(place)).unwrap();
        // It reads the manifest beside it.
        let text = script.replace("os.path.join(HERE, ", "os.path.join(HERE, \"..\", ");
        fs::write(directory.join(place), text).unwrap();
    }
    let refused = bench.run(&["pack", "./bad", "-o", "bad.plg"]);
    let said = refused.failed(4, "pack.path");
    assert!(said.contains("assets/"), "{said}");
    bench.run(&["pack", "./good", "-o", "good.plg"]).ok();
    bench.run(&["install", "good.plg"]).ok();
    if std::process::Command::new("python3")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("skipped: there is no python3");
        return;
    }
    let called = bench.run(&["call", "upper", "upper", "text=a"]);
    assert_eq!(called.ok(), "text: A\n");
}

#[test]
fn a_plugin_is_judged_from_the_command_line() {
    let bench = Bench::new();
    let fixture = library("fixture-conformance", Variant::Debug);
    let fixture = fixture.to_str().unwrap();
    let told = bench.run(&["conformance", fixture]);
    assert!(
        told.ok()
            .starts_with("fixture-conformance 1.2.3, in-process\n"),
        "{}",
        told.stdout
    );
    assert!(told.stdout.contains(" 0 failed, "), "{}", told.stdout);
    let apart = bench.run(&["conformance", fixture, "--isolated", "--all"]);
    assert!(
        apart
            .ok()
            .starts_with("fixture-conformance 1.2.3, process\n"),
        "{}",
        apart.stdout
    );
    assert!(
        apart.stdout.contains("passed  values.i64"),
        "{}",
        apart.stdout
    );

    let broken = bench.path("broken.so");
    fs::write(&broken, "no library").unwrap();
    let broken = broken.to_str().unwrap();
    bench
        .run(&["conformance", broken])
        .failed(5, "conformance.failed");
    let report = bench.run(&["conformance", broken, "--json"]);
    assert_eq!(
        (report.status, &report.json()["conforms"]),
        (5, &json!(false))
    );
    let bad = library("fixture-bad", Variant::Debug);
    assert_eq!(bench.run(&["conformance", bad.to_str().unwrap()]).status, 0);
}
