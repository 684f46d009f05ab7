//! The verbs of bundles, run as their users run them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use plg_packaging::bundle::{Limits, Reader, Target};
use plg_packaging::sign::{SecretKey, verify_bundle};
use plg_tests::archive;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::run::{Run, command};
use crate::support::{Variant, library};

#[test]
fn a_crate_is_built_and_packed() {
    let scratch = directory();
    let file = text(&scratch.path().join("hello.plg")).to_owned();
    let run = Run::of(&["pack", "plugins/hello", "-o", &file]);
    assert!(
        run.ok().starts_with("packed hello 0.1.0\n"),
        "{}",
        run.stdout
    );
    let bytes = fs::read(&file).unwrap();
    // The build is there already, and so is the bundle: both stay the same.
    let again = Run::of(&["pack", "plugins/hello", "-o", &file, "--json"]).json();
    assert_eq!(fs::read(&file).unwrap(), bytes);
    assert_eq!(again["packed_bytes"], bytes.len());
    assert_eq!(again["targets"], json!([Target::current()]));
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    let other = scratch.path().join("other");
    fs::write(&other, "").unwrap();
    assert_eq!(
        mode,
        fs::metadata(other).unwrap().permissions().mode() & 0o777
    );
    assert_eq!(
        names(scratch.path()),
        ["hello.plg", "other"],
        "nothing else is left"
    );

    let unpacked = Run::within(scratch.path(), &["unpack", "hello.plg", "--json"]).json();
    assert_eq!(unpacked["digest"], again["digest"]);
    let root = scratch.path().join("hello-0.1.0");
    let manifest = fs::read(crate::support::workspace().join("plugins/hello/plugin.json"));
    assert_eq!(
        fs::read(root.join("plugin.json")).unwrap(),
        manifest.unwrap()
    );
    let library = again["members"][0]["path"].as_str().unwrap();
    Run::within(&root, &["check", library]).ok();
    // A bundle, and what was in it, is as good as a library.
    Run::within(scratch.path(), &["check", "hello.plg"]).ok();
    for plugin in ["hello.plg", "./hello-0.1.0"] {
        let run = Run::within(scratch.path(), &["call", plugin, "greet", "name=Ada"]);
        assert_eq!(run.ok(), "reply: Hello, Ada!\n");
    }
}

#[test]
fn two_copies_of_a_directory_make_the_same_bytes() {
    let plugin = Plugin::new("0.1.0", &["greet"]);
    plugin.asset("web/index.html", "<p>hello</p>", 0o644);
    plugin.asset("run.sh", "#!/bin/sh\n", 0o755);
    let copy = directory();
    let copied = Command::new("cp")
        .arg("-r")
        .arg(plugin.0.path())
        .arg(copy.path().join("other"))
        .status();
    assert!(copied.unwrap().success());
    let out = directory();
    let pack = |at: &Path, name: &str| {
        let file = out.path().join(name);
        Run::of(&["pack", text(at), "-o", text(&file)]).ok();
        fs::read(file).unwrap()
    };
    let one = pack(plugin.0.path(), "one.plg");
    assert!(pack(&copy.path().join("other"), "two.plg") == one);
    // Without `-o` it stands where it was packed, under the plugin's name.
    Run::within(out.path(), &["pack", text(plugin.0.path())]).ok();
    assert!(fs::read(out.path().join("hello-0.1.0.plg")).unwrap() == one);
    let root = out.path().join("root");
    Run::of(&[
        "unpack",
        text(&out.path().join("one.plg")),
        "-o",
        text(&root),
    ])
    .ok();
    let program = fs::metadata(root.join("assets/run.sh")).unwrap();
    assert_eq!(program.permissions().mode() & 0o100, 0o100);
}

#[test]
fn a_plan_writes_nothing() {
    let plugin = Plugin::new("0.1.0", &["greet"]);
    let out = directory();
    let plan = Run::within(
        out.path(),
        &["pack", text(plugin.0.path()), "--plan", "--json"],
    )
    .json();
    assert_eq!(names(out.path()), [""; 0]);
    assert_eq!(plan["file"], Value::Null);
    let shown = Run::within(out.path(), &["pack", text(plugin.0.path()), "--plan"]);
    assert!(shown.ok().contains("would pack hello 0.1.0"));
    let packed = Run::within(out.path(), &["pack", text(plugin.0.path()), "--json"]).json();
    assert_eq!(packed["digest"], plan["digest"]);
    assert_eq!(packed["members"], plan["members"]);
}

/// What a host would refuse is refused here already, and nothing is written.
#[test]
fn what_could_not_be_loaded_is_not_packed() {
    let plugin = Plugin::new("0.1.0", &["greet"]);
    let whole = fs::read(plugin.library()).unwrap();
    let out = directory();
    let refused = |arguments: &[&str], code: &str, status: i32| {
        let all = [&["pack", text(plugin.0.path())], arguments].concat();
        let run = Run::within(out.path(), &all);
        run.failed(status, code);
        assert_eq!(names(out.path()), [""; 0], "{code}");
        run.stderr
    };
    fs::write(plugin.library(), &whole[..whole.len() / 2]).unwrap();
    refused(&[], "native.corrupt", 4);
    fs::write(plugin.library(), "no library").unwrap();
    refused(&[], "native.format", 4);
    fs::write(plugin.library(), &whole).unwrap();

    // Of another machine: only what can be seen from outside.
    let mut foreign = whole.clone();
    foreign[18..20].copy_from_slice(&183_u16.to_le_bytes());
    let elsewhere = directory();
    let path = elsewhere.path().join("libhello.so");
    let wanted = format!("aarch64-unknown-linux-gnu={}", path.display());
    fs::write(&path, &foreign).unwrap();
    let packed = Run::of(&[
        "pack",
        text(plugin.0.path()),
        "--plan",
        "--json",
        "--target",
        &wanted,
    ]);
    assert_eq!(
        packed.json()["not_judged"],
        json!(["aarch64-unknown-linux-gnu"]),
        "{}",
        packed.stdout
    );
    fs::write(&path, &foreign[..foreign.len() / 2]).unwrap();
    refused(&["--target", &wanted], "native.corrupt", 4);
    fs::write(&path, &whole).unwrap();
    let said = refused(&["--target", &wanted], "native.format", 4);
    assert!(
        said.contains("which is not `aarch64-unknown-linux-gnu`"),
        "{said}"
    );
    fs::write(&path, "MZ").unwrap();
    refused(&["--target", &wanted], "native.format", 4);
    fs::remove_file(&path).unwrap();
    refused(&["--target", &wanted], "io.not_found", 3);
    refused(
        &["--target", "aarch64-unknown-linux-gnu"],
        "build.no_target",
        1,
    );
    let crates = crate::support::workspace().join("plugins/hello");
    let run = Run::within(
        out.path(),
        &["pack", text(&crates), "--target", "wasm32-no-such"],
    );
    run.failed(1, "build.no_target");
    let twice = format!("{}={}", Target::current(), plugin.library().display());
    refused(&["--target", &twice, "--target", &twice], "pack.twice", 4);
    let other = text(&library("counter", Variant::Debug)).to_owned();
    refused(&["--library", &other], "manifest.identity", 4);
    assert_eq!(Run::of(&["pack", "--target", "linux"]).status, 2);
}

#[test]
fn assets_are_regular_files_with_names_for_everywhere() {
    let plugin = Plugin::new("0.1.0", &["greet"]);
    let assets = plugin.0.path().join("assets");
    let pack = || Run::of(&["pack", text(plugin.0.path()), "--plan"]);
    plugin.asset("a b.txt", "", 0o644);
    pack().failed(4, "pack.path");
    fs::remove_dir_all(&assets).unwrap();
    plugin.asset(".hidden/x", "", 0o644);
    pack().failed(4, "pack.path");
    fs::remove_dir_all(&assets).unwrap();
    plugin.asset("x", "", 0o644);
    symlink("/etc/passwd", assets.join("y")).unwrap();
    pack().failed(4, "pack.kind");
    fs::remove_dir_all(&assets).unwrap();
    symlink("/etc", &assets).unwrap();
    pack().failed(4, "pack.kind");
}

/// The manifest beside the sources, else the one in the library, else what the library's note says.
#[test]
fn a_bundle_has_a_manifest_always() {
    let plugin = Plugin::new("0.1.0", &["greet"]);
    let out = directory();
    let so = plugin.library();
    fs::remove_file(plugin.0.path().join("plugin.json")).unwrap();
    let pack = |library: &Path| {
        let arguments = [
            "pack",
            text(plugin.0.path()),
            "--library",
            text(library),
            "--json",
        ];
        Run::within(out.path(), &arguments)
    };
    let packed = pack(&so).json();
    assert_eq!(packed["version"], "0.1.0", "{packed}");
    let manifest = crate::support::workspace().join("plugins/hello/plugin.json");
    let file = fs::File::open(out.path().join("hello-0.1.0.plg")).unwrap();
    let head = Reader::open(file, &Limits::default())
        .unwrap()
        .head()
        .clone();
    assert_eq!(head.manifest, fs::read(manifest).unwrap());
    // A library without any, and one that has no note at all.
    let bare = pack(&library("fixture-good", Variant::Debug)).json();
    assert_eq!(bare["plugin"], "fixture-good", "{bare}");
    // Only a library for this machine is asked.
    let foreign = format!("x86_64-unknown-none={}", so.display());
    let asked = [
        "pack",
        text(plugin.0.path()),
        "--plan",
        "--target",
        &foreign,
    ];
    Run::of(&asked).failed(4, "pack.no_manifest");
}

/// A plugin that is a program may have no library; its program is packed as one.
#[test]
fn a_program_is_packed_as_one() {
    let plugin = directory();
    let manifest = |exec: &str| {
        let document = json!({ "name": "tool", "version": "1.0.0", "process": { "exec": exec } });
        fs::write(plugin.path().join("plugin.json"), document.to_string()).unwrap();
    };
    fs::create_dir(plugin.path().join("assets")).unwrap();
    fs::write(
        plugin.path().join("assets/tool.py"),
        "#!/usr/bin/env python3\n",
    )
    .unwrap();
    fs::write(plugin.path().join("tool.py"), "#!/usr/bin/env python3\n").unwrap();
    let pack = || Run::of(&["pack", text(plugin.path()), "--plan", "--json"]);
    manifest("assets/tool.py");
    let packed = pack().json();
    assert_eq!(packed["targets"], json!([]));
    assert_eq!(packed["members"][0]["path"], "assets/tool.py");
    assert_eq!(packed["members"][0]["executable"], true);
    // The system's own.
    manifest("python3");
    assert_eq!(pack().json()["members"][0]["executable"], false);
    manifest("tool.py");
    assert_eq!(pack().json()["code"], "pack.path");
    manifest("assets/other.py");
    assert_eq!(pack().json()["code"], "io.not_found");
}

#[test]
fn a_version_that_hides_a_change_is_refused() {
    let old = Plugin::new("1.2.0", &["greet", "part"]);
    let out = directory();
    let before = out.path().join("old.plg");
    Run::of(&["pack", text(old.0.path()), "-o", text(&before)]).ok();
    let new = Plugin::new("1.3.0", &["greet"]);
    let pack = |more: &[&str]| {
        let usual = [
            "pack",
            text(new.0.path()),
            "--against",
            text(&before),
            "--plan",
        ];
        Run::of(&[&usual[..], more].concat())
    };
    let said = pack(&[]).failed(4, "pack.breaks").to_owned();
    assert!(
        said.contains("expected 2.0.0 or newer: label `part` is gone"),
        "{said}"
    );
    let refused = pack(&["--json"]).json();
    assert_eq!(refused["least"], "2.0.0");
    assert_eq!(refused["differences"][0]["weight"], "breaking");
    let forced = pack(&["--force"]);
    assert!(forced.ok().contains("since 1.2.0: label `part` is gone"));
    assert!(
        forced.stderr.contains("warning[pack.breaks]"),
        "{}",
        forced.stderr
    );
    new.manifest("2.0.0", &["greet"]);
    assert_eq!(pack(&["--json"]).json()["against"]["least"], "2.0.0");
    new.manifest("1.2.0", &["greet", "part"]);
    assert!(pack(&[]).ok().contains("promises what 1.2.0 did"));
    let absent = Run::of(&[
        "pack",
        text(new.0.path()),
        "--plan",
        "--against",
        "absent.plg",
    ]);
    absent.failed(3, "io.not_found");
}

/// Nobody has to say what a version follows: it is what is installed.
#[test]
fn a_bundle_is_compared_with_what_is_installed() {
    let scratch = directory();
    let old = Plugin::new("1.0.0", &["greet", "wave"]);
    let run = |directory: &Path, arguments: &[&str]| {
        let mut command = command(directory, arguments);
        command.env("PLG_HOME", scratch.path().join("home"));
        Run::from(command.output().unwrap())
    };
    let bundle = text(&scratch.path().join("old.plg")).to_owned();
    run(old.0.path(), &["pack", "-o", &bundle]).ok();
    let new = Plugin::new("1.1.0", &["greet"]);
    let pack = ["pack", "-o", "new.plg"];
    run(new.0.path(), &pack).ok();
    run(old.0.path(), &["install", &bundle]).ok();
    run(new.0.path(), &pack).failed(4, "pack.breaks");
    run(new.0.path(), &[&pack[..], &["--force"]].concat()).ok();
    // An older version than the installed one follows nothing that is here.
    let older = Plugin::new("0.9.0", &["greet"]);
    run(older.0.path(), &pack).ok();
}

#[test]
fn what_is_signed_can_be_checked() {
    let plugin = Plugin::new("0.1.0", &["greet"]);
    let out = directory();
    let key = SecretKey::generate().unwrap();
    let open = out.path().join("open.key");
    fs::write(&open, key.to_text(None).unwrap()).unwrap();
    let pack = |key: &Path| {
        command(
            out.path(),
            &["pack", text(plugin.0.path()), "--json", "--sign", text(key)],
        )
    };
    let packed = Run::from(pack(&open).output().unwrap()).json();
    assert_eq!(packed["signed_by"], key.id().to_string());

    let bundle = out.path().join("hello-0.1.0.plg");
    let reader = Reader::open(fs::File::open(&bundle).unwrap(), &Limits::default()).unwrap();
    verify_bundle(reader.head().listed.as_ref().unwrap(), &key.public_key()).unwrap();
    let shown = Run::of(&["inspect", text(&bundle), "--json"]).json();
    assert_eq!(shown["signed_by"], key.id().to_string());
    let comment = format!(
        "plg bundle hello 0.1.0 {}",
        packed["digest"].as_str().unwrap()
    );
    assert_eq!(shown["signed_comment"], comment);
    let detached = Run::within(out.path(), &["unpack", text(&bundle), "--signature", "s"]);
    detached.ok();
    assert_eq!(
        names(&out.path().join("s")),
        ["contents.json", "contents.json.minisig"]
    );
    // Nothing is written over.
    let again = Run::within(out.path(), &["unpack", text(&bundle), "--signature", "s"]);
    again.failed(2, "usage.not_empty");

    let locked = out.path().join("locked.key");
    fs::write(&locked, key.to_text(Some("open sesame")).unwrap()).unwrap();
    let refused = Run::from(pack(&locked).output().unwrap()).json();
    assert_eq!(refused["code"], "sig.password");
    let opened = pack(&locked).env("PLG_PASSWORD", "open sesame").output();
    assert_eq!(
        Run::from(opened.unwrap()).json()["digest"],
        packed["digest"]
    );
    let absent = Run::from(pack(&out.path().join("no.key")).output().unwrap()).json();
    assert_eq!(absent["code"], "io.not_found");

    Run::within(out.path(), &["pack", text(plugin.0.path())]).ok();
    let unsigned = Run::within(out.path(), &["unpack", text(&bundle), "--signature", "t"]);
    unsigned.failed(4, "sig.missing");
}

#[test]
fn what_builds_a_plugin_is_not_told_the_password_of_the_key() {
    let plugin = directory();
    let at = |name: &str| plugin.path().join(name);
    fs::write(
        at("plugin.json"),
        r#"{ "name": "hello", "version": "0.1.0" }"#,
    )
    .unwrap();
    fs::write(
        at("Makefile"),
        "all:\n\techo \"<$$PLG_PASSWORD>\" > told; false\n",
    )
    .unwrap();
    let key = SecretKey::generate().unwrap();
    fs::write(at("open.key"), key.to_text(None).unwrap()).unwrap();
    let mut pack = command(plugin.path(), &["pack", ".", "--sign", "open.key"]);
    let output = pack.env("PLG_PASSWORD", "hunter2").output().unwrap();
    Run::from(output).failed(1, "build.failed");
    assert_eq!(fs::read_to_string(at("told")).unwrap(), "<>\n");
}

#[test]
fn a_bundle_is_unpacked_whole_or_not_at_all() {
    let out = directory();
    let bundle = out.path().join("hello.plg");
    let bytes = archive::good().bytes();
    fs::write(&bundle, &bytes).unwrap();
    let unpack =
        |more: &[&str]| Run::within(out.path(), &[&["unpack", "hello.plg"], more].concat());
    fs::create_dir(out.path().join("empty")).unwrap();
    unpack(&["-o", "empty"]).ok();
    assert_eq!(
        names(&out.path().join("empty")),
        ["assets", "contents.json", "lib", "plugin.json"]
    );
    unpack(&["-o", "empty"]).failed(2, "usage.not_empty");
    unpack(&["-o", "hello.plg"]).failed(2, "usage.not_empty");
    unpack(&["-o", "a/b"]).failed(3, "io.not_found");
    let mut damaged = archive::good();
    damaged.members[2].1[3] ^= 1;
    fs::write(&bundle, damaged.bytes()).unwrap();
    unpack(&["-o", "new"]).failed(4, "bundle.manifest_mismatch");
    fs::write(&bundle, &bytes[..bytes.len() - 9]).unwrap();
    unpack(&["-o", "new"]).failed(4, "bundle.truncated");
    assert_eq!(
        names(out.path()),
        ["empty", "hello.plg"],
        "nothing is left of what failed"
    );
    Run::of(&["unpack", text(out.path())]).failed(4, "bundle.kind");
}

/// The head alone says all that is shown.
#[test]
fn a_bundle_is_inspected_by_its_head() {
    let out = directory();
    let bundle = out.path().join("hello.plg");
    let whole = archive::good();
    let bytes = whole.bytes();
    fs::write(&bundle, &bytes).unwrap();
    let shown = Run::of(&["inspect", text(&bundle), "--json"]).json();
    assert_eq!(
        (&shown["plugin"], &shown["version"]),
        (&json!("hello"), &json!("1.2.3"))
    );
    assert_eq!(shown["bytes"], bytes.len());
    assert_eq!(shown["signed_by"], Value::Null);
    assert_eq!(
        shown["targets"],
        json!(["aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"])
    );
    assert_eq!(shown["members"].as_array().unwrap().len(), 4);
    assert_eq!(shown["members"][0]["bytes"], 13);
    let printed = Run::of(&["inspect", text(&bundle)]);
    assert!(
        printed.ok().contains("signed    by nobody"),
        "{}",
        printed.stdout
    );
    assert!(printed.stdout.contains(shown["digest"].as_str().unwrap()));

    // A damaged payload is for `unpack` to find.
    let mut damaged = whole.clone();
    damaged.members[2].1[3] ^= 1;
    fs::write(&bundle, damaged.bytes()).unwrap();
    Run::of(&["inspect", text(&bundle)]).ok();
    fs::write(&bundle, archive::gzip(&archive::tar(&archive::plain()))).unwrap();
    let plain = Run::of(&["inspect", text(&bundle)]);
    assert!(plain.ok().contains("form      plain"), "{}", plain.stdout);
    fs::write(&bundle, "no bundle").unwrap();
    Run::of(&["inspect", text(&bundle)]).failed(4, "bundle.gzip");
}

/// A directory with a manifest and the library of `hello`.
struct Plugin(TempDir);

impl Plugin {
    fn new(version: &str, labels: &[&str]) -> Self {
        let plugin = Self(directory());
        plugin.manifest(version, labels);
        fs::copy(library("hello", Variant::Release), plugin.library()).unwrap();
        plugin
    }

    fn manifest(&self, version: &str, labels: &[&str]) {
        let document = json!({ "name": "hello", "version": version, "labels": labels });
        fs::write(self.0.path().join("plugin.json"), document.to_string()).unwrap();
    }

    fn library(&self) -> PathBuf {
        self.0.path().join("libhello.so")
    }

    fn asset(&self, name: &str, text: &str, mode: u32) {
        let file = self.0.path().join("assets").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    }
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What stands in a directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string();
    let mut names: Vec<String> = entries.map(|entry| name(entry).unwrap()).collect();
    names.sort();
    names
}
