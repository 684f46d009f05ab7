//! Verbs of the `plg` command that go on until they are told to end, and what hosts leave for others.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::plugins::{copy, loaded, named};
use crate::support::{Variant, library, plg, wait_until, workspace};

/// A `plg` that runs. It is ended with the test at the latest.
struct Live {
    child: Child,
    lines: Receiver<Value>,
    errors: Option<JoinHandle<String>>,
}

/// No build on a busy machine takes longer.
const PATIENCE: Duration = Duration::from_secs(180);

impl Live {
    fn start(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line);
                let _ = sender.send(line.unwrap_or_else(|error| panic!("{error}")));
            }
        });
        let errors = thread::spawn(move || {
            let mut text = String::new();
            let _ = BufReader::new(err).read_to_string(&mut text);
            text
        });
        Self {
            child,
            lines,
            errors: Some(errors),
        }
    }

    /// The next object that it prints.
    #[track_caller]
    fn next(&mut self) -> Value {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(error) => {
                let _ = self.child.kill();
                panic!("{error}: {}", self.errors());
            }
        }
    }

    /// The next object that `is_it` says yes to.
    #[track_caller]
    fn until(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let next = self.next();
            if is_it(&next) {
                return next;
            }
        }
    }

    /// The answer of the next round, which must be of this number and after a change of these files.
    #[track_caller]
    fn round(&mut self, number: u64, changed: &[&str]) -> Value {
        let round = self.next();
        assert_eq!(round["round"], number, "{round}");
        assert_eq!(round["changed"], serde_json::json!(changed), "{round}");
        round
    }

    /// What Ctrl-C makes of it.
    fn interrupt(&mut self) -> ExitStatus {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        let mut status = None;
        wait_until("it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    fn errors(&mut self) -> String {
        let errors = self.errors.take();
        errors
            .map(|errors| errors.join().unwrap())
            .unwrap_or_default()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(plg());
    command
        .args(arguments)
        .current_dir(workspace())
        .stdin(Stdio::null())
        .env("XDG_STATE_HOME", "/dev/null")
        .env("PLG_HOME", "/nonexistent")
        .env(
            "CARGO_TARGET_DIR",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("dev-plugin"),
        )
        .env("INCLUDE", workspace().join("plugin-api/include"))
        .env_remove("PLG_STATE")
        .env_remove("PLG_PLUGIN_DIR")
        .env_remove("PLG_LOG");
    command
}

/// The status, the one object on the standard output, and the standard error.
fn json(arguments: &[&str]) -> (i32, Value, String) {
    let output = command(arguments).arg("--json").output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    let document = serde_json::from_slice(&output.stdout);
    let document = document.unwrap_or_else(|error| panic!("{arguments:?}: {error}: {errors}"));
    (output.status.code().unwrap(), document, errors)
}

/// The status, the standard output, and the standard error.
fn told(arguments: &[&str]) -> (i32, String, String) {
    let output = command(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let status = output.status.code().unwrap();
    (status, text(output.stdout), text(output.stderr))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The crate of a new plugin of that name, in a directory with a space in its path.
fn new_plugin(name: &str) -> (TempDir, PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    let parent = scratch.path().join("two words");
    fs::create_dir(&parent).unwrap();
    let directory = parent.join(name);
    let api = workspace().join("plugin-api");
    let (status, _, errors) = told(&["new", text(&directory), "--api-path", text(&api)]);
    assert_eq!(status, 0, "{errors}");
    (scratch, directory)
}

/// The sample in C in a directory of its own.
fn c_plugin() -> (TempDir, PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("c-hello");
    fs::create_dir(&directory).unwrap();
    for file in ["Makefile", "hello.c", "plugin.json"] {
        let sample = workspace().join("plugins/c-hello").join(file);
        fs::copy(sample, directory.join(file)).unwrap();
    }
    (scratch, directory)
}

/// Puts a copy of `library` there so that nobody sees half of it.
fn put(library: &Path, directory: &Path, name: &str) {
    let scratch = tempfile::tempdir_in(directory.parent().unwrap()).unwrap();
    let copied = copy(library, scratch.path(), name);
    fs::rename(copied, directory.join(name)).unwrap();
}

/// Saves the file with one text in the place of another.
#[track_caller]
fn replace(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(file, text.replace(from, to)).unwrap();
}

#[test]
fn dev_answers_again_after_every_save() {
    let (_scratch, plugin) = new_plugin("dev-loop");
    let source = plugin.join("src/lib.rs");
    let arguments = [
        "dev",
        text(&plugin),
        "--json",
        "--",
        "call",
        "greet",
        "name=Ada",
    ];
    let mut dev = Live::start(&mut command(&arguments));
    let first = dev.round(1, &[]);
    assert_eq!(first["answer"]["values"]["reply"], "Hello, Ada!", "{first}");
    assert_eq!(
        (&first["plugin"], &first["version"]),
        (&"dev-loop".into(), &"0.1.0".into())
    );
    assert_eq!(first["generation"], 1);
    assert!(first["build_ms"].as_f64().unwrap() > 0.0);
    assert!(first["rest_ms"].as_f64().unwrap() > 0.0);

    replace(&source, "Hello, {", "Howdy, {");
    let second = dev.round(2, &["src/lib.rs"]);
    assert_eq!(second["answer"]["values"]["reply"], "Howdy, Ada!");
    assert_eq!(second["answer"]["generation"], 2);
    assert_eq!(second["retained"], Value::Null);
    assert_eq!(second["problem"], Value::Null);

    // What does not compile leaves the build before.
    let good = fs::read_to_string(&source).unwrap();
    fs::write(&source, "no rust").unwrap();
    let broken = dev.round(3, &["src/lib.rs"]);
    assert_eq!(broken["problem"]["code"], "build.failed", "{broken}");
    assert_eq!(broken["answer"], Value::Null);
    assert_eq!(broken["generation"], 2);

    // What is no source starts nothing; a new directory with a file does.
    for file in ["src/.lib.rs.swp", "src/lib.rs~", "Cargo.lock"] {
        fs::write(plugin.join(file), "version = 4\n").unwrap();
    }
    fs::create_dir(plugin.join("src/deep")).unwrap();
    fs::write(
        plugin.join("src/deep/word.rs"),
        "pub(crate) const WORD: &str = \"Hi\";\n",
    )
    .unwrap();
    let module = good
        .replace("Howdy, {", "{}, {")
        .replace("name}!\"", "name}!\", deep::WORD");
    fs::write(
        plugin.join("src/deep/mod.rs"),
        "mod word;\npub(crate) use word::WORD;\n",
    )
    .unwrap();
    fs::write(&source, format!("{module}\nmod deep;\n")).unwrap();
    let mended = dev.until(|round| round["problem"].is_null());
    assert_eq!(mended["answer"]["values"]["reply"], "Hi, Ada!", "{mended}");
    assert_eq!(mended["generation"], 3);
    let number = mended["round"].as_u64().unwrap();
    replace(&plugin.join("src/deep/word.rs"), "Hi", "Ho");
    let deep = dev.round(number + 1, &["src/deep/word.rs"]);
    assert_eq!(deep["answer"]["values"]["reply"], "Ho, Ada!");

    // A call that fails is a problem of its own: the new build answers.
    replace(&source, "\"greet\" =>", "\"greeted\" =>");
    let failed = dev.round(number + 2, &["src/lib.rs"]);
    assert_eq!(failed["problem"]["code"], "call.no_route", "{failed}");
    assert_eq!(failed["generation"], 5);

    // The same words saved again: cargo makes the same, and the same build answers.
    replace(&plugin.join("plugin.json"), "Greets", "Greets");
    let same = dev.round(number + 3, &["plugin.json"]);
    assert_eq!(same["problem"]["code"], "call.no_route", "{same}");
    assert_eq!(dev.interrupt().code(), Some(0));
}

#[test]
fn dev_watches_crates_that_the_plugin_depends_on() {
    let (scratch, plugin) = new_plugin("dev-depends");
    let words = scratch.path().join("words");
    fs::create_dir_all(words.join("src")).unwrap();
    let manifest = "[package]\nname = \"words\"\nedition = \"2024\"\n";
    fs::write(words.join("Cargo.toml"), manifest).unwrap();
    fs::write(
        words.join("src/lib.rs"),
        "pub const WORD: &str = \"Hello\";\n",
    )
    .unwrap();
    let arguments = [
        "dev",
        text(&plugin),
        "--json",
        "--",
        "call",
        "greet",
        "name=Ada",
    ];
    let mut dev = Live::start(&mut command(&arguments));
    dev.round(1, &[]);

    // From the build on that names it.
    let depends = "[dependencies]\nwords = { path = \"../../words\" }";
    replace(&plugin.join("Cargo.toml"), "[dependencies]", depends);
    replace(
        &plugin.join("src/lib.rs"),
        "Hello, {name}!\"",
        "{}, {name}!\", words::WORD",
    );
    let built = dev.until(|round| round["problem"].is_null());
    assert_eq!(built["answer"]["values"]["reply"], "Hello, Ada!", "{built}");
    replace(&words.join("src/lib.rs"), "Hello", "Howdy");
    let changed = dev.until(|round| round["answer"]["values"]["reply"] == "Howdy, Ada!");
    assert!(
        changed["changed"][0]
            .as_str()
            .unwrap()
            .ends_with("words/src/lib.rs"),
        "{changed}"
    );

    // A plugin of another name takes the place of the one before.
    replace(
        &plugin.join("plugin.json"),
        "\"dev-depends\"",
        "\"dev-other\"",
    );
    replace(
        &plugin.join("Cargo.toml"),
        "\"dev-depends\"",
        "\"dev-other\"",
    );
    let renamed = dev.until(|round| round["plugin"] == "dev-other");
    assert_eq!(
        renamed["answer"]["values"]["reply"], "Howdy, Ada!",
        "{renamed}"
    );
    assert_eq!(dev.interrupt().code(), Some(0));
}

/// A cargo that does not end while there is a file `hold` in the directory of the test.
fn slow_cargo(directory: &Path) -> PathBuf {
    let script = directory.join("slow-cargo");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let lines = [
        "#!/bin/sh",
        &format!("'{cargo}' \"$@\"; status=$?"),
        "[ \"$1\" = build ] || exit $status",
        &format!("cd '{}'; : > built", directory.display()),
        "while [ -e hold ]; do sleep 0.01; done",
        "exit $status",
    ];
    fs::write(&script, lines.join("\n")).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

#[test]
fn changes_during_a_build_lead_to_one_more() {
    let (scratch, plugin) = new_plugin("dev-during");
    let source = plugin.join("src/lib.rs");
    let (hold, built) = (scratch.path().join("hold"), scratch.path().join("built"));
    let arguments = [
        "dev",
        text(&plugin),
        "--json",
        "--",
        "call",
        "greet",
        "name=Ada",
    ];
    let mut dev = command(&arguments);
    let mut dev = Live::start(dev.env("CARGO", slow_cargo(scratch.path())));
    dev.round(1, &[]);

    fs::write(&hold, "").unwrap();
    fs::remove_file(&built).unwrap();
    replace(&source, "Hello, {", "One, {");
    wait_until("the build runs", || built.exists());
    replace(&source, "One, {", "Two, {");
    fs::write(plugin.join("README.md"), "changed").unwrap();
    replace(&source, "Two, {", "Three, {");
    fs::remove_file(&hold).unwrap();
    let first = dev.round(2, &["src/lib.rs"]);
    assert_eq!(first["answer"]["values"]["reply"], "One, Ada!");
    let second = dev.round(3, &["README.md", "src/lib.rs"]);
    assert_eq!(second["answer"]["values"]["reply"], "Three, Ada!");

    // What the build wrote as it was before is no change: the next round is the next save.
    fs::write(&hold, "").unwrap();
    fs::remove_file(&built).unwrap();
    replace(&source, "Three, {", "Four, {");
    wait_until("the build runs", || built.exists());
    replace(&source, "Four, {", "Four, {");
    fs::remove_file(&hold).unwrap();
    assert_eq!(
        dev.round(4, &["src/lib.rs"])["answer"]["values"]["reply"],
        "Four, Ada!"
    );
    fs::write(plugin.join("NOTES.md"), "").unwrap();
    dev.round(5, &["NOTES.md"]);

    // Ctrl-C in the middle of a build.
    fs::write(&hold, "").unwrap();
    fs::remove_file(&built).unwrap();
    replace(&source, "Four, {", "Five, {");
    wait_until("the build runs", || built.exists());
    assert_eq!(dev.interrupt().code(), Some(0));
    fs::remove_file(&hold).unwrap();
}

#[test]
fn dev_once_ends_with_the_status_of_the_call() {
    let (_scratch, plugin) = new_plugin("dev-once");
    let plugin = text(&plugin);
    let once = |arguments: &[&str]| told(&[&["dev", plugin, "--once"], arguments].concat());
    let (status, answer, errors) = once(&["--", "call", "greet", "name=Ada"]);
    assert_eq!((status, &*answer), (0, "reply: Hello, Ada!\n"), "{errors}");
    assert!(errors.contains("[1] cargo "), "{errors}");
    assert_eq!(once(&[]).0, 0);
    for (call, status, code) in [
        (&["call", "gret"][..], 3, "call.no_route"),
        (&["call", "greet"], 5, "ctx.missing"),
        (&["call", "greet", "name"], 2, "usage.values"),
        (&["call"], 2, "usage.arguments"),
        (&["greet"], 2, "usage.arguments"),
    ] {
        let (found, _, errors) = once(&[&["--"], call].concat());
        assert!(
            errors.contains(&format!("error[{code}]: ")),
            "{call:?}: {errors}"
        );
        assert_eq!(found, status, "{call:?}: {errors}");
    }
    let line = command(&["dev", plugin, "--once", "--json", "--", "call", "gret"]);
    let mut line = Live::start(&mut { line });
    assert_eq!(line.round(1, &[])["problem"]["exit_status"], 3);
    let (status, document, _) = json(&["dev", text(&workspace().join("host/src")), "--once"]);
    assert_eq!((status, &document["code"]), (1, &"build.no_sources".into()));
}

#[test]
fn dev_builds_a_plugin_in_c() {
    let (_scratch, plugin) = c_plugin();
    let source = plugin.join("hello.c");
    let arguments = [
        "dev",
        text(&plugin),
        "--json",
        "--",
        "call",
        "greet",
        "name=Ada",
    ];
    let mut dev = Live::start(&mut command(&arguments));
    assert_eq!(
        dev.round(1, &[])["answer"]["values"]["reply"],
        "Hello, Ada!"
    );
    // The library is made beside the source, and is none.
    for (number, (from, to)) in (2..).zip([("Hello, ", "Howdy, "), ("Howdy, ", "Hi, ")]) {
        replace(&source, from, to);
        let round = dev.round(number, &["hello.c"]);
        let reply = format!("{to}Ada!");
        assert_eq!(
            round["answer"]["values"]["reply"],
            reply.as_str(),
            "{round}"
        );
        assert_eq!(round["generation"], number);
    }
    assert_eq!(dev.interrupt().code(), Some(0));
}

#[test]
fn dev_ends_in_the_middle_of_a_call() {
    let (_scratch, plugin) = c_plugin();
    let begun = plugin.join("begun.tmp");
    let source = plugin.join("hello.c");
    let function = fs::read_to_string(&source).unwrap();
    let body = function.find("\n{").expect("a function has a body") + 2;
    let forever = format!(
        "\n    fclose(fopen(\"{}\", \"w\"));\n    for (;;) sleep(1);\n",
        begun.display()
    );
    let (head, tail) = function.split_at(body);
    let text_of = format!("#include <stdio.h>\n#include <unistd.h>\n{head}{forever}{tail}");
    fs::write(&source, text_of).unwrap();
    let arguments = [
        "dev",
        text(&plugin),
        "--json",
        "--",
        "call",
        "greet",
        "name=Ada",
    ];
    let mut dev = Live::start(&mut command(&arguments));
    wait_until("the call began", || begun.exists());
    let started = Instant::now();
    assert_eq!(dev.interrupt().code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn dev_looks_by_itself_where_the_system_does_not_tell() {
    let (_scratch, plugin) = c_plugin();
    let arguments = [
        "dev",
        text(&plugin),
        "--json",
        "--",
        "call",
        "greet",
        "name=Ada",
    ];
    let asked = command(&[&arguments[..3], &["--poll"], &arguments[3..]].concat());
    // In a world of its own, in which nobody may watch anything.
    let mut refused = Command::new("unshare");
    refused.args(["--user", "--map-root-user", "sh", "-c"]);
    refused.arg("echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\"");
    refused.arg("sh").arg(plg()).args(arguments);
    refused.envs(
        asked
            .get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    let can_refuse = Command::new("unshare")
        .args(["--user", "--map-root-user", "true"])
        .status()
        .is_ok_and(|status| status.success());
    let runs = [(asked, false), (refused, true)];
    let runs = runs
        .into_iter()
        .filter(|(_, is_refused)| can_refuse || !is_refused);
    for ((mut run, is_refused), (from, to)) in
        runs.zip([("Hello, ", "Howdy, "), ("Howdy, ", "Hello, ")])
    {
        let mut dev = Live::start(&mut run);
        if is_refused {
            let warning = dev.next();
            assert_eq!(warning["event"], "warning");
            assert_eq!(warning["code"], "dev.polling", "{warning}");
        }
        dev.round(1, &[]);
        replace(&plugin.join("hello.c"), from, to);
        let reply = format!("{to}Ada!");
        let round = dev.until(|round| round["answer"]["values"]["reply"] == reply.as_str());
        assert_eq!(round["changed"][0], "hello.c");
        assert_eq!(dev.interrupt().code(), Some(0));
    }
}

#[test]
fn watch_shows_what_happens_in_a_directory() {
    let scratch = tempfile::tempdir().unwrap();
    copy(&named("first", 1), scratch.path(), "libfirst.so");
    fs::write(scratch.path().join("broken.so"), "no library").unwrap();
    let state = tempfile::tempdir().unwrap();
    let arguments = [
        "watch",
        text(scratch.path()),
        "--json",
        "--state",
        text(state.path()),
    ];
    let mut watch = Live::start(&mut command(&arguments));
    let (mut loaded, mut failed) = (None, None);
    while loaded.is_none() || failed.is_none() {
        let event = watch.next();
        match (event["step"].as_str(), event["phase"].as_str()) {
            (Some("load"), Some("done")) => loaded = Some(event),
            (_, Some("failed")) => failed = Some(event),
            _ => {}
        }
    }
    let loaded = loaded.unwrap();
    assert_eq!(
        (&loaded["plugin"], &loaded["generation"]),
        (&"first".into(), &1.into())
    );
    assert_eq!(loaded["version"], "1.0.0");
    assert!(loaded["time"].as_str().unwrap().ends_with('Z'), "{loaded}");
    assert_eq!(failed.unwrap()["code"], "native.format");
    // A new build, a new plugin, and one that goes.
    let done = |plugin: &'static str, step: &'static str| {
        move |event: &Value| {
            event["plugin"] == plugin && event["step"] == step && event["phase"] == "done"
        }
    };
    put(&named("first", 2), scratch.path(), "libfirst.so");
    assert_eq!(watch.until(done("first", "upgrade"))["generation"], 2);
    put(&named("second", 1), scratch.path(), "libsecond.so");
    watch.until(done("second", "load"));
    fs::remove_file(scratch.path().join("libsecond.so")).unwrap();
    watch.until(done("second", "unload"));
    assert_eq!(watch.interrupt().code(), Some(0));

    // Its host is in the history.
    let (_, history, _) = json(&["history", text(state.path())]);
    let entries = history["entries"].as_array().unwrap();
    let changes: Vec<_> = entries
        .iter()
        .map(|entry| entry["change"].as_str().unwrap())
        .collect();
    let expected = ["loaded", "upgraded", "loaded", "unloaded", "unloaded"];
    assert_eq!(changes, expected, "{history}");
    assert_eq!(entries[1]["why"], "watched", "{history}");
    let (status, missing, _) = json(&["watch", "/nope"]);
    assert_eq!((status, &missing["code"]), (3, &"io.not_found".into()));
}

#[test]
fn history_shows_what_hosts_did() {
    let state = tempfile::tempdir().unwrap();
    let directory = text(state.path());
    let (status, empty, _) = told(&["history", "--state", directory]);
    assert_eq!(status, 0);
    assert!(empty.starts_with("nothing happened yet in `"), "{empty}");

    for (name, build) in [("first", 1), ("second", 2)] {
        let library = named(name, build);
        let (status, answer, errors) =
            told(&["call", text(&library), "build", "--state", directory]);
        assert_eq!(
            (status, answer),
            (0, format!("build: {build}\n")),
            "{errors}"
        );
    }
    let (_, table, errors) = told(&["history", directory]);
    assert!(table.starts_with("NUMBER  TIME "), "{table}");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 5, "{table}");
    assert!(
        lines[1].contains("  loaded    first   1.0.0    asked "),
        "{table}"
    );
    assert!(lines[4].contains("  unloaded  second  1.0.0  "), "{table}");
    assert_eq!(errors, "");
    let (_, last, _) = json(&["history", directory, "--last", "1"]);
    assert_eq!(last["entries"].as_array().unwrap().len(), 1);
    assert_eq!(last["entries"][0]["plugin"], "second");
    assert_eq!(last["entries"][0]["number"], 4);

    // As the environment names it, and after a change.
    let mut at = command(&["history", "--at", "3", "--json"]);
    let at = at.env("PLG_STATE", directory).output().unwrap();
    let at: Value = serde_json::from_slice(&at.stdout).unwrap();
    assert_eq!(at["plugins"]["second"]["version"], "1.0.0", "{at}");
    assert_eq!(at["plugins"]["first"], Value::Null);
    let (_, set, _) = told(&["history", directory, "--at", "1"]);
    assert!(
        set.lines()
            .nth(1)
            .unwrap()
            .starts_with("first   1.0.0    sha256:"),
        "{set}"
    );
    let (_, none, _) = told(&["history", directory, "--at", "2"]);
    assert_eq!(none, "nothing was loaded after the change 2\n");
    let (status, missing, _) = json(&["history", directory, "--at", "99"]);
    assert_eq!((status, &missing["code"]), (3, &"history.not_found".into()));

    // What cannot be read is said.
    let file = state.path().join("history.jsonl");
    let damaged = fs::read_to_string(&file).unwrap() + "no entry\n";
    fs::write(&file, damaged).unwrap();
    let (status, _, errors) = told(&["history", directory]);
    assert_eq!(status, 0);
    let code = "history.damaged";
    assert!(
        errors.starts_with(&format!("warning[{code}]: 1 ")),
        "{errors}"
    );
    assert_eq!(json(&["history", directory]).1["skipped"], 1);
    assert_eq!(told(&["history", "/nope"]).0, 3);
    assert_eq!(told(&["history", "--state", "/nope"]).0, 3);
    // Nobody asked for a directory, and there is none yet.
    assert_eq!(told(&["history"]).0, 0);
}

#[test]
fn a_build_that_crashed_stays_out_until_it_is_cleared() {
    let state = tempfile::tempdir().unwrap();
    let directory = text(state.path());
    let crashing = loaded(&["CONSTRUCTOR=abort()", "BUILD=77"]);
    let call = |more: &[&str]| {
        json(
            &[
                &["call", text(&crashing), "build", "--state", directory],
                more,
            ]
            .concat(),
        )
    };
    let list = || json(&["quarantine", "list", "--state", directory]).1["quarantined"].clone();
    let clear = |what: &str| json(&["quarantine", "clear", what, "--state", directory]);
    let (_, none, _) = told(&["quarantine", "list", "--state", directory]);
    assert!(none.starts_with("no build is quarantined in `"), "{none}");

    assert_eq!(call(&["--probe"]).1["code"], "native.probe_crashed");
    // Without the probe it would end the process now.
    let (status, refused, _) = call(&[]);
    assert_eq!(
        (status, &refused["code"]),
        (4, &"native.quarantined".into())
    );
    let help = refused["help"].as_str().unwrap();
    assert!(help.contains("plg quarantine clear"), "{help}");

    let row = list()[0].clone();
    assert_eq!(row["plugin"], "loaded", "{row}");
    assert!(row["reason"].as_str().unwrap().contains("signal"), "{row}");
    let (_, table, _) = told(&["quarantine", "list", "--state", directory]);
    let digest = row["digest"].as_str().unwrap();
    let digits = digest.strip_prefix("sha256:").unwrap();
    assert!(
        table.contains(&format!("{}  loaded  1.0.0 ", &digits[..12])),
        "{table}"
    );

    for what in ["other", &digits[..7], "sha256:00000000"] {
        let (status, unknown, _) = clear(what);
        assert_eq!(
            (status, &unknown["code"]),
            (3, &"quarantine.not_found".into()),
            "{what}"
        );
    }
    assert_eq!(clear(&digits[..8]).1["cleared"][0]["digest"], digest);
    assert_eq!(list(), serde_json::json!([]));
    for what in [digest, "loaded"] {
        assert_eq!(call(&["--probe"]).1["code"], "native.probe_crashed");
        assert_eq!(clear(what).0, 0);
        assert_eq!(list(), serde_json::json!([]));
    }
    call(&["--probe"]);
    let (status, cleared, _) = told(&["quarantine", "clear", "--all", "--state", directory]);
    assert_eq!(status, 0);
    assert_eq!(
        cleared,
        format!("loaded 1.0.0 may be loaded again: {digest}\n")
    );
    assert_eq!(told(&["quarantine", "clear", "--state", directory]).0, 2);

    // Nor does what ended the process itself stay in.
    let bad = library("fixture-bad", Variant::Debug);
    let call = ["call", text(&bad), "abort", "--state", directory];
    assert_eq!(command(&call).output().unwrap().status.signal(), Some(6));
    let (status, refused, _) = json(&call);
    assert_eq!(
        (status, &refused["code"]),
        (4, &"native.quarantined".into())
    );
    assert_eq!(clear("fixture-bad").1["cleared"][0]["version"], "1.0.0");

    // A list that cannot be changed.
    let call = [
        "call",
        text(&crashing),
        "build",
        "--probe",
        "--state",
        directory,
    ];
    assert_eq!(json(&call).1["code"], "native.probe_crashed");
    let file = state.path().join("quarantine.json");
    let newer = fs::read_to_string(&file)
        .unwrap()
        .replace("\"format\": 1", "\"format\": 99");
    fs::write(&file, newer).unwrap();
    let (status, unreadable, _) = json(&["quarantine", "list", "--state", directory]);
    assert_eq!(status, 0);
    assert_eq!(
        unreadable["problems"][0]["code"], "quarantine.unreadable",
        "{unreadable}"
    );
}
