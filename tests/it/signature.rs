//! Keys and signatures: what is signed is verified, and nothing else is, by us or by `minisign`.

use std::env;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use blake2::{Blake2b512, Digest as _};
use curve25519_dalek::EdwardsPoint;
use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::Identity;
use data_encoding::BASE64;
use ed25519_dalek::{Signer as _, SigningKey};
use plg_packaging::bundle::{Limits, Listed, Reader};
use plg_packaging::sign::{
    KeyId, LockedKey, PublicKey, SecretKey, SignError, Signature, sign_bundle, verify_bundle,
};
use proptest::prelude::*;

use crate::support::signed::{contents, key, packed, signed, unsigned, with};

const MESSAGE: &[u8] = b"some bytes that matter";
const COMMENT: &str = "plg bundle hello 1.0.0 sha256:0123";

/// The four lines of a good signature.
fn good() -> String {
    key(1).sign(MESSAGE, COMMENT).unwrap().to_text()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, SignError>, code: &str) -> String {
    let error = outcome.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    error.to_string()
}

#[test]
fn what_is_signed_is_verified_and_nothing_else_is() {
    let public = key(1).public_key();
    let signature = Signature::parse(good().as_bytes()).unwrap();
    assert_eq!(signature.trusted_comment(), COMMENT);
    assert_eq!(signature.key_id(), public.id());
    assert_eq!(signature.to_text(), good());
    public.verify(MESSAGE, &signature).unwrap();
    refused(public.verify(b"other bytes", &signature), "sig.invalid");
    let other = key(2).public_key();
    refused(other.verify(MESSAGE, &signature), "sig.untrusted");
    // A key of somebody else may have the same id.
    let twin = SecretKey::from_seed(public.id(), &[9; 32]).public_key();
    refused(twin.verify(MESSAGE, &signature), "sig.invalid");
    let moved = good().replace("hello 1.0.0", "hello 2.0.0");
    let moved = Signature::parse(moved.as_bytes()).unwrap();
    refused(public.verify(MESSAGE, &moved), "sig.invalid");
}

/// So that a bundle which is packed and signed again has the same bytes.
#[test]
fn a_signature_of_the_same_is_the_same() {
    assert_eq!(good(), good());
    let drawn = SecretKey::generate().unwrap();
    assert_ne!(drawn.id(), SecretKey::generate().unwrap().id());
    let text = drawn.to_text(None).unwrap();
    let read = LockedKey::parse(text.as_bytes()).unwrap();
    let read = read.open(None).unwrap();
    let both = [&drawn, &read].map(|key| key.sign(MESSAGE, COMMENT).unwrap());
    assert_eq!(both[0], both[1]);
}

#[test]
fn keys_are_read_as_they_are_written() {
    let public = key(1).public_key();
    assert_eq!(
        PublicKey::parse(public.to_text().as_bytes()),
        Ok(public.clone())
    );
    assert_eq!(
        PublicKey::parse(public.to_string().as_bytes()),
        Ok(public.clone())
    );
    assert_eq!(public.to_string().parse(), Ok(public.clone()));
    let json = serde_json::to_string(&public).unwrap();
    assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), public);
    let id = public.id();
    assert_eq!(id.to_string(), "0101010101010101");
    assert_eq!(id.to_string().parse(), Ok(id));
    for text in [
        "",
        "+101010101010101",
        "01010101010101010",
        "010101010101010g",
    ] {
        assert!(text.parse::<KeyId>().is_err(), "{text}");
    }
    assert!(serde_json::from_str::<KeyId>("\"1\"").is_err());
}

#[test]
fn only_four_lines_of_a_prehashed_signature_are_one() {
    let good = good();
    let lines: Vec<&str> = good.lines().collect();
    let [first, second, third, fourth] = lines[..] else {
        panic!("{good}");
    };
    let packed = BASE64.decode(second.as_bytes()).unwrap();
    let algorithm = |algorithm: &[u8; 2]| {
        let packed = [algorithm, &packed[2..]].concat();
        format!("{first}\n{}\n{third}\n{fourth}\n", BASE64.encode(&packed))
    };
    let joined = |lines: &[&str]| lines.join("\n").into_bytes();
    let long = "x".repeat(1025);
    // The last letter before the padding has bits that say nothing.
    let odd = |line: &str| {
        let at = line.find('=').unwrap() - 1;
        let letter = line.as_bytes()[at] as char;
        let next = char::from(letter as u8 + 1);
        format!("{}{next}{}", &line[..at], &line[at + 1..])
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("a line break", b"\n".to_vec()),
        ("three lines", joined(&lines[..3])),
        ("half a line", good.as_bytes()[..good.len() / 2].to_vec()),
        (
            "one letter less",
            good.as_bytes()[..good.len() - 2].to_vec(),
        ),
        ("two signatures", [&good[..], &good].concat().into_bytes()),
        ("an empty line after", format!("{good}\n").into_bytes()),
        ("a letter after", format!("{good}x").into_bytes()),
        ("a zero after", format!("{good}\0").into_bytes()),
        ("a mark before", format!("\u{feff}{good}").into_bytes()),
        ("the old kind", algorithm(b"Ed").into_bytes()),
        ("an unknown kind", algorithm(b"EE").into_bytes()),
        (
            "line breaks of Windows",
            good.replace('\n', "\r\n").into_bytes(),
        ),
        (
            "a space",
            joined(&[first, &format!("{second} "), third, fourth]),
        ),
        (
            "no padding",
            joined(&[first, second.trim_end_matches('='), third, fourth]),
        ),
        ("odd bits", joined(&[first, &odd(second), third, fourth])),
        (
            "odd bits at the end",
            joined(&[first, second, third, &odd(fourth)]),
        ),
        ("short bytes", joined(&[first, fourth, third, fourth])),
        ("long bytes", joined(&[first, second, third, second])),
        ("no comment", joined(&["x", second, third, fourth])),
        (
            "no trusted comment",
            joined(&[first, second, first, fourth]),
        ),
        (
            "a huge comment",
            joined(&[&format!("untrusted comment: {long}"), second, third, fourth]),
        ),
        (
            "a huge trusted comment",
            joined(&[first, second, &format!("trusted comment: {long}"), fourth]),
        ),
        ("a huge file", vec![b'x'; 1 << 20]),
        (
            "control characters",
            joined(&[&format!("{first}\u{1b}[2J"), second, third, fourth]),
        ),
        (
            "reordered text",
            joined(&[first, second, &format!("{third}\u{202e}"), fourth]),
        ),
        (
            "no text",
            [&b"untrusted comment: \xff\n"[..], &joined(&lines[1..])].concat(),
        ),
    ];
    for (what, bytes) in cases {
        let error = Signature::parse(&bytes).expect_err(what);
        assert_eq!(error.code(), "sig.format", "{what}: {error}");
    }
    // Some editors leave the last line break away.
    assert!(Signature::parse(good.trim_end().as_bytes()).is_ok());
    refused(key(1).sign(MESSAGE, &long), "sig.format");
    refused(key(1).sign(MESSAGE, "two\nlines"), "sig.format");
}

#[test]
fn what_is_no_public_key_is_refused() {
    let good = key(1).public_key();
    let packed = BASE64.decode(good.to_string().as_bytes()).unwrap();
    let other = |bytes: &[u8]| format!("untrusted comment: x\n{}\n", BASE64.encode(bytes));
    let text = good.to_text();
    let cases: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"untrusted comment: x\n".to_vec(),
        format!("{text}{text}").into_bytes(),
        format!("{text}\n").into_bytes(),
        text.replace('\n', "\r\n").into_bytes(),
        text.replace("untrusted", "trusted").into_bytes(),
        other(&packed[..41]).into_bytes(),
        other(&[&packed[..], b"x"].concat()).into_bytes(),
        other(&[b"ED", &packed[2..]].concat()).into_bytes(),
        key(1).to_text(None).unwrap().as_bytes().to_vec(),
        vec![b'A'; 1 << 20],
    ];
    for bytes in cases {
        let error = PublicKey::parse(&bytes).unwrap_err();
        assert_eq!(error.code(), "sig.key", "{error}");
    }
}

/// Every point of small order, however it is written, and every other spelling of a point: with such a key
/// anybody could sign, or one key would look like two.
#[test]
fn points_of_small_order_and_other_spellings_are_no_keys() {
    let id = KeyId::from_bytes([1; 8]);
    let point = |bytes| PublicKey::new(id, bytes);
    for small in EIGHT_TORSION {
        let bytes = small.compress().to_bytes();
        refused(point(bytes), "sig.key");
        // The same point with the other sign, which for some of them is another spelling.
        let mut negative = bytes;
        negative[31] ^= 0x80;
        refused(point(negative), "sig.key");
        // A good key with a part of small order has eight twins.
        let seed = SigningKey::from_bytes(&[1; 32]);
        let mixed = seed.verifying_key().to_edwards() + small;
        let outcome = point(mixed.compress().to_bytes());
        assert_eq!(outcome.is_ok(), small == EdwardsPoint::identity());
    }
    let mut decompressed = 0;
    for lowest in 0xed..=0xff_u8 {
        for highest in [0x7f, 0xff] {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (lowest, highest);
            decompressed += usize::from(CompressedEdwardsY(bytes).decompress().is_some());
            let words = refused(point(bytes), "sig.key");
            assert!(words.contains("in the one way"), "{words}");
        }
    }
    assert!(decompressed > 10, "otherwise this shows nothing");
    // What is no point at all.
    let mut bytes = [0; 32];
    bytes[0] = 2;
    assert!(CompressedEdwardsY(bytes).decompress().is_none());
    refused(point(bytes), "sig.key");
}

/// The number L that scalars are counted modulo, lowest byte first.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn plus_order(scalar: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    let mut carry = 0;
    for (to, (one, other)) in sum.iter_mut().zip(scalar.iter().zip(ORDER)) {
        carry += u16::from(*one) + u16::from(other);
        *to = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    assert_eq!(carry, 0);
    sum
}

/// A signature of ours with these numbers in it; the comment is signed over them, as an attacker who has the
/// key would.
fn forged(of_message: [u8; 64], forge: impl Fn([u8; 64]) -> [u8; 64]) -> Signature {
    let seed = SigningKey::from_bytes(&[1; 32]);
    let of_comment = seed.sign(&[&of_message[..], COMMENT.as_bytes()].concat());
    let packed = [&b"ED"[..], &[1; 8], &of_message].concat();
    let text = format!(
        "untrusted comment: x\n{}\ntrusted comment: {COMMENT}\n{}\n",
        BASE64.encode(&packed),
        BASE64.encode(&forge(of_comment.to_bytes())),
    );
    Signature::parse(text.as_bytes()).unwrap()
}

fn as_it_is(signature: [u8; 64]) -> [u8; 64] {
    signature
}

/// The same signature with another number in it must not be a second one, and one whose point says nothing
/// must not be one at all.
#[test]
fn signatures_have_one_spelling_and_no_point_of_small_order() {
    let public = key(1).public_key();
    let seed = SigningKey::from_bytes(&[1; 32]);
    let hash = Blake2b512::digest(MESSAGE);
    let good = seed.sign(&hash).to_bytes();
    public.verify(MESSAGE, &forged(good, as_it_is)).unwrap();

    let again = |signature: [u8; 64]| {
        let mut other = signature;
        other[32..].copy_from_slice(&plus_order(&signature[32..]));
        other
    };
    refused(
        public.verify(MESSAGE, &forged(again(good), as_it_is)),
        "sig.invalid",
    );
    refused(public.verify(MESSAGE, &forged(good, again)), "sig.invalid");
    for bit in [0x20, 0x40, 0x80] {
        let mut high = good;
        high[63] |= bit;
        refused(
            public.verify(MESSAGE, &forged(high, as_it_is)),
            "sig.invalid",
        );
    }

    let mut accepted_by_others = 0;
    for small in EIGHT_TORSION {
        let point = small.compress().to_bytes();
        let mut spellings = vec![point];
        if small == EdwardsPoint::identity() {
            // One that is written as the number after the modulus.
            let mut other = [0xff; 32];
            (other[0], other[31]) = (0xee, 0x7f);
            spellings.push(other);
        }
        for point in spellings {
            // Solves the equation of the signature for that point, up to the part of small order.
            let challenge =
                sha2::Sha512::digest([&point[..], seed.verifying_key().as_bytes(), &hash].concat());
            let challenge = Scalar::from_bytes_mod_order_wide(&challenge.into());
            let scalar = challenge * seed.to_scalar();
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&point);
            signature[32..].copy_from_slice(scalar.as_bytes());
            let forged = forged(signature, as_it_is);
            refused(public.verify(MESSAGE, &forged), "sig.invalid");
            let lax = minisign_verify::PublicKey::from_base64(&public.to_string()).unwrap();
            let theirs = minisign_verify::Signature::decode(&forged.to_text()).unwrap();
            accepted_by_others += usize::from(lax.verify(MESSAGE, &theirs, false).is_ok());
        }
    }
    assert!(accepted_by_others > 0, "otherwise this shows nothing");
}

/// A signature that was moved is a good one, of something else.
#[test]
fn a_signature_is_of_one_bundle_only() {
    let public = key(1).public_key();
    let hello = contents("hello", "1.0.0", "code");
    let signature = sign_bundle(&hello, &key(1)).unwrap();
    assert_eq!(
        signature.trusted_comment(),
        format!("plg bundle hello 1.0.0 {}", hello.digest())
    );
    verify_bundle(&with(&hello, &signature), &public).unwrap();
    for (name, version, code) in [
        ("other", "1.0.0", "code"),
        ("hello", "1.0.1", "code"),
        ("hello", "1.0.0+a", "code"),
        // As it would be for another platform.
        ("hello", "1.0.0", "other code"),
    ] {
        let moved = with(&contents(name, version, code), &signature);
        let words = refused(verify_bundle(&moved, &public), "sig.identity");
        assert!(words.contains(&hello.digest().to_string()), "{words}");
    }
    // Whoever signs may write anything into the comment.
    for comment in [
        "plg bundle hello 1.0.0",
        "plg bundle other 1.0.0 sha256:0",
        &format!("plg index hello 1.0.0 {}", hello.digest()),
        &format!("plg bundle hello 1.0.0 {} ", hello.digest()),
        "",
    ] {
        let bytes = hello.to_json();
        let odd = key(1).sign(bytes.as_bytes(), comment).unwrap();
        refused(verify_bundle(&with(&hello, &odd), &public), "sig.identity");
    }
    // The right comment over other bytes.
    let comment = signature.trusted_comment();
    let odd = key(1).sign(b"other bytes", comment).unwrap();
    refused(verify_bundle(&with(&hello, &odd), &public), "sig.invalid");
    let missing = refused(
        verify_bundle(&unsigned("hello", "1.0.0"), &public),
        "sig.missing",
    );
    assert_eq!(missing, "`hello 1.0.0` is not signed");
    let bytes = hello.to_json().into_bytes();
    let empty = Listed::parse(bytes, Some(Vec::new())).unwrap();
    refused(verify_bundle(&empty, &public), "sig.format");
    let other = signed("hello", "1.0.0", &key(2));
    refused(verify_bundle(&other, &public), "sig.untrusted");
}

/// The signature covers every byte: what is after the end of the bundle is found by the reader.
#[test]
fn a_signed_bundle_has_nothing_after_its_end() {
    let bundle = packed("hello", "1.0.0", Some(&key(1)));
    let read = |bytes: &[u8]| {
        let reader = Reader::open(bytes, &Limits::default())?;
        let listed = reader.head().listed.clone().expect("it is listed");
        reader.verify().map(|_| listed)
    };
    let listed = read(&bundle).unwrap();
    verify_bundle(&listed, &key(1).public_key()).unwrap();
    for extra in [&b"x"[..], b"\0", &bundle] {
        let error = read(&[&bundle[..], extra].concat()).unwrap_err();
        assert_eq!(error.code(), "bundle.trailing", "{error}");
    }
}

#[test]
fn a_password_opens_the_key_and_nothing_else_does() {
    let text = key(1).to_text(Some("correct horse")).unwrap();
    let locked = LockedKey::parse(text.as_bytes()).unwrap();
    assert!(locked.is_encrypted());
    let open = locked.open(Some("correct horse")).unwrap();
    assert_eq!(open.public_key(), key(1).public_key());
    refused(locked.open(Some("correct horse ")), "sig.password");
    refused(locked.open(Some("")), "sig.password");
    refused(locked.open(None), "sig.password");
    let again = key(1).to_text(Some("correct horse")).unwrap();
    assert_ne!(*text, *again, "the salt is another each time");
    let plain = key(1).to_text(None).unwrap();
    let plain = LockedKey::parse(plain.as_bytes()).unwrap();
    assert!(!plain.is_encrypted());
    // One that has no password needs none.
    assert_eq!(plain.open(Some("x")).unwrap().id(), key(1).id());
}

#[test]
fn no_secret_is_ever_printed() {
    let secret = key(7);
    let text = secret.to_text(None).unwrap();
    let locked = LockedKey::parse(text.as_bytes()).unwrap();
    assert_eq!(format!("{secret:?}"), "SecretKey(0707070707070707)");
    assert_eq!(format!("{locked:?}"), "LockedKey(open)");
    let mut damaged = text.to_string().into_bytes();
    let at = damaged.len() - 20;
    damaged[at] ^= 1;
    let Err(error) = LockedKey::parse(&damaged).and_then(|locked| locked.open(None)) else {
        panic!("a damaged key opened");
    };
    assert!(!format!("{error:?}{error}").contains("0707"));
}

#[test]
fn a_key_file_that_is_damaged_or_asks_for_too_much_is_refused() {
    let text = key(1).to_text(None).unwrap();
    let (comment, line) = text.trim_end().split_once('\n').unwrap();
    let good = BASE64.decode(line.as_bytes()).unwrap();
    assert_eq!(good.len(), 158);
    let file = |bytes: &[u8]| format!("{comment}\n{}\n", BASE64.encode(bytes));
    let open = |bytes: &[u8]| {
        let locked = LockedKey::parse(file(bytes).as_bytes())?;
        locked.open(Some("password"))
    };
    let changed = |at: usize, to: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    assert!(open(&good).is_ok());
    refused(open(&good[..157]), "sig.key");
    refused(open(&[&good[..], &[0]].concat()), "sig.key");
    refused(open(&changed(0, b"ED")), "sig.key");
    refused(open(&changed(2, b"Xx")), "sig.key");
    refused(open(&changed(4, b"B3")), "sig.key");
    refused(open(&changed(60, &[0xff])), "sig.key");
    refused(open(&changed(157, &[good[157] ^ 1])), "sig.key");
    // The terabytes and centuries that a file may ask for are not spent on it.
    let most = u64::MAX.to_le_bytes();
    let terabyte = (1_u64 << 40).to_le_bytes();
    let gigabyte = (1_u64 << 30).to_le_bytes();
    for (work, memory) in [
        (most, most),
        (most, [0; 8]),
        (gigabyte, terabyte),
        (gigabyte, gigabyte),
    ] {
        let mut bytes = changed(2, b"Sc");
        bytes[38..46].copy_from_slice(&work);
        bytes[46..54].copy_from_slice(&memory);
        let words = refused(open(&bytes), "sig.key");
        assert!(words.contains("at most"), "{words}");
    }
    // Two halves of different keys, with a checksum that says so.
    let mut mixed = good.clone();
    mixed[94..126].copy_from_slice(
        ed25519_dalek::SigningKey::from_bytes(&[2; 32])
            .verifying_key()
            .as_bytes(),
    );
    let checksum = blake2::Blake2b256::digest([b"Ed", &mixed[54..126]].concat());
    mixed[126..].copy_from_slice(&checksum);
    let words = refused(open(&mixed), "sig.key");
    assert!(words.contains("halves"), "{words}");
    for bytes in [&b""[..], b"\n", b"x\ny\n", &text.as_bytes()[..100]] {
        refused(LockedKey::parse(bytes), "sig.key");
    }
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let bit = bit % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    /// In the message, the key or any of the lines that count.
    #[test]
    fn a_flipped_bit_is_refused(
        message in proptest::collection::vec(any::<u8>(), 1..200),
        comment in "[ -~]{1,100}",
        seed in any::<[u8; 32]>(),
        id in any::<[u8; 8]>(),
        bit in any::<usize>(),
    ) {
        let secret = SecretKey::from_seed(KeyId::from_bytes(id), &seed);
        let public = secret.public_key();
        let signature = secret.sign(&message, &comment).unwrap();
        let text = signature.to_text();
        prop_assert_eq!(public.verify(&message, &signature), Ok(()));
        prop_assert!(public.verify(&flipped(&message, bit), &signature).is_err());

        let from = text.find('\n').unwrap() + 1;
        // The last line break may be missing, but not be something else.
        let odd = [&text.as_bytes()[..from], &flipped(&text.as_bytes()[from..], bit)].concat();
        let outcome = Signature::parse(&odd).and_then(|odd| public.verify(&message, &odd));
        prop_assert!(outcome.is_err());

        // As above, but of the bytes and not of their spelling.
        let lines: Vec<&str> = text.lines().collect();
        for place in [1, 3] {
            let bytes = BASE64.decode(lines[place].as_bytes()).unwrap();
            let odd = BASE64.encode(&flipped(&bytes, bit));
            let mut lines = lines.clone();
            lines[place] = &odd;
            let outcome = Signature::parse(lines.join("\n").as_bytes());
            let outcome = outcome.and_then(|odd| public.verify(&message, &odd));
            prop_assert!(outcome.is_err());
        }

        let bytes = BASE64.decode(public.to_string().as_bytes()).unwrap();
        let odd = BASE64.encode(&flipped(&bytes, bit)).parse::<PublicKey>();
        prop_assert!(odd.and_then(|odd| odd.verify(&message, &signature)).is_err());
        let odd = String::from_utf8(flipped(public.to_string().as_bytes(), bit));
        if let Ok(Ok(odd)) = odd.map(|odd| odd.parse::<PublicKey>()) {
            prop_assert!(odd.verify(&message, &signature).is_err());
        }
    }

    /// Whatever the bytes are, they are answered, and nothing is a signature of ours by accident.
    #[test]
    fn junk_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400), text in "(?s).{0,300}") {
        for bytes in [&bytes[..], text.as_bytes()] {
            prop_assert!(Signature::parse(bytes).is_err());
            prop_assert!(PublicKey::parse(bytes).is_err());
            prop_assert!(LockedKey::parse(bytes).is_err());
        }
    }

    /// We are stricter than others, and never less strict.
    #[test]
    fn what_we_take_others_take(
        message in proptest::collection::vec(any::<u8>(), 0..200),
        comment in "[ -~]{0,100}",
        seed in any::<[u8; 32]>(),
    ) {
        let secret = SecretKey::from_seed(KeyId::from_bytes([3; 8]), &seed);
        let public = secret.public_key().to_string();
        let text = secret.sign(&message, &comment).unwrap().to_text();
        let public = minisign_verify::PublicKey::from_base64(&public).unwrap();
        let theirs = minisign_verify::Signature::decode(&text).unwrap();
        prop_assert!(public.verify(&message, &theirs, false).is_ok());
    }
}

/// The real program checks what we sign, with our keys; and we check what it signs, with its keys and ours.
#[test]
fn minisign_and_we_understand_each_other() {
    if Command::new("minisign").arg("-v").output().is_err() {
        println!("skipped: there is no program `minisign` here");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    fs::write(at("message"), MESSAGE).unwrap();
    let ours = key(5);
    fs::write(at("ours.pub"), ours.public_key().to_text()).unwrap();
    fs::write(at("ours.key"), ours.to_text(None).unwrap().as_bytes()).unwrap();
    fs::write(
        at("locked.key"),
        ours.to_text(Some("hunter2")).unwrap().as_bytes(),
    )
    .unwrap();
    fs::write(
        at("message.minisig"),
        ours.sign(MESSAGE, COMMENT).unwrap().to_text(),
    )
    .unwrap();

    let said = minisign(scratch.path(), &["-Vm", "message", "-p", "ours.pub"], "");
    assert!(said.contains(COMMENT), "{said}");
    for secret in ["ours.key", "locked.key"] {
        let arguments = [
            "-Sm", "message", "-s", secret, "-x", "theirs", "-t", COMMENT,
        ];
        minisign(scratch.path(), &arguments, "hunter2\n");
        let signature = Signature::parse(&fs::read(at("theirs")).unwrap()).unwrap();
        assert_eq!(signature.trusted_comment(), COMMENT);
        ours.public_key().verify(MESSAGE, &signature).unwrap();
    }
    // What is signed by default has parts that are separated by tabs.
    minisign(
        scratch.path(),
        &["-GWp", "theirs.pub", "-s", "theirs.key"],
        "",
    );
    minisign(
        scratch.path(),
        &["-Sm", "message", "-s", "theirs.key", "-x", "theirs"],
        "",
    );
    let public = PublicKey::parse(&fs::read(at("theirs.pub")).unwrap()).unwrap();
    let signature = Signature::parse(&fs::read(at("theirs")).unwrap()).unwrap();
    public.verify(MESSAGE, &signature).unwrap();
    assert!(signature.trusted_comment().contains('\t'));
    let theirs = LockedKey::parse(&fs::read(at("theirs.key")).unwrap()).unwrap();
    assert_eq!(theirs.open(None).unwrap().public_key(), public);
    // And what it calls legacy is refused.
    minisign(
        scratch.path(),
        &["-Slm", "message", "-s", "theirs.key", "-x", "old"],
        "",
    );
    refused(
        Signature::parse(&fs::read(at("old")).unwrap()),
        "sig.format",
    );
}

/// What `minisign` says, if it is content.
fn minisign(directory: &Path, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("minisign")
        .args(arguments)
        .current_dir(directory)
        .env("HOME", directory)
        .env_remove("MINISIGN_CONFIG_DIR")
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may not read what it does not need.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "minisign {arguments:?}: {said}");
    said
}
