//! Keys out of passwords: Argon2id (RFC 9106), with the parameters that it recommends if memory is limited.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use super::key::{KEY_BYTES, RandomError, SecretKey, random_bytes};

/// RFC 9106, section 4, the second recommendation: 64 MiB, three passes, four lanes.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;
/// What a store may ask for at most: it is not trusted.
const MOST_MEMORY_KIB: u32 = 256 * 1024;
const MOST_PASSES: u32 = 8;
const MOST_LANES: u32 = 16;

/// The shortest password, in bytes.
pub(crate) const MIN_PASSWORD_BYTES: usize = 12;
/// The longest password, in bytes.
pub(crate) const MAX_PASSWORD_BYTES: usize = 1024;

/// A password. Never shown, copied or serialised by accident.
pub struct Password(Zeroizing<String>);

impl Password {
    /// A password, of between [`MIN_PASSWORD_BYTES`] and [`MAX_PASSWORD_BYTES`].
    ///
    /// # Errors
    ///
    /// A line that says why the password is refused, without the password.
    pub fn new(text: Zeroizing<String>) -> Result<Self, String> {
        if (MIN_PASSWORD_BYTES..=MAX_PASSWORD_BYTES).contains(&text.len()) {
            return Ok(Self(text));
        }
        Err(format!("a password has between {MIN_PASSWORD_BYTES} and {MAX_PASSWORD_BYTES} bytes"))
    }
}

/// How a key comes out of a password. Not secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Derivation {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
}

/// Why no key comes out.
#[derive(Debug, Error)]
pub enum PasswordError {
    /// No salt.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// Parameters that cannot be, or ask for too much.
    #[error("the parameters of the password's key cannot be used")]
    Parameters,
}

impl Derivation {
    /// A new one, with a new salt.
    ///
    /// # Errors
    ///
    /// When the operating system gives no random bytes.
    pub fn new() -> Result<Self, RandomError> {
        let salt = BASE64.encode(&random_bytes::<16>()?);
        Ok(Self { memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES, salt })
    }

    /// The key. Takes a good part of a second, and 64 MiB.
    ///
    /// # Errors
    ///
    /// `Parameters`.
    pub fn derive(&self, password: &Password) -> Result<SecretKey, PasswordError> {
        if self.memory_kib > MOST_MEMORY_KIB || self.passes > MOST_PASSES || self.lanes > MOST_LANES {
            return Err(PasswordError::Parameters);
        }
        let wrong = |_| PasswordError::Parameters;
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(KEY_BYTES)).map_err(wrong)?;
        let salt = BASE64.decode(self.salt.as_bytes()).map_err(|_| PasswordError::Parameters)?;
        let mut memory = vec![Block::default(); params.block_count()];
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        let derived = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(password.0.as_bytes(), &salt, &mut *key, &mut memory);
        for block in &mut memory {
            block.zeroize();
        }
        derived.map_err(|_| PasswordError::Parameters)?;
        SecretKey::from_bytes(&*key).ok_or(PasswordError::Parameters)
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    fn password(text: &str) -> Password {
        Password::new(Zeroizing::new(text.to_owned())).unwrap()
    }

    #[test]
    fn key_is_that_of_other_programs() {
        // python3 -c 'import argon2.low_level as a; print(a.hash_secret_raw(b"correct horse battery",
        // b"0123456789abcdef", 3, 65536, 4, 32, a.Type.ID).hex())', argon2-cffi 25.1.0
        let salt = BASE64.encode(b"0123456789abcdef");
        let derivation = Derivation { salt, ..Derivation::new().unwrap() };
        let key = derivation.derive(&password("correct horse battery")).unwrap();
        assert_eq!(
            HEXLOWER.encode(key.expose()),
            "5220483d4ba1637c5d5df43b377a7f6aed39a6159693d0029a3e4f76d50669ab"
        );
        let other = derivation.derive(&password("correct horse batterz")).unwrap();
        assert!(key != other);
    }

    #[test]
    fn greedy_parameters_and_short_passwords_are_refused() {
        let usual = Derivation::new().unwrap();
        for greedy in [
            Derivation { memory_kib: u32::MAX, ..usual.clone() },
            Derivation { passes: 1_000, ..usual.clone() },
            Derivation { lanes: 1_000, ..usual.clone() },
            Derivation { memory_kib: 1, ..usual.clone() },
            Derivation { salt: "x".to_owned(), ..usual.clone() },
        ] {
            assert!(greedy.derive(&password("correct horse battery")).is_err(), "{greedy:?}");
        }
        assert!(Password::new(Zeroizing::new("short".to_owned())).is_err());
        assert!(Password::new(Zeroizing::new("x".repeat(1_025))).is_err());
    }
}
