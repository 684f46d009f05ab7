//! Signatures in minisign's format: who vouches for a bundle or an index, and for which.
//!
//! Keys and signatures are those of the `minisign` program, which can check what is signed here and the
//! other way round. What it accepts for the sake of older files is refused here: signatures that are not
//! prehashed, anything around the four lines, points and numbers that can be spelt in two ways.
//!
//! Nothing here reads files or asks for passwords: texts in, texts out.
//!
//! | module | what it holds |
//! |---|---|
//! | [`public_key`] | [`PublicKey`]: checks signatures |
//! | [`secret_key`] | [`SecretKey`]: makes them, always the same for the same message |
//! | [`key_file`] | [`LockedKey`]: a secret key as it stands in a file, with a password or without |
//! | [`signature`] | [`Signature`]: the four lines |
//! | [`statement`] | what a signature of ours says: which bundle, or which index |
//! | [`error`] | [`SignError`]: why one is refused |
//!
//! ```
//! use plg_packaging::sign::{SecretKey, Signature};
//!
//! let key = SecretKey::generate()?;
//! let text = key.sign(b"a message", "said today")?.to_text();
//! let signature = Signature::parse(text.as_bytes())?;
//! key.public_key().verify(b"a message", &signature)?;
//! assert!(key.public_key().verify(b"another", &signature).is_err());
//! # Ok::<(), plg_packaging::sign::SignError>(())
//! ```

mod cost;
pub mod error;
pub mod key_file;
pub mod key_id;
mod lines;
pub mod public_key;
pub mod secret_key;
pub mod signature;
pub mod statement;

pub use error::SignError;
pub use key_file::LockedKey;
pub use key_id::KeyId;
pub use public_key::PublicKey;
pub use secret_key::SecretKey;
pub use signature::Signature;
pub use statement::{sign_bundle, sign_index, verify_bundle, verify_index};
