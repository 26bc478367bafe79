//! Key material: zeroized on drop, never shown, copied or serialised by accident.

use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The length of every symmetric key, in bytes.
pub const KEY_BYTES: usize = 32;

/// The operating system gives no random bytes.
#[derive(Debug, Error)]
#[error("no random bytes from the operating system: {0}")]
pub struct RandomError(#[from] getrandom::Error);

/// A 256-bit key.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretKey([u8; KEY_BYTES]);

impl SecretKey {
    /// A random key.
    ///
    /// # Errors
    ///
    /// When the operating system gives no random bytes.
    pub fn random() -> Result<Self, RandomError> {
        let mut key = Self([0; KEY_BYTES]);
        getrandom::fill(&mut key.0)?;
        Ok(key)
    }

    /// A key from its bytes; `None` if their number is another than [`KEY_BYTES`].
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut key = Self([0; KEY_BYTES]);
        if bytes.len() != KEY_BYTES {
            return None;
        }
        key.0.copy_from_slice(bytes);
        Some(key)
    }

    /// Another holder of the same key. There is no `Clone`, so that copies are seen.
    pub fn copy(&self) -> Self {
        Self(self.0)
    }

    /// The bytes of the key. The caller keeps them no longer than for one call.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// Random bytes that are not secret: nonces, write ids.
///
/// # Errors
///
/// When the operating system gives none.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
