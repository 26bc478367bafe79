//! A token as its owner holds it, and the name under which the store knows it.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use keyway_crypto::key::{RandomError, SecretKey};
use zeroize::{Zeroize, ZeroizeOnDrop};

const PREFIX: &str = "kw.";
/// What the keys of all tokens begin with.
pub(super) const TOKEN_PREFIX: &[u8] = b"token/";
/// What the keys of all accessors begin with.
pub(super) const ACCESSOR_PREFIX: &[u8] = b"accessor/";
/// The domain of derived names for accessors; tokens have another one.
pub(super) const ACCESSOR_NAMES: &str = "accessor";
/// The longest token that is looked up, in bytes.
const MAX_TOKEN_BYTES: usize = 512;

/// A token as its owner holds it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Token(String);

/// The name under which a token is stored, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct TokenName(String);

impl Token {
    /// How long random ones are.
    pub const BYTES: usize = 46;

    /// A new token.
    ///
    /// # Errors
    ///
    /// When the operating system gives no random bytes.
    pub fn random() -> Result<Self, RandomError> {
        let bits = SecretKey::random()?;
        Ok(Self(format!("{PREFIX}{}", BASE64URL_NOPAD.encode(bits.expose()))))
    }

    /// A token that a client presents.
    pub fn presented(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The token itself, for its owner.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it can be one: no control characters, which names of other things are derived with.
    pub fn is_plausible(&self) -> bool {
        !self.0.is_empty() && self.0.len() <= MAX_TOKEN_BYTES && !self.0.chars().any(char::is_control)
    }
}

impl TokenName {
    /// A name by its bytes.
    pub(super) fn of(name: &[u8; 32]) -> Self {
        Self(HEXLOWER.encode(name))
    }

    /// The name in hexadecimal.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name in hexadecimal, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let is_name = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_name.then(|| Self(text.to_owned()))
    }

    /// The key of its record.
    pub fn key(&self) -> Vec<u8> {
        [TOKEN_PREFIX, self.0.as_bytes()].concat()
    }
}

/// The key of the record of an accessor.
pub(super) fn key_of_accessor(name: &[u8; 32]) -> Vec<u8> {
    [ACCESSOR_PREFIX, HEXLOWER.encode(name).as_bytes()].concat()
}
