//! From KV version 1 to 2: each secret without versions becomes the first version of a secret with versions.
//!
//! Each step can be repeated, and two hosts may do it at the same time. The version carries the tag of the
//! secret's former envelope, so that an upgrade after a crash sees that the secret has its version already.
//! Only then does it remove the record without versions, and only if that is as it was read.

use keyway_crypto::envelope;
use keyway_loader::{Condition, Delete, Key, WriteId};

use super::{
    engine::{Engine, EngineError},
    path::SecretPath,
    plain::PREFIX,
    record::RecordError,
    write::{Content, Write},
};

/// What has become of secrets without versions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Upgraded {
    /// Secrets that have versions now.
    pub secrets: u64,
    /// Secrets that cannot be opened, and stay as they are.
    pub unopenable: u64,
}

impl Engine<'_> {
    /// Gives versions to all secrets of this mount that have none.
    ///
    /// # Errors
    ///
    /// `Storage`, `Record` or `Barrier` if a secret cannot be read, opened, sealed or written; `Contended`.
    /// What was done stays done.
    pub async fn give_versions(&self) -> Result<Upgraded, EngineError> {
        let keyspace = self.mount.keyspace();
        let (mut upgraded, mut after) = (Upgraded::default(), Vec::new());
        loop {
            let keys = self.storage.keys_after(self.work, &keyspace, PREFIX.as_bytes(), &after).await?;
            for key in &keys.keys {
                match self.give_version(key).await {
                    Ok(()) => upgraded.secrets += 1,
                    // One record that is damaged does not keep all the others from being served.
                    Err(EngineError::Record(error @ RecordError::Unopenable { .. })) => {
                        tracing::error!(%error, "a secret cannot be given a version, and stays in the store as it is");
                        upgraded.unopenable += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
            match keys.next {
                Some(next) => after = next,
                None => return Ok(upgraded),
            }
        }
    }

    async fn give_version(&self, key: &[u8]) -> Result<(), EngineError> {
        let name = key.strip_prefix(PREFIX.as_bytes()).and_then(|name| std::str::from_utf8(name).ok());
        let Some(path) = name.and_then(|name| SecretPath::parse(name).ok()) else {
            tracing::error!(mount = %self.mount.uuid, "a secret has a key that is none");
            return Ok(());
        };
        let keyspace = self.mount.keyspace();
        let place = Key::new(&keyspace, key);
        loop {
            let Some(record) = self.storage.get(self.work, place).await? else { return Ok(()) };
            let opened = self.barrier.open(self.work, &self.plain_record(key), record.value()).await;
            let value = opened.map_err(|source| self.sealer().error(&path, source))?;
            let mark = WriteId::new(envelope::tag(record.value()).unwrap_or_default());
            let metadata = self.metadata(&path).await?;
            if metadata.as_ref().is_none_or(|metadata| metadata.written_by(mark).is_none()) {
                let cas = Some(metadata.map_or(0, |metadata| metadata.current_version));
                match self.write_marked(&path, &Write { content: Content::Whole(&value), cas }, mark).await {
                    Ok(_) => {}
                    // Another host upgrades the same secret, or a client has written a newer version.
                    Err(EngineError::CasMismatch { .. }) => continue,
                    Err(error) => return Err(error),
                }
            }
            // Written again meanwhile, it is another version.
            let unchanged = Condition::Version(record.version());
            match self.storage.delete(self.work, Delete::new(place).when(unchanged)).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_lost_race() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
