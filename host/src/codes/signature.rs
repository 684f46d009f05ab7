//! Codes of signatures and trust.

use super::Actor::{Author, Operator};
use super::{Code, error};

pub(super) const ROWS: &[Code] = &[
    error("sig.format", Author, "what should be a signature is none")
        .help("sign again with `plg pack --sign KEY`, or with a `minisign` that prehashes")
        .text(
            "A signature has exactly four lines: two comments, and after each a line in Base64. Only signatures over the BLAKE2b \
             hash of the message are taken, which `minisign` makes since version 0.8, and comments of at most a kilobyte without \
             control characters. A file with a second signature, an older algorithm or anything after the fourth line is refused, so \
             that nobody can read two things in it. Nothing of the bundle was used.",
        ),
    error("sig.identity", Operator, "a good signature that is of something else")
        .help("get bundle and signature from the same place again; do not install this one")
        .text(
            "The key did sign, but it put its name to another plugin, version or build than the one that the signature came with: \
             the message says both. This is what it looks like when somebody moves a signature to a bundle that was never signed. It \
             also happens when files of two releases are mixed up.",
        ),
    error("sig.invalid", Operator, "the signature does not match the bytes")
        .help("copy the file again; if it stays so, somebody changed it after it was signed")
        .text(
            "The key that the signature names did not make it over these bytes. One changed bit is enough, in the file, the \
             signature or the key. The check is strict: a signature that some programs take and others do not is refused. Nothing \
             of the bundle was used.",
        ),
    error("sig.key", Operator, "what should be a key is none, or one that must not be used")
        .help("make a new pair with `plg keygen -o NAME`, or get the key file again")
        .text(
            "The file is not a key in minisign's format, or it is damaged. A public key whose point is of small order, or written in \
             an unusual way, is refused too: anybody can make signatures that it accepts. So is a secret key that asks for more \
             work or memory to be opened than `minisign` itself ever does.",
        ),
    error("sig.missing", Author, "it is not signed, and has to be")
        .help("get a signed build of it, or sign it with `plg pack --sign KEY` if it is yours")
        .text(
            "A bundle that `plg install` is given by name need not be signed, and `plg verify` lets one pass with `--allow-unsigned`. \
             Both refuse it when a trusted key is responsible for plugins of that name, or when a signed build of it was there \
             before: leaving the signature away would be the simplest way around it. What is installed stays as it is.",
        ),
    error("sig.password", Operator, "the password does not open the key")
        .help("give the password at the prompt or in the environment variable PLG_PASSWORD")
        .text(
            "The secret key is encrypted, and there is no password or it is the wrong one. A damaged key file looks the same, since \
             nothing else says whether a password is right. Nothing was signed.",
        ),
    error("sig.untrusted", Operator, "signed with a key that is not trusted for this")
        .help("look at the keys with `plg trust list`; add the right one with `plg trust add` if you trust its owner")
        .text(
            "The signature may be a good one, but nobody said that this key is trusted: the key is unknown, was revoked, has expired, \
             or is trusted for other plugins or only at a lower level. The message says which. A key is trusted for what its \
             owner may do, not for good: give it the names and the level that it needs. What is installed stays as it is.",
        ),
    error("trust.collision", Operator, "another key of the same id is trusted")
        .help("compare both keys with their owners; revoke the wrong one before the other is added")
        .text(
            "A key is found by an id of 16 digits, and two different keys with the same one are never an accident: whoever makes a \
             key can choose it. The store keeps the key that it has, and nothing was added.",
        ),
    error("trust.expired", Operator, "the index of releases is too old")
        .help("get a new index from its source; if there is none, ask why, and look at this machine's clock")
        .text(
            "An index says until when it holds, so that nobody can withhold newer releases for ever by repeating an old one. This one \
             is over. Nothing is installed by it; what is installed goes on running, with a warning.",
        ),
    error("trust.index", Operator, "what should be an index of releases is none")
        .help("get the index again; its owner can check it with `plg verify --index`")
        .text(
            "The index is no JSON of the known form, has unknown or doubled keys, or a number above 2^53. A number that high would \
             leave no room for a later index, and so end all updates. Nothing was taken from it.",
        ),
    error("trust.mismatch", Operator, "the bundle is not the one that the index lists")
        .help("get bundle and index from the same source again; do not install this one")
        .text(
            "The index names the digest of every release. This bundle is another build of that version, or a release that the index \
             does not know; or there are two indexes of one number with different content. Parts of different states of a source were \
             mixed, by accident or on purpose. Nothing was installed.",
        ),
    error("trust.not_found", Operator, "there is no such key in the trust store")
        .help("see the keys with `plg trust list`")
        .text(
            "The id or key file names no key of the trust store. Nothing was changed.",
        ),
    error("trust.rollback", Operator, "older than what was installed before")
        .help("install the newer one; to go back on purpose, ask for the downgrade")
        .text(
            "A signed bundle of a higher version was installed before, or an index of a higher number was accepted. Old signatures \
             stay good for ever, so whoever wants a hole back that was closed only has to offer the old file. The store remembers the \
             highest it saw of each key. When a stolen key signed a number that is too high, revoke it: what it signed is \
             forgotten with it.",
        ),
    error("trust.threshold", Operator, "too few of the trusted keys signed the index")
        .help("give a signature of each key with `--index-signature`; `plg trust list` shows who may sign it")
        .text(
            "The trust store says how many different keys have to sign an index. A second signature of the same key does not count, \
             and neither does one of a key that is unknown, revoked, expired or not trusted for indexes. Nothing was taken from it.",
        ),
    error("trust.unsafe", Operator, "the trust store cannot be relied on")
        .help("look at owner and mode of the path in the message; restore the file from a copy if it is damaged")
        .text(
            "The trust store says which keys may sign. If others can write to it, if it is a link or belongs to somebody else, or if it \
             cannot be read as a whole, it says nothing: no key is trusted, and nothing is installed by it. That there is none is the \
             same as one without keys. What is installed stays as it is.",
        ),
];
