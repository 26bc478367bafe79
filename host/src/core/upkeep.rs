//! What is done behind the requests of an unsealed server: keyspaces of mounts that were taken away are dropped, and what
//! changes that broke off have left is swept. Every step can be repeated, and what fails is tried again.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{sync::Notify, task::JoinHandle};

use super::{Core, CoreError, Unsealed};
use crate::{
    secrets::{Engine, EngineError},
    storage::RequestId,
};

/// How long it rests when there is nothing to do.
const REST: Duration = Duration::from_secs(600);
/// How long it rests when something failed, or is too young to be swept.
const SHORT_REST: Duration = Duration::from_secs(60);

/// The task, which runs from unsealing to sealing.
#[derive(Default)]
pub(super) struct Upkeep {
    hurry: Arc<Notify>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Upkeep {
    pub(super) fn begin(&self, core: &Arc<Core>) {
        let task = tokio::spawn(run(Arc::downgrade(core), Arc::clone(&self.hurry)));
        self.replace(Some(task));
    }

    pub(super) fn end(&self) {
        self.replace(None);
    }

    /// Something is to be done now.
    pub(super) fn hurry(&self) {
        self.hurry.notify_one();
    }

    fn replace(&self, task: Option<JoinHandle<()>>) {
        let former = std::mem::replace(&mut *self.task.lock().unwrap_or_else(PoisonError::into_inner), task);
        if let Some(former) = former {
            former.abort();
        }
    }
}

async fn run(core: Weak<Core>, hurry: Arc<Notify>) {
    loop {
        let rest = {
            let Some(core) = core.upgrade() else { return };
            let Ok(unsealed) = core.unsealed() else { return };
            core.tidy(&unsealed).await
        };
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = hurry.notified() => {}
        }
    }
}

impl Core {
    /// Does what there is to do; answers how long to rest.
    async fn tidy(&self, unsealed: &Unsealed) -> Duration {
        let mut rest = REST;
        let table = unsealed.mounts.current();
        for leaving in table.leaving() {
            if let Err(error) = self.drop_mount(unsealed, leaving).await {
                tracing::warn!(%error, path = leaving.path, "the secrets of a mount that was taken away are still there");
                rest = SHORT_REST;
            }
        }
        for (path, mount) in table.iter() {
            let Ok(storage) = self.admitted(unsealed, &mount.backend, RequestId::BACKGROUND).await else {
                // Whoever uses it is told why; when it is back, it is swept.
                rest = SHORT_REST;
                continue;
            };
            match Engine::new(&unsealed.barrier, mount, storage, RequestId::BACKGROUND).sweep(false).await {
                Ok(swept) if swept.left > 0 => rest = SHORT_REST,
                Ok(swept) if swept.done > 0 => tracing::info!(mount = path, changes = swept.done, "swept"),
                Ok(_) => {}
                Err(error) => {
                    report_sweep(path, &error);
                    rest = SHORT_REST;
                }
            }
        }
        rest
    }

    /// Drops the keyspace, and then forgets that there was one.
    async fn drop_mount(
        &self,
        unsealed: &Unsealed,
        leaving: &crate::mounts::Leaving,
    ) -> Result<(), CoreError> {
        let storage = self.admitted(unsealed, &leaving.backend, RequestId::BACKGROUND).await?;
        let dropped = storage.drop_keyspace(RequestId::BACKGROUND, &leaving.keyspace()).await;
        dropped.map_err(crate::mounts::MountError::from)?;
        let forgotten = unsealed.mounts.edit(&unsealed.barrier, RequestId::BACKGROUND, |table| {
            table.forget(leaving.uuid);
            Ok(())
        });
        forgotten.await?;
        tracing::info!(
            path = leaving.path,
            backend = leaving.backend,
            "the secrets of an unmounted path are gone"
        );
        Ok(())
    }
}

fn report_sweep(mount: &str, error: &EngineError) {
    tracing::warn!(%error, mount, "what broken-off changes have left is still there");
}
