//! `plg keygen`, `trust`, `verify` and `index`, run as their users run them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use plg_packaging::sign::{LockedKey, PublicKey};
use tempfile::TempDir;

use crate::support::bundles::Sample;
use crate::support::run::{Run, command};
use crate::support::signed::{key, packed};

/// A directory in which commands run, with a home of its own.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(self.0.path(), arguments);
        command
            .env("PLG_HOME", self.at("home"))
            .env_remove("PLG_PASSWORD");
        command
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Run {
        run(self.command(arguments))
    }

    /// Fails with that status, and in JSON with that code.
    #[track_caller]
    fn fails(&self, arguments: &[&str], status: i32, code: &str) -> Run {
        let run = self.run(arguments);
        run.failed(status, code);
        let json = self.run(&[arguments, &["--json"]].concat());
        assert_eq!((&json.json()["code"], json.status), (&code.into(), status));
        run
    }

    /// A bundle, its key and the public half as a file.
    fn bundle(&self, name: &str, version: &str, signer: Option<u8>) -> String {
        let file = format!("{name}-{version}.plg");
        let signer = signer.map(key);
        fs::write(self.at(&file), packed(name, version, signer.as_ref())).unwrap();
        file
    }

    fn public(&self, number: u8) -> String {
        let file = format!("{number}.pub");
        fs::write(self.at(&file), key(number).public_key().to_text()).unwrap();
        file
    }

    fn secret(&self, number: u8) -> String {
        let file = format!("{number}.key");
        let text = key(number).to_text(None).unwrap();
        fs::write(self.at(&file), text.as_bytes()).unwrap();
        file
    }
}

fn run(mut command: Command) -> Run {
    Run::from(command.output().unwrap())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_key_is_private_and_never_replaced_silently() {
    let place = Place::new();
    let said = place.run(&["keygen", "-o", "release", "--no-password"]);
    assert!(
        said.ok().contains("keep release.key to yourself"),
        "{}",
        said.stdout
    );
    assert_eq!(mode(&place.at("release.key")), 0o600);
    assert_eq!(mode(&place.at("release.pub")), 0o644);
    let read = |name: &str| fs::read(place.at(name)).unwrap();
    let secret = LockedKey::parse(&read("release.key")).unwrap();
    let public = PublicKey::parse(&read("release.pub")).unwrap();
    assert_eq!(secret.open(None).unwrap().public_key(), public);

    let before = read("release.key");
    place.fails(
        &["keygen", "-o", "release", "--no-password"],
        2,
        "usage.exists",
    );
    fs::remove_file(place.at("release.key")).unwrap();
    place.fails(
        &["keygen", "-o", "release", "--no-password"],
        2,
        "usage.exists",
    );
    assert!(
        !place.at("release.key").exists(),
        "no half of a pair is left"
    );
    symlink("nowhere", place.at("linked.pub")).unwrap();
    place.fails(
        &["keygen", "-o", "linked", "--no-password"],
        2,
        "usage.exists",
    );
    let forced = [
        "keygen",
        "-o",
        "release",
        "--no-password",
        "--force",
        "--json",
    ];
    let document = place.run(&forced);
    document.ok();
    let document = document.json();
    assert_ne!(read("release.key"), before);
    let public = PublicKey::parse(&read("release.pub")).unwrap();
    assert_eq!(document["id"], public.id().to_string());
    assert_eq!(document["encrypted"], false);
    place.fails(
        &["keygen", "-o", "no/such/place", "--no-password"],
        3,
        "io.not_found",
    );
    let names: Vec<_> = fs::read_dir(place.0.path()).unwrap().collect();
    assert_eq!(names.len(), 3, "nothing else is left: {names:?}");
}

#[test]
fn a_key_is_not_lost_where_its_pair_cannot_be_replaced() {
    let place = Place::new();
    let new = ["keygen", "-o", "release", "--no-password"];
    place.run(&new).ok();
    let before = fs::read(place.at("release.key")).unwrap();
    fs::remove_file(place.at("release.pub")).unwrap();
    fs::create_dir(place.at("release.pub")).unwrap();
    place.fails(&[&new[..], &["--force"]].concat(), 1, "io.failed");
    assert_eq!(fs::read(place.at("release.key")).unwrap(), before);
}

#[test]
fn a_password_is_asked_for_or_taken_from_the_environment() {
    let place = Place::new();
    let arguments = ["keygen", "-o", "release"];
    // Nobody is there to be asked.
    place.fails(&arguments, 4, "sig.password");
    let with = |password: &str, arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.env("PLG_PASSWORD", password);
        run(command)
    };
    assert_eq!(with("", &arguments).status, 4);
    assert!(!place.at("release.key").exists());
    with("hunter2", &arguments).ok();
    let bytes = fs::read(place.at("release.key")).unwrap();
    let secret = LockedKey::parse(&bytes).unwrap();
    assert!(secret.is_encrypted());
    secret.open(Some("hunter2")).unwrap();

    let bundle = place.bundle("hello", "1.0.0", None);
    let index = [
        "index",
        &bundle,
        "--expires",
        "30d",
        "--sign",
        "release.key",
    ];
    place.fails(&index, 4, "sig.password");
    let wrong = with("hunter3", &index);
    assert_eq!(wrong.status, 4);
    assert!(
        wrong.stderr.contains("error[sig.password]"),
        "{}",
        wrong.stderr
    );
    assert!(!place.at("index.json").exists());
    with("hunter2", &index).ok();
}

#[test]
fn keys_are_added_listed_and_revoked() {
    let place = Place::new();
    let none = place.run(&["trust", "list"]);
    assert!(
        none.ok().starts_with("no key is trusted in"),
        "{}",
        none.stdout
    );
    assert!(!place.at("home").exists(), "looking makes nothing");
    let (first, second) = (place.public(1), place.public(2));
    let add = [
        "trust",
        "add",
        &first,
        "--name",
        "acme-*",
        "--name",
        "billing",
        "--level",
        "in-process",
        "--note",
        "Acme",
        "--expires",
        "2999-01-01",
        "--index",
    ];
    let said = place.run(&add);
    let expected = "key 0101010101010101 is trusted for acme-*, billing, up to in-process\n";
    assert_eq!(said.ok(), expected);
    place
        .run(&["trust", "add", &second, "--expires", "90d"])
        .ok();
    assert_eq!(mode(&place.at("home/trust")), 0o700);

    let document = place.run(&["trust", "list", "--json"]).json();
    assert_eq!(document["threshold"], 1);
    let acme = &document["keys"][0];
    assert_eq!(acme["id"], "0101010101010101");
    assert_eq!(acme["names"], serde_json::json!(["acme-*", "billing"]));
    assert_eq!(acme["levels"], serde_json::json!(["in-process"]));
    assert_eq!(acme["expires"], "2999-01-01T00:00:00.000Z");
    assert_eq!(
        (&acme["index"], &acme["in_force"]),
        (&true.into(), &true.into())
    );
    assert_eq!(
        document["keys"][1]["levels"],
        serde_json::json!(["isolated"])
    );

    place
        .run(&["trust", "revoke", "0101010101010101", "--why", "stolen"])
        .ok();
    place.run(&["trust", "revoke", &second]).ok();
    let list = place.run(&["trust", "list"]);
    let rows: Vec<&str> = list.ok().lines().collect();
    assert!(
        rows[1].contains("revoked") && rows[1].contains("stolen"),
        "{rows:?}"
    );
    assert!(rows[2].contains("revoked"), "{rows:?}");
    place.fails(
        &["trust", "revoke", "0303030303030303"],
        3,
        "trust.not_found",
    );
    let third = place.public(3);
    place.fails(&["trust", "revoke", &third], 3, "trust.not_found");
    place.fails(&["trust", "revoke", "no.pub"], 3, "io.not_found");
    place.fails(&["trust", "add", &first], 4, "sig.untrusted");
    let secret = place.secret(1);
    let wrong_half = place.fails(&["trust", "add", &secret], 4, "sig.key");
    assert!(
        wrong_half.stderr.contains("the secret half"),
        "{}",
        wrong_half.stderr
    );
    for wrong in [
        &["trust", "add", &third, "--name", "a*b"][..],
        &["trust", "add", &third, "--level", "root"],
        &["trust", "add", &third, "--expires", "soon"],
        &["trust", "add", &third, "--note", "\u{1b}[2J"],
        &["trust", "threshold", "0"],
    ] {
        assert_eq!(place.run(wrong).status, 2, "{wrong:?}");
    }
    place.run(&["trust", "threshold", "2"]).ok();
    assert!(
        place
            .run(&["trust", "list"])
            .ok()
            .ends_with("2 keys have to sign an index\n")
    );
}

#[test]
fn a_store_that_others_can_write_to_is_refused() {
    let place = Place::new();
    let (public, bundle) = (place.public(1), place.bundle("hello", "1.0.0", Some(1)));
    place.run(&["trust", "add", &public]).ok();
    place.run(&["verify", &bundle]).ok();
    let keys = place.at("home/trust/keys.json");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o666)).unwrap();
    for arguments in [
        &["trust", "list"][..],
        &["trust", "add", &public],
        &["verify", &bundle],
        &["verify", &bundle, "--allow-unsigned"],
    ] {
        let said = place.fails(arguments, 4, "trust.unsafe");
        assert!(said.stderr.contains("chmod go-w"), "{}", said.stderr);
    }
    // The key that is given needs no store.
    place.run(&["verify", &bundle, "--key", &public]).ok();
}

#[test]
fn verify_says_who_signed_or_why_it_is_refused() {
    let place = Place::new();
    let (first, second) = (place.public(1), place.public(2));
    let bundle = place.bundle("hello", "1.0.0", Some(1));
    let with_key = place.run(&["verify", &bundle, "--key", &first]);
    assert!(
        with_key.ok().contains("signed with key 0101010101010101\n"),
        "{}",
        with_key.stdout
    );
    place.fails(&["verify", &bundle, "--key", &second], 4, "sig.untrusted");
    place.fails(&["verify", &bundle], 4, "sig.untrusted");

    place
        .run(&["trust", "add", &first, "--name", "hello", "--note", "Acme"])
        .ok();
    let document = place.run(&["verify", &bundle, "--json"]).json();
    assert_eq!(
        (&document["plugin"], &document["version"]),
        (&"hello".into(), &"1.0.0".into())
    );
    assert_eq!(
        (&document["signed"], &document["note"]),
        (&true.into(), &"Acme".into())
    );
    assert_eq!(
        (&document["key"], &document["members"]),
        (&"0101010101010101".into(), &2.into())
    );
    place.fails(
        &["verify", &bundle, "--level", "in-process"],
        4,
        "sig.untrusted",
    );

    let free = place.bundle("free", "1.0.0", None);
    place.fails(&["verify", &free], 4, "sig.missing");
    place.fails(&["verify", &free, "--key", &first], 4, "sig.missing");
    let allowed = place.run(&["verify", &free, "--allow-unsigned"]);
    assert!(allowed.ok().ends_with("not signed\n"), "{}", allowed.stdout);
    let stripped = place.bundle("hello", "2.0.0", None);
    place.fails(&["verify", &stripped, "--allow-unsigned"], 4, "sig.missing");

    let whole = fs::read(place.at(&bundle)).unwrap();
    let damaged = |bytes: &[u8]| {
        fs::write(place.at("damaged.plg"), bytes).unwrap();
        "damaged.plg"
    };
    let longer = damaged(&[&whole[..], b"x"].concat());
    place.fails(&["verify", longer, "--key", &first], 4, "bundle.trailing");
    let shorter = damaged(&whole[..whole.len() - 9]);
    place.fails(&["verify", shorter, "--key", &first], 4, "bundle.truncated");
    // The first ten bytes say when and where it was packed, which means nothing.
    for at in (10..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        let run = place.run(&["verify", damaged(&bytes), "--key", &first]);
        assert_eq!(run.status, 4, "byte {at}: {}{}", run.stdout, run.stderr);
    }
    place.fails(&["verify", "no.plg"], 3, "io.not_found");
}

#[test]
fn an_index_is_made_signed_and_verified_by() {
    let place = Place::new();
    let (first, second) = (place.public(1), place.public(2));
    let (sign, also) = (place.secret(1), place.secret(2));
    let old = place.bundle("hello", "1.0.0", Some(1));
    let new = place.bundle("hello", "1.1.0", Some(1));
    let index = ["index", &old, "--expires", "30d", "--sign", &sign];
    let said = place.run(&index);
    assert!(
        said.ok()
            .starts_with("index.json has number 1 and 1 releases"),
        "{}",
        said.stdout
    );
    place.run(&["trust", "add", &first]).ok();
    let verify = ["verify", &old, "--index", "index.json"];
    place.fails(&verify, 4, "trust.threshold");
    place.run(&["trust", "add", &first, "--index"]).ok();
    let said = place.run(&verify);
    assert!(
        said.ok().contains("listed in index 1, signed with 1 keys"),
        "{}",
        said.stdout
    );
    let unlisted = ["verify", &new, "--index", "index.json"];
    place.fails(&unlisted, 4, "trust.mismatch");

    place
        .run(&["index", &new, "--expires", "30d", "--sign", &sign])
        .ok();
    let document = place.run(&[&unlisted[..], &["--json"]].concat()).json();
    assert_eq!(document["index"], 2);
    place.run(&verify).ok();

    // A second key signs what is there.
    place.run(&["trust", "add", &second, "--index"]).ok();
    place.run(&["trust", "threshold", "2"]).ok();
    place.fails(&verify, 4, "trust.threshold");
    let before = fs::read(place.at("index.json")).unwrap();
    let document = place
        .run(&["index", "--sign", &also, "--signature", "two", "--json"])
        .json();
    assert_eq!(
        (&document["number"], &document["signature"]),
        (&2.into(), &"two".into())
    );
    assert_eq!(fs::read(place.at("index.json")).unwrap(), before);
    let both = [
        "--index-signature",
        "index.json.minisig",
        "--index-signature",
        "two",
    ];
    place.run(&[&verify[..], &both].concat()).ok();
    let twice = ["--index-signature", "two", "--index-signature", "two"];
    place.fails(&[&verify[..], &twice].concat(), 4, "trust.threshold");

    // A build of a version that is listed is not replaced.
    let bytes = packed("hello", "1.0.0", Some(&key(2)));
    fs::write(place.at("same.plg"), bytes).unwrap();
    place.run(&["index", "same.plg", "--expires", "30d"]).ok();
    let fields = r#"{ "name": "hello", "version": "1.0.0", "description": "another" }"#;
    let mut draft = plg_packaging::bundle::Draft::new(fields.as_bytes().to_vec()).unwrap();
    draft.file("assets/x".parse().unwrap(), Vec::new(), false);
    let plan = draft.plan(&Default::default(), &mut |_| {}).unwrap();
    let mut bytes = Vec::new();
    plan.write(&mut bytes, None, &mut |_| {}).unwrap();
    fs::write(place.at("other.plg"), bytes).unwrap();
    place.fails(
        &["index", "other.plg", "--expires", "30d"],
        4,
        "trust.mismatch",
    );
    place.fails(
        &["index", "--expires", "30d", "--number", "1"],
        2,
        "usage.arguments",
    );
    place.fails(&["index", "--expires", "1970-01-02"], 4, "trust.index");
    fs::write(place.at("index.json"), "{}").unwrap();
    place.fails(&["index", "--expires", "30d"], 4, "trust.index");
    place.fails(&verify, 4, "trust.index");
}

#[test]
fn an_index_that_is_older_than_one_installed_by_is_refused() {
    let place = Place::new();
    let (public, secret) = (place.public(1), place.secret(1));
    let bytes = Sample::new("hello", "1.0.0").bytes();
    fs::write(place.at("hello.plg"), bytes).unwrap();
    place
        .run(&["trust", "add", &public, "--index", "--name", "mirror"])
        .ok();
    let index = ["index", "hello.plg", "--expires", "30d", "--sign", &secret];
    place.run(&index).ok();
    for name in ["index.json", "index.json.minisig"] {
        fs::copy(place.at(name), place.at(&format!("old-{name}"))).unwrap();
    }
    place.run(&index).ok();
    let install = |index| ["install", "hello.plg", "--index", index];
    let plan = |index| [&install(index)[..], &["--plan"]].concat();
    // To look is not to install.
    place.run(&plan("index.json")).ok();
    place
        .run(&[
            "verify",
            "hello.plg",
            "--allow-unsigned",
            "--index",
            "index.json",
        ])
        .ok();
    place.run(&plan("old-index.json")).ok();
    place.run(&install("index.json")).ok();
    place.fails(&plan("old-index.json"), 4, "trust.rollback");
    place.fails(&install("old-index.json"), 4, "trust.rollback");
    place.run(&install("index.json")).ok();
}

#[test]
fn a_bundle_that_was_installed_may_be_signed_afterwards() {
    let place = Place::new();
    let sample = Sample::new("hello", "1.0.0");
    fs::write(place.at("hello.plg"), sample.bytes()).unwrap();
    place.run(&["install", "hello.plg"]).ok();
    place.run(&["trust", "add", &place.public(1)]).ok();
    fs::write(place.at("hello.plg"), sample.signed_by(1).bytes()).unwrap();
    for arguments in [&["upgrade", "hello"][..], &["undo"]] {
        let said = place.run(arguments);
        let expected = "changed who signed hello 1.0.0, which has the same bytes\n";
        assert!(said.ok().starts_with(expected), "{}", said.stdout);
    }
}

#[test]
fn nobody_waits_for_the_writer_of_a_fifo() {
    let place = Place::new();
    fs::create_dir(place.at("made")).unwrap();
    for name in ["fifo", "made/plugin.json"] {
        let made = Command::new("mkfifo").arg(place.at(name)).status();
        assert!(made.unwrap().success());
    }
    let bundle = place.bundle("hello", "1.0.0", None);
    for arguments in [
        &["trust", "add", "fifo"][..],
        &["verify", &bundle, "--key", "fifo"],
        &["verify", &bundle, "--allow-unsigned", "--index", "fifo"],
        &["index", "--file", "fifo", "--expires", "30d"],
        &["pack", ".", "--sign", "fifo"],
        &["pack", "made"],
        &["install", "fifo"],
    ] {
        let mut command = place.command(arguments);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{arguments:?}");
    }
}

#[test]
fn the_home_is_the_given_one_or_below_the_data_of_the_user() {
    let place = Place::new();
    let public = place.public(1);
    let add = |variables: &[(&str, &Path)], arguments: &[&str]| {
        let mut command = place.command(&[&["trust", "add", &public], arguments].concat());
        command
            .env_remove("PLG_HOME")
            .env_remove("XDG_DATA_HOME")
            .env_remove("HOME");
        command.envs(variables.iter().map(|(name, path)| (name, path)));
        run(command)
    };
    let (data, home) = (place.at("data"), place.at("user"));
    add(&[("XDG_DATA_HOME", &data), ("HOME", &home)], &[]).ok();
    assert!(place.at("data/plg/trust/keys.json").exists());
    add(
        &[("HOME", &home), ("XDG_DATA_HOME", Path::new("relative"))],
        &[],
    )
    .ok();
    assert!(place.at("user/.local/share/plg/trust/keys.json").exists());
    add(&[("HOME", &home)], &["--home", "here"]).ok();
    assert!(place.at("here/trust/keys.json").exists());
    let nowhere = add(&[], &[]);
    assert_eq!(nowhere.status, 2, "{}", nowhere.stderr);
    assert!(nowhere.stderr.contains("--home DIR"), "{}", nowhere.stderr);
}
