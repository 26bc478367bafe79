//! Removing a secret with all that is known of it.

use super::{
    change::Change,
    engine::{Engine, EngineError, Stored},
    path::SecretPath,
    race::Race,
    record::version_key,
};

impl Engine<'_> {
    /// Removes a secret with all its versions. Nothing happens where there is none.
    ///
    /// # Errors
    ///
    /// See [`EngineError`].
    pub async fn remove(&self, path: &SecretPath) -> Result<(), EngineError> {
        let mut race = Race::begin();
        loop {
            let stored = race.survive(self.load(path).await)?;
            // Where an earlier attempt has removed it, its intent is left to the sweep.
            let Some(Stored { opened, version }) = stored else { return Ok(()) };
            let metadata = &opened.metadata;
            let kept = metadata.versions.iter().filter(|(_, version)| !version.destroyed);
            let removed = kept.map(|(number, version)| version_key(path, *number, version)).collect();
            // Only as it was read: the versions of a secret that is made again meanwhile have other keys.
            let change = Change { path, before: Some(version), next: None, aside: None, removed };
            match self.change(&change).await {
                Ok(()) => return Ok(()),
                Err(error) => race.lost(error).await?,
            }
        }
    }
}
