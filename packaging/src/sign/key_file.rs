//! A secret key as it stands in a file.

use std::fmt;

use blake2::{Blake2b256, Digest};
use data_encoding::BASE64;
use ed25519_dalek::SigningKey;
use zeroize::Zeroizing;

use super::cost::Cost;
use super::error::{SignError, key};
use super::lines::{self, UNTRUSTED};
use super::public_key::ALGORITHM;
use super::secret_key::random;
use super::{KeyId, SecretKey};

/// A secret key that was read and is not open yet.
pub struct LockedKey {
    lock: Option<Lock>,
    /// Id, key and checksum, covered with what the password stretches to if there is a lock.
    covered: Zeroizing<[u8; COVERED]>,
}

/// What has to be known besides the password.
struct Lock {
    salt: [u8; 32],
    cost: Cost,
}

/// How a password is stretched: with scrypt, or there is none.
const SCRYPT: [u8; 2] = *b"Sc";
const OPEN: [u8; 2] = [0, 0];
/// The checksum: BLAKE2b-256.
const CHECKSUM: [u8; 2] = *b"B2";

const COVERED: usize = KeyId::BYTES + 64 + 32;
const BYTES: usize = 2 + 2 + 2 + 32 + 8 + 8 + COVERED;

impl LockedKey {
    /// Reads a `.key` file.
    ///
    /// # Errors
    /// `sig.key` for anything but a secret key of minisign's format.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignError> {
        let [comment, line] = lines::split(bytes).map_err(key)?;
        lines::comment(comment, UNTRUSTED).map_err(key)?;
        let packed = lines::bytes::<BYTES>(line).map_err(key)?;
        let mut packed = &packed[..];
        if lines::take(&mut packed) != ALGORITHM {
            return Err(key("its algorithm is unknown"));
        }
        let is_locked = match lines::take(&mut packed) {
            SCRYPT => true,
            OPEN => false,
            _ => return Err(key("how its password is stretched is unknown")),
        };
        if lines::take(&mut packed) != CHECKSUM {
            return Err(key("its checksum is of an unknown kind"));
        }
        let lock = Lock {
            salt: lines::take(&mut packed),
            cost: Cost {
                operations: u64::from_le_bytes(lines::take(&mut packed)),
                memory: u64::from_le_bytes(lines::take(&mut packed)),
            },
        };
        Ok(Self {
            lock: is_locked.then_some(lock),
            covered: Zeroizing::new(lines::take(&mut packed)),
        })
    }

    /// Whether it takes a password to open it.
    pub fn is_encrypted(&self) -> bool {
        self.lock.is_some()
    }

    /// Opens it. A password for a key that has none is not looked at.
    ///
    /// # Errors
    /// `sig.password` when there is none or it is the wrong one; `sig.key` when the key is damaged, or
    /// asks for more than a gigabyte or about three seconds to be opened.
    pub fn open(&self, password: Option<&str>) -> Result<SecretKey, SignError> {
        let mut plain = self.covered.clone();
        if let Some(lock) = &self.lock {
            let Some(password) = password else {
                let why = "it needs a password";
                return Err(SignError::Password { why });
            };
            cover(&mut plain, lock, password)?;
        }
        let mut rest = &plain[..];
        let id = lines::take(&mut rest);
        let pair = Zeroizing::new(lines::take::<64>(&mut rest));
        // `minisign` leaves the checksum of a key without a password empty. The key has two halves to compare.
        let is_empty = self.lock.is_none() && rest.iter().all(|byte| *byte == 0);
        if !is_empty && *checksum(&id, &pair) != *rest {
            return Err(match self.lock {
                Some(_) => SignError::Password {
                    why: "the password is wrong, or the file is damaged",
                },
                None => key("its checksum is wrong"),
            });
        }
        let seed = SigningKey::from_keypair_bytes(&pair);
        let seed = seed.map_err(|_| key("its two halves do not belong together"))?;
        Ok(SecretKey {
            id: KeyId::from_bytes(id),
            seed,
        })
    }
}

/// The text of a `.key` file.
pub(super) fn write(
    secret: &SecretKey,
    password: Option<&str>,
) -> Result<Zeroizing<String>, SignError> {
    let id = secret.id.to_bytes();
    let pair = Zeroizing::new(secret.seed.to_keypair_bytes());
    let mut covered = Zeroizing::new([0; COVERED]);
    let parts = [&id[..], &*pair, &*checksum(&id, &pair)];
    for (to, from) in covered.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    let mut lock = Lock {
        salt: [0; 32],
        cost: Cost {
            operations: 0,
            memory: 0,
        },
    };
    if let Some(password) = password {
        lock.cost = Cost::USUAL;
        random(&mut lock.salt)?;
        cover(&mut covered, &lock, password)?;
    }
    let (kind, comment) = match password {
        Some(_) => (SCRYPT, "plg encrypted secret key"),
        None => (OPEN, "plg secret key without a password"),
    };
    let packed = [
        &ALGORITHM[..],
        &kind,
        &CHECKSUM,
        &lock.salt,
        &lock.cost.operations.to_le_bytes(),
        &lock.cost.memory.to_le_bytes(),
        &*covered,
    ];
    let packed = Zeroizing::new(packed.concat());
    let encoded = Zeroizing::new(BASE64.encode(&packed));
    Ok(Zeroizing::new(format!(
        "{UNTRUSTED}{comment}\n{}\n",
        *encoded
    )))
}

/// Covers what is plain, or uncovers what is covered.
fn cover(bytes: &mut [u8; COVERED], lock: &Lock, password: &str) -> Result<(), SignError> {
    let stream = lock.cost.stretch::<COVERED>(password, &lock.salt)?;
    for (byte, with) in bytes.iter_mut().zip(*stream) {
        *byte ^= with;
    }
    Ok(())
}

fn checksum(id: &[u8], pair: &[u8; 64]) -> Zeroizing<[u8; 32]> {
    let hash = Blake2b256::new_with_prefix(ALGORITHM);
    Zeroizing::new(hash.chain_update(id).chain_update(pair).finalize().into())
}

impl fmt::Debug for LockedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "LockedKey({})",
            if self.is_encrypted() {
                "encrypted"
            } else {
                "open"
            }
        )
    }
}
