//! Brings the data of a backend to the format of its plugin, after a backup, while calls wait.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{runtime::Handle, task::spawn_blocking, time::timeout};

use super::{Data, Deadlines, REMEMBER, Swap, SwapError, Swapping, Target};
use crate::{
    CallContext, Generation, Loader, Slot,
    archive::{self, ArchiveError, Header},
    failpoint,
};

/// An upgrade that has been made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgraded {
    /// The data format before.
    pub from: u32,
    /// The data format now.
    pub to: u32,
    /// Everything as it was before.
    pub backup: PathBuf,
    /// The records in it.
    pub records: u64,
    /// How long calls waited.
    pub waited: Duration,
}

impl Loader {
    /// Upgrades the data format of a backend's store to that of its plugin, once all records are in an
    /// archive in the directory `backups`. Goes on to its end, whether or not the caller waits for it.
    ///
    /// # Errors
    ///
    /// `Busy`, `Stopping`, `NotOpen` or `NewestFormat` if nothing is tried; `Late` if calls do not end in
    /// time; `Backup`, `Upgrade`, `NotUpgraded` or `Interrupted`: nothing has changed, unless a deadline has
    /// passed in the upgrade itself; `NotReopened` or `Lost` if nothing serves.
    pub async fn upgrade(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        backups: PathBuf,
        deadlines: Deadlines,
    ) -> Result<Upgraded, SwapError> {
        let (loader, slot) = (Arc::clone(self), Arc::clone(slot));
        let task = tokio::spawn(async move { loader.upgrade_to_the_end(&slot, &backups, deadlines).await });
        task.await.unwrap_or_else(|error| Err(SwapError::Interrupted { reason: error.to_string() }))
    }

    async fn upgrade_to_the_end(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        backups: &Path,
        deadlines: Deadlines,
    ) -> Result<Upgraded, SwapError> {
        let _turn = slot.try_turn()?;
        let present = slot.generation().map_err(SwapError::NotOpen)?;
        let (from, to) = (present.capabilities().data_format, present.plugin().descriptor().data_format);
        if from >= to {
            return Err(SwapError::NewestFormat { format: from });
        }
        let late = |what, deadline| move |_| SwapError::Late { what, deadline };
        // Former generations, which do not know the new format.
        let drained = timeout(deadlines.drain, slot.drained()).await;
        drained.map_err(late("ending what runs on the former generation", deadlines.drain))?;
        let target = Target::Plugin(Box::new(present.plugin().clone()));
        let (data, takes_set_aside) = (Data::Kept, true);
        let swap = Swap { target, config: None, data, takes_set_aside, only_from: None, deadlines };
        let swapping = Swapping { loader: Arc::clone(self), slot: Arc::clone(slot), swap };
        let begun = Instant::now();
        let _hold = slot.hold();
        swapping.drain_in_hold(&present).await?;
        let (backup, records) = back_up(&present, backups, deadlines.copy).await?;
        failpoint::reached("backed up");
        let upgraded = timeout(deadlines.copy, present.upgrade(&CallContext::background())).await;
        failpoint::reached("upgraded");
        // A store says what it promises when it is opened, and that may be more now. If the outcome of the
        // upgrade is unknown, this finds it out too.
        swapping.discard(&present).await;
        let again = swapping.open_again(&present).await;
        again.map_err(|error| SwapError::NotReopened { reopening: Box::new(error) })?;
        let again = slot.generation().map_err(SwapError::NotOpen)?;
        let loader = Arc::clone(self);
        let format = again.capabilities().data_format;
        let remembering = spawn_blocking(move || loader.remember(&again));
        if timeout(REMEMBER, remembering).await.is_err() {
            tracing::warn!(backend = slot.backend(), "the new data format is not written down yet");
        }
        match upgraded {
            _ if format >= to => {}
            Ok(Ok(_)) => return Err(SwapError::NotUpgraded { format }),
            Ok(Err(source)) => return Err(SwapError::Upgrade { source, format }),
            Err(late_by) => return Err(late("upgrading the data format", deadlines.copy)(late_by)),
        }
        Ok(Upgraded { from, to: format, backup, records, waited: begun.elapsed() })
    }
}

/// On a separate thread, since it writes a file.
async fn back_up(
    present: &Arc<Generation>,
    backups: &Path,
    deadline: Duration,
) -> Result<(PathBuf, u64), SwapError> {
    let descriptor = present.plugin().descriptor();
    let made = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let header = Header {
        backend: present.backend().to_owned(),
        plugin: descriptor.name.clone(),
        version: descriptor.version.clone(),
        data_format: present.capabilities().data_format,
        made,
    };
    let Header { backend, data_format, .. } = &header;
    let path = backups.join(format!("{backend}-{made}-format-{data_format}.kwarchive"));
    let (present, to) = (Arc::clone(present), path.clone());
    let writing = spawn_blocking(move || {
        Handle::current().block_on(timeout(deadline, async {
            let records = archive::write(&present, &header, &to).await?;
            // What cannot be read is none.
            archive::verify(&to).map(|_| records)
        }))
    });
    let written = writing.await.map_err(|error| SwapError::Interrupted { reason: error.to_string() })?;
    let written: Result<u64, ArchiveError> =
        written.map_err(|_| SwapError::Late { what: "the backup before the upgrade", deadline })?;
    Ok((path, written.map_err(|source| SwapError::Backup { source: Box::new(source) })?))
}
