//! The root token that a new cluster begins with.

use keyway_common::clock;
use keyway_crypto::{
    envelope::{RecordKind, SealError},
    keyring::{Keyring, Record},
};
use keyway_loader::{Key, Scan};
use keyway_storage::{SYSTEM_KEYSPACE, Work};

use super::{
    Entry, Token, TokenError, TokenName,
    name::{ACCESSOR_NAMES, ACCESSOR_PREFIX, TOKEN_PREFIX, key_of_accessor},
    store::Accessor,
};
use crate::barrier::{Barrier, BarrierError};

/// A record, ready to be stored.
pub struct SealedRecord {
    /// Its key in the system's keyspace.
    pub key: Vec<u8>,
    /// Its sealed contents.
    pub value: Vec<u8>,
}

impl Token {
    /// The records that make this a root token: its own, and the one that finds it by its accessor.
    ///
    /// # Errors
    ///
    /// When it could not be sealed.
    pub(crate) fn root_records(&self, keyring: &Keyring) -> Result<[SealedRecord; 2], SealError> {
        let name = TokenName::of(&keyring.token_name(self.expose()));
        let entry = Entry::root()?;
        let accessor = key_of_accessor(&keyring.name(ACCESSOR_NAMES, &entry.accessor));
        let made = clock::unix_seconds();
        let finds = Accessor { accessor: entry.accessor.clone(), token: name.clone(), made };
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

/// Removes the records of initialisations that failed. The cluster was never unsealed, so one root token
/// opens, and no other token can exist.
///
/// # Errors
///
/// `Storage` if the record cannot be read or removed; `Barrier` if a key cannot be read.
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
