//! Reserving uses of a key, in the store.

use keyway_crypto::{
    envelope::{OpenError, RecordKind},
    keyring::{Record, open_under_root, seal_under_root},
};
use keyway_loader::{Condition, Key, Put};
use keyway_storage::{SYSTEM_KEYSPACE, Work};
use serde::{Deserialize, Serialize};

use super::{Barrier, BarrierError};

/// What an initialisation uses the first key for, before anything is counted: the root token and its accessor.
const USES_BEFORE_COUNTING: u64 = 2;
/// How often a reservation that loses races is tried.
const ATTEMPTS: u32 = 64;

/// What the record holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    reserved: u64,
}

impl Barrier {
    /// Reserves uses of the newest key, and makes another one if its bound is reached.
    pub(super) async fn reserve(&self, work: &Work) -> Result<(), BarrierError> {
        let _one_at_a_time = self.uses.changing().await;
        for _ in 0..ATTEMPTS {
            let key = self.keyring().newest();
            let block = self.uses.of(key, 0);
            if block.left > 0 {
                return Ok(());
            }
            if self.reserve_of(work, key, block.reserved).await? {
                return Ok(());
            }
        }
        Err(BarrierError::Contended)
    }

    /// Whether it was reserved. If not, another host was faster, or there is a newer key.
    async fn reserve_of(&self, work: &Work, key: u32, known: u64) -> Result<bool, BarrierError> {
        let name = format!("key-use/{key}").into_bytes();
        let place = Key::new(SYSTEM_KEYSPACE, &name);
        let record = Record::system(RecordKind::KeyUse, &name);
        let stored = self.system.get(work, place).await?;
        let (reserved, condition) = match &stored {
            None => (USES_BEFORE_COUNTING, Condition::Absent),
            Some(stored) => {
                let unreadable = |reason| BarrierError::UseRecord { key, reason };
                let opened = open_under_root(self.cluster, &self.root(), &record, stored.value())
                    .map_err(unreadable)?;
                let contents: Contents =
                    serde_json::from_slice(&opened).map_err(|_| unreadable(OpenError::Malformed))?;
                (contents.reserved, Condition::Version(stored.version()))
            }
        };
        let block = self.uses.block_size();
        let rewound = reserved < known;
        if rewound || !self.uses.allows(reserved + block) {
            // Perhaps another host has made a newer key already.
            self.refresh(work).await?;
            if self.keyring().newest() > key {
                return Ok(false);
            }
            if rewound {
                tracing::warn!(key, reserved, known, "the store was rewound; its key is used no more");
            }
            self.add_key(work).await?;
            return Ok(false);
        }
        let reserved = reserved + block;
        let text = serde_json::to_vec(&Contents { reserved }).expect("a count is plain data");
        let sealed = seal_under_root(self.cluster, &self.root(), &record, &text)?;
        match self.system.put_settled(work, Put::new(place, &sealed).when(condition)).await {
            Ok(_) => {
                self.uses.grant(key, reserved, block);
                Ok(true)
            }
            Err(error) if error.is_lost_race() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
