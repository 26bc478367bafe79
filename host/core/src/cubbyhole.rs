//! Cubbyholes: what a token keeps for itself. No other token reaches it, and it is removed with its token.

use keyway_crypto::envelope::RecordKind;
use keyway_loader::Condition;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    system::{New, Records, SystemError},
    token::TokenName,
};

const PREFIX: &str = "cubbyhole/";

/// The cubbyhole of one token.
pub struct Cubbyhole<'a> {
    records: Records<'a>,
    prefix: Vec<u8>,
}

impl<'a> Cubbyhole<'a> {
    /// The cubbyhole of the token with this name.
    pub fn new(records: Records<'a>, token: &TokenName) -> Self {
        Self { records, prefix: format!("{PREFIX}{}/", token.as_str()).into_bytes() }
    }

    /// The value at a path.
    ///
    /// # Errors
    ///
    /// `Storage` if the store cannot be read; `Barrier` or `Unopenable` if the record does not open.
    pub async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, SystemError> {
        let held = self.records.get(RecordKind::Cubbyhole, &self.key(path)).await?;
        Ok(held.map(|held| held.value))
    }

    /// Keeps something at a path.
    ///
    /// # Errors
    ///
    /// `Storage` if the store does not take the write, with an unknown outcome if it may have happened;
    /// `Barrier` if the record cannot be sealed.
    pub async fn write<T: Serialize>(&self, path: &str, value: &T) -> Result<(), SystemError> {
        let new = New { kind: RecordKind::Cubbyhole, key: &self.key(path), value };
        self.records.put(&new, Condition::Any).await.map(|_| ())
    }

    /// Keeps nothing there any more.
    ///
    /// # Errors
    ///
    /// `Storage` if the store does not remove the record.
    pub async fn remove(&self, path: &str) -> Result<(), SystemError> {
        self.records.remove(&self.key(path)).await
    }

    /// The names in a folder, in order; those of folders end with a slash.
    ///
    /// # Errors
    ///
    /// `Storage` if the store cannot list the keys.
    pub async fn list(&self, folder: &str) -> Result<Vec<String>, SystemError> {
        let names = self.records.level(&self.key(folder)).await?;
        Ok(names.into_iter().map(|name| String::from_utf8_lossy(&name).into_owned()).collect())
    }

    /// Keeps nothing at all any more.
    ///
    /// # Errors
    ///
    /// `Storage` if the store cannot list the keys, or does not remove them.
    pub async fn clear(&self) -> Result<(), SystemError> {
        let names = self.records.names(&self.prefix).await?;
        if names.is_empty() {
            return Ok(());
        }
        let keys: Vec<Vec<u8>> = names.iter().map(|name| [self.prefix.as_slice(), name].concat()).collect();
        self.records.remove_all(&keys).await
    }

    fn key(&self, path: &str) -> Vec<u8> {
        [self.prefix.as_slice(), path.as_bytes()].concat()
    }
}

/// The tokens that keep something.
///
/// # Errors
///
/// `Storage` if the store cannot list the keys.
pub async fn owners(records: Records<'_>) -> Result<Vec<TokenName>, SystemError> {
    let names = records.level(PREFIX.as_bytes()).await?;
    let owner = |name: Vec<u8>| TokenName::parse(String::from_utf8_lossy(&name).trim_end_matches('/'));
    Ok(names.into_iter().filter_map(owner).collect())
}
