//! Tokens: 256 random bits, found in the store by their HMAC, so that the store names no token.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use keyway_loader::{Key, Scan};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    barrier::{Barrier, BarrierError},
    clock,
    crypto::{
        envelope::{OpenError, RecordKind, SealError},
        key::{RandomError, SecretKey},
        keyring::{Keyring, Record},
    },
    seal::SYSTEM_KEYSPACE,
    storage::{RequestId, StorageError},
};

const PREFIX: &str = "kw.";
/// What the keys of all tokens begin with.
const TOKEN_PREFIX: &[u8] = b"token/";

/// A token as its owner holds it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Token(String);

/// A token's record, ready to be stored.
pub struct TokenRecord {
    /// Its key in the system's keyspace.
    pub key: Vec<u8>,
    /// Its sealed contents.
    pub value: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    policies: Vec<String>,
    created: String,
}

/// Why a token could not be looked up.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The store.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Its record does not open.
    #[error("a token's record cannot be opened: {0}")]
    Open(#[from] BarrierError),
}

impl Token {
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

    /// The record that makes this a root token.
    ///
    /// # Errors
    ///
    /// When it could not be sealed.
    pub fn record(&self, keyring: &Keyring) -> Result<TokenRecord, SealError> {
        let key = key_of(&keyring.token_name(&self.0));
        let contents = Contents { policies: vec!["root".to_owned()], created: clock::now() };
        let text = serde_json::to_vec(&contents).expect("a token's record is plain data");
        let value = keyring.seal(&Record::system(RecordKind::Token, &key), &text)?;
        Ok(TokenRecord { key, value })
    }

    /// Whether this is a root token of the cluster.
    ///
    /// # Errors
    ///
    /// See [`TokenError`]. An unknown token is `false`.
    pub async fn is_root(&self, barrier: &Barrier, request: RequestId) -> Result<bool, TokenError> {
        let key = key_of(&barrier.token_name(&self.0));
        let Some(record) = barrier.system().get(request, Key::new(SYSTEM_KEYSPACE, &key)).await? else {
            return Ok(false);
        };
        let opened = barrier.open(request, &Record::system(RecordKind::Token, &key), record.value()).await?;
        let contents: Contents =
            serde_json::from_slice(&opened).map_err(|_| BarrierError::Open(OpenError::Malformed))?;
        Ok(contents.policies.iter().any(|policy| policy == "root"))
    }
}

/// Removes the root tokens of initialisations that came to nothing: nobody has unsealed yet, so that there is one token that
/// opens, and nobody who could make others.
///
/// # Errors
///
/// See [`TokenError`].
pub async fn forget_unopenable(barrier: &Barrier, request: RequestId) -> Result<(), TokenError> {
    let scan = Scan::prefix(SYSTEM_KEYSPACE, TOKEN_PREFIX).with_max_items(Scan::MAX_PAGE_ITEMS);
    let page = barrier.system().scan(request, scan).await?;
    let mut dead = Vec::new();
    for entry in page.entries() {
        let record = Record::system(RecordKind::Token, entry.key());
        match barrier.open(request, &record, entry.record().value()).await {
            Ok(_) => {}
            Err(BarrierError::Open(_)) => dead.push(Key::new(SYSTEM_KEYSPACE, entry.key())),
            Err(error) => return Err(error.into()),
        }
    }
    if !dead.is_empty() {
        barrier.system().delete_all(request, &dead).await?;
    }
    Ok(())
}

fn key_of(name: &[u8; 32]) -> Vec<u8> {
    [TOKEN_PREFIX, HEXLOWER.encode(name).as_bytes()].concat()
}
