//! Secrets without versions: KV version 1. Each secret has one record, at `p/<path>`; the last writer wins.

use keyway_crypto::{envelope::RecordKind, keyring::Record};
use keyway_loader::{Delete, Key, Put};
use zeroize::Zeroizing;

use super::{
    engine::{Depth, Engine, EngineError, Part},
    path::{FolderPath, SecretPath},
};

pub(super) const PREFIX: &str = "p/";

impl Engine<'_> {
    /// Reads a secret without versions.
    ///
    /// # Errors
    ///
    /// `Storage` if the store cannot be read; `Record` if the record does not open.
    pub async fn read_plain(&self, path: &SecretPath) -> Result<Option<Zeroizing<Vec<u8>>>, EngineError> {
        let (keyspace, key) = (self.mount.keyspace(), key_of(path.as_str()));
        let found =
            self.storage.get_or_prefetched(self.work, Key::new(&keyspace, &key), self.prefetched).await?;
        let Some(record) = found.record() else { return Ok(None) };
        let opened = self.barrier.open(self.work, &self.plain_record(&key), record.value()).await;
        let opened = opened.map_err(|source| self.sealer().error(path, source))?;
        Ok(Some(opened))
    }

    /// Writes a secret without versions, in the place of what was there.
    ///
    /// # Errors
    ///
    /// `Barrier` if the value cannot be sealed; `Storage` if the store does not take it.
    pub async fn write_plain(&self, path: &SecretPath, value: &[u8]) -> Result<(), EngineError> {
        let (keyspace, key) = (self.mount.keyspace(), key_of(path.as_str()));
        let sealed = self.barrier.seal(self.work, &self.plain_record(&key), value).await?;
        self.storage.put_settled(self.work, Put::new(Key::new(&keyspace, &key), &sealed)).await?;
        Ok(())
    }

    /// Removes a secret without versions.
    ///
    /// # Errors
    ///
    /// `Storage` if the store does not remove the record.
    pub async fn remove_plain(&self, path: &SecretPath) -> Result<(), EngineError> {
        let (keyspace, key) = (self.mount.keyspace(), key_of(path.as_str()));
        self.storage.delete(self.work, Delete::new(Key::new(&keyspace, &key))).await?;
        Ok(())
    }

    /// The names of secrets without versions in a folder, in order; those of folders end with a slash.
    ///
    /// # Errors
    ///
    /// `TooMany` for a folder with more names than an answer takes; `Storage` if the store cannot list the
    /// keys.
    pub async fn list_plain(&self, folder: &FolderPath, part: Part<'_>) -> Result<Vec<String>, EngineError> {
        self.list_below(key_of(folder.as_str()), part, Depth::Level).await
    }

    /// The names of secrets without versions in a folder and in all folders below, in order, seen from the folder.
    ///
    /// # Errors
    ///
    /// `TooMany` for a tree with more names than an answer takes; `Storage` if the store cannot list the
    /// keys.
    pub async fn scan_plain(&self, folder: &FolderPath, part: Part<'_>) -> Result<Vec<String>, EngineError> {
        self.list_below(key_of(folder.as_str()), part, Depth::All).await
    }

    pub(super) fn plain_record<'k>(&self, key: &'k [u8]) -> Record<'k> {
        Record { mount: self.mount.uuid, kind: RecordKind::Plain, key, version: 0 }
    }
}

pub(super) fn key_of(path: &str) -> Vec<u8> {
    format!("{PREFIX}{path}").into_bytes()
}
