//! Deleting, undeleting and destroying versions, and what a secret says about itself.

use jiff::Timestamp;
use keyway_common::clock;

use super::{
    change::Change,
    engine::{Engine, EngineError, Stored},
    metadata::Metadata,
    path::SecretPath,
    race::Race,
    record::version_keys,
};

/// What becomes of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// They can no longer be read, but undeleted.
    Delete,
    /// They can be read again.
    Undelete,
    /// Their values leave the store.
    Destroy,
}

/// Which versions.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// The current one.
    Current,
    /// These; numbers that do not exist are passed over.
    These(&'a [u64]),
}

impl Engine<'_> {
    /// Deletes, undeletes or destroys versions. Nothing happens if there are none, or nothing is left to do.
    ///
    /// # Errors
    ///
    /// `Storage` if the store cannot be read or written; `Record` if the metadata do not open; `Barrier` or
    /// `Random` if the new ones cannot be sealed; `Contended` if others change the secret all the time.
    pub async fn alter(&self, path: &SecretPath, which: Which<'_>, fate: Fate) -> Result<(), EngineError> {
        self.edit(path, false, |metadata, now| {
            let effective = metadata.settings.within(&self.mount.settings);
            let current = [metadata.current_version];
            let numbers = match which {
                Which::Current => &current,
                Which::These(numbers) => numbers,
            };
            for number in numbers {
                let Some(version) = metadata.versions.get_mut(number) else { continue };
                match fate {
                    Fate::Delete if version.is_readable(now) => version.deletion_time = now.to_string(),
                    // It lives on for as long as a new version would.
                    Fate::Undelete if !version.destroyed => {
                        let deadline = effective.deletion_time(now);
                        version.deletion_time = deadline.map(|time| time.to_string()).unwrap_or_default();
                    }
                    Fate::Destroy => version.destroyed = true,
                    Fate::Delete | Fate::Undelete => {}
                }
            }
            Ok(())
        })
        .await
        .map(|_| ())
    }

    /// Changes the metadata of a secret, again wherever others are quicker; `create` makes a secret without
    /// versions if there is none. Answers whether there is a secret. The values of versions that `edit`
    /// destroys leave the store.
    ///
    /// # Errors
    ///
    /// What `edit` returns; `Storage` if the store cannot be read or written; `Record` if the metadata do not
    /// open; `Barrier` or `Random` if the new ones cannot be sealed; `Contended` if others change the secret
    /// all the time.
    pub async fn edit(
        &self,
        path: &SecretPath,
        create: bool,
        edit: impl Fn(&mut Metadata, Timestamp) -> Result<(), EngineError>,
    ) -> Result<bool, EngineError> {
        // One time for all attempts: whether an earlier one has done it is seen by nothing being left to do.
        let (mut race, now) = (Race::begin(), clock::timestamp());
        loop {
            let stored = race.survive(self.load(path).await)?;
            let state = stored.as_ref().map(|stored| stored.version);
            if stored.is_none() && !create {
                return race.finish(false);
            }
            let before = stored.as_ref().map(|stored| &stored.opened.metadata);
            let mut metadata = before.cloned().unwrap_or_else(|| Metadata::new(now));
            edit(&mut metadata, now).map_err(|error| race.or_unknown(error))?;
            let is_done_but_counted = |before: &Metadata| {
                let counted = Metadata { metadata_version: before.metadata_version, ..metadata.clone() };
                race.is_perhaps_done() && *before == counted
            };
            if before == Some(&metadata) || before.is_some_and(is_done_but_counted) {
                return Ok(true);
            }
            if race.is_perhaps_changed_since(state) {
                // Either this attempt or another writer made the change. To try again may undo a later
                // change.
                return Err(race.stays_unknown());
            }
            metadata.updated_time = now.to_string();
            match self.store_edited(path, stored.as_ref(), &metadata).await {
                Ok(()) => return Ok(true),
                Err(error) => race.lost(error, state).await?,
            }
        }
    }

    async fn store_edited(
        &self,
        path: &SecretPath,
        stored: Option<&Stored>,
        metadata: &Metadata,
    ) -> Result<(), EngineError> {
        let current = metadata.current().filter(|version| !version.destroyed);
        let sealed = stored.filter(|_| current.is_some()).map(|stored| stored.opened.current.as_slice());
        let was_destroyed = |number: &u64| {
            let before = stored.and_then(|stored| stored.opened.metadata.versions.get(number));
            before.is_none_or(|before| before.destroyed)
        };
        let removed = metadata
            .versions
            .iter()
            .filter(|(number, version)| version.destroyed && !was_destroyed(number))
            .flat_map(|(number, version)| version_keys(path, *number, version))
            .collect();
        let record = self.sealer().seal_record(path, metadata, sealed.unwrap_or_default()).await?;
        let before = stored.map(|stored| stored.version);
        self.change(&Change { path, before, next: Some(&record), aside: None, removed }).await
    }
}
