//! What the trust store has to say when a bundle is installed.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime};

use plg_host::store::{
    Answer, Bundle, Changed, InstallOptions, Named, Options, Step, Store, StoreError,
};
use plg_host::trust::{AcceptedIndex, Trust, TrustedKey};
use plg_packaging::Index;
use plg_packaging::bundle::SIGNATURE;
use plg_packaging::sign::sign_index;
use plg_tests::archive::{gzip, plain, tar};

use crate::support::bundles::{Sample, key, name, open};
use crate::support::untouched::Untouched;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn trust(home: &Path) -> Trust {
    Trust::open(&home.join("trust")).unwrap()
}

fn judge(home: &Path) -> Named {
    Named::new(trust(home))
}

fn install(store: &Store, bytes: &[u8], judge: &Named) -> Result<Changed, StoreError> {
    let bundle = Bundle::new("test.plg", bytes);
    store.install(vec![bundle], &InstallOptions::default(), judge)
}

#[track_caller]
fn refused(store: &Store, sample: &Sample, judge: &Named, code: &str) {
    let untouched = Untouched::below(store.home());
    let error = install(store, &sample.bytes(), judge).unwrap_err();
    assert_eq!(error.code(), code, "{error:?}");
    untouched.check(code);
}

fn signer(store: &Store) -> Option<String> {
    let set = store.current().unwrap();
    let entry = set.plugin(&name("hello")).unwrap();
    let level = if entry.signer.is_some() {
        "signed"
    } else {
        "trusted"
    };
    assert_eq!(entry.level, level);
    entry.signer.clone()
}

#[test]
fn what_is_signed_must_be_so_by_a_known_key_and_stays_signed() {
    let scratch = tempfile::tempdir().unwrap();
    let home = scratch.path().join("plg");
    let store = open(&home);
    let sample = |minor: u64| Sample::new("hello", &format!("1.{minor}.0"));
    // To name a file is to trust it.
    install(&store, &sample(0).bytes(), &judge(&home)).unwrap();
    assert_eq!(signer(&store), None);
    refused(
        &store,
        &sample(1).signed_by(7),
        &judge(&home),
        "sig.untrusted",
    );
    refused(
        &store,
        &sample(1).signed(b"none"),
        &judge(&home).any_key(true),
        "sig.format",
    );
    install(
        &store,
        &sample(1).signed_by(7).bytes(),
        &judge(&home).any_key(true),
    )
    .unwrap();
    assert_eq!(signer(&store), None, "nobody knows whose it is");

    trust(&home)
        .add(TrustedKey::new(key(7).public_key(), SystemTime::now()))
        .unwrap();
    install(&store, &sample(5).signed_by(7).bytes(), &judge(&home)).unwrap();
    assert_eq!(signer(&store), Some(key(7).id().to_string()));
    store.build(&name("hello")).unwrap();
    // Nobody gets back behind that by leaving the signature out, or with an old bundle.
    refused(&store, &sample(6), &judge(&home), "sig.missing");
    refused(
        &store,
        &sample(6).signed_by(8),
        &judge(&home),
        "sig.untrusted",
    );
    refused(
        &store,
        &sample(6).signed_by(8),
        &judge(&home).any_key(true),
        "sig.missing",
    );
    refused(
        &store,
        &sample(4).signed_by(7),
        &judge(&home),
        "trust.rollback",
    );
    let error = install(&store, &gzip(&tar(&plain())), &judge(&home)).unwrap_err();
    assert_eq!(error.code(), "sig.missing");
    store.remove(&[name("hello")], false).unwrap();
    refused(&store, &sample(6), &judge(&home), "sig.missing");
    refused(
        &store,
        &sample(4).signed_by(7),
        &judge(&home),
        "trust.rollback",
    );
    install(
        &store,
        &sample(4).signed_by(7).bytes(),
        &judge(&home).downgrade(true),
    )
    .unwrap();
}

#[test]
fn a_change_that_failed_is_not_remembered() {
    let scratch = tempfile::tempdir().unwrap();
    let home = scratch.path().join("plg");
    let store = open(&home);
    install(
        &store,
        &Sample::new("other", "1.0.0").bytes(),
        &judge(&home),
    )
    .unwrap();
    trust(&home)
        .add(TrustedKey::new(key(7).public_key(), SystemTime::now()))
        .unwrap();
    let bytes = Sample::new("hello", "9.0.0").signed_by(7).bytes();
    let error = install(&store, &bytes[..bytes.len() - 1], &judge(&home)).unwrap_err();
    assert_eq!(error.code(), "bundle.truncated");
    let older = Sample::new("hello", "1.0.0").signed_by(7).bytes();
    install(&store, &older, &judge(&home)).unwrap();
}

/// Row 176: what cannot be remembered is not installed, or an older one could follow it.
#[test]
fn what_cannot_be_remembered_is_not_installed() {
    let scratch = tempfile::tempdir().unwrap();
    let home = scratch.path().join("plg");
    let store = open(&home);
    trust(&home)
        .add(TrustedKey::new(key(7).public_key(), SystemTime::now()))
        .unwrap();
    let bundle = |version: &str| Sample::new("hello", version).signed_by(7).bytes();
    let held = File::create(home.join("trust/trust.lock")).unwrap();
    held.lock().unwrap();
    let error = install(&store, &bundle("2.0.0"), &judge(&home)).unwrap_err();
    assert_eq!(error.code(), "io.failed");
    assert!(store.current().unwrap().plugins.is_empty());
    drop(held);
    install(&store, &bundle("2.0.0"), &judge(&home)).unwrap();
    store.remove(&[name("hello")], false).unwrap();
    let error = install(&store, &bundle("1.0.0"), &judge(&home)).unwrap_err();
    assert_eq!(error.code(), "trust.rollback");
}

#[test]
fn an_index_has_to_list_what_is_installed_by_it() {
    let scratch = tempfile::tempdir().unwrap();
    let home = scratch.path().join("plg");
    let store = open(&home);
    install(
        &store,
        &Sample::new("other", "1.0.0").bytes(),
        &judge(&home),
    )
    .unwrap();
    let mut mirror = TrustedKey::new(key(9).public_key(), SystemTime::now());
    mirror.index = true;
    mirror.names = vec!["mirror-only".parse().unwrap()];
    trust(&home).add(mirror).unwrap();
    let listed = Sample::new("hello", "1.0.0");
    let digest = {
        let scratch = tempfile::tempdir().unwrap();
        let store = open(&scratch.path().join("plg"));
        let changed = install(&store, &listed.bytes(), &judge(&home)).unwrap();
        changed.set.plugins[0].digest
    };
    let accepted = |age: Duration| -> AcceptedIndex {
        let issued = SystemTime::now() - age;
        let mut index = Index::new(1, issued, issued + DAY).unwrap();
        index.insert(name("hello"), "1.0.0".parse().unwrap(), digest);
        let bytes = index.to_json();
        let signature = sign_index(&index, bytes.as_bytes(), &key(9))
            .unwrap()
            .to_text();
        let trust = trust(&home);
        let accepted =
            trust.check_index(bytes.as_bytes(), &[signature.as_bytes()], SystemTime::now());
        accepted.unwrap()
    };
    let fresh = judge(&home).index(Some(accepted(Duration::ZERO)));
    refused(
        &store,
        &listed.clone().member("assets/x.txt", "x"),
        &fresh,
        "trust.mismatch",
    );
    refused(
        &store,
        &Sample::new("hello", "2.0.0"),
        &fresh,
        "trust.mismatch",
    );
    let error = install(&store, &gzip(&tar(&plain())), &fresh).unwrap_err();
    assert_eq!(
        error.code(),
        "sig.missing",
        "what has no list is in no index"
    );
    let over = judge(&home).index(Some(accepted(2 * DAY)));
    refused(&store, &listed, &over, "trust.expired");
    install(&store, &listed.bytes(), &fresh).unwrap();
}

#[test]
fn a_build_that_is_signed_once_more_is_still_that_of_earlier_sets() {
    let scratch = tempfile::tempdir().unwrap();
    let home = scratch.path().join("plg");
    let store = open(&home);
    let sample = Sample::new("hello", "1.0.0").member("assets/a.txt", "a");
    install(&store, &sample.bytes(), &judge(&home)).unwrap();
    for number in [7, 8] {
        let key = TrustedKey::new(key(number).public_key(), SystemTime::now());
        trust(&home).add(key).unwrap();
    }
    // A change that fails, or whose process is killed, has not touched what is in force.
    let faulty = Options::new().on_step(|step, _| match step {
        Step::LockRename => Answer::Fail(ErrorKind::StorageFull.into()),
        _ => Answer::Proceed,
    });
    let faulty = Store::open(&home, faulty).unwrap();
    let untouched = Untouched::below(&home.join("builds"));
    let signed = sample.clone().signed_by(7).bytes();
    install(&faulty, &signed, &judge(&home)).unwrap_err();
    untouched.check("a signature that was not installed");
    store.build(&name("hello")).unwrap();

    for number in [7, 8, 7] {
        let bytes = sample.clone().signed_by(number).bytes();
        install(&store, &bytes, &judge(&home)).unwrap();
        assert_eq!(signer(&store), Some(key(number).id().to_string()));
        store.build(&name("hello")).unwrap();
        let before = store.current().unwrap().number;
        install(&store, &bytes, &judge(&home)).unwrap();
        assert_eq!(store.current().unwrap().number, before, "nothing is new");
        let bundle = Bundle::new("test.plg", bytes.as_slice());
        let plan = store.plan_install(vec![bundle], &InstallOptions::default(), &judge(&home));
        assert_eq!(plan.unwrap().set.number, before, "a plan knows that too");
    }
    untouched.check("signatures of one build");
    for expected in [Some(8), Some(7), None] {
        store.undo(None).unwrap();
        let expected = expected.map(|number| key(number).id().to_string());
        assert_eq!(signer(&store), expected);
        store.build(&name("hello")).unwrap();
    }
}

#[test]
fn the_signature_that_was_installed_is_mended_with_its_build() {
    let scratch = tempfile::tempdir().unwrap();
    let home = scratch.path().join("plg");
    let store = open(&home);
    // There is a trust store only below a home.
    let other = Sample::new("other", "1.0.0").bytes();
    install(&store, &other, &judge(&home)).unwrap();
    for number in [7, 8] {
        let key = TrustedKey::new(key(number).public_key(), SystemTime::now());
        trust(&home).add(key).unwrap();
    }
    let signed = |number| Sample::new("hello", "1.0.0").signed_by(number).bytes();
    let digest = install(&store, &signed(7), &judge(&home)).unwrap();
    let digest = digest.set.plugin(&name("hello")).unwrap().digest;
    let path = home.join("builds").join(digest.hex()).join(SIGNATURE);
    let whole = fs::read(&path).unwrap();
    for number in [7, 8] {
        fs::write(&path, "damaged").unwrap();
        assert_eq!(
            store.build(&name("hello")).unwrap_err().code(),
            "store.tampered"
        );
        install(&store, &signed(number), &judge(&home)).unwrap();
        store.build(&name("hello")).unwrap();
        assert_eq!(fs::read(&path).unwrap() == whole, number == 7);
    }
}
