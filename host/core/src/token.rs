//! Tokens: 256 random bits, found in the store by their HMAC, so that the store names no token.
//!
//! [`entry`] is what is known of one, [`life`] how long it lives, [`plan`](mod@plan) what a new one may be, [`role`] what an administrator says of those made by a role;
//! [`store`] looks them up, makes, renews, spends and revokes them, [`tidy`] removes what is dead. A token is as good as its
//! ancestors: revoking one is one write, and its children find their ancestor missing.

pub mod entry;
pub mod life;
pub mod plan;
pub mod role;
pub mod store;
mod tidy;

use std::net::IpAddr;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use ipnet::IpNet;
use keyway_common::clock;
use keyway_crypto::{
    envelope::{RecordKind, SealError},
    key::{RandomError, SecretKey},
    keyring::{Keyring, Record},
};
use keyway_loader::{Key, Scan};
use keyway_storage::{SYSTEM_KEYSPACE, StorageError, Work};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use self::{
    entry::{Entry, Kin},
    store::{Live, Tokens},
    tidy::Tidied,
};
use crate::{
    barrier::{Barrier, BarrierError},
    system::SystemError,
};

const PREFIX: &str = "kw.";
/// What the keys of all tokens begin with.
const TOKEN_PREFIX: &[u8] = b"token/";
/// What the keys of all accessors begin with.
const ACCESSOR_PREFIX: &[u8] = b"accessor/";
/// What names are derived for, beside tokens.
const ACCESSOR_NAMES: &str = "accessor";
/// The longest token that is looked up, in bytes.
const MAX_TOKEN_BYTES: usize = 512;

/// A token as its owner holds it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Token(String);

/// The name under which a token is stored, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct TokenName(String);

/// A record, ready to be stored.
pub struct SealedRecord {
    /// Its key in the system's keyspace.
    pub key: Vec<u8>,
    /// Its sealed contents.
    pub value: Vec<u8>,
}

/// Why a token could not be looked up or changed.
#[derive(Debug, Error)]
pub enum TokenError {
    /// Its record.
    #[error("a token's record: {0}")]
    System(#[from] SystemError),
    /// The keys.
    #[error("a token's record: {0}")]
    Barrier(#[from] BarrierError),
    /// The store.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// It is not as it has to be for this.
    #[error("{0}")]
    Refused(String),
}

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

    /// The records that make this a root token: its own, and the one that finds it by its accessor.
    ///
    /// # Errors
    ///
    /// When it could not be sealed.
    pub fn root_records(&self, keyring: &Keyring) -> Result<[SealedRecord; 2], SealError> {
        let name = TokenName::of(&keyring.token_name(&self.0));
        let entry = Entry::root()?;
        let accessor = key_of_accessor(&keyring.name(ACCESSOR_NAMES, &entry.accessor));
        let made = clock::unix_seconds();
        let finds = store::Accessor { accessor: entry.accessor.clone(), token: name.clone(), made };
        let seal = |kind, key: Vec<u8>, text: Vec<u8>| {
            let value = keyring.seal(&Record::system(kind, &key), &text)?;
            Ok::<_, SealError>(SealedRecord { key, value })
        };
        let text = |text: Result<Vec<u8>, _>| text.expect("a token's record is plain data");
        Ok([
            seal(RecordKind::Token, name.key(), text(serde_json::to_vec(&entry)))?,
            seal(RecordKind::Accessor, accessor, text(serde_json::to_vec(&finds)))?,
        ])
    }
}

impl TokenName {
    fn of(name: &[u8; 32]) -> Self {
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

fn key_of_accessor(name: &[u8; 32]) -> Vec<u8> {
    [ACCESSOR_PREFIX, HEXLOWER.encode(name).as_bytes()].concat()
}

/// Whether an address is in one of these networks; in none of them is everywhere.
pub fn is_bound_to(networks: &[IpNet], address: Option<IpAddr>) -> bool {
    // An IPv4 address that arrives over IPv6 is still that address.
    let address = address.map(|address| address.to_canonical());
    networks.is_empty()
        || address.is_some_and(|address| networks.iter().any(|network| network.contains(&address)))
}

/// Networks from their text.
///
/// # Errors
///
/// A line that says what is wrong with it.
pub fn networks(texts: &[String]) -> Result<Vec<IpNet>, String> {
    let network = |text: &String| {
        let text = text.trim();
        let host = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
        text.parse()
            .ok()
            .or_else(host)
            .ok_or_else(|| "one of them is no network; write such as 10.0.0.0/8".to_owned())
    };
    texts.iter().map(network).collect()
}

/// Networks as they are read back: a single address without the length of its prefix.
pub fn network_texts(networks: &[IpNet]) -> Vec<String> {
    let text = |network: &IpNet| match network.prefix_len() == network.max_prefix_len() {
        true => network.addr().to_string(),
        false => network.to_string(),
    };
    networks.iter().map(text).collect()
}

/// Removes the records of initialisations that came to nothing: nobody has unsealed yet, so that there is one token that
/// opens, and nobody who could make others.
///
/// # Errors
///
/// See [`TokenError`].
pub async fn forget_unopenable(barrier: &Barrier, work: &Work) -> Result<(), TokenError> {
    for (prefix, kind) in [(TOKEN_PREFIX, RecordKind::Token), (ACCESSOR_PREFIX, RecordKind::Accessor)] {
        let scan = Scan::prefix(SYSTEM_KEYSPACE, prefix).with_max_items(Scan::MAX_PAGE_ITEMS);
        let page = barrier.system().scan(work, scan).await?;
        let mut dead = Vec::new();
        for entry in page.entries() {
            match barrier.open(work, &Record::system(kind, entry.key()), entry.record().value()).await {
                Ok(_) => {}
                Err(BarrierError::Open(_)) => dead.push(Key::new(SYSTEM_KEYSPACE, entry.key())),
                Err(error) => return Err(error.into()),
            }
        }
        if !dead.is_empty() {
            barrier.system().delete_all(work, &dead).await?;
        }
    }
    Ok(())
}
