//! Indexes of releases: what a source, its mirror and whoever stole a key can do with them.

use std::time::{Duration, SystemTime};

use plg_host::trust::{AcceptedIndex, Level, Trust, TrustError, TrustedKey, Why};
use plg_packaging::bundle::Listed;
use plg_packaging::sign::{SecretKey, sign_index};
use plg_packaging::{Digest, Index, Text};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::support::signed::{contents, key, signed, with};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn today() -> SystemTime {
    SystemTime::UNIX_EPOCH + 20_600 * DAY
}

/// A source with the keys that sign for it, and a host that trusts them.
struct World {
    scratch: TempDir,
    /// What the host takes for now.
    now: SystemTime,
}

/// An index as a mirror hands it out.
#[derive(Clone)]
struct Offer {
    bytes: Vec<u8>,
    signatures: Vec<Vec<u8>>,
}

impl World {
    /// Keys of these numbers are trusted for indexes, and so many of them have to sign.
    fn new(keys: &[u8], threshold: usize) -> Self {
        let world = Self {
            scratch: tempfile::tempdir().unwrap(),
            now: today(),
        };
        for number in keys {
            world.trust_key(*number);
        }
        world.trust().set_threshold(threshold).unwrap();
        world
    }

    fn trust(&self) -> Trust {
        Trust::open(&self.scratch.path().join("trust")).unwrap()
    }

    fn trust_key(&self, number: u8) {
        let mut trusted = TrustedKey::new(key(number).public_key(), today());
        trusted.index = true;
        trusted.levels = vec![Level::InProcess];
        self.trust().add(trusted).unwrap();
    }

    fn revoke(&self, number: u8) {
        let why = Text::new("stolen").unwrap();
        self.trust()
            .revoke(key(number).id(), why, self.now)
            .unwrap();
    }

    fn accept(&self, offer: &Offer) -> Result<AcceptedIndex, TrustError> {
        self.trust()
            .accept_index(&offer.bytes, &offer.signatures(), self.now)
    }

    fn check(&self, offer: &Offer) -> Result<AcceptedIndex, TrustError> {
        self.trust()
            .check_index(&offer.bytes, &offer.signatures(), self.now)
    }
}

impl Offer {
    fn signatures(&self) -> Vec<&[u8]> {
        self.signatures.iter().map(Vec::as_slice).collect()
    }
}

/// An index of that number with `hello 1.0.NUMBER`, which holds for a week.
fn offer(number: u64, keys: &[u8]) -> Offer {
    offer_of(number, keys, &[&format!("1.0.{}", number % 1000)])
}

fn offer_of(number: u64, keys: &[u8], versions: &[&str]) -> Offer {
    let mut index = Index::new(number, today(), today() + 7 * DAY).unwrap();
    for version in versions {
        let digest = contents("hello", version, "code").digest();
        index.insert("hello".parse().unwrap(), version.parse().unwrap(), digest);
    }
    let bytes = index.to_json().into_bytes();
    let sign = |number: &u8| sign_index(&index, &bytes, &key(*number)).unwrap();
    let signatures = keys.iter().map(|key| sign(key).to_text().into_bytes());
    let signatures = signatures.collect();
    Offer { bytes, signatures }
}

fn release(version: &str) -> Listed {
    signed("hello", version, &key(9))
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, TrustError>, code: &str) -> TrustError {
    let error = outcome.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    error
}

#[test]
fn the_bundle_must_be_the_one_that_is_listed() {
    let world = World::new(&[1], 1);
    let accepted = world
        .accept(&offer_of(1, &[1], &["1.0.0", "1.1.0"]))
        .unwrap();
    assert_eq!((accepted.index.number, accepted.signers.len()), (1, 1));
    for version in ["1.0.0", "1.1.0"] {
        accepted.check(&release(version)).unwrap();
    }
    let error = refused(accepted.check(&release("1.2.0")), "trust.mismatch");
    assert!(
        error.to_string().ends_with("there is no such release"),
        "{error}"
    );
    refused(
        accepted.check(&signed("other", "1.0.0", &key(9))),
        "trust.mismatch",
    );
    // Signed with a good key, and still another build of that version.
    let other = contents("hello", "1.0.0", "other code");
    let signature = plg_packaging::sign::sign_bundle(&other, &key(9)).unwrap();
    let error = refused(accepted.check(&with(&other, &signature)), "trust.mismatch");
    let listed = contents("hello", "1.0.0", "code").digest();
    assert!(error.to_string().contains(&listed.to_string()), "{error}");
}

/// A mirror keeps handing out what was good once.
#[test]
fn an_older_index_is_a_rollback() {
    let world = World::new(&[1], 1);
    for number in [1, 2, 2, 7] {
        world.accept(&offer(number, &[1])).unwrap();
    }
    let error = refused(world.accept(&offer(6, &[1])), "trust.rollback");
    assert_eq!(
        error.to_string(),
        "`the index` is number 6, and number 7 was seen before"
    );
    refused(world.check(&offer(1, &[1])), "trust.rollback");
    // Looking at one is not accepting it.
    world.check(&offer(9, &[1])).unwrap();
    world.accept(&offer(8, &[1])).unwrap();
}

/// A mirror hands out nothing new any more.
#[test]
fn an_index_that_is_over_installs_nothing_and_stops_nothing() {
    let mut world = World::new(&[1], 1);
    let old = offer(1, &[1]);
    world.accept(&old).unwrap();
    for (day, is_over) in [(6, false), (7, true), (10_000, true), (5, false)] {
        world.now = today() + day * DAY;
        assert_eq!(world.accept(&old).is_err(), is_over, "day {day}");
        // What runs goes on: the index may be looked at, with a warning.
        let checked = world.check(&old).unwrap();
        assert_eq!(checked.check_time(world.now).is_err(), is_over, "day {day}");
    }
    world.now = today() + 8 * DAY;
    let error = refused(world.accept(&old), "trust.expired");
    assert_eq!(
        error.to_string(),
        "the index 1 expired at 2026-06-03T00:00:00Z"
    );
    // What was refused is not remembered.
    refused(world.accept(&offer(5, &[1])), "trust.expired");
    world.now = today();
    world.accept(&offer(2, &[1])).unwrap();
}

#[test]
fn no_clock_makes_an_index_panic() {
    let mut world = World::new(&[1], 1);
    let far = Duration::from_secs(1 << 40);
    for (now, is_over) in [
        (SystemTime::UNIX_EPOCH, false),
        (SystemTime::UNIX_EPOCH - far, false),
        (SystemTime::UNIX_EPOCH + 47_482 * DAY, true),
        (SystemTime::UNIX_EPOCH + far, true),
    ] {
        world.now = now;
        assert_eq!(world.accept(&offer(1, &[1])).is_err(), is_over, "{now:?}");
        let index = Index::new(1, now, now).unwrap();
        assert!(Index::parse(index.to_json().as_bytes()).is_ok());
    }
}

/// Signatures of one index, content of another; and two contents of one number.
#[test]
fn parts_of_different_indexes_do_not_mix() {
    let world = World::new(&[1, 2], 1);
    let (one, two) = (offer(1, &[1]), offer(2, &[1]));
    let mixed = Offer {
        bytes: two.bytes.clone(),
        signatures: one.signatures.clone(),
    };
    refused(world.accept(&mixed), "sig.identity");
    let mut both = two.clone();
    both.signatures.extend(one.signatures);
    refused(world.accept(&both), "sig.identity");
    world.accept(&two).unwrap();
    // Two keys, or a source and a thief, tell different hosts different things.
    let other = offer_of(2, &[2], &["6.6.6"]);
    let error = refused(world.accept(&other), "trust.mismatch");
    assert!(
        error
            .to_string()
            .contains(&Digest::of(&two.bytes).to_string()),
        "{error}"
    );
    // A signature of a bundle is none of an index.
    let bundle = release("1.0.0");
    let mut odd = offer(3, &[]);
    odd.signatures
        .push(signed("hello", "1.0.0", &key(1)).signature.unwrap());
    refused(world.accept(&odd), "sig.identity");
    odd.bytes = bundle.bytes;
    refused(world.accept(&odd), "trust.index");
}

#[test]
fn two_of_three_means_two_different_keys() {
    let world = World::new(&[1, 2, 3], 2);
    let threshold = |offer: &Offer| match refused(world.accept(offer), "trust.threshold") {
        TrustError::Threshold {
            signed,
            needed,
            ignored,
        } => {
            assert_eq!(needed, 2);
            (signed, ignored)
        }
        other => panic!("{other}"),
    };
    assert_eq!(threshold(&offer(1, &[])), (0, vec![]));
    assert_eq!(threshold(&offer(1, &[1])), (1, vec![]));
    assert_eq!(threshold(&offer(1, &[1, 1, 1])), (1, vec![]));
    let unknown = (key(4).id(), Why::Unknown);
    assert_eq!(threshold(&offer(1, &[1, 4])), (1, vec![unknown]));
    world.accept(&offer(1, &[3, 1, 3])).unwrap();
    assert_eq!(
        world.accept(&offer(2, &[1, 2, 3])).unwrap().signers.len(),
        3
    );

    // One that may sign plugins may not sign indexes for that.
    world
        .trust()
        .add(TrustedKey::new(key(5).public_key(), today()))
        .unwrap();
    assert_eq!(
        threshold(&offer(3, &[1, 5])).1,
        [(key(5).id(), Why::NoIndex)]
    );
    world.revoke(2);
    assert!(matches!(
        threshold(&offer(3, &[1, 2])).1[..],
        [(_, Why::Revoked { .. })]
    ));
    world.accept(&offer(3, &[1, 3])).unwrap();

    // The same key under another id is still one key, and not a trusted one.
    let twin = SecretKey::from_seed(key(9).id(), &[1; 32]);
    let mut index = offer(4, &[1]);
    let parsed = Index::parse(&index.bytes).unwrap();
    let second = sign_index(&parsed, &index.bytes, &twin).unwrap();
    index.signatures.push(second.to_text().into_bytes());
    assert_eq!(threshold(&index).0, 1);
    // Another spelling of a signature is refused, and not a second one.
    let mut odd = offer(4, &[1, 1]);
    odd.signatures[1].push(b'\n');
    refused(world.accept(&odd), "sig.format");
}

/// Whoever stole the keys signs the last number there is, so that no index comes after it. New keys do.
#[test]
fn new_keys_recover_from_a_number_that_is_too_high() {
    let world = World::new(&[1, 2, 3], 2);
    world.accept(&offer(10, &[1, 2])).unwrap();
    world.accept(&offer(11, &[2, 3])).unwrap();
    // Above it there is none at all.
    for number in [Index::NUMBERS + 1, 1 << 63, u64::MAX] {
        let mut last = offer(7, &[]);
        let bytes = String::from_utf8(last.bytes).unwrap();
        last.bytes = bytes
            .replace("\"number\": 7", &format!("\"number\": {number}"))
            .into_bytes();
        refused(world.accept(&last), "trust.index");
    }
    world.accept(&offer(Index::NUMBERS, &[1, 2])).unwrap();
    refused(world.accept(&offer(12, &[2, 3])), "trust.rollback");

    world.revoke(1);
    refused(world.accept(&offer(12, &[2, 3])), "trust.rollback");
    world.revoke(2);
    world.trust_key(4);
    world.trust_key(5);
    // What the key that was not stolen signed before still counts.
    refused(world.accept(&offer(10, &[3, 4])), "trust.rollback");
    world.accept(&offer(12, &[3, 4])).unwrap();
    world.accept(&offer(13, &[4, 5])).unwrap();
    refused(world.accept(&offer(12, &[3, 4])), "trust.rollback");
    refused(world.accept(&offer(14, &[1, 2, 4])), "trust.threshold");
}

#[test]
fn what_is_no_index_is_refused() {
    let good = offer(3, &[]).bytes;
    let text = String::from_utf8(good.clone()).unwrap();
    assert_eq!(Index::parse(&good).unwrap().to_json(), text);
    let digest = contents("hello", "1.0.3", "code").digest();
    let line = format!("\"1.0.3\": \"{digest}\"");
    assert!(text.contains(&line));
    let other = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to).into_bytes()
    };
    let cases = [
        Vec::new(),
        b"{}".to_vec(),
        b"[]".to_vec(),
        good[..good.len() - 3].to_vec(),
        [&good[..], &good].concat(),
        other("\"format\": 1", "\"format\": 2"),
        other("\"format\": 1", "\"format\": 1, \"format\": 1"),
        other("\"format\": 1", "\"format\": 1, \"more\": 1"),
        other("\"number\": 3", "\"number\": -3"),
        other("\"number\": 3", "\"number\": 3.0"),
        other("\"number\": 3", "\"number\": 3, \"number\": 4"),
        other("\"number\": 3", "\"number\": 9007199254740993"),
        other("\"number\": 3,", ""),
        other("2026-05-27T00:00:00Z", "yesterday"),
        other("2026-06-03T00:00:00Z", "2026-05-26T00:00:00Z"),
        other("\"hello\"", "\"Hello\""),
        other("\"1.0.3\"", "\"1.0\""),
        other(&line, &format!("{line}, {line}")),
        other("\"hello\": {", "\"hello\": {}, \"hello\": {"),
        other("sha256:", "sha1:"),
        vec![b' '; Index::BYTES + 1],
    ];
    for bytes in cases {
        let error = Index::parse(&bytes).unwrap_err();
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
        assert_eq!(error.code(), "trust.index", "{shown}");
    }
    assert!(Index::new(1, today(), today() - DAY).is_err());
}

/// What a host sees when a mirror offers it any of the source's indexes in any order, with whatever
/// signatures: the number that it knows never falls, and nothing that too few signed is ever taken.
#[derive(Clone, Debug)]
struct Step {
    number: u64,
    keys: Vec<u8>,
    day: u32,
}

fn step() -> impl Strategy<Value = Step> {
    let keys = proptest::collection::vec(1..5_u8, 0..4);
    (1..6_u64, keys, 0..9_u32).prop_map(|(number, keys, day)| Step { number, keys, day })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn the_number_never_falls(steps in proptest::collection::vec(step(), 1..12)) {
        let mut world = World::new(&[1, 2, 3], 2);
        let mut highest = 0;
        for Step { number, keys, day } in steps {
            world.now = today() + day * DAY;
            let mut distinct: Vec<u8> = keys.iter().copied().filter(|key| *key < 4).collect();
            distinct.sort_unstable();
            distinct.dedup();
            let outcome = world.accept(&offer(number, &keys));
            let expected = distinct.len() >= 2 && number >= highest && day < 7;
            prop_assert_eq!(outcome.is_ok(), expected, "{:?}", outcome);
            if expected {
                highest = number;
            }
        }
    }

    #[test]
    fn junk_is_no_index(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "(?s).{0,200}") {
        prop_assert!(Index::parse(&bytes).is_err());
        prop_assert!(Index::parse(text.as_bytes()).is_err());
    }
}
