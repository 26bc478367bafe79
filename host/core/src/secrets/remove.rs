//! Removing a secret with all that is known of it.

use super::{
    change::Change,
    engine::{Engine, EngineError, Stored},
    path::SecretPath,
    race::Race,
    record::version_keys,
};

impl Engine<'_> {
    /// Removes a secret with all its versions. Nothing happens if there is none.
    ///
    /// # Errors
    ///
    /// `Storage` if the store cannot be read or written; `Record` if the metadata do not open; `Barrier` or
    /// `Random` if the intent cannot be made; `Contended` if others change the secret all the time.
    pub async fn remove(&self, path: &SecretPath) -> Result<(), EngineError> {
        let mut race = Race::begin();
        let mut begun = None::<String>;
        loop {
            let stored = race.survive(self.load(path).await)?;
            // If an earlier attempt has removed it, its intent is left to the sweep.
            let Some(Stored { opened, version }) = stored else { return Ok(()) };
            let metadata = &opened.metadata;
            let is_another = begun.as_ref().is_some_and(|begun| *begun != metadata.created_time);
            if is_another && race.is_perhaps_done() {
                // The secret that was to be removed is gone, and this one was made since.
                return Ok(());
            }
            let kept = metadata.versions.iter().filter(|(_, version)| !version.destroyed);
            let removed = kept.flat_map(|(number, version)| version_keys(path, *number, version)).collect();
            // Only as it was read: the versions of a secret that is made again meanwhile have other keys.
            let change = Change { path, before: Some(version), next: None, aside: None, removed };
            match self.change(&change).await {
                Ok(()) => return Ok(()),
                Err(error) => race.lost(error, Some(version)).await?,
            }
            begun = Some(opened.metadata.created_time);
        }
    }
}
