//! The store: what is installed, how that changes, and how it comes back.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plg_host::quarantine::Quarantine;
use plg_host::store::{
    Asked, Bundle, Change, InstallOptions, Judged, Options, Progress, Refusal, Store, StoreError,
    TrustAll,
};
use plg_packaging::Digest;
use plg_packaging::bundle::Target;
use serde_json::{Value, json};

use crate::support::bundles::{Sample, install, install_with, installed, name, open};
use crate::support::untouched::Untouched;

#[test]
fn what_is_installed_is_upgraded_undone_removed_and_collected() {
    let (_scratch, home) = scratch();
    let store = open(&home);
    assert_eq!(installed(&store), [""; 0]);
    assert!(!home.exists(), "a question makes no store");

    let changed = install(&store, &Sample::new("hello", "1.0.0")).unwrap();
    assert_eq!((changed.from, changed.set.number), (0, 1));
    assert_eq!(changed.differences.len(), 1);
    let first = changed.set.plugins[0].digest;
    assert_eq!(installed(&store), ["hello 1.0.0"]);
    let build = store.build(&name("hello")).unwrap();
    assert_eq!(build.manifest.version.to_string(), "1.0.0");
    assert_eq!(build.directory, home.join("builds").join(first.hex()));
    build.check_library().unwrap();
    drop(build);

    let changed = install(&store, &Sample::new("hello", "1.1.0")).unwrap();
    let plugins = vec![name("hello")];
    assert_eq!(changed.set.change, Change::Upgrade { plugins });
    assert_eq!(installed(&store), ["hello 1.1.0"]);
    install(&store, &Sample::new("other", "2.0.0")).unwrap();
    assert_eq!(installed(&store), ["hello 1.1.0", "other 2.0.0"]);

    // Each undo goes back further, and all of it can be seen.
    store.undo(None).unwrap();
    assert_eq!(installed(&store), ["hello 1.1.0"]);
    let changed = store.undo(None).unwrap();
    assert_eq!(changed.set.change, Change::Undo { to: 1 });
    assert_eq!(installed(&store), ["hello 1.0.0"]);
    store.undo(None).unwrap();
    assert_eq!(installed(&store), [""; 0]);
    assert_eq!(code(store.undo(None)), "store.no_set");
    // An undo is undone by its number.
    store.undo(Some(3)).unwrap();
    assert_eq!(installed(&store), ["hello 1.1.0", "other 2.0.0"]);
    let changes: Vec<String> = store
        .sets()
        .unwrap()
        .iter()
        .map(|set| format!("{}: {}", set.number, set.change))
        .collect();
    let expected = [
        "1: install hello",
        "2: upgrade hello",
        "3: install other",
        "4: undo to 2",
        "5: undo to 1",
        "6: undo to 0",
        "7: undo to 3",
    ];
    assert_eq!(changes, expected);

    store.remove(&[name("other")], false).unwrap();
    assert_eq!(installed(&store), ["hello 1.1.0"]);
    assert_eq!(code(store.build(&name("other"))), "store.not_installed");
    let nothing = store.gc(10).unwrap();
    assert_eq!((nothing.builds.len(), nothing.sets.len()), (0, 0));
    let planned = store.plan_gc(0).unwrap();
    let collected = store.gc(0).unwrap();
    assert_eq!(planned, collected);
    assert_eq!(collected.builds.len(), 2);
    assert!(collected.builds.contains(&first) && collected.bytes > 0);
    assert_eq!(collected.sets, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(installed(&store), ["hello 1.1.0"]);
    store
        .build(&name("hello"))
        .unwrap()
        .check_library()
        .unwrap();
    // What is forgotten cannot come back.
    assert_eq!(code(store.undo(None)), "store.no_set");
    assert_eq!(code(store.undo(Some(99))), "store.no_set");
}

/// An operator reads these files.
#[test]
fn the_files_say_all_there_is_to_know() {
    let (_scratch, home) = scratch();
    let sample = Sample::new("hello", "1.0.0")
        .member("assets/readme.txt", "how to greet\n")
        .member(
            "lib/aarch64-unknown-none-elf/libhello.so",
            "for another machine",
        )
        .with("permissions", json!(["network"]));
    install(&open(&home), &sample).unwrap();
    let lock: Value = serde_json::from_slice(&fs::read(home.join("plg.lock")).unwrap()).unwrap();
    let set: Value = serde_json::from_slice(&fs::read(home.join("sets/1.json")).unwrap()).unwrap();
    let digest = &set["plugins"][0]["digest"];
    let platforms = &set["plugins"][0]["platforms"];
    assert_eq!(
        platforms.as_object().unwrap().len(),
        2,
        "every platform is pinned"
    );
    let expected = json!({
        "format": 1,
        "generation": 1,
        "set": Digest::of(&fs::read(home.join("sets/1.json")).unwrap()).to_string(),
        "plugins": [{
            "name": "hello",
            "version": "1.0.0",
            "source": "test.plg",
            "digest": digest,
            "platforms": platforms,
        }],
    });
    assert_eq!(lock, expected);
    let plugin = &set["plugins"][0];
    assert_eq!(
        (&plugin["level"], &plugin["signer"]),
        (&json!("trusted"), &Value::Null)
    );
    assert_eq!(
        (&plugin["files"], &plugin["permissions"]),
        (&json!(3), &json!(["network"]))
    );
    assert_eq!(
        (&set["before"], &set["change"]["kind"]),
        (&json!(0), &json!("install"))
    );
    // Nothing for other machines is kept, and nobody else gets in.
    let digest: Digest = digest.as_str().unwrap().parse().unwrap();
    let build = home.join("builds").join(digest.hex());
    let target = Target::current();
    assert!(build.join(format!("lib/{target}/libhello.so")).is_file());
    assert!(!build.join("lib/aarch64-unknown-none-elf").exists());
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&home), 0o700);
    for name in ["builds", "sets", "staging", "in-use"] {
        assert_eq!(mode(&home.join(name)), 0o700, "{name}");
    }
    assert_eq!(mode(&home.join("plg.lock")), 0o600);
    assert_eq!(mode(&build.join("plugin.json")), 0o644);
    assert_eq!(mode(&build.join("assets")), 0o755);
}

#[test]
fn the_same_bundle_again_changes_nothing_and_mends_its_build() {
    let (_scratch, home) = scratch();
    let store = open(&home);
    let sample = Sample::new("hello", "1.0.0").member("assets/a.txt", "a");
    let build = home.join("builds").join(
        install(&store, &sample).unwrap().set.plugins[0]
            .digest
            .hex(),
    );
    let untouched = Untouched::below(&home);
    let changed = install(&store, &sample).unwrap();
    assert_eq!((changed.from, changed.set.number), (1, 1));
    assert!(changed.differences.is_empty());
    untouched.check("the same bundle");
    fs::write(build.join("assets/a.txt"), "b").unwrap();
    assert_eq!(code(store.build(&name("hello"))), "store.tampered");
    install(&store, &sample).unwrap();
    untouched.check("the build is mended");
    store.build(&name("hello")).unwrap();
}

#[test]
fn a_plan_does_nothing() {
    let (scratch, home) = scratch();
    let store = open(&home);
    let plan = |sample: &Sample| {
        let bytes = sample.bytes();
        let bundles = vec![Bundle::new("test.plg", bytes.as_slice())];
        store.plan_install(bundles, &InstallOptions::default(), &TrustAll)
    };
    let untouched = Untouched::below(scratch.path());
    let planned = plan(&Sample::new("hello", "1.0.0")).unwrap();
    assert_eq!((planned.from, planned.set.number), (0, 1));
    assert_eq!(planned.differences.len(), 1);
    untouched.check("a plan for a store that is not there");
    install(&store, &Sample::new("hello", "1.0.0")).unwrap();
    let untouched = Untouched::below(scratch.path());
    assert_eq!(
        code(plan(&Sample::new("hello", "0.9.0"))),
        "install.downgrade"
    );
    assert_eq!(plan(&Sample::new("hello", "1.0.0")).unwrap().set.number, 1);
    assert!(
        store
            .plan_remove(&[name("hello")], false)
            .unwrap()
            .set
            .plugins
            .is_empty()
    );
    assert!(store.plan_undo(None).unwrap().set.plugins.is_empty());
    assert_eq!(store.plan_gc(0).unwrap().builds.len(), 0);
    untouched.check("plans");
}

#[test]
fn what_takes_the_operators_word_is_refused_without_it() {
    let (scratch, home) = scratch();
    let store = open(&home);
    install(
        &store,
        &Sample::new("hello", "1.0.0").with("permissions", json!(["fs.read"])),
    )
    .unwrap();
    let untouched = Untouched::below(scratch.path());
    let default = InstallOptions::default();
    let asks_more =
        Sample::new("hello", "1.1.0").with("permissions", json!(["fs.read", "network"]));
    let others = Sample::new("hello", "1.0.0").member("assets/new.txt", "other bytes");
    let older = Sample::new("hello", "0.9.0");
    let update = InstallOptions {
        update: true,
        ..default
    };
    let grant = InstallOptions {
        grant: true,
        ..default
    };
    let downgrade = InstallOptions {
        downgrade: true,
        ..default
    };
    for (sample, expected, options) in [
        (&asks_more, "upgrade.needs_consent", grant),
        (&others, "lock.mismatch", update),
        (&older, "install.downgrade", downgrade),
    ] {
        for refused in [update, grant, downgrade]
            .into_iter()
            .filter(|other| *other != options)
        {
            assert_eq!(code(install_with(&store, sample, &refused)), expected);
            untouched.check(expected);
        }
    }
    let only_installed = InstallOptions {
        only_installed: true,
        ..default
    };
    let new = Sample::new("new", "1.0.0");
    assert_eq!(
        code(install_with(&store, &new, &only_installed)),
        "store.not_installed"
    );
    untouched.check("an upgrade of what is not there");

    install_with(&store, &asks_more, &grant).unwrap();
    install_with(&store, &older, &downgrade).unwrap();
    // It asks for less, and then what was once granted has to be granted again.
    install_with(&store, &others, &update).unwrap();
    assert_eq!(installed(&store), ["hello 1.0.0"]);
    assert_eq!(code(install(&store, &asks_more)), "upgrade.needs_consent");
}

#[test]
fn several_bundles_are_one_change() {
    let (scratch, home) = scratch();
    let store = open(&home);
    let chat = Sample::new("chat", "1.0.0").with("dependencies", json!({ "greeter": "^1" }));
    let untouched = Untouched::below(scratch.path());
    assert_eq!(code(install(&store, &chat)), "deps.missing");
    // The store is there now, and empty.
    assert_eq!(installed(&store), [""; 0]);
    drop(untouched);
    let untouched = Untouched::below(scratch.path());
    let all = |samples: &[&Sample]| {
        let bytes: Vec<Vec<u8>> = samples.iter().map(|sample| sample.bytes()).collect();
        let bundles = bytes
            .iter()
            .map(|bytes| Bundle::new("test.plg", bytes.as_slice()));
        store.install(bundles.collect(), &InstallOptions::default(), &TrustAll)
    };
    let greeter = Sample::new("greeter", "1.2.0");
    assert_eq!(code(all(&[&greeter, &greeter])), "install.twice");
    let broken = greeter.bytes();
    let bundles = vec![
        Bundle::new("good.plg", &broken[..]),
        Bundle::new("cut.plg", &broken[..broken.len() / 2]),
    ];
    let outcome = store.install(bundles, &InstallOptions::default(), &TrustAll);
    assert_eq!(code(outcome), "bundle.truncated");
    untouched.check("one of two is bad");
    assert_eq!(all(&[&chat, &greeter]).unwrap().set.number, 1);
    assert_eq!(installed(&store), ["chat 1.0.0", "greeter 1.2.0"]);

    assert_eq!(code(store.remove(&[name("greeter")], false)), "deps.in_use");
    assert_eq!(
        code(install(&store, &Sample::new("greeter", "2.0.0"))),
        "deps.breaks"
    );
    assert_eq!(
        code(store.remove(&[name("nobody")], true)),
        "store.not_installed"
    );
    let changed = store.remove(&[name("greeter")], true).unwrap();
    assert_eq!(changed.set.change.to_string(), "remove chat greeter");
    assert_eq!(installed(&store), [""; 0]);
}

#[test]
fn the_judge_has_the_last_word_before_anything_is_written() {
    let (scratch, home) = scratch();
    let store = open(&home);
    install(&store, &Sample::new("hello", "1.0.0")).unwrap();
    let untouched = Untouched::below(scratch.path());
    let bytes = Sample::new("hello", "1.1.0").signed(b"a signature").bytes();
    let bundle = || vec![Bundle::new("signed.plg", bytes.as_slice())];
    let refuse = |_: &Asked<'_>| {
        let source = "nobody knows the key".into();
        Err(Refusal {
            code: "sig.unknown_key",
            source,
        })
    };
    let outcome = store.install(bundle(), &InstallOptions::default(), &refuse);
    assert_eq!(code(outcome), "sig.unknown_key");
    untouched.check("a signature of nobody");
    let trust = |asked: &Asked<'_>| {
        assert_eq!(asked.origin, "signed.plg");
        assert_eq!(asked.installed.unwrap().version.to_string(), "1.0.0");
        assert_eq!(
            asked.head.listed.as_ref().unwrap().signature.as_deref(),
            Some(&b"a signature"[..])
        );
        Ok(Judged {
            level: "signed".to_owned(),
            signer: Some("Ada".to_owned()),
            judgement: None,
        })
    };
    let changed = store
        .install(bundle(), &InstallOptions::default(), &trust)
        .unwrap();
    let entry = changed.set.plugin(&name("hello")).unwrap();
    assert_eq!(
        (entry.level.as_str(), entry.signer.as_deref()),
        ("signed", Some("Ada"))
    );
    store.build(&name("hello")).unwrap();
}

#[test]
fn a_bundle_for_other_machines_only_is_refused() {
    let (scratch, home) = scratch();
    install(&open(&home), &Sample::new("hello", "1.0.0")).unwrap();
    let untouched = Untouched::below(scratch.path());
    let other = Target::new("aarch64-unknown-none-elf").unwrap();
    let store = Store::open(&home, Options::new().target(other)).unwrap();
    assert_eq!(
        code(install(&store, &Sample::new("hello", "1.1.0"))),
        "bundle.platform"
    );
    untouched.check("another machine");
}

/// Row 182.
#[test]
fn a_lock_file_that_says_something_else_stops_everything() {
    let edit = |lock: &Value, pointer: &str, value: Value| {
        let mut lock = lock.clone();
        *lock.pointer_mut(pointer).unwrap() = value;
        serde_json::to_vec(&lock).unwrap()
    };
    let (_scratch, home) = scratch();
    let store = open(&home);
    install(&store, &Sample::new("hello", "1.0.0")).unwrap();
    let old = fs::read(home.join("plg.lock")).unwrap();
    install(&store, &Sample::new("other", "1.0.0")).unwrap();
    install(&store, &Sample::new("hello", "1.1.0")).unwrap();
    let path = home.join("plg.lock");
    let whole = fs::read(&path).unwrap();
    let lock: Value = serde_json::from_slice(&whole).unwrap();
    let digest = Digest::of(b"another").to_string();
    let target = format!("/plugins/0/platforms/{}", Target::current());
    let mut fewer = lock["plugins"].as_array().unwrap().clone();
    fewer.pop();
    let mut more = lock["plugins"].as_array().unwrap().clone();
    more.push(
        json!({ "name": "z", "version": "1.0.0", "source": "", "digest": digest, "platforms": {} }),
    );
    let mut swapped = lock["plugins"].as_array().unwrap().clone();
    swapped.reverse();
    let cases = [
        ("lock.mismatch", edit(&lock, "/generation", json!(1))),
        ("lock.mismatch", edit(&lock, "/generation", json!(2))),
        ("lock.mismatch", edit(&lock, "/generation", json!(4))),
        (
            "lock.mismatch",
            edit(&lock, "/plugins/0/version", json!("1.0.0")),
        ),
        (
            "lock.mismatch",
            edit(&lock, "/plugins/0/digest", json!(digest)),
        ),
        (
            "lock.mismatch",
            edit(&lock, "/plugins/0/source", json!("elsewhere")),
        ),
        ("lock.mismatch", edit(&lock, &target, json!(digest))),
        ("lock.mismatch", edit(&lock, "/plugins", json!(fewer))),
        ("lock.mismatch", edit(&lock, "/plugins", json!(more))),
        ("lock.mismatch", edit(&lock, "/plugins", json!(swapped))),
        ("lock.mismatch", old),
        ("lock.damaged", edit(&lock, "/format", json!(0))),
        (
            "lock.damaged",
            edit(&lock, "/plugins/0/digest", json!("md5:1")),
        ),
        ("lock.damaged", whole[..whole.len() / 2].to_vec()),
        ("lock.damaged", Vec::new()),
        ("lock.damaged", vec![0; 4096]),
        ("lock.damaged", "[".repeat(100_000).into_bytes()),
        ("store.format", edit(&lock, "/format", json!(2))),
    ];
    for (expected, bytes) in cases {
        fs::write(&path, &bytes).unwrap();
        check_stopped(&store, &home, expected);
        if expected == "store.format" {
            assert_eq!(
                code(store.restore()),
                expected,
                "what is not understood is left alone"
            );
            continue;
        }
        let (set, was_needed) = store.restore().unwrap();
        assert!(was_needed && set.number == 3, "{set:?}");
        assert_eq!(fs::read(&path).unwrap(), whole);
        assert!(
            !store.restore().unwrap().1,
            "the second time there is nothing to do"
        );
    }
    fs::remove_file(&path).unwrap();
    check_stopped(&store, &home, "lock.mismatch");
    // An undo helps as well.
    store.undo(None).unwrap();
    assert_eq!(installed(&store), ["hello 1.0.0", "other 1.0.0"]);
    fs::remove_file(&path).unwrap();
    fs::write(home.join("sets/4.json"), "damaged").unwrap();
    let (set, _) = store.restore().unwrap();
    assert_eq!(set.number, 3, "the newest that can be read");
    install(&store, &Sample::new("third", "1.0.0")).unwrap();
}

#[track_caller]
fn check_stopped(store: &Store, home: &Path, expected: &str) {
    let untouched = Untouched::below(home);
    let hello = name("hello");
    assert_eq!(code(store.current()), expected);
    assert_eq!(code(store.sets()), expected);
    assert_eq!(code(store.build(&hello)), expected);
    assert_eq!(code(install(store, &Sample::new("new", "1.0.0"))), expected);
    assert_eq!(code(store.remove(&[hello], false)), expected);
    assert_eq!(code(store.gc(0)), expected);
    untouched.check(expected);
}

#[test]
fn a_set_that_is_gone_or_edited_is_no_other_set() {
    let (_scratch, home) = scratch();
    let store = open(&home);
    install(&store, &Sample::new("hello", "1.0.0")).unwrap();
    install(&store, &Sample::new("hello", "1.1.0")).unwrap();
    let path = home.join("sets/2.json");
    let whole = fs::read_to_string(&path).unwrap();
    for damaged in [
        whole.replace("\"number\": 2", "\"number\": 1"),
        whole.replace("1.1.0", "1.0.0"),
        whole.replace("\"trusted\"", "\"signed\""),
        whole.replace("\"before\": 1", "\"before\": 0"),
        format!("{whole} "),
        whole.replace("\"format\": 1", "\"format\": 0"),
        String::new(),
    ] {
        fs::write(&path, damaged).unwrap();
        check_stopped(&store, &home, "lock.mismatch");
    }
    fs::write(&path, whole.replace("\"format\": 1", "\"format\": 9")).unwrap();
    check_stopped(&store, &home, "store.format");
    fs::remove_file(&path).unwrap();
    check_stopped(&store, &home, "lock.mismatch");
    store.restore().unwrap();
    assert_eq!(installed(&store), ["hello 1.0.0"]);
}

#[test]
fn a_number_that_nothing_can_follow_is_no_number_of_a_set() {
    let (_scratch, home) = scratch();
    let store = open(&home);
    install(&store, &Sample::new("hello", "1.0.0")).unwrap();
    let path = home.join("plg.lock");
    let whole = fs::read_to_string(&path).unwrap();
    let last = format!("\"generation\": {}", u64::MAX);
    fs::write(&path, whole.replace("\"generation\": 1", &last)).unwrap();
    check_stopped(&store, &home, "lock.damaged");
    store.restore().unwrap();
    fs::write(home.join(format!("sets/{}.json", u64::MAX)), "").unwrap();
    install(&store, &Sample::new("other", "1.0.0")).unwrap();
    assert_eq!(store.current().unwrap().number, 2);
    assert_eq!(installed(&store), ["hello 1.0.0", "other 1.0.0"]);

    // Who asks what comes before what gets to an end.
    install(&store, &Sample::new("third", "1.0.0")).unwrap();
    let path = home.join("sets/2.json");
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, whole.replace("\"before\": 1", "\"before\": 2")).unwrap();
    assert_eq!(code(store.undo(None)), "lock.damaged");
    store.gc(usize::MAX - 1).unwrap_err();
}

/// Row 183: any bit of any file.
#[test]
fn a_file_that_was_changed_is_not_loaded() {
    let (_scratch, home) = scratch();
    let store = open(&home);
    let sample = Sample::new("hello", "1.0.0")
        .member("assets/deep/a.txt", "a")
        .signed(b"signature");
    let entry = install(&store, &sample).unwrap().set.plugins.remove(0);
    install(&store, &Sample::new("other", "1.0.0")).unwrap();
    let build = home.join("builds").join(entry.digest.hex());
    let files: Vec<PathBuf> = walkdir::WalkDir::new(&build)
        .into_iter()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.into_path())
        .collect();
    assert_eq!(files.len(), 5);
    for path in &files {
        let whole = fs::read(path).unwrap();
        let step = (whole.len() / 40).max(1);
        for at in (0..whole.len()).step_by(step) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(path, &bytes).unwrap();
            let error = opened(&store).unwrap_err();
            assert_eq!(error.code(), "store.tampered", "{} at {at}", path.display());
            let quarantine = Quarantine::in_memory();
            assert!(error.quarantine(&quarantine));
            assert!(quarantine.contains(&Digest::of(&bytes)).is_some());
        }
        for bytes in [
            &whole[..whole.len() - 1],
            &[&whole[..], b"\n"].concat(),
            b"",
        ] {
            fs::write(path, bytes).unwrap();
            assert_eq!(code(opened(&store)), "store.tampered", "{}", path.display());
        }
        fs::remove_file(path).unwrap();
        assert_eq!(code(opened(&store)), "store.tampered");
        symlink("/etc/passwd", path).unwrap();
        assert_eq!(code(opened(&store)), "store.tampered");
        fs::remove_file(path).unwrap();
        fs::write(path, &whole).unwrap();
        opened(&store).unwrap();
    }
    // Something more is something else as well.
    fs::write(build.join("assets/more.txt"), "more").unwrap();
    assert_eq!(code(opened(&store)), "store.tampered");
    fs::remove_file(build.join("assets/more.txt")).unwrap();
    fs::rename(build.join("assets/deep"), home.join("elsewhere")).unwrap();
    symlink(home.join("elsewhere"), build.join("assets/deep")).unwrap();
    assert_eq!(code(opened(&store)), "store.tampered");
    fs::remove_dir_all(&build).unwrap();
    assert_eq!(code(opened(&store)), "store.tampered");
    // Others go on, and this one can be removed, or installed again.
    store.build(&name("other")).unwrap();
    install(&store, &sample).unwrap();
    opened(&store).unwrap();
}

fn opened(store: &Store) -> Result<(), StoreError> {
    store.build(&name("hello"))?.check_library()
}

#[test]
fn an_undo_to_a_build_that_is_not_whole_is_refused() {
    let (scratch, home) = scratch();
    let store = open(&home);
    let first = install(&store, &Sample::new("hello", "1.0.0"))
        .unwrap()
        .set
        .plugins
        .remove(0);
    install(&store, &Sample::new("hello", "1.1.0")).unwrap();
    fs::remove_dir_all(home.join("builds").join(first.digest.hex())).unwrap();
    let untouched = Untouched::below(scratch.path());
    assert_eq!(code(store.undo(None)), "store.tampered");
    untouched.check("an undo to what is gone");
    assert_eq!(installed(&store), ["hello 1.1.0"]);
}

#[test]
fn a_home_that_others_could_change_is_refused() {
    let (scratch, home) = scratch();
    let store = open(&home);
    install(&store, &Sample::new("hello", "1.0.0")).unwrap();
    let link = scratch.path().join("link");
    symlink(&home, &link).unwrap();
    assert_eq!(code(Store::open(&link, Options::new())), "store.unsafe");
    for path in [
        home.clone(),
        home.join("builds"),
        home.join("sets"),
        home.join("staging"),
    ] {
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        for open_mode in [0o702, 0o720, 0o777, 0o1777] {
            mode(open_mode);
            assert_eq!(code(Store::open(&home, Options::new())), "store.unsafe");
            assert_eq!(code(store.current()), "store.unsafe");
            assert_eq!(
                code(install(&store, &Sample::new("new", "1.0.0"))),
                "store.unsafe"
            );
        }
        mode(0o700);
    }
    fs::rename(home.join("builds"), scratch.path().join("builds")).unwrap();
    symlink(scratch.path().join("builds"), home.join("builds")).unwrap();
    assert_eq!(code(Store::open(&home, Options::new())), "store.unsafe");
    fs::remove_file(home.join("builds")).unwrap();
    fs::rename(scratch.path().join("builds"), home.join("builds")).unwrap();
    let below = scratch.path().join("file");
    fs::write(&below, "").unwrap();
    assert_eq!(code(Store::open(&below, Options::new())), "store.unsafe");
    assert_eq!(installed(&store), ["hello 1.0.0"]);
}

#[test]
fn a_build_that_is_loaded_is_not_collected() {
    let (_scratch, home) = scratch();
    let store = open(&home);
    install(&store, &Sample::new("hello", "1.0.0")).unwrap();
    let old = store.build(&name("hello")).unwrap();
    install(&store, &Sample::new("hello", "1.1.0")).unwrap();
    let collected = store.gc(0).unwrap();
    assert_eq!(
        (collected.builds.len(), collected.in_use),
        (0, vec![old.entry.digest])
    );
    old.check_library().unwrap();
    assert_eq!(store.plan_gc(0).unwrap().in_use.len(), 1);
    let directory = old.directory.clone();
    drop(old);
    assert_eq!(store.gc(0).unwrap().builds.len(), 1);
    assert!(!directory.exists());
    let leases: Vec<_> = fs::read_dir(home.join("in-use")).unwrap().collect();
    assert_eq!(leases.len(), 0, "{leases:?}");
}

/// Row 201: what grows is bounded by a collection, and what is needed stays.
#[test]
fn a_collection_keeps_what_undos_would_go_back_to() {
    let (_scratch, home) = scratch();
    let store = open(&home);
    for minor in 0..20 {
        install(&store, &Sample::new("hello", &format!("1.{minor}.0"))).unwrap();
    }
    store.undo(Some(5)).unwrap();
    let collected = store.gc(3).unwrap();
    // 19 to 21 are the newest, and 4, 3, 2 come before the fifth.
    let kept: Vec<u64> = store.sets().unwrap().iter().map(|set| set.number).collect();
    assert_eq!(kept, [2, 3, 4, 19, 20, 21]);
    assert_eq!(collected.sets.len(), 15);
    let builds = fs::read_dir(home.join("builds")).unwrap().count();
    assert_eq!(builds, 6, "1.1 to 1.4 and the newest two");
    for version in ["1.3.0", "1.2.0", "1.1.0"] {
        store.undo(None).unwrap();
        assert_eq!(installed(&store), [format!("hello {version}")]);
    }
}

#[test]
fn who_waits_for_another_process_is_told_and_gives_up() {
    let (_scratch, home) = scratch();
    install(&open(&home), &Sample::new("hello", "1.0.0")).unwrap();
    let turn = fs::File::open(home.join("lock")).unwrap();
    turn.lock().unwrap();
    let told = Arc::new(Mutex::new(0));
    let count = told.clone();
    let options = Options::new()
        .patience(Duration::from_millis(20))
        .on_progress(move |progress| {
            if matches!(progress, Progress::Waiting { .. }) {
                *count.lock().unwrap() += 1;
            }
        });
    let store = Store::open(&home, options).unwrap();
    let untouched = Untouched::below(&home);
    assert_eq!(
        code(install(&store, &Sample::new("hello", "1.1.0"))),
        "store.busy"
    );
    untouched.check("another process is at it");
    assert_eq!(*told.lock().unwrap(), 1);
    // Who only asks does not wait.
    assert_eq!(installed(&store), ["hello 1.0.0"]);
    turn.unlock().unwrap();
    install(&store, &Sample::new("hello", "1.1.0")).unwrap();
}

#[test]
fn an_install_says_how_far_it_is() {
    let (_scratch, home) = scratch();
    let (tell, told) = mpsc::channel();
    let options = Options::new().on_progress(move |progress| {
        if let Progress::Unpacking {
            name, done, total, ..
        } = progress
        {
            tell.send((name.to_string(), *done, total.unwrap()))
                .unwrap();
        }
    });
    let store = Store::open(&home, options).unwrap();
    install(&store, &Sample::twenty_files("hello", "1.0.0")).unwrap();
    drop(store);
    let told: Vec<_> = told.iter().collect();
    assert!(told.len() >= 18 && told.is_sorted(), "{told:?}");
    let (_, done, total) = told.last().unwrap();
    assert_eq!(done, total);
}

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    let home = scratch.path().join("data/plg");
    (scratch, home)
}

#[track_caller]
fn code<T>(outcome: Result<T, StoreError>) -> &'static str {
    match outcome {
        Ok(_) => "done",
        Err(error) => error.code(),
    }
}
