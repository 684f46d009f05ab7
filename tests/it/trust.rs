//! Which keys may sign what, and that nobody gets back to what was before.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use plg_host::trust::{
    Judgement, Level, NamePattern, Terms, Trust, TrustError, TrustedKey, Unsigned, Why,
};
use plg_packaging::Text;
use plg_packaging::bundle::Listed;
use plg_packaging::sign::{KeyId, SecretKey, sign_bundle};
use plg_tests::child;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::process::become_nobody;
use crate::support::signed::{contents, key, signed, unsigned, with};

const DAY: Duration = Duration::from_secs(24 * 3600);
const DIRECTORY: &str = "PLG_TEST_TRUST";

fn now() -> SystemTime {
    // The middle of 2026, whatever the clock says.
    SystemTime::UNIX_EPOCH + 20_600 * DAY
}

fn scratch() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn store(scratch: &TempDir) -> Trust {
    Trust::open(&scratch.path().join("trust")).unwrap()
}

fn trusted(secret: &SecretKey) -> TrustedKey {
    let mut key = TrustedKey::new(secret.public_key(), now());
    key.levels = vec![Level::InProcess];
    key
}

fn named(secret: &SecretKey, names: &[&str]) -> TrustedKey {
    let mut key = trusted(secret);
    key.names = names.iter().map(|name| name.parse().unwrap()).collect();
    key
}

fn terms() -> Terms {
    Terms::new(Level::InProcess, now())
}

fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, TrustError>, code: &str) -> TrustError {
    let error = outcome.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    error
}

#[track_caller]
fn why(outcome: Result<Judgement, TrustError>) -> Why {
    match refused(outcome, "sig.untrusted") {
        TrustError::Untrusted { why, .. } => why,
        other => panic!("{other}"),
    }
}

#[test]
fn a_bundle_of_a_trusted_key_may_be_installed() {
    let scratch = scratch();
    let trust = store(&scratch);
    let mut acme = named(&key(1), &["acme-*", "billing"]);
    acme.note = text("Acme");
    assert_eq!(trust.add(acme).unwrap(), None);
    for name in ["acme-tax", "acme-", "billing"] {
        let bundle = signed(name, "1.0.0", &key(1));
        let judgement = trust.judge(&bundle, &terms()).unwrap();
        assert_eq!(judgement.name, name);
        assert_eq!(judgement.version.to_string(), "1.0.0");
        assert_eq!(judgement.digest, bundle.contents.digest());
        let signer = judgement.signer.unwrap();
        assert_eq!((signer.id(), signer.note.as_str()), (key(1).id(), "Acme"));
    }
    // Another process sees the same.
    let again = store(&scratch);
    assert_eq!(again.list().unwrap().len(), 1);
}

#[test]
fn every_other_key_is_refused_with_the_reason() {
    let scratch = scratch();
    let trust = store(&scratch);
    let bundle = signed("acme-tax", "1.0.0", &key(1));
    assert_eq!(why(trust.judge(&bundle, &terms())), Why::Unknown);

    trust.add(named(&key(1), &["acme"])).unwrap();
    let Why::Name { trusted: names } = why(trust.judge(&bundle, &terms())) else {
        panic!("not for that name");
    };
    assert_eq!(names[0].to_string(), "acme");

    // A key that is there is trusted for what was said last.
    let mut isolated = named(&key(1), &["acme-*"]);
    isolated.levels = vec![Level::Isolated];
    let before = trust.add(isolated.clone()).unwrap().unwrap();
    assert_eq!(before.names[0].to_string(), "acme");
    let outcome = trust.judge(&bundle, &terms());
    let level = Why::Level {
        wanted: Level::InProcess,
        trusted: vec![Level::Isolated],
    };
    assert_eq!(why(outcome), level);
    // What may do more may do less.
    for level in [Level::Isolated, Level::Sandboxed] {
        trust.judge(&bundle, &Terms::new(level, now())).unwrap();
    }
    isolated.levels.clear();
    trust.add(isolated).unwrap();
    let outcome = trust.judge(&bundle, &Terms::new(Level::Sandboxed, now()));
    assert!(matches!(why(outcome), Why::Level { .. }));

    let until = now() + DAY;
    let mut expiring = trusted(&key(1));
    expiring.expires = Some(until);
    trust.add(expiring).unwrap();
    trust.judge(&bundle, &terms()).unwrap();
    let outcome = trust.judge(&bundle, &Terms::new(Level::InProcess, until));
    assert_eq!(why(outcome), Why::Expired { when: until });

    trust.revoke(key(1).id(), text("stolen"), now()).unwrap();
    let Why::Revoked { when, why: reason } = why(trust.judge(&bundle, &terms())) else {
        panic!("it was revoked");
    };
    assert_eq!((when, reason.as_str()), (now(), "stolen"));
    // It stays as it is, and is not trusted again by adding it.
    trust
        .revoke(key(1).id(), text("again"), now() + DAY)
        .unwrap();
    refused(trust.add(trusted(&key(1))), "sig.untrusted");
    let [
        TrustedKey {
            revoked: Some(revoked),
            ..
        },
    ] = &trust.list().unwrap()[..]
    else {
        panic!("{:?}", trust.list());
    };
    assert_eq!(revoked.why.as_str(), "stolen");
    refused(
        trust.revoke(key(2).id(), text(""), now()),
        "trust.not_found",
    );
}

#[test]
fn a_bad_signature_is_told_from_a_key_that_is_not_trusted() {
    let scratch = scratch();
    let trust = store(&scratch);
    trust.add(trusted(&key(1))).unwrap();
    let hello = contents("hello", "1.0.0", "code");
    let signature = sign_bundle(&hello, &key(1)).unwrap();
    let moved = with(&contents("hello", "2.0.0", "code"), &signature);
    refused(trust.judge(&moved, &terms()), "sig.identity");
    let twin = SecretKey::from_seed(key(1).id(), &[9; 32]);
    let made_up = with(&hello, &sign_bundle(&hello, &twin).unwrap());
    refused(trust.judge(&made_up, &terms()), "sig.invalid");
    let bytes = hello.to_json().into_bytes();
    let junk = Listed::parse(bytes, Some(b"junk".to_vec())).unwrap();
    refused(
        trust.judge(&junk, &terms().allow_unsigned(true)),
        "sig.format",
    );
}

/// Leaving the signature away must not be the way around it.
#[test]
fn an_unsigned_bundle_is_allowed_only_where_nobody_signs() {
    let scratch = scratch();
    let trust = store(&scratch);
    let hello = unsigned("hello", "1.0.0");
    let allowed = terms().allow_unsigned(true);
    let missing = |trust: &Trust, terms: &Terms| match trust.judge(&hello, terms) {
        Err(error @ TrustError::Missing { .. }) => {
            assert_eq!(error.code(), "sig.missing");
            let TrustError::Missing { why, .. } = error else {
                unreachable!("it is one");
            };
            why
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(&trust, &terms()), Unsigned::NotAllowed);
    assert_eq!(trust.judge(&hello, &allowed).unwrap().signer, None);
    assert_eq!(
        missing(&trust, &allowed.was_signed(true)),
        Unsigned::WasSigned
    );

    trust.add(named(&key(1), &["other"])).unwrap();
    trust.judge(&hello, &allowed).unwrap();
    trust.add(named(&key(2), &["hel*"])).unwrap();
    let responsible = Unsigned::Responsible { key: key(2).id() };
    assert_eq!(missing(&trust, &allowed), responsible);
    // That it was revoked does not free the name for everybody.
    trust.revoke(key(2).id(), text(""), now()).unwrap();
    assert_eq!(missing(&trust, &allowed), responsible);
    // One that is signed is judged as such, also where an unsigned one may do.
    let other = signed("free", "1.0.0", &key(3));
    assert_eq!(why(trust.judge(&other, &allowed)), Why::Unknown);
}

#[test]
fn what_was_signed_before_stays_signed() {
    let scratch = scratch();
    let trust = store(&scratch);
    trust.add(named(&key(1), &["hello"])).unwrap();
    let judgement = trust
        .judge(&signed("hello", "1.0.0", &key(1)), &terms())
        .unwrap();
    trust.remember(&judgement).unwrap();
    trust.add(named(&key(1), &["other"])).unwrap();
    let outcome = trust.judge(&unsigned("hello", "1.0.0"), &terms().allow_unsigned(true));
    let error = refused(outcome, "sig.missing");
    assert!(error.to_string().contains("here before"), "{error}");
}

#[test]
fn an_older_version_than_the_highest_seen_is_a_rollback() {
    let scratch = scratch();
    let trust = store(&scratch);
    trust.add(trusted(&key(1))).unwrap();
    let install = |version: &str, terms: &Terms| {
        let judgement = trust.judge(&signed("hello", version, &key(1)), terms)?;
        trust.remember(&judgement)
    };
    for version in ["1.0.0", "2.0.0-rc.1", "2.0.0", "2.0.0+other"] {
        install(version, &terms()).unwrap();
    }
    for version in ["1.9.9", "2.0.0-rc.2", "0.0.1"] {
        let error = refused(install(version, &terms()), "trust.rollback");
        let expected = format!("`hello` is {version}, and 2.0.0 was seen before");
        assert_eq!(error.to_string(), expected);
    }
    // Who asks for it goes back, and what is highest stays so.
    install("1.9.9", &terms().allow_downgrade(true)).unwrap();
    refused(install("1.9.9", &terms()), "trust.rollback");
    install("2.0.1", &terms()).unwrap();
    // Every plugin has its own.
    trust
        .judge(&signed("other", "0.1.0", &key(1)), &terms())
        .unwrap();
    // What nobody signed is nothing to go by.
    let unsigned = unsigned("free", "9.0.0");
    trust.revoke(key(1).id(), text(""), now()).unwrap();
    trust.add(named(&key(2), &["free"])).unwrap();
    refused(
        trust.judge(&unsigned, &terms().allow_unsigned(true)),
        "sig.missing",
    );
}

/// A stolen key signs the highest version there is, so that nothing comes after it. Revoking it is enough.
#[test]
fn what_a_revoked_key_signed_is_no_longer_remembered() {
    let scratch = scratch();
    let trust = store(&scratch);
    trust.add(trusted(&key(1))).unwrap();
    trust.add(trusted(&key(2))).unwrap();
    let install = |version: &str, key: &SecretKey| {
        let judgement = trust.judge(&signed("hello", version, key), &terms())?;
        trust.remember(&judgement)
    };
    install("1.4.0", &key(2)).unwrap();
    install("18446744073709551615.0.0", &key(1)).unwrap();
    refused(install("1.5.0", &key(2)), "trust.rollback");
    trust.revoke(key(1).id(), text("stolen"), now()).unwrap();
    refused(install("1.3.0", &key(2)), "trust.rollback");
    install("1.5.0", &key(2)).unwrap();
}

#[test]
fn a_second_key_of_the_same_id_is_not_added() {
    let scratch = scratch();
    let trust = store(&scratch);
    trust.add(named(&key(1), &["acme-*"])).unwrap();
    let twin = SecretKey::from_seed(key(1).id(), &[9; 32]);
    refused(trust.add(trusted(&twin)), "trust.collision");
    // Where somebody wrote it there by hand, the key that signed is the one that counts.
    let file = scratch.path().join("trust/keys.json");
    let mut document: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let second = serde_json::to_value(named(&twin, &["twin"])).unwrap();
    document["keys"].as_array_mut().unwrap().insert(0, second);
    fs::write(&file, document.to_string()).unwrap();
    trust
        .judge(&signed("acme-tax", "1.0.0", &key(1)), &terms())
        .unwrap();
    trust
        .judge(&signed("twin", "1.0.0", &twin), &terms())
        .unwrap();
    let outcome = trust.judge(&signed("acme-tax", "1.0.0", &twin), &terms());
    assert!(matches!(why(outcome), Why::Name { .. }));
    trust.revoke(key(1).id(), text(""), now()).unwrap();
    assert!(
        trust
            .list()
            .unwrap()
            .iter()
            .all(|key| key.revoked.is_some())
    );
}

/// Somewhere a clock stands at the beginning or the end of time, or goes backwards.
#[test]
fn no_clock_makes_it_panic() {
    let scratch = scratch();
    let trust = store(&scratch);
    let mut expiring = trusted(&key(1));
    expiring.expires = Some(now() + DAY);
    trust.add(expiring).unwrap();
    let bundle = signed("hello", "1.0.0", &key(1));
    let far = Duration::from_secs(1 << 40);
    for (at, is_over) in [
        (SystemTime::UNIX_EPOCH, false),
        (SystemTime::UNIX_EPOCH - DAY, false),
        (SystemTime::UNIX_EPOCH - far, false),
        (SystemTime::UNIX_EPOCH + 47_482 * DAY, true),
        (SystemTime::UNIX_EPOCH + far, true),
        (now(), false),
        (now() + 2 * DAY, true),
        (now(), false),
    ] {
        let outcome = trust.judge(&bundle, &Terms::new(Level::InProcess, at));
        assert_eq!(outcome.is_err(), is_over, "{at:?}: {outcome:?}");
    }
    // Such times are written and read, too.
    for (number, at) in [
        (2, SystemTime::UNIX_EPOCH),
        (3, SystemTime::UNIX_EPOCH + far),
    ] {
        let mut odd = TrustedKey::new(key(number).public_key(), at);
        odd.expires = Some(at);
        trust.add(odd).unwrap();
        trust.revoke(key(number).id(), text(""), at).unwrap();
    }
    assert_eq!(store(&scratch).list().unwrap().len(), 3);
}

#[test]
fn patterns_are_names_or_beginnings_of_names() {
    for good in ["*", "a*", "acme-*", "acme"] {
        let pattern: NamePattern = good.parse().unwrap();
        assert_eq!(pattern.to_string(), good);
    }
    for bad in ["", "**", "a*b", "*a", "Acme", "../*", "a b", "-*"] {
        assert!(bad.parse::<NamePattern>().is_err(), "{bad}");
    }
}

#[test]
fn a_store_that_is_not_there_trusts_nobody_and_is_not_made() {
    let scratch = scratch();
    let trust = store(&scratch);
    assert_eq!(trust.list().unwrap(), []);
    assert_eq!(
        why(trust.judge(&signed("hello", "1.0.0", &key(1)), &terms())),
        Why::Unknown
    );
    refused(
        trust.judge(&unsigned("hello", "1.0.0"), &terms()),
        "sig.missing",
    );
    let unsigned = trust.judge(&unsigned("hello", "1.0.0"), &terms().allow_unsigned(true));
    trust.remember(&unsigned.unwrap()).unwrap();
    assert!(!scratch.path().join("trust").exists());
    refused(
        trust.revoke(key(1).id(), text(""), now()),
        "trust.not_found",
    );
}

#[test]
fn the_files_are_private_and_say_all_there_is_to_know() {
    let scratch = scratch();
    let trust = store(&scratch);
    let mut acme = named(&key(1), &["acme-*"]);
    acme.note = text("Acme");
    trust.add(acme).unwrap();
    let judgement = trust.judge(&signed("acme-tax", "1.0.0", &key(1)), &terms());
    trust.remember(&judgement.unwrap()).unwrap();
    let at = |name: &str| scratch.path().join("trust").join(name);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&scratch.path().join("trust")), 0o700);
    for name in ["keys.json", "seen.json", "trust.lock"] {
        assert_eq!(mode(&at(name)), 0o600, "{name}");
    }
    let read = |name: &str| serde_json::from_slice::<Value>(&fs::read(at(name)).unwrap()).unwrap();
    let public = key(1).public_key().to_string();
    let keys = json!({
        "format": 1,
        "threshold": 1,
        "keys": [{
            "key": public,
            "note": "Acme",
            "names": ["acme-*"],
            "levels": ["in-process"],
            "index": false,
            "added": "2026-05-27T00:00:00Z",
        }],
    });
    assert_eq!(read("keys.json"), keys);
    let seen = json!({
        "format": 1,
        "plugins": { "acme-tax": { public: "1.0.0" } },
        "indexes": {},
    });
    assert_eq!(read("seen.json"), seen);
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn write(path: &Path, bytes: &str) {
    fs::write(path, bytes).unwrap();
}

/// Whatever is wrong with a store, it is neither one without keys nor one that trusts anybody.
#[test]
fn a_store_that_others_can_change_or_that_is_damaged_is_an_error() {
    let good = |directory: &TempDir| {
        let trust = store(directory);
        trust.add(trusted(&key(1))).unwrap();
        let judgement = trust.judge(&signed("hello", "1.0.0", &key(1)), &terms());
        trust.remember(&judgement.unwrap()).unwrap();
    };
    type Harm<'a> = &'a dyn Fn(&Path);
    let cases: Vec<(&str, Harm)> = vec![
        ("a directory that all can write to", &|path| {
            mode(path, 0o777)
        }),
        ("a directory that a group can write to", &|path| {
            mode(path, 0o770)
        }),
        ("a parent that all can write to", &|path| {
            mode(path.parent().unwrap(), 0o777)
        }),
        ("keys that all can write to", &|path| {
            mode(&path.join("keys.json"), 0o606)
        }),
        ("keys that a group can write to", &|path| {
            mode(&path.join("keys.json"), 0o660)
        }),
        ("a memory that all can write to", &|path| {
            mode(&path.join("seen.json"), 0o666)
        }),
        ("a link to a directory", &|path| {
            let real = path.with_file_name("real");
            fs::rename(path, &real).unwrap();
            symlink(&real, path).unwrap();
        }),
        ("a link to nowhere", &|path| {
            fs::remove_dir_all(path).unwrap();
            symlink("nowhere", path).unwrap();
        }),
        ("a file", &|path| {
            fs::remove_dir_all(path).unwrap();
            write(path, "");
        }),
        ("a link to the keys", &|path| {
            let real = path.join("real.json");
            fs::rename(path.join("keys.json"), &real).unwrap();
            symlink(&real, path.join("keys.json")).unwrap();
        }),
        ("a directory for keys", &|path| {
            fs::remove_file(path.join("keys.json")).unwrap();
            fs::create_dir(path.join("keys.json")).unwrap();
        }),
        ("no keys", &|path| {
            fs::remove_file(path.join("keys.json")).unwrap()
        }),
        ("no memory", &|path| {
            fs::remove_file(path.join("seen.json")).unwrap()
        }),
        ("empty keys", &|path| write(&path.join("keys.json"), "")),
        ("half the keys", &|path| {
            let bytes = fs::read_to_string(path.join("keys.json")).unwrap();
            write(&path.join("keys.json"), &bytes[..bytes.len() / 2]);
        }),
        ("half the memory", &|path| {
            let bytes = fs::read_to_string(path.join("seen.json")).unwrap();
            write(&path.join("seen.json"), &bytes[..bytes.len() - 3]);
        }),
        ("something after the keys", &|path| {
            let bytes = fs::read_to_string(path.join("keys.json")).unwrap();
            write(&path.join("keys.json"), &format!("{bytes}{bytes}"));
        }),
        ("a newer format", &|path| {
            write(&path.join("keys.json"), r#"{ "format": 2 }"#)
        }),
        ("an unknown field", &|path| {
            write(
                &path.join("keys.json"),
                r#"{ "format": 1, "threshold": 1, "keys": [], "x": 1 }"#,
            );
        }),
        ("no threshold", &|path| {
            write(
                &path.join("keys.json"),
                r#"{ "format": 1, "threshold": 0, "keys": [] }"#,
            );
        }),
        ("a key twice", &|path| {
            let bytes = fs::read(path.join("keys.json")).unwrap();
            let mut document: Value = serde_json::from_slice(&bytes).unwrap();
            let twice = document["keys"][0].clone();
            document["keys"].as_array_mut().unwrap().push(twice);
            write(&path.join("keys.json"), &document.to_string());
        }),
        ("a weak key", &|path| {
            let bytes = fs::read_to_string(path.join("keys.json")).unwrap();
            let public = key(1).public_key().to_string();
            let weak = format!("RWQ{}", "A".repeat(53));
            write(&path.join("keys.json"), &bytes.replace(&public, &weak));
        }),
        ("a huge file", &|path| {
            let file = fs::File::create(path.join("keys.json")).unwrap();
            file.set_len(1 << 40).unwrap();
        }),
    ];
    for (what, harm) in cases {
        let scratch = scratch();
        good(&scratch);
        let trust = store(&scratch);
        let path = scratch.path().join("trust");
        harm(&path);
        let bundle = signed("hello", "1.0.0", &key(1));
        let check = |outcome: Result<(), TrustError>, doing: &str| {
            let error = outcome.expect_err(&format!("{what}: {doing}"));
            assert_eq!(error.code(), "trust.unsafe", "{what}: {doing}: {error}");
        };
        check(Trust::open(&path).map(drop), "open");
        check(trust.list().map(drop), "list");
        check(trust.judge(&bundle, &terms()).map(drop), "judge");
        let free = unsigned("free", "1.0.0");
        let allowed = terms().allow_unsigned(true);
        check(
            trust.judge(&free, &allowed).map(drop),
            "judge an unsigned one",
        );
        check(trust.add(trusted(&key(2))).map(drop), "add");
        check(trust.revoke(key(1).id(), text(""), now()), "revoke");
        check(trust.set_threshold(2), "set the threshold");
        // So that what was made can be removed.
        mode(scratch.path(), 0o700);
    }
}

/// For root, every owner but root is somebody else; for others, everybody but them and root.
#[test]
fn a_store_of_somebody_else_is_an_error() {
    const SOMEBODY: u32 = 12345;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give files away");
        return;
    }
    for name in ["", "keys.json", "seen.json"] {
        let scratch = scratch();
        let trust = store(&scratch);
        trust.add(trusted(&key(1))).unwrap();
        let path = scratch.path().join("trust").join(name);
        chown(path, Some(SOMEBODY), None).unwrap();
        let error = refused(trust.list(), "trust.unsafe");
        assert!(error.to_string().contains("user 12345"), "{error}");
    }
}

#[test]
fn what_cannot_be_read_or_written_is_an_error() {
    let scratch = scratch();
    let path = scratch.path().join("trust");
    let variable = path.display().to_string();
    if env::var_os(DIRECTORY).is_none() {
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
        let trust = store(&scratch);
        trust.add(trusted(&key(1))).unwrap();
        if rustix::process::geteuid().is_root() {
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }
    }
    let test = concat!(
        module_path!(),
        "::what_cannot_be_read_or_written_is_an_error"
    );
    let ended = child::run(test, &[(DIRECTORY, &variable)], || {
        become_nobody();
        let path = env::var(DIRECTORY).unwrap();
        // The files are for their owner alone.
        if !rustix::process::geteuid().is_root() {
            refused(Trust::open(Path::new(&path)), "io.denied");
        }
        let missing = Trust::open(&Path::new(&path).with_file_name("new")).unwrap();
        refused(missing.add(trusted(&key(1))), "io.denied");
    });
    assert!(ended.status.success(), "{}", ended.output);
}

/// Many processes and threads may change a store: none of them loses what another did.
#[test]
fn changes_at_the_same_time_are_all_kept() {
    let scratch = scratch();
    let trust = store(&scratch);
    thread::scope(|scope| {
        for number in 1..=8 {
            let trust = trust.clone();
            scope.spawn(move || {
                let secret = key(number);
                trust.add(trusted(&secret)).unwrap();
                let name = format!("plugin-{number}");
                let judgement = trust.judge(&signed(&name, "1.0.0", &secret), &terms());
                trust.remember(&judgement.unwrap()).unwrap();
                trust.list().unwrap();
            });
        }
    });
    assert_eq!(trust.list().unwrap().len(), 8);
    for number in 1..=8 {
        let name = format!("plugin-{number}");
        let old = signed(&name, "0.9.0", &key(number));
        refused(trust.judge(&old, &terms()), "trust.rollback");
    }
}

#[test]
fn ids_in_files_are_those_of_minisign() {
    assert_eq!(
        KeyId::from_bytes([1, 2, 3, 4, 5, 6, 7, 8]).to_string(),
        "0807060504030201"
    );
}
