//! The verbs of the store, run as operators run them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::bundles::Sample;
use crate::support::untouched::Untouched;
use crate::support::{Variant, plg, stamped_bytes};

/// A store, and bundles for it.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn bundle(&self, name: &str, sample: &Sample) -> String {
        let path = self.path(name);
        fs::write(&path, sample.bytes()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(plg());
        command
            .args(arguments)
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .env("PLG_HOME", self.path("home"))
            .env("XDG_STATE_HOME", "/dev/null")
            .env_remove("PLG_STATE")
            .env_remove("PLG_PLUGIN_DIR")
            .env_remove("PLG_LOG");
        command
    }

    /// The standard output, if all went well.
    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{arguments:?}: {text}{error}");
        text
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap()
    }

    /// Refused with this code and status, and nothing changed.
    #[track_caller]
    fn refused(&self, code: &str, status: i32, arguments: &[&str]) -> String {
        let untouched = Untouched::below(self.0.path());
        let output = self.command(arguments).arg("--json").output().unwrap();
        let problem: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(problem["code"], code, "{arguments:?}: {problem}");
        assert_eq!(
            output.status.code(),
            Some(status),
            "{arguments:?}: {problem}"
        );
        let output = self.command(arguments).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            text.contains(&format!("error[{code}]")) && text.contains("help"),
            "{text}"
        );
        untouched.check(code);
        text
    }
}

/// `fixture-good`, which answers `version` to `build`.
fn good(version: u64) -> Sample {
    let bytes = stamped_bytes(Variant::Debug, version);
    Sample::new("fixture-good", &format!("1.{version}.0")).library(bytes)
}

#[test]
fn a_plugin_is_installed_called_upgraded_undone_removed_and_collected() {
    let bench = Bench::new();
    assert_eq!(bench.ok(&["gc"]), "removed 0 builds and 0 sets, 0 B\n");
    let hello = bench.bundle("hello.plg", &Sample::hello());
    let text = bench.ok(&["install", &hello]);
    assert_eq!(
        text,
        "installed hello 0.1.0\nset 1 is in force; `plg undo` takes this back\n"
    );
    assert_eq!(
        bench.ok(&["call", "hello", "greet", "name=Ada"]),
        "reply: Hello, Ada!\n"
    );

    let one = bench.bundle("one.plg", &good(1));
    let two = bench.bundle("two.plg", &good(2));
    let build = || bench.json(&["call", "fixture-good", "build"])["values"]["build"].clone();
    bench.ok(&["install", &one]);
    assert_eq!(build(), 1);
    let text = bench.ok(&["upgrade", &two]);
    assert!(
        text.starts_with("upgraded fixture-good 1.1.0 -> 1.2.0\n"),
        "{text}"
    );
    assert_eq!(build(), 2);
    assert!(
        bench
            .ok(&["undo"])
            .starts_with("went back to fixture-good 1.1.0 from 1.2.0\n")
    );
    assert_eq!(build(), 1);

    let text = bench.ok(&["history", "--installed"]);
    let changes: Vec<_> = text.lines().skip(1).collect();
    assert_eq!(changes.len(), 4, "{text}");
    assert!(
        changes[3].starts_with("4*") && changes[3].contains("undo to 2"),
        "{text}"
    );
    let sets = bench.json(&["history", "--installed", "--last", "2"]);
    assert_eq!(
        (&sets["current"], sets["sets"].as_array().unwrap().len()),
        (&json!(4), 2)
    );
    let text = bench.ok(&["list", "--installed"]);
    assert!(
        text.contains("fixture-good") && text.contains("hello.plg"),
        "{text}"
    );
    let listed = bench.json(&["list", "--installed"]);
    assert_eq!(listed["plugins"][1]["name"], "hello");
    assert_eq!(listed["plugins"][1]["level"], "trusted");

    assert!(
        bench
            .ok(&["remove", "fixture-good"])
            .starts_with("removed fixture-good 1.1.0\n")
    );
    bench.refused("plugin.not_found", 3, &["call", "fixture-good", "build"]);
    bench.ok(&["undo", "--to", "3"]);
    assert_eq!(build(), 2);
    assert!(
        bench
            .ok(&["gc", "--plan", "--keep", "0"])
            .starts_with("would have removed the build ")
    );
    let collected = bench.json(&["gc", "--keep", "0"]);
    assert_eq!(collected["builds"].as_array().unwrap().len(), 1);
    assert_eq!(build(), 2);
    bench.refused("store.no_set", 3, &["undo"]);
    let text = bench.ok(&["lock"]);
    assert!(
        text.contains("matches the set 6, and so does every file"),
        "{text}"
    );
}

#[test]
fn a_plan_says_what_would_be_and_does_nothing() {
    let bench = Bench::new();
    let bundle = bench.bundle("a.plg", &Sample::new("a", "1.0.0"));
    let untouched = Untouched::below(bench.0.path());
    let text = bench.ok(&["install", &bundle, "--plan"]);
    assert!(
        text.starts_with("would have installed a 1.0.0\nnothing was changed"),
        "{text}"
    );
    untouched.check("a plan");
    bench.ok(&["install", &bundle]);
    let untouched = Untouched::below(bench.0.path());
    assert!(bench.ok(&["install", &bundle]).contains("nothing to do"));
    for verb in [
        &["remove", "a", "--plan"][..],
        &["undo", "--plan"],
        &["gc", "--plan"],
    ] {
        bench.ok(verb);
    }
    let plan = bench.json(&["remove", "a", "--plan"]);
    assert_eq!(
        (&plan["plan"], &plan["changes"][0]["to"]),
        (&json!(true), &Value::Null)
    );
    untouched.check("plans");
}

#[test]
fn what_is_refused_has_its_code_and_its_status() {
    let bench = Bench::new();
    let sample = |version| Sample::new("a", version);
    let current = bench.bundle("a-1.plg", &sample("1.0.0"));
    let older = bench.bundle("a-0.plg", &sample("0.9.0"));
    let other = bench.bundle("a-1b.plg", &sample("1.0.0").member("assets/b.txt", "b"));
    let asks = bench.bundle(
        "a-2.plg",
        &sample("2.0.0").with("permissions", json!(["network"])),
    );
    let needs = bench.bundle(
        "b.plg",
        &Sample::new("b", "1.0.0").with("dependencies", json!({ "a": "1" })),
    );
    // What installs nothing makes no store either.
    bench.refused("store.not_installed", 3, &["upgrade", "a"]);
    bench.refused("store.not_installed", 3, &["remove", "a"]);
    bench.refused("store.no_set", 3, &["undo"]);
    bench.ok(&[
        "install",
        &bench.bundle("c.plg", &Sample::new("c", "1.0.0")),
    ]);
    bench.refused("store.not_installed", 3, &["upgrade", &current]);
    bench.refused("io.not_found", 3, &["install", "nothing.plg"]);
    bench.ok(&["install", &current, &needs]);
    fs::write(bench.path("no.plg"), "no bundle").unwrap();
    bench.refused("bundle.gzip", 4, &["install", "no.plg"]);
    bench.refused("install.downgrade", 4, &["install", &older]);
    bench.refused("lock.mismatch", 4, &["upgrade", &other]);
    bench.refused(
        "install.twice",
        4,
        &["install", &current, &other, "--update"],
    );
    bench.refused("upgrade.needs_consent", 4, &["upgrade", &asks]);
    bench.refused("deps.breaks", 1, &["upgrade", &asks, "--grant"]);
    bench.refused("deps.in_use", 1, &["remove", "a"]);
    bench.refused("store.not_installed", 3, &["remove", "nobody"]);
    bench.refused("store.no_set", 3, &["undo", "--to", "7"]);
    let misspelt = bench.command(&["remove", "No-Name"]).output().unwrap();
    assert_eq!(misspelt.status.code(), Some(2));
    bench.ok(&["upgrade", &other, "--update"]);
    // By its name it is read from where it came.
    fs::copy(&current, &other).unwrap();
    bench.refused("lock.mismatch", 4, &["upgrade", "a"]);
    bench.ok(&["upgrade", "a", "--update"]);
    bench.ok(&["remove", "a", "c", "--cascade"]);
    assert!(
        bench
            .ok(&["list", "--installed"])
            .starts_with("nothing is installed in `")
    );
}

/// Row 182 and 183, as an operator meets them.
#[test]
fn a_lock_file_or_build_that_was_changed_is_put_right() {
    let bench = Bench::new();
    let bundle = bench.bundle("hello.plg", &Sample::hello());
    bench.ok(&["install", &bundle]);
    let call = ["call", "hello", "greet", "name=Ada"];
    let lock = bench.path("home/plg.lock");
    let whole = fs::read_to_string(&lock).unwrap();
    fs::write(&lock, whole.replace("0.1.0", "0.2.0")).unwrap();
    bench.refused("lock.mismatch", 4, &["lock"]);
    bench.refused("lock.mismatch", 4, &call);
    fs::write(&lock, "{").unwrap();
    bench.refused("lock.damaged", 4, &["list", "--installed"]);
    let text = bench.ok(&["lock", "--restore"]);
    assert!(text.contains("was written again from the set 1"), "{text}");
    assert_eq!(fs::read_to_string(&lock).unwrap(), whole);
    assert_eq!(bench.json(&["lock", "--restore"])["restored"], false);

    let build = fs::read_dir(bench.path("home/builds"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let library = find(&build, "libhello.so");
    let mut bytes = fs::read(&library).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&library, bytes).unwrap();
    bench.refused("store.tampered", 4, &["lock"]);
    bench.refused("store.tampered", 4, &call);
    bench.ok(&["install", &bundle]);
    assert_eq!(bench.ok(&call), "reply: Hello, Ada!\n");
}

#[test]
fn who_signs_is_asked_of_the_trust_store() {
    let bench = Bench::new();
    bench.ok(&[
        "install",
        &bench.bundle("b.plg", &Sample::new("b", "1.0.0")),
    ]);
    let bundle = bench.bundle("a.plg", &Sample::new("a", "1.0.0").signed(b"no signature"));
    bench.refused("sig.format", 4, &["install", &bundle]);
}

/// A name is that of an installed plugin first, unless somebody says which directory is meant.
#[test]
fn a_name_is_looked_for_where_it_is_meant() {
    let bench = Bench::new();
    let call = ["call", "fixture-good", "build"];
    let build = |more: &[&str]| bench.json(&[&call[..], more].concat())["values"]["build"].clone();
    fs::create_dir(bench.path("plugins")).unwrap();
    let library = bench.path("plugins/libfixture_good.so");
    fs::write(&library, stamped_bytes(Variant::Debug, 7)).unwrap();
    assert_eq!(build(&[]), 7);
    bench.ok(&["install", &bench.bundle("good.plg", &good(8))]);
    assert_eq!(build(&[]), 8);
    assert_eq!(build(&["--plugin-dir", "plugins"]), 7);
    // To take back an undo is not one more of them.
    let text = bench.ok(&["undo"]);
    assert!(text.contains("`plg undo --to 1` takes this back"), "{text}");
    assert_eq!(build(&[]), 7);
    bench.ok(&["undo", "--to", "1"]);
    assert_eq!(build(&[]), 8);
}

#[test]
fn another_home_is_another_store() {
    let bench = Bench::new();
    let bundle = bench.bundle("a.plg", &Sample::new("a", "1.0.0"));
    bench.ok(&["install", &bundle, "--home", "elsewhere"]);
    assert!(bench.path("elsewhere/plg.lock").is_file());
    assert!(!bench.path("home").exists());
    std::os::unix::fs::symlink("elsewhere", bench.path("link")).unwrap();
    bench.refused("store.unsafe", 4, &["install", &bundle, "--home", "link"]);
}

fn find(directory: &Path, name: &str) -> PathBuf {
    let mut files = walkdir::WalkDir::new(directory).into_iter().flatten();
    let found = files.find(|entry| entry.file_name() == name);
    found.unwrap().into_path()
}
