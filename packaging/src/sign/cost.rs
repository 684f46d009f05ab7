//! What it costs to try a password.

use scrypt::Params;
use zeroize::Zeroizing;

use super::error::{SignError, key};

/// How much work and memory a key file asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) operations: u64,
    pub(super) memory: u64,
}

/// The length of blocks, always the same.
const BLOCK: u32 = 8;

impl Cost {
    /// That of new keys: 128 MiB.
    pub(super) const USUAL: Self = Self {
        operations: 1 << 22,
        memory: 128 << 20,
    };

    /// What `minisign` asks for in its own keys, and the most that is done: a file could ask for years.
    const MOST: Self = Self {
        operations: 1 << 25,
        memory: 1 << 30,
    };

    /// Stretches a password to the bytes that a key is covered with.
    pub(super) fn stretch<const N: usize>(
        self,
        password: &str,
        salt: &[u8],
    ) -> Result<Zeroizing<[u8; N]>, SignError> {
        if self.operations > Self::MOST.operations || self.memory > Self::MOST.memory {
            return Err(key(format!(
                "to open it takes {} operations and {} bytes of memory, at most {} and {} are allowed",
                self.operations,
                self.memory,
                Self::MOST.operations,
                Self::MOST.memory,
            )));
        }
        let too_odd = || key("what it takes to open it is out of range");
        let (log_n, parallel) = self.parameters();
        let parameters = Params::new(log_n, BLOCK, parallel).map_err(|_| too_odd())?;
        let mut stream = Zeroizing::new([0; N]);
        let outcome = scrypt::scrypt(password.as_bytes(), salt, &parameters, &mut *stream);
        outcome.map_err(|_| too_odd())?;
        Ok(stream)
    }

    /// The numbers that scrypt takes, derived as libsodium does: a power of two for the memory, and how
    /// often.
    fn parameters(self) -> (u8, u32) {
        let block = u64::from(BLOCK);
        let operations = self.operations.max(32768);
        if operations < self.memory / 32 {
            return (log_2(operations / (block * 4)), 1);
        }
        let log_n = log_2(self.memory / (block * 128));
        let times = ((operations / 4) >> log_n).min(0x3fff_ffff) / block;
        (log_n, u32::try_from(times).unwrap_or(u32::MAX))
    }
}

/// The least power of two that is more than half of `most`.
fn log_2(most: u64) -> u8 {
    (1..63).find(|power| 1 << power > most / 2).unwrap_or(63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_libsodium() {
        let parameters = |operations, memory| Cost { operations, memory }.parameters();
        assert_eq!(Cost::USUAL.parameters(), (17, 1));
        // Its interactive and sensitive limits.
        assert_eq!(parameters(524_288, 16 << 20), (14, 1));
        assert_eq!(Cost::MOST.parameters(), (20, 1));
        // More work than memory, and more memory than work.
        assert_eq!(parameters(1 << 25, 16 << 20), (14, 64));
        assert_eq!(parameters(32768, 1 << 30), (10, 1));
        assert_eq!(parameters(0, 0), (1, 512));
    }

    #[test]
    fn no_file_can_ask_for_more_than_the_most() {
        let most = Cost::MOST;
        for cost in [
            Cost {
                operations: most.operations + 1,
                ..most
            },
            Cost {
                memory: most.memory + 1,
                ..most
            },
            Cost {
                operations: u64::MAX,
                memory: u64::MAX,
            },
            Cost {
                operations: u64::MAX,
                memory: 0,
            },
        ] {
            let error = cost.stretch::<104>("password", &[0; 32]).unwrap_err();
            assert_eq!(error.code(), "sig.key", "{cost:?}");
        }
    }
}
